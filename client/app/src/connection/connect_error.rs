//! Why a connection was refused before it began, as a sentence for the user.

use talkback_client::ConnectError;

use crate::i18n::{Sentence, UrlProblem};

pub(crate) fn explain(error: &ConnectError) -> Sentence {
    match error {
        ConnectError::Unsupported => Sentence::Unsupported,
        ConnectError::InvalidUrl { url, .. } => bad_url(url),
        ConnectError::Fragment { .. } => Sentence::BadUrl(UrlProblem::Fragment),
        ConnectError::Subprotocol { name, .. } => Sentence::BadSubprotocol(name.clone()),
        ConnectError::MixedContent { .. } => Sentence::MixedContent,
        ConnectError::Refused { reason } => Sentence::RefusedByBrowser(reason.clone()),
        // `Socket::new` returns no other error.
        _ => Sentence::Unsupported,
    }
}

/// The sentence about an invalid address.
pub(crate) fn bad_url(url: &str) -> Sentence {
    Sentence::BadUrl(url_problem(url))
}

fn url_problem(url: &str) -> UrlProblem {
    let url = url.trim();
    match url.split_once(':') {
        _ if url.is_empty() => UrlProblem::Empty,
        Some((scheme, _))
            if scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
                && !["ws", "wss", "http", "https"]
                    .iter()
                    .any(|known| scheme.eq_ignore_ascii_case(known)) =>
        {
            UrlProblem::Scheme(scheme.to_owned())
        }
        _ => UrlProblem::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_address_has_its_problem() {
        assert_eq!(url_problem("  "), UrlProblem::Empty);
        assert_eq!(url_problem("ftp://host/"), UrlProblem::Scheme("ftp".into()));
        assert_eq!(url_problem("ws://host:99999/"), UrlProblem::Unreadable);
        assert_eq!(url_problem("http://:80"), UrlProblem::Unreadable);
        assert_eq!(url_problem("[::1]:80"), UrlProblem::Unreadable);
    }
}
