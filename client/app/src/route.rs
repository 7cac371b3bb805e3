//! The URL routes of the page: paths to views and back, and the parameter for the trace. Pure, so that every case is
//! tested natively.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use talkback_client::{RoomName, RoomNameError, room_name};

use crate::{browser, chat::Target};

/// All bytes except the unreserved characters of [RFC 3986](https://www.rfc-editor.org/rfc/rfc3986#section-2.3).
pub(crate) const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The view of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Workbench,
    Chat(Result<RoomName, RoomNameError>),
}

impl Route {
    /// The room of `/chat`.
    pub(crate) fn lobby() -> RoomName {
        RoomName::parse("lobby").unwrap_or_else(|_| unreachable!("the name follows the rule"))
    }

    /// Parses a percent-encoded path. `/chat` alone is the lobby; a path that is not of the chat is the workbench.
    pub(crate) fn from_path(path: &str) -> Self {
        match path.strip_prefix("/chat").map(|rest| rest.trim_end_matches('/')) {
            Some("") => Self::Chat(Ok(Self::lobby())),
            Some(rest) if rest.starts_with('/') => {
                Self::Chat(parse_room(&percent_decode_str(&rest[1..]).decode_utf8_lossy()))
            }
            _ => Self::Workbench,
        }
    }
}

/// The parameter of the page's address that shows the client's trace on the console, as in `/chat/lobby?trace`. It is
/// no fragment, because the link that skips to the content has one.
const TRACE: &str = "trace";

/// Whether a query (`?trace`, or empty) asks for the client's trace.
pub(crate) fn wants_trace(query: &str) -> bool {
    let parameters = query.strip_prefix('?').unwrap_or_default().split('&');
    parameters
        .filter_map(|parameter| parameter.split('=').next())
        .any(|name| name == TRACE)
}

/// The address of a path within the page: it keeps the parameter for the trace, which the page reads again when it is
/// reloaded.
pub(crate) fn with_trace_of(query: &str, path: &str) -> String {
    if !wants_trace(query) {
        return path.to_owned();
    }
    let (path, fragment) = path.split_at(path.find('#').unwrap_or(path.len()));
    format!("{path}?{TRACE}{fragment}")
}

/// A room name that the user typed or an address has, by the whole rule of the server: it would refuse all others.
pub(crate) fn parse_room(name: &str) -> Result<RoomName, RoomNameError> {
    let name = room_name(name)?;
    match browser::bad_in_room(&name) {
        Some(found) => Err(RoomNameError::Character(found)),
        None => Ok(name),
    }
}

/// The room, and the message in it, that an address of this origin names.
pub(crate) fn message_of_link(address: &str, origin: &str) -> Option<(RoomName, Option<Target>)> {
    let path = address.strip_prefix(origin)?;
    let (path, fragment) = path.split_once('#').unwrap_or((path, ""));
    let path = path.split('?').next().unwrap_or_default();
    match Route::from_path(path) {
        Route::Chat(room) => Some((room.ok()?, Target::parse(fragment))),
        Route::Workbench => None,
    }
}

/// The path of a room's chat.
pub(crate) fn chat_path(room: &RoomName) -> String {
    format!("/chat/{}", utf8_percent_encode(room, COMPONENT))
}

#[cfg(test)]
mod tests {
    use talkback_client::Epoch;

    use super::*;

    fn room(name: &str) -> RoomName {
        RoomName::parse(name).unwrap()
    }

    #[test]
    fn a_room_in_a_path_round_trips() {
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
    fn the_trace_is_asked_for_by_a_parameter_that_stays_in_the_address() {
        for query in ["?trace", "?trace=1", "?name=ann&trace", "?trace&x"] {
            assert!(wants_trace(query), "{query}");
            assert_eq!(with_trace_of(query, "/chat/lobby"), "/chat/lobby?trace", "{query}");
            assert_eq!(with_trace_of(query, "/chat/a#7"), "/chat/a?trace#7", "{query}");
        }
        for query in ["", "?", "?traces", "?x=trace", "trace", "?Trace"] {
            assert!(!wants_trace(query), "{query}");
            assert_eq!(with_trace_of(query, "/chat/lobby"), "/chat/lobby", "{query}");
        }
    }

    #[test]
    fn a_link_of_this_origin_names_a_room_and_perhaps_a_message() {
        let of = |address| message_of_link(address, "http://a:1");
        let seventh = |epoch: Option<&str>| Target {
            epoch: epoch.map(|epoch| Epoch::parse(epoch).unwrap()),
            offset: 7,
        };
        assert_eq!(of("http://a:1/chat/x#7"), Some((room("x"), Some(seventh(None)))));
        assert_eq!(of("http://a:1/chat/x#e:7"), Some((room("x"), Some(seventh(Some("e"))))));
        assert_eq!(seventh(Some("e")).to_text(), "e:7");
        assert_eq!(seventh(None).to_text(), "7");
        assert_eq!(of("http://a:1/chat/x?trace#7"), Some((room("x"), Some(seventh(None)))));
        assert_eq!(of("http://a:1/chat/x#y"), Some((room("x"), None)));
        assert_eq!(of("http://a:1/chat/"), Some((Route::lobby(), None)));
        for other in [
            "http://b:1/chat/x#7",
            "http://a:1/",
            "http://a:12/chat/x",
            "http://a:1/chat/a%20b",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_path_with_an_invalid_room_name_has_the_error() {
        for path in [
            "/chat/a%2Fb",
            "/chat/a/b",
            "/chat/a%20b",
            "/chat/%01",
            "/chat/..",
            "/chat/%F0%9F%98%80",
        ] {
            assert!(matches!(Route::from_path(path), Route::Chat(Err(_))), "{path}");
        }
    }
}
