//! Hosts with ports, and the rules for comparing them.

use std::net::IpAddr;

use axum::http::Uri;

/// A host in lower case, and its port.
#[derive(PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

impl Authority {
    /// Parses `host[:port]`; without a port it has `default_port`.
    pub(super) fn parse(text: &str, default_port: Option<u16>) -> Option<Self> {
        // The `Uri` parser refuses paths and characters that no host may have.
        let authority = text.parse::<Uri>().ok()?.into_parts().authority?;
        // A port must be a number.
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

/// Splits `host[:port]`, where the host may be an IPv6 address in brackets.
pub(super) fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
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

/// Whether this is a host of a pattern: labels between dots, each a name or a lone `*`; or an IPv6 address in brackets.
pub(super) fn is_host_pattern(host: &str) -> bool {
    let good_label =
        |label: &str| label == "*" || (!label.is_empty() && !label.contains(['*', '/', '?', '#', '@', ' ', ':']));
    host.starts_with('[') || host.split('.').all(good_label)
}

/// Whether a host pattern matches a host, label by label.
pub(super) fn labels_match(pattern: &str, host: &str) -> bool {
    let (mut pattern, mut host) = (pattern.split('.'), host.split('.'));
    loop {
        match (pattern.next(), host.next()) {
            (None, None) => return true,
            (Some(expected), Some(label)) if expected == "*" || expected == label => {}
            _ => return false,
        }
    }
}

/// Whether this is `localhost`, a name under it, or a loopback address.
pub(super) fn is_loopback(host: &str) -> bool {
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
