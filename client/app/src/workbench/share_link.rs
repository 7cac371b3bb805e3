//! A link to the page with an address in its fragment, which is not sent to the page's server. Pure.

use percent_encoding::{percent_decode_str, utf8_percent_encode};

use super::addresses::without_secrets;
use crate::route::COMPONENT;

/// What the fragment begins with, after its `#`.
const PREFIX: &str = "connect=";

/// Longer addresses are not read from a link.
const MAX_URL_BYTES: usize = 2 << 10;

/// A link of a page (its origin and path) to an address, without the parts of the address that may be secret.
pub(super) fn link(page: &str, url: &str) -> String {
    let url = without_secrets(url);
    format!("{page}#{PREFIX}{}", utf8_percent_encode(&url, COMPONENT))
}

/// The address in a fragment without its `#`; none in any other one. The page shows it and does not connect: a link is no consent.
pub(super) fn address(fragment: &str) -> Option<String> {
    let encoded = fragment.strip_prefix(PREFIX)?;
    let url = percent_decode_str(encoded).decode_utf8().ok()?;
    let is_plain = !url.is_empty() && url.len() <= MAX_URL_BYTES && !url.contains(char::is_control);
    is_plain.then(|| url.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_the_address_without_its_secrets() {
        let page = "http://h:1/";
        for (url, shared) in [
            ("ws://h/echo", "ws://h/echo"),
            ("ws://h/flood?n=10&rate=5", "ws://h/flood?n=10&rate=5"),
            ("wss://ann:pass@h/x?token=abc&q=好", "wss://h/x?token=&q=好"),
            (
                "ws://h/?access_token=1&apiKey=2&Password=3&sig=4",
                "ws://h/?access_token=&apiKey=&Password=&sig=",
            ),
            ("ws://h/?x=0123456789abcdef0123", "ws://h/?x="),
            ("ws://h/?0123456789abcdef0123", "ws://h/?"),
        ] {
            let link = link(page, url);
            let fragment = link.strip_prefix("http://h:1/#").unwrap();
            assert_eq!(address(fragment).as_deref(), Some(shared), "{link}");
        }
    }

    #[test]
    fn other_fragments_have_no_address() {
        let long = format!("connect={}", "x".repeat(MAX_URL_BYTES + 1));
        for fragment in [
            "",
            "main",
            "connect=",
            "connect=%ff",
            "connect=a%0ab",
            "Connect=ws://h",
            &long,
        ] {
            assert_eq!(address(fragment), None, "{fragment}");
        }
    }
}
