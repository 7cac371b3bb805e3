//! The page and its files, as Trunk builds them.
//!
//! `index.html` is read again when it changes on disk, so a rebuilt page needs no restart. Files with a hash in their
//! name never change and are cached for a year; all others are revalidated at each use.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::MethodRouter,
};
use bytes::Bytes;
use data_encoding::BASE64;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tower_http::services::ServeDir;

/// The longest path of a file, in bytes as in the request.
const MAX_PATH: usize = 1024;
/// The longest file name that file systems support, in bytes.
const MAX_NAME: usize = 255;
const NO_PAGE: &str =
    "There is no page here: build it with `trunk build --release`, or set its directory with --assets.\n";
const NOT_FOUND: &str = "there is no file at this address\n";

/// The directory of the built page.
pub(crate) struct Assets {
    directory: PathBuf,
    index: Mutex<Option<Index>>,
}

#[derive(Clone)]
struct Index {
    modified: SystemTime,
    length: u64,
    html: Bytes,
    /// Smaller first.
    compressed: Vec<(&'static str, Bytes)>,
    policy: HeaderValue,
    /// Weak, because it is the same for all codings.
    tag: HeaderValue,
}

/// The content codings of the compressed copies, and the extensions of their files. Where both are accepted, the first is sent.
const CODINGS: [(&str, &str); 2] = [("br", "br"), ("gzip", "gz")];

impl Assets {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            index: Mutex::new(None),
        }
    }

    /// The page as it is on disk now. The file is small and nearly always unchanged, so the blocking calls need no
    /// other thread.
    fn index(&self) -> io::Result<Index> {
        let path = self.directory.join("index.html");
        let metadata = path.metadata()?;
        let (modified, length) = (metadata.modified()?, metadata.len());
        let mut cached = self.index.lock();
        match &*cached {
            Some(index) if index.modified == modified && index.length == length => Ok(index.clone()),
            _ => {
                let html = std::fs::read_to_string(&path)?;
                let header = |text: String| HeaderValue::try_from(text).map_err(io::Error::other);
                let index = Index {
                    modified,
                    length,
                    policy: header(content_security_policy(&html))?,
                    tag: header(format!("W/\"{}\"", sha256(html.as_bytes())))?,
                    compressed: CODINGS
                        .into_iter()
                        .filter_map(|(coding, extension)| Some((coding, copy(&path, extension, modified)?)))
                        .collect(),
                    html: html.into(),
                };
                Ok(cached.insert(index).clone())
            }
        }
    }
}

/// `GET /`, `/chat`, `/echo` and `/chat/{room}` without an upgrade: the page.
pub(crate) async fn page(State(assets): State<Arc<Assets>>, headers: HeaderMap) -> Response {
    respond_with_page(&assets, &headers)
}

pub(crate) fn respond_with_page(assets: &Assets, request: &HeaderMap) -> Response {
    let index = match assets.index() {
        Ok(index) => index,
        Err(error) => {
            tracing::debug!(directory = %assets.directory.display(), %error, "there is no page to serve");
            return (StatusCode::NOT_FOUND, NO_PAGE).into_response();
        }
    };
    let unchanged = request.get(header::IF_NONE_MATCH).is_some_and(|tag| tag == index.tag);
    let accepted = index
        .compressed
        .into_iter()
        .find(|(coding, _)| accepts(request, coding));
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_SECURITY_POLICY, index.policy),
        (header::ETAG, index.tag),
        // The same address is a WebSocket endpoint, and refuses names of rooms unless a page is asked for.
        (
            header::VARY,
            HeaderValue::from_static("Upgrade, Accept, Accept-Encoding"),
        ),
    ];
    if unchanged {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    match accepted {
        Some((coding, body)) => (headers, [(header::CONTENT_ENCODING, coding)], body).into_response(),
        None => (headers, index.html).into_response(),
    }
}

