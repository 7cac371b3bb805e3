//! The server program: its settings, its output, its log, and its end.

use std::{
    path::Path,
    process::{Output, Stdio},
};

use crate::support::{self, assert_contains, within};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStderr, Command},
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest, protocol::CloseFrame};

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_talkback-server"));
    command.args(args).env_clear().kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn output(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = within("the program to end", command.output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

async fn check(args: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    output(program(&[&["check"], args].concat()).envs(variables.iter().copied())).await
}

/// A running server.
struct Running {
    child: Child,
    address: String,
    logs: Lines<BufReader<ChildStderr>>,
}

impl Running {
    async fn start(args: &[&str]) -> Self {
        Self::of(program(
            &[&["--listen", "127.0.0.1:0", "--log-format", "json"], args].concat(),
        ))
        .await
    }

    async fn of(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = within("the first line", stdout.next_line()).await.unwrap().unwrap();
        let address = talkback_launch::listening_address(&first).expect("the address in the first line");
        let logs = BufReader::new(child.stderr.take().unwrap()).lines();
        Self {
            address: address.to_string(),
            child,
            logs,
        }
    }

    #[cfg(unix)]
    fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(
            std::process::Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    async fn connect(&self, path: &str) -> support::AnyClient {
        let url = format!("ws://{}{path}", self.address);
        within("the handshake", tokio_tungstenite::connect_async(url))
            .await
            .unwrap()
            .0
    }

    /// The next log line for which `wanted` holds.
    async fn log(&mut self, what: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        within(what, async {
            loop {
                let line = self.logs.next_line().await.unwrap().expect("another line");
                let line: serde_json::Value = serde_json::from_str(&line).expect("every line is JSON");
                if wanted(&line) {
                    return line;
                }
            }
        })
        .await
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_closes_the_sockets_with_1001_and_ends_the_program_with_success() {
    for signal in ["-TERM", "-INT"] {
        let mut server = Running::start(&[]).await;
        let mut client = server.connect("/echo").await;
        server.signal(signal);
        let close = loop {
            match within("the close frame", client.next()).await.unwrap().unwrap() {
                Message::Close(frame) => break frame.unwrap(),
                _ => continue,
            }
        };
        assert_eq!(u16::from(close.code), 1001);
        while within("the end", client.next())
            .await
            .is_some_and(|message| message.is_ok())
        {}
        drop(client);
        assert!(
            within("the program to end", server.child.wait())
                .await
                .unwrap()
                .success()
        );
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_second_signal_ends_the_program_at_once() {
    let mut server = Running::start(&["--drain-time", "1h", "--close-timeout", "1h"]).await;
    let _client = server.connect("/echo").await;
    server.signal("-TERM");
    server.log("the stop", |line| line["message"] == "stopping").await;
    server.signal("-TERM");
    assert_eq!(
        within("the program to end", server.child.wait()).await.unwrap().code(),
        Some(130)
    );
}

#[tokio::test]
async fn a_close_with_an_applications_code_is_logged_without_the_clients_reason() {
    let mut server = Running::start(&[]).await;
    let mut client = server.connect("/chat/secret-plans").await;
    let frame = CloseFrame {
        code: 4000.into(),
        reason: "再见".into(),
    };
    client.close(Some(frame)).await.unwrap();
    let line = server.log("the close", |line| line["code"] == 4000).await;
    assert_eq!((&line["path"], &line["by"]), (&"/chat/{room}".into(), &"client".into()));
    let text = line.to_string();
    assert!(!text.contains("再见") && !text.contains("secret-plans"), "{text}");
    assert_eq!(
        (&line["level"], &line["message"]),
        (&"INFO".into(), &"websocket closed".into())
    );
}

#[tokio::test]
async fn closes_are_logged_at_a_limited_rate() {
    let mut server = Running::start(&["--log-rate", "1"]).await;
    for _ in 0..50 {
        let mut client = server.connect("/echo").await;
        let frame = CloseFrame {
            code: 4000.into(),
            reason: "".into(),
        };
        client.close(Some(frame)).await.unwrap();
        while client.next().await.is_some_and(|message| message.is_ok()) {}
    }
    let mut written = 0;
    let mut dropped = 0;
    // A close a second later is logged with the number of dropped lines.
    for _ in 0..200 {
        if dropped > 0 {
            break;
        }
        let mut client = server.connect("/echo").await;
        let frame = CloseFrame {
            code: 4001.into(),
            reason: "".into(),
        };
        client.close(Some(frame)).await.unwrap();
        while client.next().await.is_some_and(|message| message.is_ok()) {}
        let line = tokio::time::timeout(
            std::time::Duration::from_millis(100),
            server.log("a close", |line| line["message"] == "websocket closed"),
        );
        if let Ok(line) = line.await {
            written += 1;
            dropped = line["more"].as_u64().unwrap();
        }
    }
    assert!(written <= 5 && dropped >= 20, "{written} lines, {dropped} dropped");
}

#[cfg(unix)]
#[tokio::test]
async fn connections_are_limited_by_the_systems_open_files_and_further_ones_are_refused() {
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_talkback-server");
    let serve =
        format!("ulimit -n 200; exec {program} --listen 127.0.0.1:0 --log-format json --max-address-connections 1000");
    command.args(["-c", &serve]).env_clear().kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = Running::of(command).await;
    let line = server
        .log("the lower limit", |line| line["max_connections"] == 150)
        .await;
    assert_eq!((&line["level"], &line["wanted"]), (&"WARN".into(), &65536.into()));
    let mut held = Vec::new();
    for _ in 0..150 {
        held.push(server.connect("/echo").await);
    }
    let url = format!("ws://{}/echo", server.address);
    let refused = within("the answer", tokio_tungstenite::connect_async(url))
        .await
        .unwrap_err();
    assert_contains(&refused.to_string(), "503");
}

#[tokio::test]
async fn the_counters_are_served_only_at_the_address_for_operators() {
    let mut command = program(&["--listen", "127.0.0.1:0", "--operations-listen", "127.0.0.1:0"]);
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut address = async |prefix: &str| {
        let line = within("an address", stdout.next_line()).await.unwrap().unwrap();
        line.strip_prefix(prefix).expect("the address").to_owned()
    };
    let public = address("listening on http://").await;
    let operations = address("operations on http://").await;
    let public = support::get(&public, "/healthz").await;
    assert!(public.ends_with("{\"status\":\"ok\"}"), "{public}");
    let all = support::get(&operations, "/healthz").await;
    assert_contains(&all, "\"sockets_opened\":0");
    assert_contains(&all, "\"status\":\"ok\"");
    assert_contains(&support::get(&operations, "/rooms/a/messages").await, "404 Not Found");
}

#[tokio::test]
async fn the_missing_access_control_is_logged_at_the_start() {
    let mut server = Running::start(&[]).await;
    let warns = |line: &serde_json::Value| line["message"].as_str().unwrap().contains("no access control");
    assert_eq!(server.log("the warning", warns).await["level"], "WARN");
}

#[cfg(unix)]
#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_logged_once_and_a_trusted_one_is_not() {
    for (arguments, expected) in [(&[][..], 1), (&["--trust-proxy", "127.0.0.1/32"], 0)] {
        let mut server = Running::start(arguments).await;
        for header in ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2"] {
            let mut stream = TcpStream::connect(&server.address).await.unwrap();
            let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{header}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            within("the answer", stream.read_to_string(&mut answer)).await.unwrap();
            assert_contains(&answer, "200 OK");
        }
        server.signal("-TERM");
        let mut reports = Vec::new();
        while let Some(line) = within("the logs", server.logs.next_line()).await.unwrap() {
            if line.contains("a proxy that is not trusted") {
                reports.push(line);
            }
        }
        assert_eq!(reports.len(), expected, "{arguments:?}: {reports:?}");
        for report in reports {
            assert_contains(&report, "--trust-proxy");
            assert_contains(&report, "127.0.0.1");
        }
    }
}

#[tokio::test]
async fn normal_closes_are_logged_at_debug() {
    let mut server = Running::start(&["--log", "talkback_server=debug"]).await;
    let mut client = server.connect("/echo").await;
    client.close(None).await.unwrap();
    let line = server.log("the close", |line| line["code"] == 1005).await;
    assert_eq!(line["level"], "DEBUG");
}

/// Uses a session, plain chat and `/echo`, each on a connection of its own, with texts that have `secret` in them, and
/// returns all log lines of the server.
#[cfg(unix)]
async fn log_of_three_connections(args: &[&str]) -> Vec<serde_json::Value> {
    let mut server = Running::start(args).await;
    let mut request = format!("ws://{}/ws", server.address).into_client_request().unwrap();
    let subprotocol = "talkback.v1".parse().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", subprotocol);
    let (mut session, _) = within("the handshake", tokio_tungstenite::connect_async(request))
        .await
        .unwrap();
    for (line, answer) in [
        (
            r#"{"hello":{"client":"00112233445566778899aabbccddeeff","token":"secret-token","name":"secret-name"}}"#,
            "welcome",
        ),
        (r#"{"join":{"room":"secret-room"}}"#, "joined"),
        (
            r#"{"publish":{"room":"secret-room","seq":1,"id":"9f86d081884c7d65","first":true,"body":"secret-body"}}"#,
            "ack",
        ),
        (r#"{"signal":{"room":"secret-room","body":"secret-body"}}"#, ""),
        (r#"{"join":{"room":"a secret-room"}}"#, "bad_room"),
    ] {
        session.send(line.into()).await.unwrap();
        while !answer.is_empty() {
            let text = within("an answer", session.next()).await.unwrap().unwrap();
            if text.to_text().unwrap().contains(&format!("\"{answer}\"")) {
                break;
            }
        }
    }
    for path in ["/chat/secret-room?name=secret-name", "/echo?suffix=secret-suffix"] {
        let mut client = server.connect(path).await;
        client.send("secret-body".into()).await.unwrap();
        let text = within("the message", client.next()).await.unwrap().unwrap();
        assert_contains(text.to_text().unwrap(), "secret-body");
        close(client).await;
    }
    close(session).await;
    let mut request = format!("ws://{}/chat/secret-room", server.address)
        .into_client_request()
        .unwrap();
    let origin = "https://foreign.example".parse().unwrap();
    request.headers_mut().insert("Origin", origin);
    let refused = within("the answer", tokio_tungstenite::connect_async(request)).await;
    assert_contains(&refused.unwrap_err().to_string(), "403");

    server.signal("-TERM");
    let mut lines = Vec::new();
    while let Some(line) = within("the log", server.logs.next_line()).await.unwrap() {
        let secrets = ["secret", "00112233445566778899aabbccddeeff"];
        assert!(!secrets.iter().any(|secret| line.contains(secret)), "{line}");
        lines.push(serde_json::from_str(&line).unwrap());
    }
    lines
}

/// Closes with a code that is logged at `info`.
#[cfg(unix)]
async fn close(mut client: support::AnyClient) {
    let frame = CloseFrame {
        code: 4000.into(),
        reason: "secret-reason".into(),
    };
    client.close(Some(frame)).await.unwrap();
    while within("the close frame", client.next())
        .await
        .is_some_and(|message| message.is_ok())
    {}
}

#[cfg(unix)]
#[tokio::test]
async fn a_trace_has_a_span_for_each_connection_and_no_text_of_a_client() {
    let lines = log_of_three_connections(&["--log", "talkback=trace"]).await;
    let mut numbers = std::collections::BTreeSet::new();
    for kind in ["session", "chat", "echo"] {
        let of_kind = || lines.iter().filter(|line| line["span"]["kind"] == kind);
        let number = &of_kind().next().expect("a line in the span")["span"]["number"];
        numbers.insert(number.as_u64().unwrap());
        assert!(of_kind().all(|line| line["span"]["number"] == *number), "{lines:#?}");
        let messages: Vec<_> = of_kind().map(|line| line["message"].as_str().unwrap()).collect();
        for message in ["websocket accepted", "request answered", "websocket closed"] {
            assert!(messages.contains(&message), "{kind}: {messages:?}");
        }
        let accepted =
            |line: &&serde_json::Value| line["message"] == "connection accepted" && line["span"]["number"] == *number;
        assert!(lines.iter().any(|line| accepted(&line)), "{lines:#?}");
    }
    assert_eq!(numbers.len(), 3, "{lines:#?}");
    // The lines of the protocol's session belong to its connection.
    let of_session: Vec<_> = lines
        .iter()
        .filter(|line| line["target"] == "talkback::server")
        .collect();
    assert!(!of_session.is_empty(), "{lines:#?}");
    for line in of_session {
        assert_eq!(line["span"]["kind"], "session", "{line}");
    }
    let refused = lines
        .iter()
        .find(|line| line["message"] == "websocket refused: foreign origin");
    assert_eq!(refused.expect("the refused handshake")["path"], "/chat/{room}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_default_log_has_neither_spans_nor_traces() {
    let lines = log_of_three_connections(&[]).await;
    let closes = lines.iter().filter(|line| line["message"] == "websocket closed");
    assert_eq!(closes.count(), 3, "{lines:#?}");
    for line in lines {
        assert_eq!((line.get("span"), line.get("spans")), (None, None), "{line}");
        assert!(matches!(line["level"].as_str(), Some("INFO" | "WARN")), "{line}");
    }
}

#[tokio::test]
async fn the_server_works_with_one_thread_and_with_several() {
    for workers in ["1", "3"] {
        let server = Running::start(&["--workers", workers]).await;
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(server.connect("/chat/lobby").await);
        }
        for client in &mut clients {
            client.send("hello".into()).await.unwrap();
        }
        for client in &mut clients {
            // Each client receives at least its own message.
            let message = within("a message", client.next()).await.unwrap().unwrap();
            assert_eq!(message.into_text().unwrap().as_str(), "[user] hello");
        }
    }
}

#[tokio::test]
async fn an_address_in_use_is_named_in_the_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, stdout, stderr) = output(&mut program(&["--listen", &address])).await;
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert_contains(&stderr, format!("cannot listen on {address}"));
    assert_contains(&stderr, "--listen");
}

#[tokio::test]
async fn check_prints_the_defaults_as_toml_that_is_a_valid_file() {
    let (code, first, stderr) = check(&[], &[]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_contains(&first, "max-message-size = \"64KiB\"");
    assert_contains(&first, "ping-interval = \"25s\"");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &first).unwrap();
    let (code, second, _) = check(&["--config", file.path().to_str().unwrap()], &[]).await;
    assert_eq!((code, second), (0, first));
}

#[tokio::test]
async fn the_help_has_every_setting_with_the_default_that_check_prints() {
    let (code, help, stderr) = output(&mut program(&["--help"])).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    let mut defaults = std::collections::BTreeMap::new();
    let mut flag = None;
    for line in help.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("--").or_else(|| line.strip_prefix("-h, --")) {
            let name = rest.split_whitespace().next().unwrap().to_owned();
            defaults.insert(name.clone(), None);
            flag = Some(name);
        } else if let Some(default) = line.strip_prefix("[default: ") {
            let flag = flag.clone().expect("a flag above its default");
            defaults.insert(flag, Some(default.trim_end_matches(']').to_owned()));
        }
    }
    let (_, printed, _) = check(&[], &[]).await;
    let printed: toml::Table = printed.parse().unwrap();
    for (key, value) in &printed {
        let default = defaults
            .remove(key)
            .unwrap_or_else(|| panic!("--{key} is not in the help"));
        let printed = match value {
            toml::Value::String(text) => Some(text.clone()),
            toml::Value::Integer(number) => Some(number.to_string()),
            // A flag that is off, or an empty list.
            _ => None,
        };
        assert_eq!(default, printed, "--{key}");
    }
    // Settings without a default are not printed.
    let without: Vec<_> = defaults.keys().map(String::as_str).collect();
    assert_eq!(
        without,
        ["admin-key", "config", "help", "operations-listen", "publish-key"]
    );
    assert!(printed.len() > 60, "{} settings", printed.len());
}

#[tokio::test]
async fn a_value_has_the_same_error_as_flag_as_variable_and_in_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    for (key, value, rule) in [
        ("max-rooms", "0", "'--max-rooms <COUNT>': must be at least 1"),
        ("workers", "1025", "'--workers <COUNT>': must be at most 1024"),
        (
            "queue-bytes",
            "\"2TiB\"",
            "'--queue-bytes <SIZE>': must be at most 1TiB",
        ),
        (
            "hello-timeout",
            "\"0s\"",
            "'--hello-timeout <TIME>': must be more than 0s",
        ),
        ("log", "\"talkback=loud\"", "such as info,talkback=debug"),
    ] {
        let bare = value.trim_matches('"');
        let variable = format!("TALKBACK_{}", key.to_uppercase().replace('-', "_"));
        std::fs::write(file.path(), format!("{key} = {value}\n")).unwrap();
        let (code, _, flag) = check(&[&format!("--{key}"), bare], &[]).await;
        assert_eq!(code, 2);
        let (code, _, variable) = check(&[], &[(&variable, bare)]).await;
        assert_eq!(code, 2);
        let (code, _, file) = check(&["--config", path], &[]).await;
        assert_eq!(code, 1);
        for error in [flag, variable, file] {
            assert_contains(&error, rule);
        }
    }
}

#[tokio::test]
async fn flags_take_precedence_over_the_environment_the_environment_over_the_file_and_the_file_over_defaults() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "max-message-size = \"1MiB\"\nmax-rooms = 1\nmax-room-members = 1\n\
        allow-origin = [\"https://a.example\", \"b.example\"]\nflood = true\n";
    std::fs::write(file.path(), text).unwrap();
    let path = file.path().to_str().unwrap();
    let environment = [
        ("TALKBACK_CONFIG", path),
        ("TALKBACK_MAX_ROOMS", "2"),
        ("TALKBACK_MAX_ROOM_MEMBERS", "2"),
    ];
    let (code, stdout, stderr) = check(&["--max-room-members", "3"], &environment).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_contains(&stdout, "max-message-size = \"1MiB\"\n");
    assert_contains(&stdout, "max-rooms = 2\n");
    assert_contains(&stdout, "flood = true\n");
    assert_contains(&stdout, "max-room-members = 3\n");
    assert_contains(&stdout, "queue-messages = 1024\n");
    let origins = toml_list(&stdout, "allow-origin");
    assert_eq!(origins, ["https://a.example", "b.example"]);
    let (_, stdout, _) = check(&[], &[("TALKBACK_ALLOW_ORIGIN", "https://c.example,https://d.example")]).await;
    assert_eq!(
        toml_list(&stdout, "allow-origin"),
        ["https://c.example", "https://d.example"]
    );
}

fn toml_list(text: &str, key: &str) -> Vec<String> {
    let table: toml::Table = text.parse().unwrap();
    table[key]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value.as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn unknown_keys_are_refused_by_name_with_the_nearest_known_one() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "max_mesage_size = \"1MiB\"\n").unwrap();
    let path = file.path().to_str().unwrap();
    for command in [&["check", "--config", path][..], &["--config", path]] {
        let (code, stdout, stderr) = output(&mut program(command)).await;
        assert_eq!((code, stdout.as_str()), (1, ""));
        assert_contains(&stderr, "`max_mesage_size`: did you mean `max-message-size`?");
        assert_contains(&stderr, path);
    }
    let (code, _, stderr) = check(&[], &[("TALKBACK_PING_INTERVALL", "1s")]).await;
    assert_eq!(code, 1);
    assert_contains(
        &stderr,
        "`TALKBACK_PING_INTERVALL`: did you mean `TALKBACK_PING_INTERVAL`?",
    );
    std::fs::write(file.path(), "zzz = 1\n").unwrap();
    let (_, _, stderr) = check(&["--config", path], &[]).await;
    assert!(stderr.contains("`zzz`") && !stderr.contains("did you mean"), "{stderr}");
}

#[tokio::test]
async fn wrong_values_are_refused_with_the_setting_and_an_example() {
    for (flag, value, advice) in [
        ("--max-message-size", "lots", "64KiB or 16MiB"),
        ("--ping-interval", "25", "time unit needed"),
        ("--allow-origin", "https://a.example/path", "https://*.example.com"),
        ("--max-rooms", "-1", "--max-rooms"),
        ("--log-format", "xml", "human, json"),
    ] {
        let (code, _, stderr) = check(&[&format!("{flag}={value}")], &[]).await;
        assert_eq!(code, 2, "{flag}");
        assert_contains(&stderr, flag);
        assert_contains(&stderr, advice);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    for (text, advice) in [
        ("ping-interval = \"25\"", "--ping-interval"),
        ("max-rooms = true", "--max-rooms"),
        ("max-rooms = 1.5", "`max-rooms` must be"),
        ("max-rooms =", "line 1"),
    ] {
        std::fs::write(file.path(), text).unwrap();
        let (code, _, stderr) = check(&["--config", path], &[]).await;
        assert_eq!(code, 1, "{text}");
        assert_contains(&stderr, path);
        assert_contains(&stderr, advice);
    }
    let (code, _, stderr) = check(&["--config", "/no/such/file.toml"], &[]).await;
    assert_eq!(code, 1);
    assert_contains(&stderr, "cannot read /no/such/file.toml");
}

#[tokio::test]
async fn sizes_are_read_in_every_common_spelling() {
    for (text, printed) in [
        ("16MiB", "16MiB"),
        ("65536", "64KiB"),
        ("1 MB", "1000000B"),
        ("2gib", "2GiB"),
        ("1.5KiB", "1536B"),
    ] {
        let (code, stdout, stderr) = check(&["--max-message-size", text], &[]).await;
        assert_eq!(code, 0, "{stderr}");
        assert_contains(&stdout, format!("max-message-size = \"{printed}\""));
    }
}

/// Runs an example with its standard input open and returns it and the address in its first line.
async fn example(name: &str) -> (Child, String) {
    let examples = Path::new(env!("CARGO_BIN_EXE_talkback-server"))
        .parent()
        .unwrap()
        .join("examples");
    let mut command = Command::new(examples.join(name));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("cargo test builds the examples");
    let mut stdout = child.stdout.take().unwrap();
    let mut line = Vec::new();
    within("the example's first line", async {
        while !line.ends_with(b"\n") {
            line.push(stdout.read_u8().await.unwrap());
        }
    })
    .await;
    let line = String::from_utf8(line).unwrap();
    let address = line.trim().rsplit("http://").next().unwrap().to_owned();
    (child, address)
}

#[tokio::test]
async fn the_push_example_streams_results_while_it_computes() {
    let (_child, address) = example("push").await;
    let (mut client, _) = within(
        "the handshake",
        tokio_tungstenite::connect_async(format!("ws://{address}/primes?below=30")),
    )
    .await
    .unwrap();
    let mut received = Vec::new();
    while let Some(Ok(message)) = within("a result", client.next()).await {
        match message {
            Message::Text(text) => received.push(text.to_string()),
            _ => break,
        }
    }
    assert_eq!(received, ["2", "3", "5", "7", "11", "13", "17", "19", "23", "29"]);
}

#[tokio::test]
async fn the_operator_example_sends_typed_lines_to_every_page() {
    let (mut child, address) = example("operator").await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let url = format!("ws://{address}/pages");
        let (mut client, _) = within("the handshake", tokio_tungstenite::connect_async(url))
            .await
            .unwrap();
        let greeting = within("the greeting", client.next()).await.unwrap().unwrap();
        assert_contains(greeting.to_text().unwrap(), "connected");
        clients.push(client);
    }
    let mut terminal = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut terminal, "hello, 大家\n".as_bytes())
        .await
        .unwrap();
    for client in &mut clients {
        let message = within("the line", client.next()).await.unwrap().unwrap();
        assert_eq!(message.to_text().unwrap(), "[operator] hello, 大家");
    }
}

#[tokio::test]
async fn the_mount_example_serves_talkback_inside_another_application() {
    let (_child, address) = example("mount").await;
    let url = format!("ws://{address}/talk/echo");
    let (mut client, _) = within("the handshake", tokio_tungstenite::connect_async(url))
        .await
        .unwrap();
    client.send("mounted".into()).await.unwrap();
    let message = within("the echo", client.next()).await.unwrap().unwrap();
    assert_eq!(message.to_text().unwrap(), "mounted");
}
