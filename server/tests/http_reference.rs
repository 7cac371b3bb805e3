//! Compares `docs/http.md` with the URL map and with what the server answers: a test fails when one is changed without
//! the other.

use std::collections::BTreeSet;

use crate::support::Server;

const DOCUMENT: &str = include_str!("../../docs/http.md");
const METHODS: [&str; 3] = ["GET", "POST", "DELETE"];

/// What stands between backticks in headings and in the first cells of tables and is a method with a path.
fn documented() -> BTreeSet<String> {
    let places = DOCUMENT.lines().filter_map(|line| {
        let first_cell = line.strip_prefix("| ").and_then(|cells| cells.split(" | ").next());
        first_cell.or_else(|| line.strip_prefix("### "))
    });
    let spans = places.flat_map(|place| place.split('`').skip(1).step_by(2));
    let endpoints = spans.filter(|span| {
        let (method, path) = span.split_once(' ').unwrap_or_default();
        METHODS.contains(&method) && path.starts_with('/')
    });
    endpoints.map(str::to_owned).collect()
}

/// The endpoints in the source of a router, below this prefix.
fn routed<'a>(source: &'a str, prefix: &'a str) -> impl Iterator<Item = String> + 'a {
    source.lines().flat_map(move |line| {
        let route = line.trim().strip_prefix(".route(\"");
        let (path, handlers) = route.and_then(|route| route.split_once('"')).unwrap_or_default();
        let methods = METHODS.iter().filter(move |method| {
            let call = format!("{}(", method.to_lowercase());
            handlers.contains(&format!(" {call}")) || handlers.contains(&format!(".{call}"))
        });
        methods.map(move |method| format!("{method} {prefix}{path}"))
    })
}

#[test]
fn the_document_has_exactly_the_endpoints_of_the_url_map() {
    let (map, rooms) = include_str!("../src/app.rs")
        .split_once("\nfn rooms(")
        .expect("the routes below a room");
    let mut all: BTreeSet<_> = routed(map, "").collect();
    all.extend(routed(rooms, "/rooms/{room}"));
    all.extend(routed(include_str!("../src/http/admin.rs"), "/admin"));
    // Files, by a service.
    all.insert("GET /assets/...".to_owned());
    assert!(all.len() > 20, "{all:?}");
    assert_eq!(documented(), all);
}

#[tokio::test]
async fn every_documented_endpoint_takes_the_methods_of_the_document_and_no_other() {
    let server = Server::start().await;
    let documented = documented();
    let public = documented.iter().filter(|endpoint| {
        let path = endpoint.split(' ').nth(1).unwrap();
        // Operators have another address, and the page is not built here.
        !path.starts_with("/admin") && !path.starts_with("/assets") && path != "/metrics"
    });
    let paths: BTreeSet<_> = public.filter_map(|endpoint| endpoint.split(' ').nth(1)).collect();
    assert!(paths.len() > 10, "{paths:?}");
    for path in paths {
        for method in METHODS {
            let request = format!(
                "{method} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                path.replace("{room}", "lobby"),
                server.address,
            );
            let answer = server.raw(&request).await;
            let is_taken = &answer[9..12] != "405";
            assert_eq!(
                is_taken,
                documented.contains(&format!("{method} {path}")),
                "{method} {path}: {answer}"
            );
        }
    }
}
