//! Checks of subprotocols: what may be offered, and what the server may choose.

use talkback_protocol::subprotocol::is_token;

use super::ConnectError;

/// Checks what the browser would refuse: each subprotocol is a token and is offered once
/// ([RFC 6455, section 4.1](https://www.rfc-editor.org/rfc/rfc6455#section-4.1), item 10).
pub(super) fn check_offered(protocols: &[String]) -> Result<(), ConnectError> {
    for (index, name) in protocols.iter().enumerate() {
        let repeated = protocols[..index].contains(name);
        if repeated || !is_token(name) {
            return Err(ConnectError::Subprotocol {
                name: name.clone(),
                repeated,
            });
        }
    }
    Ok(())
}

/// Whether the server chose an offered subprotocol, or none when none was offered. The
/// [standard](https://websockets.spec.whatwg.org/#concept-websocket-establish) demands this and Firefox does not check
/// it.
pub(super) fn is_agreed(offered: &[String], chosen: &str) -> bool {
    if chosen.is_empty() {
        offered.is_empty()
    } else {
        offered.iter().any(|name| name == chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(names: &[&str]) -> Option<(String, bool)> {
        let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
        match check_offered(&names) {
            Ok(()) => None,
            Err(ConnectError::Subprotocol { name, repeated }) => Some((name, repeated)),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn subprotocols_are_tokens() {
        assert_eq!(refused(&[]), None);
        assert_eq!(refused(&["chat", "talkback.v1", "a!#$%&'*+-.^_`|~9"]), None);
        for bad in ["", " ", "a b", "a,b", "a;q=1", "a/b", "\"a\"", "聊天", "a\n", "a\u{7f}"] {
            assert_eq!(refused(&["chat", bad]), Some((bad.into(), false)));
        }
    }

    /// Several crates join subprotocols into one string ("a, b"), for which the browser throws a SyntaxError.
    #[test]
    fn joined_subprotocols_are_refused_by_name() {
        assert_eq!(refused(&["a, b"]), Some(("a, b".into(), false)));
    }

    #[test]
    fn a_repeated_subprotocol_is_refused_by_name() {
        assert_eq!(refused(&["a", "b", "a"]), Some(("a".into(), true)));
        assert_eq!(refused(&["a", "A"]), None, "subprotocols are case-sensitive");
    }

    #[test]
    fn the_servers_choice_must_be_one_that_was_offered() {
        let offered = ["a".to_owned(), "b".to_owned()];
        assert!(is_agreed(&offered, "b"));
        assert!(is_agreed(&[], ""));
        for chosen in ["", "c", "A", "a, b"] {
            assert!(!is_agreed(&offered, chosen), "{chosen}");
        }
        assert!(!is_agreed(&[], "a"));
    }
}