/// A compressed copy beside a file. One that is older than the file is of an earlier build.
fn copy(path: &Path, extension: &str, modified: SystemTime) -> Option<Bytes> {
    let mut copy = path.as_os_str().to_owned();
    copy.push(".");
    copy.push(extension);
    let current = Path::new(&copy).metadata().ok()?.modified().ok()? >= modified;
    Some(std::fs::read(&copy).ok().filter(|_| current)?.into())
}

/// Whether a client accepts a content coding by its name, which it does unless the weight is 0. Only the names of codings count:
/// `*` stands for any other one, and the content as it is satisfies it. See RFC 9110, section 12.5.3.
fn accepts(request: &HeaderMap, coding: &str) -> bool {
    let fields = request.get_all(header::ACCEPT_ENCODING).iter();
    let items = fields
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(','));
    items
        .map(|item| item.split_once(';').unwrap_or((item, "")))
        .any(|(name, weight)| {
            let weight = weight
                .trim()
                .strip_prefix("q=")
                .map(|weight| weight.trim().parse::<f32>());
            name.trim().eq_ignore_ascii_case(coding) && !matches!(weight, Some(Ok(0.0)))
        })
}

/// Files at `/assets/...`: from the directory `assets` of the page's directory, else from the page's directory.
pub(crate) fn under_assets(assets: &Assets) -> Router {
    let directory = &assets.directory;
    let inner = serve(directory.join("assets")).fallback(serve(directory.clone()).fallback(not_found()));
    Router::new()
        .fallback_service(inner)
        .layer(axum::middleware::from_fn(cache_by_name))
}

/// Files at the root, where Trunk puts them. For any other address a browser gets the page, which says that there is nothing.
pub(crate) fn files(assets: &Arc<Assets>) -> Router {
    let page = assets.clone();
    let missing = axum::routing::any(async move |request: Request| match accepts_page(request.headers()) {
        true => missing_page(&page, request.headers().clone()),
        false => (StatusCode::NOT_FOUND, NOT_FOUND).into_response(),
    });
    let files = serve(assets.directory.clone()).fallback(missing);
    Router::new()
        .fallback_service(files)
        .layer(axum::middleware::from_fn(cache_by_name))
}

fn serve(directory: PathBuf) -> ServeDir {
    ServeDir::new(directory)
        .append_index_html_on_directories(false)
        .precompressed_br()
        .precompressed_gzip()
}

/// Whether the request is one of a browser that navigates.
pub(crate) fn accepts_page(request: &HeaderMap) -> bool {
    let accept = request.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// The page with the status 404.
fn missing_page(assets: &Assets, mut request: HeaderMap) -> Response {
    // It is sent whole: 304 would be an answer of an address that has something.
    request.remove(header::IF_NONE_MATCH);
    let mut response = respond_with_page(assets, &request);
    response.headers_mut().remove(header::ETAG);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

fn not_found() -> MethodRouter<()> {
    axum::routing::any(async || (StatusCode::NOT_FOUND, NOT_FOUND))
}

async fn cache_by_name(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path.len() > MAX_PATH {
        return (StatusCode::URI_TOO_LONG, "the address is too long\n").into_response();
    }
    let immutable = has_hash(path);
    let long_name = path.split('/').any(|name| name.len() > MAX_NAME);
    let mut response = next.run(request).await;
    let status = response.status();
    // The system fails to open a file with such a name, which is not an error of the server.
    if status == StatusCode::INTERNAL_SERVER_ERROR && long_name {
        return (StatusCode::NOT_FOUND, NOT_FOUND).into_response();
    }
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        // Only the page's own handler sends its content security policy, so no spelling of its path may serve it as a
        // file.
        if is_html(response.headers()) {
            return (StatusCode::NOT_FOUND, NOT_FOUND).into_response();
        }
        let rule = if immutable {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(rule));
        // This header selects a precompressed file, so a cache must keep the variants apart.
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    response
}

fn is_html(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes().starts_with(b"text/html") || kind.as_bytes().starts_with(b"application/xhtml")
    })
}

