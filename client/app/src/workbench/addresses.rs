//! The addresses that the workbench remembers: pinned ones, and those that were connected to lately. Pure; the text of it is kept in
//! `localStorage`.

use super::log_filter::contains_ignoring_case;

/// The pinned addresses, at most; the oldest pin goes.
const MAX_PINNED: usize = 20;

/// The other ones, at most: as many as a list shows without scrolling far.
const MAX_RECENT: usize = 12;

/// As many bytes as a token has, at least.
const TOKEN_BYTES: usize = 16;

/// In a part of a path, so many changes between letters and digits, or from a small to a capital letter, are a token. A random one of 16
/// hexadecimal digits has seven on average, words with a year, a version or a number at their ends one to three.
const TOKEN_CHANGES: usize = 4;

/// Longer addresses are not remembered, so that all of them take less than 100 KB of the few megabytes that a browser gives.
const MAX_URL_BYTES: usize = 2 << 10;

/// What stands in the list for a value that may be secret.
const MASK: &str = "•••";

/// Addresses, in each list the newest first. None is in both lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Addresses {
    pinned: Vec<String>,
    recent: Vec<String>,
}

impl Addresses {
    /// Reads [`Addresses::to_text`]; lines of other forms are left out.
    pub(super) fn from_text(text: &str) -> Self {
        let lines = |kind: char, max| {
            let urls = text.lines().filter_map(move |line| line.strip_prefix(kind));
            urls.take(max).map(Into::into).collect()
        };
        Self {
            pinned: lines('*', MAX_PINNED),
            recent: lines(' ', MAX_RECENT),
        }
    }

    /// A line for each address; that of a pinned one begins with a star. An address has no line breaks: its field has none.
    pub(super) fn to_text(&self) -> String {
        let pinned = self.pinned.iter().map(|url| format!("*{url}\n"));
        let recent = self.recent.iter().map(|url| format!(" {url}\n"));
        pinned.chain(recent).collect()
    }

    /// The page has connected to this address.
    pub(super) fn used(&mut self, url: &str) {
        if !self.is_pinned(url) && url.len() <= MAX_URL_BYTES {
            put_first(&mut self.recent, url, MAX_RECENT);
        }
    }

    /// Pins an address, or makes a pinned one a recent one.
    pub(super) fn toggle_pin(&mut self, url: &str) {
        if self.is_pinned(url) {
            self.pinned.retain(|pinned| pinned != url);
            self.used(url);
        } else if !url.is_empty() && url.len() <= MAX_URL_BYTES {
            self.recent.retain(|recent| recent != url);
            put_first(&mut self.pinned, url, MAX_PINNED);
        }
    }

    /// Forgets an address, also a pinned one.
    pub(super) fn remove(&mut self, url: &str) {
        self.recent.retain(|recent| recent != url);
        self.pinned.retain(|pinned| pinned != url);
    }

    pub(super) fn is_pinned(&self, url: &str) -> bool {
        self.pinned.iter().any(|pinned| pinned == url)
    }

    /// The pinned addresses, then the recent ones.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.pinned.iter().chain(&self.recent).map(String::as_str)
    }
}

fn put_first(urls: &mut Vec<String>, url: &str, max: usize) {
    urls.retain(|other| other != url);
    urls.insert(0, url.into());
    urls.truncate(max);
}

/// The address as it is shown in the list: without the user name and password, without the values of the query, which may be tokens, and without
/// the parts of the path that look like one.
pub(super) fn masked(url: &str) -> String {
    let mask = |_: &str, value: &str| {
        if value.is_empty() {
            String::new()
        } else {
            MASK.to_owned()
        }
    };
    rewritten(url, &format!("{MASK}@"), mask)
}

/// The address without the user name and password, without the values of the query that are likely to be secret: by their name, or because
/// they are as long as a token, and without the parts of the path that look like one.
pub(super) fn without_secrets(url: &str) -> String {
    without_secrets_but(url, "", "")
}

/// The same address as the log shows it, with a mask in place of each secret.
pub(super) fn with_masked_secrets(url: &str) -> String {
    without_secrets_but(url, &format!("{MASK}@"), MASK)
}

