//! Which pages may open a socket ([RFC 6455, section 10.2](https://www.rfc-editor.org/rfc/rfc6455#section-10.2)), and under which names
//! the server is reached.
//!
//! A browser lets any page connect anywhere and only says which page it was. Without [`OriginPolicy`] every site that a user visits could
//! talk to the server with that user's cookies. And a site can let its own name point to an address that only its visitor reaches
//! (DNS rebinding), so that its page and the server seem to have one origin; `HostPolicy` is against that.

use std::{fmt, net::IpAddr, str::FromStr};

use axum::http::{HeaderMap, HeaderName, Request, StatusCode, Uri, Version, header};
use serde::{Serialize, Serializer};

/// The pages that may connect, besides those from the server's own host.
///
/// A request passes when
/// - it has no `Origin`: it does not come from a page;
/// - the origin's host and port are those of the `Host` header, and its scheme is that of `X-Forwarded-Proto`, if a proxy says it;
/// - both are loopback addresses, whatever the ports: that is a developer's own machine;
/// - a pattern allows the origin.
#[derive(Clone, Debug, Default)]
pub struct OriginPolicy {
    allowed: Vec<OriginPattern>,
}

impl OriginPolicy {
    /// Allows these besides the server's own host.
    #[must_use]
    pub fn new(allowed: Vec<OriginPattern>) -> Self {
        Self { allowed }
    }

    /// Whether a request with these headers may connect.
    #[must_use]
    pub fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        // Several Origin headers, or one that is not text, are nobody's.
        let (Ok(origin), 1) = (origin.to_str(), headers.get_all(header::ORIGIN).iter().count()) else {
            return false;
        };
        if self.allowed.iter().any(|pattern| pattern.matches(origin)) {
            return true;
        }
        let Some(page) = Origin::parse(origin) else {
            return false;
        };
        // The accept loop lets this header through from trusted proxies only. From others it could only refuse more.
        let scheme = headers.get(X_FORWARDED_PROTO).map(|scheme| scheme.as_bytes());
        if scheme.is_some_and(|scheme| !scheme.eq_ignore_ascii_case(page.scheme.as_bytes())) {
            return false;
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        host.and_then(|host| Authority::parse(host, page.default_port()))
            .is_some_and(|host| {
                host == page.authority || (is_loopback(&host.host) && is_loopback(&page.authority.host))
            })
    }
}

/// The scheme with which the client reached the proxy.
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The names under which a server is reached.
///
/// Loopback names (`localhost`, names under it, 127.0.0.0/8, `[::1]`) are always taken: no other site's page has them.
#[derive(Clone, Debug)]
pub(crate) struct HostPolicy {
    allowed: Vec<HostPattern>,
    any: bool,
}

impl HostPolicy {
    /// Takes these besides loopback names; without any, a server on a loopback address takes nothing else, another every name.
    pub(crate) fn new(allowed: Vec<HostPattern>, on_loopback: bool) -> Self {
        let any = allowed.is_empty() && !on_loopback;
        Self { allowed, any }
    }

    /// # Errors
    /// [`HostError`] for a request that must not reach a handler.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), HostError> {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().map_err(|_| HostError::Malformed)?,
            // Not from a browser: each of them sends the header.
            (None, _) if request.version() < Version::HTTP_11 => return Ok(()),
            (None, _) => return Err(HostError::Missing),
            (Some(_), Some(_)) => return Err(HostError::Several),
        };
        let authority = Authority::parse(host, None).ok_or(HostError::Malformed)?;
        if request.uri().authority().is_some_and(|target| target.as_str() != host) {
            return Err(HostError::Several);
        }
        let taken =
            self.any || is_loopback(&authority.host) || self.allowed.iter().any(|pattern| pattern.matches(&authority));
        if taken {
            Ok(())
        } else {
            Err(HostError::Foreign(authority.host))
        }
    }
}

/// Why a request does not reach a handler. As a response each has its status and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostError {
    /// 400: [RFC 9112, section 3.2](https://www.rfc-editor.org/rfc/rfc9112#section-3.2).
    #[error("the header `Host` is missing")]
    Missing,
    /// 400.
    #[error("the request names more than one host")]
    Several,
    /// 400.
    #[error("the header `Host` is not a host and port")]
    Malformed,
    /// 421: [RFC 9110, section 15.5.20](https://www.rfc-editor.org/rfc/rfc9110#section-15.5.20).
    #[error("this server is not reached as {0}: start it with --allow-host {0} to let it be")]
    Foreign(String),
}

