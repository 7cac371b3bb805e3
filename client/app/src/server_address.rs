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

/// What the user has typed as an address, with a scheme: a host with or without a port (`localhost:3000/echo`) gets `ws://`, or `wss://`
/// where the page may open nothing else. A path of the page's server stays as it is, as does what has a scheme; none for any other
/// relative address, which a browser would resolve against the page's own.
pub(crate) fn with_scheme(typed: &str, server_origin: &str) -> Option<String> {
    let host = typed.trim_start_matches("//");
    if typed.starts_with('/') && host.len() == typed.len() {
        return Some(typed.to_owned());
    }
    let authority = host.split(['/', '?', '#']).next().unwrap_or_default();
    let name = authority.rsplit('@').next().unwrap_or_default();
    // What stands before a colon is a host where a port follows, or behind the name of a user; else it is a scheme.
    let is_scheme = match authority.split_once(':') {
        Some((_, port)) => {
            let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            !is_port && !authority.starts_with('[') && name.len() == authority.len()
        }
        None => false,
    };
    if is_scheme && host.len() == typed.len() {
        return Some(typed.to_owned());
    }
    let is_host = name.starts_with(|first: char| first.is_alphanumeric() || first == '[' || first == '_');
    let secure = server_origin.starts_with("https:") && !is_loopback(name);
    is_host.then(|| [if secure { "wss://" } else { "ws://" }, host].concat())
}

/// Whether a host, with or without a port, is this machine: a secure page may open connections to it without encryption.
fn is_loopback(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let name = host.rsplit_once(':').map_or(&*host, |(name, _)| name);
    name == "localhost" || name.ends_with(".localhost") || name.starts_with("127.") || host.starts_with("[::1]")
}

/// Whether an address of HTTP is on this server: the page's content security policy allows requests to no other one.
pub(crate) fn is_on(http_url: &str, server_origin: &str) -> bool {
    let origin = |url: &str| {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let scheme = scheme.to_ascii_lowercase();
        let host = rest.split('/').next().unwrap_or_default().to_ascii_lowercase();
        let default = if scheme == "https" { ":443" } else { ":80" };
        let host = host.strip_suffix(default).map(str::to_owned).unwrap_or(host);
        (scheme, host)
    };
    origin(http_url) == origin(server_origin)
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
            // A browser sends no request to an address with a user name.
            .and_then(|host| host.rsplit('@').next())
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
    fn a_host_gets_a_scheme_and_a_path_is_of_the_pages_server() {
        for (typed, address) in [
            ("localhost:39600/echo", "ws://localhost:39600/echo"),
            ("127.0.0.1:39600", "ws://127.0.0.1:39600"),
            ("nonsense", "ws://nonsense"),
            ("//x", "ws://x"),
            ("例え.jp/a?b", "ws://例え.jp/a?b"),
            ("[::1]:80/x", "ws://[::1]:80/x"),
            ("ann:pass@h/x", "ws://ann:pass@h/x"),
            ("h?a=b:c", "ws://h?a=b:c"),
            ("/echo", "/echo"),
            ("ws://h", "ws://h"),
            ("ws:h", "ws:h"),
            ("ftp://h:1", "ftp://h:1"),
            ("mailto:x", "mailto:x"),
        ] {
            assert_eq!(with_scheme(typed, "http://page").as_deref(), Some(address), "{typed}");
        }
        for typed in ["", "./x", "?x", "#x", ":80", "\\\\h"] {
            assert_eq!(with_scheme(typed, "http://page"), None, "{typed}");
        }
        let secure = |typed| with_scheme(typed, "https://page").unwrap_or_default();
        assert_eq!(
            [
                "h:1",
                "localhost:1",
                "127.0.0.1",
                "a.localhost:1",
                "[::1]:1",
                "localhost.org"
            ]
            .map(secure),
            [
                "wss://h:1",
                "ws://localhost:1",
                "ws://127.0.0.1",
                "ws://a.localhost:1",
                "ws://[::1]:1",
                "wss://localhost.org"
            ]
        );
    }

    #[test]
    fn only_addresses_of_the_pages_own_server_are_on_it() {
        assert!(is_on("http://H:80/echo?message=a", "http://h") && is_on("https://h/echo", "https://h:443"));
        assert!(!is_on("http://h:1/echo", "http://h") && !is_on("https://h/echo", "http://h"));
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
        assert_eq!(http("ws://ann:pass@h/x").unwrap(), format!("http://h{query}"));
        for bad in ["", "ftp://h/", "ws:///x", "echo"] {
            assert_eq!(http(bad), None, "{bad}");
        }
    }
}
