//! Which pages may open a socket ([RFC 6455, section 10.2](https://www.rfc-editor.org/rfc/rfc6455#section-10.2)), and
//! under which host names the server may be reached.
//!
//! A browser lets any page connect to any server, and only sends the page's origin. Without [`OriginPolicy`] every site
//! that a user visits could use the server with that user's cookies.

mod authority;
mod host;

use std::{fmt, str::FromStr};

use axum::http::{HeaderMap, HeaderName, header};
use serde::{Serialize, Serializer};

use authority::{Authority, is_host_pattern, is_loopback, labels_match, split_port};
pub(crate) use host::HostPolicy;
pub use host::{HostPattern, HostPatternError};

/// The origins of pages that may connect, besides the server's own host.
///
/// A request passes when
/// - it has no `Origin` header: then it does not come from a page;
/// - the origin's host and port are those of the `Host` header, and its scheme is that of `X-Forwarded-Proto`, if a
///   proxy set it;
/// - both hosts are loopback names, with any ports, as on a developer's machine;
/// - a pattern allows the origin.
#[derive(Clone, Debug, Default)]
pub struct OriginPolicy {
    allowed: Vec<OriginPattern>,
}

impl OriginPolicy {
    /// Allows these origins besides the server's own host.
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
        // Several `Origin` headers, or one that is not ASCII, are of no browser.
        let (Ok(origin), 1) = (origin.to_str(), headers.get_all(header::ORIGIN).iter().count()) else {
            return false;
        };
        if self.allowed.iter().any(|pattern| pattern.matches(origin)) {
            return true;
        }
        let Some(page) = Origin::parse(origin) else {
            return false;
        };
        // The accept loop keeps this header only from trusted proxies. Elsewhere it can only make the check stricter.
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

/// The scheme of the client's request to the proxy.
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A pattern of origins: `[scheme://]host[:port]`, where `*` matches any scheme, one whole label of the host, or any
/// port; a lone `*` matches any origin.
///
/// `https://*.example.com` matches `https://app.example.com`, but neither `https://example.com` nor
/// `https://a.b.example.com` nor `http://app.example.com`. Without a scheme it matches both `http` and `https`; without
/// a port only the scheme's default port.
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
    /// Whether the pattern matches the value of an `Origin` header.
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

/// The value of an `Origin` header, in lower case.
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

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
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
    fn other_hosts_and_ports_and_malformed_origins_are_refused() {
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
            // A name that the attacker's DNS resolves to a loopback address does not make a page local.
            ("http://evil.com", "127.0.0.1:80"),
            ("http://127.0.0.1:80", "example.com"),
            ("http://localhost.evil.com", "localhost"),
        ] {
            assert!(!allows(&[], origin, host), "{origin} to {host}");
        }
    }

    #[test]
    fn a_page_of_any_loopback_name_may_connect_to_a_loopback_address() {
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
    fn a_wildcard_matches_exactly_one_label() {
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
    fn a_pattern_without_scheme_matches_http_and_https_and_ports_can_be_wildcards() {
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
    fn a_request_without_an_origin_is_allowed_and_one_with_two_is_refused() {
        let policy = OriginPolicy::default();
        assert!(policy.allows(&HeaderMap::new()));
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "example.com".parse().unwrap());
        headers.append(header::ORIGIN, "https://example.com".parse().unwrap());
        headers.append(header::ORIGIN, "https://example.com".parse().unwrap());
        assert!(!policy.allows(&headers));
    }

    #[test]
    fn behind_a_proxy_the_schemes_must_be_equal() {
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

    #[test]
    fn patterns_that_cannot_match_are_refused() {
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