/// Whether a part of the path ends in a hash by Trunk or wasm-bindgen, as in `app-1a2b3c4d5e6f7a8b_bg.wasm`.
fn has_hash(path: &str) -> bool {
    path.split(['/', '.', '_']).any(|part| {
        part.rsplit_once('-')
            .is_some_and(|(_, hash)| hash.len() >= 12 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    })
}

/// Allows scripts of this origin and the inline scripts of the page as it is now. Framing, forms and other origins are
/// not allowed, except for WebSockets, because the workbench connects to any address.
fn content_security_policy(html: &str) -> String {
    let mut hashes = String::new();
    for script in inline_scripts(html) {
        hashes.push_str(" 'sha256-");
        hashes.push_str(&sha256(script.as_bytes()));
        hashes.push('\'');
    }
    format!(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'{hashes}; style-src 'self'; img-src 'self' data: blob:; \
         connect-src 'self' ws: wss:; manifest-src 'self'; worker-src 'self'; base-uri 'self'; form-action 'none'; \
         frame-ancestors 'none'"
    )
}

fn sha256(bytes: &[u8]) -> String {
    BASE64.encode(&Sha256::digest(bytes))
}

/// The contents of all `<script>` elements without `src`, with exactly the bytes that a browser hashes.
fn inline_scripts(html: &str) -> Vec<&str> {
    // As long as `html`, so that offsets are valid in both.
    let lower = html.to_ascii_lowercase();
    let mut scripts = Vec::new();
    let mut at = 0;
    while let Some(found) = lower[at..].find("<script") {
        let tag = at + found;
        let Some(length) = lower[tag..].find('>') else { break };
        let start = tag + length + 1;
        let Some(length) = lower[start..].find("</script") else {
            break;
        };
        let attributes = &lower[tag..start];
        if !attributes
            .split_ascii_whitespace()
            .any(|attribute| attribute.starts_with("src="))
        {
            scripts.push(&html[start..start + length]);
        }
        at = start + length;
    }
    scripts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_hash_are_recognised_and_others_are_not() {
        for path in [
            "/talkback-app-1a2b3c4d5e6f7a8b.js",
            "/talkback-app-1a2b3c4d5e6f7a8b_bg.wasm",
            "/assets/style-abcdef012345678.css",
            "/snippets/talkback-0123456789abcdef/inline0.js",
        ] {
            assert!(has_hash(path), "{path}");
        }
        for path in [
            "/favicon.svg",
            "/talkback-app.js",
            "/a-cafe.js",
            "/site-manifestabcdefgh.json",
            "/-.js",
        ] {
            assert!(!has_hash(path), "{path}");
        }
    }

    #[test]
    fn inline_scripts_are_hashed_byte_for_byte_and_linked_ones_are_not() {
        let html = "<!DOCTYPE html><SCRIPT type=\"module\">\nimport a from '/a.js';\n</SCRIPT>\
                    <script src=\"/b.js\"></script><script>alert(1)</script >";
        assert_eq!(inline_scripts(html), ["\nimport a from '/a.js';\n", "alert(1)"]);
        // The hash of the CSP standard's own example, https://www.w3.org/TR/CSP3/#external-hash, for alert('Hello,
        // world.');
        let policy = content_security_policy("<script>alert('Hello, world.');</script>");
        assert!(
            policy
                .contains("'wasm-unsafe-eval' 'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='; style-src 'self'"),
            "{policy}"
        );
    }

    #[test]
    fn a_coding_is_accepted_by_its_name_unless_its_weight_is_zero() {
        let request =
            |value: &'static str| HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]);
        for value in ["br", "gzip, deflate, br, zstd", "gzip;q=0.5,BR;q=0.1", "br ; q=1.0"] {
            assert!(accepts(&request(value), "br"), "{value}");
        }
        for value in ["", "gzip", "br;q=0", "br;q=0.000", "brotli", "*"] {
            assert!(!accepts(&request(value), "br"), "{value}");
        }
        assert!(!accepts(&HeaderMap::new(), "br"));
    }

    #[test]
    fn unfinished_html_has_no_inline_scripts_and_does_not_panic() {
        for html in ["<script", "<script>", "<script src=x", "", "<"] {
            assert!(inline_scripts(html).is_empty(), "{html:?}");
        }
    }
}