impl HostError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Missing | Self::Several | Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Foreign(_) => StatusCode::MISDIRECTED_REQUEST,
        }
    }
}

/// A host, or several: `host[:port]`, where `*` stands for one whole label, or alone for any host. Without a port any port is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    text: String,
    host: String,
    port: Option<u16>,
}

/// Why a host pattern was refused; the text states the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a host: write a name and perhaps a port, for example chat.example.com, *.example.com or example.com:8443"
)]
pub struct HostPatternError(String);

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || HostPatternError(text.to_owned());
        let lower = text.to_ascii_lowercase();
        let (host, port) = split_port(&lower).ok_or_else(error)?;
        let port = port.map(str::parse).transpose().map_err(|_| error())?;
        if !is_host_pattern(host) {
            return Err(error());
        }
        Ok(Self {
            text: text.to_owned(),
            host: host.to_owned(),
            port,
        })
    }
}

impl HostPattern {
    fn matches(&self, authority: &Authority) -> bool {
        (self.host == "*" || labels_match(&self.host, &authority.host))
            && self.port.is_none_or(|port| authority.port == Some(port))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for HostPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// Labels between dots, each a name or a lone `*`; or an IPv6 address in brackets.
fn is_host_pattern(host: &str) -> bool {
    let good_label =
        |label: &str| label == "*" || (!label.is_empty() && !label.contains(['*', '/', '?', '#', '@', ' ', ':']));
    host.starts_with('[') || host.split('.').all(good_label)
}

/// An origin, or several: `[scheme://]host[:port]`, where `*` stands for any scheme, one whole label of the host, or any port;
/// a lone `*` is any origin at all.
///
/// `https://*.example.com` allows `https://app.example.com`, but neither `https://example.com` nor `https://a.b.example.com` nor
/// `http://app.example.com`. Without a scheme both `http` and `https` pass; without a port only the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {
    text: String,
    kind: PatternKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PatternKind {
    Any,
    /// The opaque origin of sandboxed pages and files.
    Null,
    Of {
        scheme: Option<String>,
        host: String,
        port: Option<String>,
    },
}

/// Why an origin pattern was refused; the text states the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an origin: write scheme://host:port, for example https://*.example.com or http://localhost:*")]
pub struct OriginPatternError(String);

impl FromStr for OriginPattern {
    type Err = OriginPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || OriginPatternError(text.to_owned());
        let lower = text.to_ascii_lowercase();
        let kind = match lower.as_str() {
            "*" => PatternKind::Any,
            "null" => PatternKind::Null,
            lower => {
                let (scheme, rest) = match lower.split_once("://") {
                    Some((scheme, rest)) => (Some(scheme), rest),
                    None => (None, lower),
                };
                let (host, port) = split_port(rest).ok_or_else(error)?;
                let good_port = port.is_none_or(|port| port == "*" || port.parse::<u16>().is_ok());
                let good_host = is_host_pattern(host);
                let good_scheme = scheme.is_none_or(|scheme| {
                    scheme == "*"
                        || (!scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
                });
                if !good_port || !good_host || !good_scheme {
                    return Err(error());
                }
                PatternKind::Of {
                    scheme: scheme.filter(|&scheme| scheme != "*").map(str::to_owned),
                    host: host.to_owned(),
                    port: port.map(str::to_owned),
                }
            }
        };
        Ok(Self {
            text: text.to_owned(),
            kind,
        })
    }
}

impl OriginPattern {
    /// Whether the value of an `Origin` header fits.
    #[must_use]
    pub fn matches(&self, origin: &str) -> bool {
        match &self.kind {
            PatternKind::Any => true,
            PatternKind::Null => origin == "null",
            PatternKind::Of { scheme, host, port } => Origin::parse(origin).is_some_and(|origin| {
                scheme.as_ref().is_none_or(|scheme| *scheme == origin.scheme)
                    && labels_match(host, &origin.authority.host)
                    && match port.as_deref() {
                        None => origin.authority.port == origin.default_port(),
                        Some("*") => true,
                        Some(port) => port.parse().ok() == origin.authority.port,
                    }
            }),
        }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for OriginPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

fn labels_match(pattern: &str, host: &str) -> bool {
    let (mut pattern, mut host) = (pattern.split('.'), host.split('.'));
    loop {
        match (pattern.next(), host.next()) {
            (None, None) => return true,
            (Some(expected), Some(label)) if expected == "*" || expected == label => {}
            _ => return false,
        }
    }
}

/// The value of an `Origin` header, lower case.
struct Origin {
    scheme: String,
    authority: Authority,
}

impl Origin {
    fn parse(origin: &str) -> Option<Self> {
        let (scheme, rest) = origin.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let authority = Authority::parse(rest, default_port(&scheme))?;
        Some(Self { scheme, authority })
    }

    fn default_port(&self) -> Option<u16> {
        default_port(&self.scheme)
    }
}

#[derive(PartialEq, Eq)]
struct Authority {
    host: String,
    port: Option<u16>,
}

impl Authority {
    fn parse(text: &str, default_port: Option<u16>) -> Option<Self> {
        // The Uri parser refuses user names, paths and characters that no host has.
        let authority = text.parse::<Uri>().ok()?.into_parts().authority?;
        // A port that is no number is not a port.
        let whole = authority.host().len() == text.len() || authority.port_u16().is_some();
        if authority.as_str() != text || text.contains('@') || !whole {
            return None;
        }
        Some(Self {
            host: authority.host().to_ascii_lowercase(),
            port: authority.port_u16().or(default_port),
        })
    }
}

fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    let after_host = match text.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(after_host);
    match port {
        "" => Some((host, None)),
        _ => Some((host, Some(port.strip_prefix(':')?))),
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    host == "localhost"
        || host.ends_with(".localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(patterns: &[&str], origin: &str, host: &str) -> bool {
        let patterns = patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, origin.parse().unwrap());
        headers.insert(header::HOST, host.parse().unwrap());
        OriginPolicy::new(patterns).allows(&headers)
    }

    #[test]
    fn the_servers_own_host_passes_with_and_without_the_default_port() {
        assert!(allows(&[], "https://example.com", "example.com"));
        assert!(allows(&[], "https://example.com", "EXAMPLE.com:443"));
        assert!(allows(&[], "http://example.com:8080", "example.com:8080"));
        assert!(allows(&[], "http://[2001:db8::1]:8080", "[2001:db8::1]:8080"));
    }

    #[test]
    fn other_hosts_ports_and_tricks_are_refused() {
        for (origin, host) in [
            ("https://evil.com", "example.com"),
            ("https://example.com:444", "example.com"),
            ("http://example.com", "example.com:8080"),
            ("https://example.com.evil.com", "example.com"),
            ("https://example.com@evil.com", "example.com"),
            ("https://user@example.com", "example.com"),
            ("https://example.com/path", "example.com"),
            ("null", "example.com"),
            ("example.com", "example.com"),
            ("", "example.com"),
            // DNS of the attacker's choosing does not make a page local.
            ("http://evil.com", "127.0.0.1:80"),
            ("http://127.0.0.1:80", "example.com"),
            ("http://localhost.evil.com", "localhost"),
        ] {
            assert!(!allows(&[], origin, host), "{origin} to {host}");
        }
    }

    #[test]
    fn any_loopback_page_may_connect_to_a_loopback_address() {
        for (origin, host) in [
            ("http://localhost:8080", "127.0.0.1:3000"),
            ("http://127.0.0.1:8080", "localhost"),
            ("http://[::1]:1", "localhost:3000"),
            ("https://app.localhost", "127.9.9.9:3000"),
        ] {
            assert!(allows(&[], origin, host), "{origin} to {host}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_exactly_one_label() {
        let patterns = ["https://*.example.com"];
        assert!(allows(&patterns, "https://app.example.com", "other.net"));
        assert!(allows(&patterns, "https://APP.example.com:443", "other.net"));
        for origin in [
            "https://example.com",
            "https://a.b.example.com",
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://appexample.com",
            "https://app.example.com.evil.com",
        ] {
            assert!(!allows(&patterns, origin, "other.net"), "{origin}");
        }
    }

    #[test]
    fn schemes_and_ports_can_be_left_open() {
        assert!(allows(&["example.com"], "http://example.com", "other.net"));
        assert!(allows(&["example.com"], "https://example.com", "other.net"));
        assert!(!allows(&["example.com"], "https://example.com:8443", "other.net"));
        assert!(allows(&["http://example.com:*"], "http://example.com:81", "other.net"));
        assert!(allows(
            &["https://example.com:8443"],
            "https://example.com:8443",
            "other.net"
        ));
        assert!(allows(&["[2001:db8::1]:*"], "http://[2001:db8::1]:9", "other.net"));
        assert!(allows(&["*"], "https://anything.example", "other.net"));
        assert!(allows(&["null"], "null", "other.net"));
    }

    #[test]
    fn a_request_without_an_origin_is_not_from_a_page_and_two_are_refused() {
        let policy = OriginPolicy::default();
        assert!(policy.allows(&HeaderMap::new()));
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "example.com".parse().unwrap());
        headers.append(header::ORIGIN, "https://example.com".parse().unwrap());
        headers.append(header::ORIGIN, "https://example.com".parse().unwrap());
        assert!(!policy.allows(&headers));
    }

    #[test]
    fn behind_a_proxy_the_schemes_must_be_the_same() {
        let allows = |origin: &str, scheme: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, origin.parse().unwrap());
            headers.insert(header::HOST, "example.com".parse().unwrap());
            headers.insert(X_FORWARDED_PROTO, scheme.parse().unwrap());
            OriginPolicy::default().allows(&headers)
        };
        assert!(allows("https://example.com", "https") && allows("http://example.com", "HTTP"));
        assert!(!allows("http://example.com", "https") && !allows("https://example.com", "http"));
    }

    fn reached(policy: &HostPolicy, hosts: &[&str]) -> Result<(), HostError> {
        let mut request = Request::builder().uri("/");
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        policy.check(&request.body(()).unwrap())
    }

    #[test]
    fn a_server_on_a_loopback_address_takes_loopback_names_only_unless_others_are_allowed() {
        let closed = HostPolicy::new(Vec::new(), true);
        for host in [
            "localhost",
            "localhost:3000",
            "127.0.0.1:3000",
            "127.9.9.9",
            "[::1]:1",
            "app.localhost:80",
        ] {
            assert_eq!(reached(&closed, &[host]), Ok(()), "{host}");
        }
        for host in [
            "evil.example:3000",
            "evil.example",
            "10.0.0.1",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
        ] {
            assert_eq!(
                reached(&closed, &[host]).unwrap_err().status(),
                StatusCode::MISDIRECTED_REQUEST,
                "{host}"
            );
        }
        let pattern = |text: &str| text.parse().unwrap();
        let named = HostPolicy::new(vec![pattern("chat.example:8443"), pattern("*.Example.com")], false);
        for host in [
            "chat.example:8443",
            "CHAT.example:8443",
            "a.example.com",
            "a.example.com:1",
            "localhost",
        ] {
            assert_eq!(reached(&named, &[host]), Ok(()), "{host}");
        }
        for host in ["chat.example", "chat.example:80", "example.com", "a.b.example.com"] {
            assert!(reached(&named, &[host]).is_err(), "{host}");
        }
        let open = HostPolicy::new(Vec::new(), false);
        assert_eq!(reached(&open, &["anything.example"]), Ok(()));
        assert_eq!(
            reached(&HostPolicy::new(vec![pattern("*")], true), &["a.b.example"]),
            Ok(())
        );
    }

    #[test]
    fn a_request_names_exactly_one_host() {
        let open = HostPolicy::new(Vec::new(), false);
        assert_eq!(reached(&open, &[]), Err(HostError::Missing));
        assert_eq!(reached(&open, &["a.example", "a.example"]), Err(HostError::Several));
        for host in ["", "a b", "user@a.example", "a.example/x", "a.example:port"] {
            assert_eq!(reached(&open, &[host]), Err(HostError::Malformed), "{host:?}");
        }
        let absolute = Request::builder()
            .uri("http://b.example/")
            .header(header::HOST, "a.example");
        assert_eq!(open.check(&absolute.body(()).unwrap()), Err(HostError::Several));
        let old = Request::builder().version(Version::HTTP_10);
        assert_eq!(HostPolicy::new(Vec::new(), true).check(&old.body(()).unwrap()), Ok(()));
        for text in [
            "",
            "a..b",
            "http://a.example",
            "a.example/x",
            "a*.example",
            "a:port",
            "a:99999",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn patterns_that_would_match_nothing_are_refused() {
        for text in [
            "",
            "https://",
            "https://a.*b.com",
            "https://a.com/x",
            "a..b",
            "a:port",
            "[::1",
            "ftp//x",
        ] {
            assert!(text.parse::<OriginPattern>().is_err(), "{text:?}");
        }
        let error = "https://a.com/x".parse::<OriginPattern>().unwrap_err().to_string();
        assert!(
            error.contains("https://a.com/x") && error.contains("https://*.example.com"),
            "{error}"
        );
    }
}