fn without_secrets_but(url: &str, user: &str, secret: &str) -> String {
    const SECRET_NAMES: [&str; 14] = [
        "token", "key", "secret", "pass", "auth", "sig", "session", "jwt", "pwd", "cred", "ticket", "bearer", "code",
        "sid",
    ];
    rewritten(url, user, |name, value| {
        let is_secret =
            value.len() >= TOKEN_BYTES || SECRET_NAMES.iter().any(|secret| contains_ignoring_case(name, secret));
        if is_secret && !value.is_empty() {
            secret.to_owned()
        } else {
            value.to_owned()
        }
    })
}

/// The address without the user name and password, without all values of the query, and without the parts of the path that look like a token.
pub(super) fn without_values(url: &str) -> String {
    rewritten(url, "", |_, _| String::new())
}

/// An address with something else for the user name and password, for each value of the query, by its name, and for each part of the path that
/// looks like a token: as for a value without a name.
fn rewritten(url: &str, user: &str, value_of: impl Fn(&str, &str) -> String) -> String {
    let (address, query) = match url.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (url, None),
    };
    let (start, path) = host_range(address);
    let mut rewritten = match address[start..path].rfind('@') {
        Some(at) => [&address[..start], user, &address[start + at + 1..path]].concat(),
        None => address[..path].to_owned(),
    };
    // Without a scheme, what stands before the first slash is a host.
    for (index, part) in address[path..].split_inclusive(SLASHES).enumerate() {
        let name = part.trim_end_matches(SLASHES);
        if is_token(name) && (path > 0 || index > 0) {
            rewritten += &value_of("", name);
            rewritten += &part[name.len()..];
        } else {
            rewritten += part;
        }
    }
    for (index, parameter) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        rewritten.push(if index == 0 { '?' } else { '&' });
        match parameter.split_once('=') {
            Some((name, value)) => {
                rewritten += name;
                rewritten.push('=');
                rewritten += &value_of(name, value);
            }
            // It has no name, so it may be a value.
            None => rewritten += &value_of("", parameter),
        }
    }
    rewritten
}

const SLASHES: [char; 2] = ['/', '\\'];

/// Whether a part of a path looks random, as a key, a UUID or a JWT does: it is long, and letters and digits change often in it. Names of rooms,
/// dates and numbers do not, nor do letters of other alphabets, whose escapes are passed over. A long name of several capitalized words with a
/// number may be taken for a token: that is shown with a mask, while a token that is shared cannot be taken back.
fn is_token(part: &str) -> bool {
    let (mut changes, mut has_digit, mut before, mut escaped) = (0, false, b'-', 0);
    for byte in part.bytes() {
        if byte == b'%' {
            escaped = 3;
        }
        if escaped > 0 {
            escaped -= 1;
            before = b'-';
            continue;
        }
        has_digit |= byte.is_ascii_digit();
        let is_change = before.is_ascii_alphanumeric()
            && byte.is_ascii_alphanumeric()
            && (before.is_ascii_digit() != byte.is_ascii_digit()
                || (before.is_ascii_lowercase() && byte.is_ascii_uppercase()));
        changes += usize::from(is_change);
        before = byte;
    }
    part.len() >= TOKEN_BYTES && has_digit && changes >= TOKEN_CHANGES
}

