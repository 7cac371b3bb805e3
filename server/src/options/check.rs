//! Settings that no server can mean: they would only show later, as a panic or as a server that refuses everybody.

use std::time::Duration;

use axum::http::HeaderName;

use super::{AppOptions, OptionsError};

/// More threads than any machine has processors for.
const MAX_WORKERS: usize = 1024;

pub(super) fn check(config: &AppOptions) -> Result<(), OptionsError> {
    let small = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    for (setting, number) in [
        ("queue-messages", config.queue_messages),
        ("queue-bytes", config.queue_bytes),
        ("max-connections", config.max_connections),
        ("address-room-burst", small(config.address_room_burst)),
        ("max-rooms", config.max_rooms),
        ("max-room-members", config.max_room_members),
        ("max-session-rooms", small(config.max_session_rooms)),
        ("max-body-size", config.max_body_size),
        ("session-line-burst", small(config.session_line_burst)),
        ("max-page", small(config.max_page)),
        ("log-rooms", config.log_rooms),
        ("log-messages", config.log_messages),
        ("log-bytes", config.log_bytes),
        ("log-total-bytes", config.log_total_bytes),
        ("remember-clients", config.remember_clients),
        ("max-in-flight", config.max_in_flight),
        ("remember-requests", config.remember_requests),
        ("flood-messages", small(config.flood_messages)),
        ("flood-rate", small(config.flood_rate)),
        ("flood-message-size", config.flood_message_size),
        ("flood-bytes", config.flood_bytes),
        ("log-rate", small(config.log_rate)),
    ] {
        require(setting, number > 0, || "must be at least 1".to_owned())?;
    }
    for (setting, time) in [
        ("hello-timeout", config.hello_timeout),
        ("log-age", config.log_age),
        ("remember-clients-for", config.remember_clients_for),
        ("remember-requests-for", config.remember_requests_for),
        ("close-timeout", config.close_timeout),
        ("header-timeout", config.header_timeout),
        ("body-timeout", config.body_timeout),
        ("http-lifetime", config.http_lifetime),
    ] {
        require(setting, !time.is_zero(), || "must be longer than 0s".to_owned())?;
    }
    require(
        "ping-timeout",
        config.ping_interval.is_zero() || config.ping_timeout > Duration::ZERO,
        || "must be longer than 0s while --ping-interval sends pings".to_owned(),
    )?;
    // What is left of a line of the protocol is its body.
    require("max-message-size", config.max_message_size > 1024, || {
        "must be more than 1KiB".to_owned()
    })?;
    // All names at their longest, with what stands around them, fit into a text.
    require("max-listed-users", config.max_listed_users <= 1800, || {
        "must be at most 1800, so that a list fits into one text".to_owned()
    })?;
    require("answer-bytes", config.answer_bytes >= config.max_answer_size, || {
        "must be at least --max-answer-size".to_owned()
    })?;
    require("workers", config.workers <= MAX_WORKERS, || {
        format!("must be at most {MAX_WORKERS}")
    })?;
    let header = config.proxy_header.parse::<HeaderName>();
    require("proxy-header", header.is_ok_and(|header| header != "forwarded"), || {
        "must be the name of a header with plain addresses, such as X-Forwarded-For; Forwarded is not understood"
            .to_owned()
    })
}

fn require(setting: &'static str, holds: bool, rule: impl FnOnce() -> String) -> Result<(), OptionsError> {
    if holds {
        return Ok(());
    }
    Err(OptionsError::Invalid { setting, rule: rule() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(arguments: &[&str]) -> String {
        let arguments = ["talkback-server"].iter().chain(arguments).map(Into::into);
        match AppOptions::from_command_line(arguments) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_defaults_and_the_settings_that_switch_something_off_are_valid() {
        assert_eq!(told(&[]), "");
        for off in [
            "--ping-interval",
            "--max-wait",
            "--drain",
            "--presence-grace",
            "--reconnect-spread",
            "--address-delay",
        ] {
            assert_eq!(told(&[off, "0s"]), "", "{off}");
        }
        for any in [
            "--max-connection-rate",
            "--address-connection-rate",
            "--address-request-rate",
            "--address-room-rate",
            "--workers",
        ] {
            assert_eq!(told(&[any, "0"]), "", "{any}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_setting_and_its_rule() {
        for setting in [
            "max-connections",
            "queue-messages",
            "log-rooms",
            "max-page",
            "max-in-flight",
            "flood-messages",
        ] {
            assert_eq!(
                told(&[&format!("--{setting}"), "0"]),
                format!("--{setting} must be at least 1")
            );
        }
        for setting in ["hello-timeout", "header-timeout", "log-age", "body-timeout"] {
            assert_eq!(
                told(&[&format!("--{setting}"), "0s"]),
                format!("--{setting} must be longer than 0s")
            );
        }
        for (arguments, rule) in [
            (["--log-age", "500000000000years"], "10 years"),
            (["--ping-interval", "11years"], "10 years"),
            (["--queue-bytes", "16EiB"], "1TiB"),
            (["--max-message-size", "10B"], "more than 1KiB"),
            (["--max-answer-size", "1GiB"], "--max-answer-size"),
            (["--workers", "100000"], "at most 1024"),
            (["--ping-timeout", "0s"], "while --ping-interval"),
            (["--proxy-header", "forwarded"], "X-Forwarded-For"),
            (["--proxy-header", "a b"], "X-Forwarded-For"),
            (["--trust-proxy", "10.0.0.0/99"], "--trust-proxy"),
            (["--remember-addresses", "0"], "--remember-addresses"),
        ] {
            let told = told(&arguments);
            assert!(told.contains(rule), "{arguments:?}: {told}");
        }
    }
}
