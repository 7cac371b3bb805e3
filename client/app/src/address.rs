//! Addresses: the page's own paths, its server, and the HTTP form of a WebSocket URL. Pure, so that every case is tested natively.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use talkback_client::{RoomName, RoomNameError, room_name};

/// Everything but the unreserved characters of [RFC 3986](https://www.rfc-editor.org/rfc/rfc3986#section-2.3).
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The server to use when the page is not served by it, as in `http://127.0.0.1:8787`. Set at build time by the environment
/// variable `TALKBACK_SERVER`: `trunk serve` has a port of its own, and its proxy drops subprotocols and hides refusals, so the
/// page connects straight to the server.
const CONFIGURED: Option<&str> = option_env!("TALKBACK_SERVER");

/// Without `TALKBACK_SERVER`, a debug build on Trunk's port talks to the server at its default address.
const TRUNK_PORT: &str = "8080";
const DEFAULT_SERVER: &str = "http://127.0.0.1:3000";

/// A view, as the path names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Workbench,
    Chat(Result<RoomName, RoomNameError>),
}

impl Route {
    /// The room that the chat starts with.
    pub(crate) fn lobby() -> RoomName {
        RoomName::parse("lobby").unwrap_or_else(|_| unreachable!("the name follows the rule"))
    }

    /// Reads a path as the browser gives it, percent-encoded. `/chat` alone is the lobby; every other path is the workbench.
    pub(crate) fn from_path(path: &str) -> Self {
        match path.strip_prefix("/chat").map(|rest| rest.trim_end_matches('/')) {
            Some("") => Self::Chat(Ok(Self::lobby())),
            Some(rest) if rest.starts_with('/') => {
                Self::Chat(room_name(&percent_decode_str(&rest[1..]).decode_utf8_lossy()))
            }
            _ => Self::Workbench,
        }
    }
}

/// The path of a room's chat.
pub(crate) fn chat_path(room: &RoomName) -> String {
    format!("/chat/{}", utf8_percent_encode(room, COMPONENT))
}

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

/// Where the server of a WebSocket address answers the same text over plain HTTP. A relative address belongs to the page's server;
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

    fn room(name: &str) -> RoomName {
        RoomName::parse(name).unwrap()
    }

    #[test]
    fn a_room_is_read_from_the_path_and_written_back_the_same() {
        for name in ["lobby", "大厅", "a-b_c.d~e"] {
            assert_eq!(Route::from_path(&chat_path(&room(name))), Route::Chat(Ok(room(name))));
        }
        assert_eq!(chat_path(&room("大")), "/chat/%E5%A4%A7");
        assert_eq!(Route::from_path("/chat/lobby/"), Route::Chat(Ok(room("lobby"))));
    }

    #[test]
    fn chat_without_a_room_is_the_lobby_and_other_paths_are_the_workbench() {
        assert_eq!(Route::from_path("/chat"), Route::Chat(Ok(room("lobby"))));
        assert_eq!(Route::from_path("/chat/"), Route::Chat(Ok(room("lobby"))));
        for path in ["/", "/echo", "/chatter", "/x/chat/lobby"] {
            assert_eq!(Route::from_path(path), Route::Workbench, "{path}");
        }
    }

    #[test]
    fn a_path_that_names_no_possible_room_says_why() {
        for path in ["/chat/a%2Fb", "/chat/a/b", "/chat/a%20b", "/chat/%01", "/chat/.."] {
            assert!(matches!(Route::from_path(path), Route::Chat(Err(_))), "{path}");
        }
    }

    #[test]
    fn the_server_is_the_pages_own_unless_configured_or_developed_with_trunk() {
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