/// Where the user name, the host and the port begin and end in an address without a query: after the scheme and any number of slashes, as a browser
/// reads the address of a WebSocket. It is empty in a path of the page's own server.
fn host_range(address: &str) -> (usize, usize) {
    let is_scheme =
        |name: &str| ["ws", "wss", "http", "https"].contains(&name.trim_start().to_ascii_lowercase().as_str());
    let scheme = address.find(':').filter(|&colon| is_scheme(&address[..colon]));
    let rest = scheme.map_or(0, |colon| colon + 1);
    let start = address.len() - address[rest..].trim_start_matches(SLASHES).len();
    if scheme.is_none() && start < 2 {
        return (0, 0);
    }
    let end = address[start..].find(SLASHES).map_or(address.len(), |end| start + end);
    (start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_masked() {
        for (url, shown) in [
            ("ws://h:1/echo", "ws://h:1/echo"),
            (
                "wss://ann:pass@h/x?token=abc&empty=&plain",
                "wss://•••@h/x?token=•••&empty=&•••",
            ),
            ("wss://a@b:c@h", "wss://•••@h"),
            ("/chat/lobby?name=Ann", "/chat/lobby?name=•••"),
            ("ws://h/a@b", "ws://h/a@b"),
            ("//ann:pass@h/x", "//•••@h/x"),
            ("ws:/ann:pass@h", "ws:/•••@h"),
            ("WSS:ann:pass@h/x", "WSS:•••@h/x"),
            ("ws:\\\\ann:pass@h\\x@y", "ws:\\\\•••@h\\x@y"),
            ("/a/ann:pass@h", "/a/ann:pass@h"),
            ("ws://h?", "ws://h?"),
        ] {
            assert_eq!(masked(url), shown);
        }
    }

    #[test]
    fn parts_of_the_path_that_look_random_are_masked_and_left_out_of_a_link() {
        for token in [
            "9f86d081884c7d65",
            "550e8400-e29b-41d4-a716-446655440000",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0",
            "k7GqY2-bX9_wTz4Rr1Lh",
        ] {
            let url = format!("wss://h/feed/{token}/live?n=1");
            assert_eq!(with_masked_secrets(&url), "wss://h/feed/•••/live?n=1");
            assert_eq!(masked(&url), "wss://h/feed/•••/live?n=•••");
            assert_eq!(without_secrets(&url), "wss://h/feed//live?n=1");
            assert_eq!(without_values(&format!("/{token}")), "/");
        }
        for path in [
            "/chat/lobby",
            "/organizations/international-standards",
            "/standup-2024-11-22-room-17b",
            "/chat/%E5%A4%A7%E5%8E%85%E5%A4%A7%E5%8E%85",
            "/12345678901234567890",
            "/v1/subscriptions2/eventsOfTheDay",
            "/2024-11-22T10:00:00Z",
            "/a1b2c3d4e5",
        ] {
            for url in [format!("wss://9f86d081884c7d65.h{path}"), path.to_owned()] {
                assert_eq!(without_secrets(&url), url);
            }
        }
    }

    #[test]
    fn values_with_the_name_of_a_secret_are_left_out() {
        for (url, left) in [
            ("ws://ann:pass@h/?room=a&ticket=1&Sid=2", "ws://h/?room=a&ticket=&Sid="),
            ("//ann@h/?pwd=1&code=2&bearer=3&cred=4", "//h/?pwd=&code=&bearer=&cred="),
        ] {
            assert_eq!(without_secrets(url), left);
        }
        assert_eq!(
            with_masked_secrets("ws://ann:pass@h/?n=5&token=x&key="),
            "ws://•••@h/?n=5&token=•••&key="
        );
    }

    #[test]
    fn recent_addresses_are_bounded_and_the_newest_comes_first() {
        let mut addresses = Addresses::default();
        for number in 0..100 {
            addresses.used(&format!("ws://h/{number}"));
        }
        addresses.used("ws://h/95");
        addresses.used(&"x".repeat(MAX_URL_BYTES + 1));
        let all: Vec<_> = addresses.all().collect();
        assert_eq!(all.len(), MAX_RECENT);
        assert_eq!(all[..3], ["ws://h/95", "ws://h/99", "ws://h/98"]);
        addresses.remove("ws://h/99");
        assert_eq!(addresses.all().nth(1), Some("ws://h/98"));
    }

    #[test]
    fn a_pinned_address_comes_first_and_is_not_pushed_out_by_recent_ones() {
        let mut addresses = Addresses::default();
        addresses.used("ws://kept");
        addresses.toggle_pin("ws://kept");
        addresses.toggle_pin("");
        for number in 0..100 {
            addresses.used(&format!("ws://h/{number}"));
            addresses.used("ws://kept");
        }
        assert_eq!(addresses.all().next(), Some("ws://kept"));
        assert_eq!(addresses.all().filter(|url| *url == "ws://kept").count(), 1);
        assert_eq!(Addresses::from_text(&addresses.to_text()), addresses);
        addresses.toggle_pin("ws://kept");
        assert!(!addresses.is_pinned("ws://kept"));
        assert_eq!(
            addresses.all().next(),
            Some("ws://kept"),
            "it becomes the newest recent one"
        );
        for number in 0..100 {
            addresses.toggle_pin(&format!("ws://h/{number}"));
        }
        assert_eq!(addresses.pinned.len(), MAX_PINNED);
        addresses.remove("ws://h/99");
        assert!(!addresses.is_pinned("ws://h/99"), "a removed one is in neither list");
        assert!(addresses.all().all(|url| url != "ws://h/99"));
    }

    #[test]
    fn a_damaged_text_is_read_as_far_as_it_goes() {
        assert_eq!(Addresses::from_text("x\n*ws://a\n\n ws://b"), {
            let mut addresses = Addresses::default();
            addresses.toggle_pin("ws://a");
            addresses.used("ws://b");
            addresses
        });
    }
}
