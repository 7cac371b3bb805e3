use js_sys::{JsString, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Url, Window, WorkerGlobalScope};

use super::error::ConnectError;

/// Resolves an address as the [standard](https://websockets.spec.whatwg.org/#dom-websocket-websocket) does, against the
/// page's base URL and with http replaced by ws, so that older browsers, which do neither, behave the same. A fragment
/// and mixed content are refused before the browser's constructor is called.
pub(crate) fn resolve(url: &str) -> Result<String, ConnectError> {
    check_fragment(url)?;
    let invalid = |reason: String| ConnectError::InvalidUrl {
        url: url.into(),
        reason,
    };
    let parsed = match base() {
        Some(base) => Url::new_with_base(url, &base),
        None => Url::new(url),
    };
    let parsed = parsed.map_err(|_| invalid("it cannot be parsed".into()))?;
    let scheme = websocket_scheme(&parsed.protocol()).map_err(invalid)?;
    parsed.set_protocol(scheme);
    let url = parsed.href();
    if is_mixed_content(&own_origin(), scheme, &parsed.hostname()) {
        return Err(ConnectError::MixedContent { url });
    }
    Ok(url)
}

/// The first `#` of a URL begins its fragment, at any position.
fn check_fragment(url: &str) -> Result<(), ConnectError> {
    if url.contains('#') {
        return Err(ConnectError::Fragment { url: url.into() });
    }
    Ok(())
}

fn websocket_scheme(scheme: &str) -> Result<&'static str, String> {
    match scheme {
        "ws:" | "http:" => Ok("ws:"),
        "wss:" | "https:" => Ok("wss:"),
        other => Err(format!("its scheme is {other} and must be ws: or wss:")),
    }
}

/// Whether a browser blocks this connection as [mixed content](https://www.w3.org/TR/mixed-content/): unencrypted from
/// an encrypted page, unless the host is the machine itself ([potentially
/// trustworthy](https://www.w3.org/TR/secure-contexts/#is-origin-trustworthy)).
fn is_mixed_content(own_origin: &str, scheme: &str, host: &str) -> bool {
    own_origin.starts_with("https:") && scheme == "ws:" && !is_loopback(host)
}

/// `host` is as the URL parser writes it: lower case, numbers of IPv4 normalised, IPv6 in brackets.
fn is_loopback(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let ipv4 = name
        .parse::<std::net::Ipv4Addr>()
        .is_ok_and(|address| address.is_loopback());
    ipv4 || name == "[::1]" || name == "localhost" || name.ends_with(".localhost")
}

/// The base URL of the page or worker. Addresses cannot be relative to that of a worker made from a blob.
fn base() -> Option<String> {
    let global = js_sys::global();
    if let Some(window) = global.dyn_ref::<Window>() {
        return window.document()?.base_uri().ok()?;
    }
    global
        .dyn_ref::<WorkerGlobalScope>()
        .map(|worker| worker.location().href())
}

/// The origin and not the scheme of the address, because the address of a worker made from a blob has the scheme
/// `blob:`; its origin is that of its page.
fn own_origin() -> String {
    Reflect::get(&js_sys::global(), &JsValue::from("origin"))
        .ok()
        .and_then(|origin| origin.dyn_into::<JsString>().ok())
        .map(String::from)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_is_refused_at_any_position_even_an_empty_one() {
        for url in ["ws://a/#x", "ws://a/#", "ws://a#b@c", "/echo?x=1#", "#"] {
            assert_eq!(check_fragment(url), Err(ConnectError::Fragment { url: url.into() }));
        }
        assert_eq!(check_fragment("ws://a/%23"), Ok(()));
    }

    #[test]
    fn only_http_and_websocket_schemes_are_accepted() {
        assert_eq!(websocket_scheme("http:"), Ok("ws:"));
        assert_eq!(websocket_scheme("ws:"), Ok("ws:"));
        assert_eq!(websocket_scheme("https:"), Ok("wss:"));
        assert_eq!(websocket_scheme("wss:"), Ok("wss:"));
        for scheme in ["ftp:", "file:", "blob:", "javascript:", ""] {
            assert!(websocket_scheme(scheme).is_err(), "{scheme}");
        }
    }

    #[test]
    fn an_https_page_opens_ws_to_loopback_hosts_only() {
        let mixed = |host| is_mixed_content("https://example.org", "ws:", host);
        for host in [
            "127.0.0.1",
            "127.8.9.10",
            "[::1]",
            "localhost",
            "localhost.",
            "a.localhost",
        ] {
            assert!(!mixed(host), "{host}");
        }
        for host in [
            "example.org",
            "10.0.0.1",
            "128.0.0.1",
            "127.0.0.1.example.org",
            "localhost.example.org",
            "notlocalhost",
            "[::2]",
            "[::ffff:7f00:1]",
        ] {
            assert!(mixed(host), "{host}");
        }
        assert!(!is_mixed_content("https://example.org", "wss:", "example.org"));
        assert!(!is_mixed_content("http://example.org", "ws:", "example.org"));
        assert!(!is_mixed_content("null", "ws:", "example.org"));
    }
}
