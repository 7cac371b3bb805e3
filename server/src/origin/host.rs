//! The host names under which the server may be reached, against DNS rebinding: a site can let its own name point to an
//! address that only its visitor can reach, so that its page and the server seem to have one origin.

use std::{fmt, str::FromStr};

use axum::http::{Request, StatusCode, Version, header};
use serde::{Serialize, Serializer};

use super::authority::{Authority, is_host_pattern, is_loopback, labels_match, split_port};

/// The host names under which a server may be reached.
///
/// Loopback names (`localhost`, names under it, 127.0.0.0/8, `[::1]`) are always allowed, because no page of another
/// site can have them.
#[derive(Clone, Debug)]
pub(crate) struct HostPolicy {
    allowed: Vec<HostPattern>,
    any: bool,
}

impl HostPolicy {
    /// Allows these besides loopback names. If there are none, a server on a loopback address allows no other name, and
    /// any other server allows all.
    pub(crate) fn new(allowed: Vec<HostPattern>, on_loopback: bool) -> Self {
        let any = allowed.is_empty() && !on_loopback;
        Self { allowed, any }
    }

    /// Checks the `Host` header.
    ///
    /// # Errors
    /// [`HostError`] for a request that must not reach a handler.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), HostError> {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().map_err(|_| HostError::Malformed)?,
            // The header is optional before HTTP/1.1. Such a request is not from a browser.
            (None, _) if request.version() < Version::HTTP_11 => return Ok(()),
            (None, _) => return Err(HostError::Missing),
            (Some(_), Some(_)) => return Err(HostError::Several),
        };
        let authority = Authority::parse(host, None).ok_or(HostError::Malformed)?;
        if request.uri().authority().is_some_and(|target| target.as_str() != host) {
            return Err(HostError::Several);
        }
        let is_allowed =
            self.any || is_loopback(&authority.host) || self.allowed.iter().any(|pattern| pattern.matches(&authority));
        if is_allowed {
            Ok(())
        } else {
            Err(HostError::Foreign(authority.host))
        }
    }
}

/// Why a request does not reach a handler. Its text is the body of the response.
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
    #[error("this server does not serve the host {0}: start it with --allow-host {0} to allow it")]
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

/// A pattern of hosts: `host[:port]`, where `*` matches one whole label, or alone any host. Without a port it matches
/// any port.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &HostPolicy, hosts: &[&str]) -> Result<(), HostError> {
        let mut request = Request::builder().uri("/");
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        policy.check(&request.body(()).unwrap())
    }

    #[test]
    fn a_server_on_a_loopback_address_allows_loopback_names_only_unless_others_are_given() {
        let closed = HostPolicy::new(Vec::new(), true);
        for host in [
            "localhost",
            "localhost:3000",
            "127.0.0.1:3000",
            "127.9.9.9",
            "[::1]:1",
            "app.localhost:80",
        ] {
            assert_eq!(check(&closed, &[host]), Ok(()), "{host}");
        }
        for host in [
            "evil.example:3000",
            "evil.example",
            "10.0.0.1",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
        ] {
            assert_eq!(
                check(&closed, &[host]).unwrap_err().status(),
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
            assert_eq!(check(&named, &[host]), Ok(()), "{host}");
        }
        for host in ["chat.example", "chat.example:80", "example.com", "a.b.example.com"] {
            assert!(check(&named, &[host]).is_err(), "{host}");
        }
        let open = HostPolicy::new(Vec::new(), false);
        assert_eq!(check(&open, &["anything.example"]), Ok(()));
        assert_eq!(
            check(&HostPolicy::new(vec![pattern("*")], true), &["a.b.example"]),
            Ok(())
        );
    }

    #[test]
    fn a_request_names_exactly_one_host() {
        let open = HostPolicy::new(Vec::new(), false);
        assert_eq!(check(&open, &[]), Err(HostError::Missing));
        assert_eq!(check(&open, &["a.example", "a.example"]), Err(HostError::Several));
        for host in ["", "a b", "user@a.example", "a.example/x", "a.example:port"] {
            assert_eq!(check(&open, &[host]), Err(HostError::Malformed), "{host:?}");
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
}
