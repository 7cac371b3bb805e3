//! The address of the page's server, and the HTTP form of a WebSocket URL. Pure, so that every case is tested natively.

use percent_encoding::utf8_percent_encode;

use crate::route::COMPONENT;

/// The server to use when the page is not served by it, as in `http://127.0.0.1:8787`. Set at build time by the
/// environment variable `TALKBACK_SERVER`: `trunk serve` has a port of its own, and its proxy drops subprotocols and
/// hides refusals, so the page connects straight to the server.
const CONFIGURED: Option<&str> = option_env!("TALKBACK_SERVER");

/// The port of `trunk serve`. Without `TALKBACK_SERVER`, a debug build served from it uses [`DEFAULT_SERVER`].
const TRUNK_PORT: &str = "8080";
const DEFAULT_SERVER: &str = "http://127.0.0.1:3000";

/// The origin of the page's server, as in `https://host:8443`.
pub(crate) fn server_origin(page_origin: &str, page_port: &str) -> String {
    choose_server(CONFIGURED, cfg!(debug_assertions), page_origin, page_port)
}

fn choose_server(configured: Option<&str>, debug: bool, page_origin: &str, page_port: &str) -> String {
    let origin = match configured {
        Some(origin) => origin,
        None if debug && page_port == TRUNK_PORT => DEFAULT_SERVER,
        None => page_origin,
    };
    origin.trim_end_matches('/').to_owned()
}

/// The WebSocket address of a path on a server: `http` becomes `ws`, `https` becomes `wss`.
pub(crate) fn websocket_url(server_origin: &str, path: &str) -> String {
    match server_origin.strip_prefix("http") {
        Some(rest) => format!("ws{rest}{path}"),
        None => format!("{server_origin}{path}"),
    }
}

/// The URL of the HTTP echo endpoint on the server of a WebSocket address. A relative address means the page's server;
/// none if the address has another scheme or no host.
pub(crate) fn http_echo_url(websocket_url: &str, server_origin: &str, message: &str) -> Option<String> {
    let url = websocket_url.trim();
    let origin = if url.starts_with('/') {
        server_origin.to_owned()
    } else {
        let (scheme, rest) = url.split_once(':')?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => "http",
            "wss" | "https" => "https",
            _ => return None,
        };
        let host = rest
            .strip_prefix("//")?
            .split(['/', '?', '#'])
            .next()
            .filter(|host| !host.is_empty())?;
        format!("{scheme}://{host}")
    };
    Some(format!(
        "{origin}/echo?message={}",
        utf8_percent_encode(message, COMPONENT)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_the_pages_own_unless_configured_or_served_by_trunk() {
        let page = "https://example.org";
        assert_eq!(choose_server(None, false, page, "8080"), page);
        assert_eq!(choose_server(None, true, page, ""), page);
        assert_eq!(
            choose_server(None, true, "http://127.0.0.1:8080", "8080"),
            DEFAULT_SERVER
        );
        assert_eq!(
            choose_server(Some("http://127.0.0.1:4000/"), true, page, "8080"),
            "http://127.0.0.1:4000"
        );
    }

    #[test]
    fn the_http_form_keeps_host_and_port_and_drops_the_rest() {
        let http = |url| http_echo_url(url, "http://page:1", "a b&好");
        let query = "/echo?message=a%20b%26%E5%A5%BD";
        assert_eq!(
            http("WSS://h:8443/chat/x?y#z").unwrap(),
            format!("https://h:8443{query}")
        );
        assert_eq!(http(" ws://[::1]:80").unwrap(), format!("http://[::1]:80{query}"));
        assert_eq!(http("/echo").unwrap(), format!("http://page:1{query}"));
        for bad in ["", "ftp://h/", "ws:///x", "echo"] {
            assert_eq!(http(bad), None, "{bad}");
        }
    }
}
