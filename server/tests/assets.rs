//! The page and its files: content types, caching, compression, content security policy.

use std::path::Path;

use crate::support::{Server, assert_contains};
use talkback_server::AppOptions;
use tempfile::TempDir;

const HASHED: &str = "talkback-app-0123456789abcdef";

async fn server_with(files: &[(&str, &str)]) -> (Server, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        write(directory.path(), name, content);
    }
    let options = AppOptions {
        assets: directory.path().to_owned(),
        ..AppOptions::default()
    };
    (Server::with(options).await, directory)
}

fn write(directory: &Path, name: &str, content: &str) {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn a_browser_gets_the_page_for_a_room_name_that_other_clients_are_refused_for() {
    let (server, _files) = server_with(&[("index.html", "the page")]).await;
    for path in ["/chat/a%20b", "/chat/a%2Fb", "/chat/a%0Ab"] {
        assert_contains(&server.get(path, "").await, "400 Bad Request");
        let accept = "Accept: text/html,application/xhtml+xml;q=0.9\r\n";
        assert_eq!(body(&server.get(path, accept).await), "the page", "{path}");
    }
}

#[tokio::test]
async fn a_browser_gets_the_page_with_404_where_there_is_nothing_and_other_clients_a_text() {
    let (server, _files) = server_with(&[("index.html", "the page")]).await;
    let accept = "Accept: text/html,application/xhtml+xml;q=0.9\r\n";
    let page = server.get("/", accept).await;
    let tag = header(&page, "etag").unwrap();
    let again = format!("{accept}If-None-Match: {tag}\r\n");
    for path in ["/nope", "/a/b.html", "/chat/a/b"] {
        let answer = server.get(path, &again).await;
        assert_contains(&answer, "404 Not Found");
        assert_eq!(body(&answer), "the page", "{path}");
        assert_eq!(
            header(&answer, "content-security-policy"),
            header(&page, "content-security-policy"),
            "{path}"
        );
        assert_eq!(header(&answer, "etag"), None, "{path}");
        assert_ne!(body(&server.get(path, "").await), "the page", "{path}");
    }
    assert_ne!(body(&server.get("/assets/nope", accept).await), "the page");
}

#[tokio::test]
async fn the_page_is_served_at_all_its_addresses_with_a_strict_content_security_policy() {
    // The hash of the CSP standard's own example.
    let html = "<!DOCTYPE html><script type=\"module\">alert('Hello, world.');</script>";
    let (server, _files) = server_with(&[("index.html", html)]).await;
    for path in [
        "/",
        "/index.html",
        "/echo",
        "/chat",
        "/chat/",
        "/chat/lobby",
        "/chat/%E5%A4%A7%E5%8E%85",
    ] {
        let answer = server.get(path, "").await;
        assert_contains(&answer, "HTTP/1.1 200 OK");
        assert_eq!(body(&answer), html, "{path}");
        assert_eq!(header(&answer, "content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(header(&answer, "cache-control"), Some("no-cache"));
        assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
        assert_eq!(header(&answer, "referrer-policy"), Some("same-origin"));
        assert_eq!(header(&answer, "cross-origin-opener-policy"), Some("same-origin"));
        assert_eq!(header(&answer, "cross-origin-resource-policy"), Some("same-origin"));
        assert_eq!(
            header(&answer, "content-security-policy"),
            Some(
                "default-src 'none'; script-src 'self' 'wasm-unsafe-eval' \
                 'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='; style-src 'self'; img-src 'self' data: blob:; \
                 connect-src 'self' ws: wss:; manifest-src 'self'; worker-src 'self'; base-uri 'self'; form-action 'none'; \
                 frame-ancestors 'none'"
            )
        );
    }
}

#[tokio::test]
async fn a_rebuilt_page_is_served_without_a_restart_and_an_unchanged_one_is_not_sent_again() {
    let (server, files) = server_with(&[("index.html", "<script>one</script>")]).await;
    let first = server.get("/", "").await;
    let tag = header(&first, "etag").unwrap();
    let again = server.get("/", &format!("If-None-Match: {tag}\r\n")).await;
    assert_contains(&again, "304 Not Modified");
    write(files.path(), "index.html", "<script>second</script>");
    let second = server.get("/", &format!("If-None-Match: {tag}\r\n")).await;
    assert_eq!(body(&second), "<script>second</script>");
    assert_ne!(
        header(&first, "content-security-policy"),
        header(&second, "content-security-policy")
    );
}

#[tokio::test]
async fn files_have_their_content_types_and_hashed_ones_are_cached_for_a_year() {
    let (js, wasm) = (format!("{HASHED}.js"), format!("{HASHED}_bg.wasm"));
    let files = [
        (js.as_str(), "js"),
        (&wasm, "wasm"),
        ("favicon.svg", "<svg/>"),
        ("assets/style-0123456789abcdef.css", "css"),
    ];
    let (server, _files) = server_with(&files).await;
    for (path, kind, immutable) in [
        (format!("/{js}"), "text/javascript", true),
        (format!("/{wasm}"), "application/wasm", true),
        ("/favicon.svg".to_owned(), "image/svg+xml", false),
        ("/assets/style-0123456789abcdef.css".to_owned(), "text/css", true),
        // With Trunk's public_url `/assets` files at the top of the directory have paths below /assets.
        (format!("/assets/{wasm}"), "application/wasm", true),
    ] {
        let answer = server.get(&path, "").await;
        assert_contains(&answer, "200 OK");
        assert_contains(header(&answer, "content-type").unwrap(), kind);
        let rule = if immutable {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        assert_eq!(header(&answer, "cache-control"), Some(rule), "{path}");
        assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"), "{path}");
    }
}

#[tokio::test]
async fn the_service_worker_is_asked_for_at_each_visit_and_the_manifest_has_its_content_type() {
    let manifest = "manifest-0123456789abcdef.webmanifest";
    let (server, _files) = server_with(&[("sw.js", "worker"), ("sw.js.br", "small"), (manifest, "{}")]).await;
    for (accepts, content) in [("", "worker"), ("Accept-Encoding: br\r\n", "small")] {
        let answer = server.get("/sw.js", accepts).await;
        assert_contains(&answer, "200 OK");
        assert_eq!(body(&answer), content);
        assert_eq!(header(&answer, "cache-control"), Some("no-cache"));
        assert_contains(header(&answer, "content-type").unwrap(), "text/javascript");
    }
    let answer = server.get(&format!("/{manifest}"), "").await;
    assert_eq!(header(&answer, "content-type"), Some("application/manifest+json"));
    assert_contains(header(&answer, "cache-control").unwrap(), "immutable");
}

#[tokio::test]
async fn precompressed_files_are_served_by_accept_encoding_with_the_content_type_of_the_original() {
    let wasm = format!("{HASHED}_bg.wasm");
    let files = [
        (wasm.clone(), "plain"),
        (format!("{wasm}.br"), "brotli"),
        (format!("{wasm}.gz"), "gzip"),
    ];
    let files: Vec<_> = files.iter().map(|(name, content)| (name.as_str(), *content)).collect();
    let (server, _files) = server_with(&files).await;
    for (accepts, coding, content) in [
        ("gzip, deflate, br", Some("br"), "brotli"),
        ("gzip", Some("gzip"), "gzip"),
        ("identity", None, "plain"),
    ] {
        let answer = server
            .get(&format!("/{wasm}"), &format!("Accept-Encoding: {accepts}\r\n"))
            .await;
        assert_eq!(header(&answer, "content-encoding"), coding);
        assert_eq!(body(&answer), content);
        assert_eq!(header(&answer, "content-type"), Some("application/wasm"));
        assert_contains(header(&answer, "vary").unwrap(), "accept-encoding");
    }
}

#[tokio::test]
async fn the_page_is_sent_compressed_where_its_copies_are_of_the_same_build() {
    let (server, files) = server_with(&[("index.html", "plain")]).await;
    write(files.path(), "index.html.br", "of an earlier build");
    let earlier = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let copy = std::fs::File::open(files.path().join("index.html.br")).unwrap();
    copy.set_modified(earlier).unwrap();
    let answer = server.get("/", "Accept-Encoding: br, gzip\r\n").await;
    assert_eq!((header(&answer, "content-encoding"), body(&answer)), (None, "plain"));

    write(files.path(), "index.html.br", "brotli");
    write(files.path(), "index.html.gz", "gzip");
    write(files.path(), "index.html", "rebuilt");
    copy_times(&files.path().join("index.html"), &["br", "gz"]);
    for (accepts, coding, content) in [
        ("gzip, deflate, br", Some("br"), "brotli"),
        ("gzip", Some("gzip"), "gzip"),
        ("br;q=0, identity", None, "rebuilt"),
    ] {
        let answer = server
            .get("/chat/lobby", &format!("Accept-Encoding: {accepts}\r\n"))
            .await;
        assert_eq!((header(&answer, "content-encoding"), body(&answer)), (coding, content));
        assert_eq!(header(&answer, "content-type"), Some("text/html; charset=utf-8"));
        assert_contains(header(&answer, "vary").unwrap(), "Accept-Encoding");
        let tag = header(&answer, "etag").unwrap();
        let again = format!("Accept-Encoding: {accepts}\r\nIf-None-Match: {tag}\r\n");
        assert_contains(&server.get("/", &again).await, "304 Not Modified");
    }
}

/// Gives the compressed copies of a file its time of modification.
fn copy_times(path: &Path, extensions: &[&str]) {
    let modified = path.metadata().unwrap().modified().unwrap();
    for extension in extensions {
        let copy = std::fs::File::open(format!("{}.{extension}", path.display())).unwrap();
        copy.set_modified(modified).unwrap();
    }
}

#[tokio::test]
async fn missing_files_are_answered_with_404_and_never_as_immutable() {
    let (server, _files) = server_with(&[("index.html", "page")]).await;
    for path in [
        format!("/{HASHED}.js"),
        format!("/assets/{HASHED}.js"),
        "/no/such/page".to_owned(),
    ] {
        let answer = server.get(&path, "").await;
        assert_contains(&answer, "404 Not Found");
        assert!(
            header(&answer, "cache-control").is_none_or(|rule| !rule.contains("immutable")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn the_page_is_never_served_as_a_file_without_its_content_security_policy() {
    let (server, _files) = server_with(&[
        ("index.html", "page"),
        ("index.html.br", "page"),
        ("assets/x.html", "page"),
    ])
    .await;
    for path in [
        "/assets/index.html",
        "/assets//index.html",
        "/assets/./index.html",
        "/%69ndex.html",
        "/assets/%69ndex.html",
        "/./index.html",
        "/assets/x.html",
    ] {
        for headers in ["", "Accept-Encoding: br\r\n", "Range: bytes=0-1\r\n"] {
            let answer = server.get(path, headers).await;
            assert_contains(&answer, "404 Not Found");
            assert!(!body(&answer).starts_with("pa"), "{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn too_long_paths_are_answered_with_414_and_too_long_names_with_404() {
    let (server, _files) = server_with(&[("index.html", "page")]).await;
    for prefix in ["/", "/assets/"] {
        let answer = server.get(&format!("{prefix}{}", "x".repeat(15_000)), "").await;
        assert_contains(&answer, "414 URI Too Long");
        let answer = server.get(&format!("{prefix}{}", "x".repeat(500)), "").await;
        assert_contains(&answer, "404 Not Found");
    }
}

#[tokio::test]
async fn files_outside_the_directory_cannot_be_read() {
    let (server, files) = server_with(&[("site/index.html", "page"), ("secret.txt", "secret")]).await;
    drop(server);
    let options = AppOptions {
        assets: files.path().join("site"),
        ..AppOptions::default()
    };
    let server = Server::with(options).await;
    for path in [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "//secret.txt",
        "/..%5csecret.txt",
    ] {
        let answer = server.get(path, "").await;
        assert!(
            !answer.contains("secret\n") && !answer.ends_with("secret"),
            "{path}: {answer}"
        );
    }
}

#[tokio::test]
async fn without_a_page_the_answer_says_how_to_build_one_and_does_not_name_the_directory() {
    let (server, files) = server_with(&[]).await;
    let answer = server.get("/", "").await;
    assert_contains(&answer, "404 Not Found");
    assert_contains(&answer, "trunk build");
    assert_contains(&answer, "--assets");
    assert!(!answer.contains(files.path().to_str().unwrap()), "{answer}");
}
