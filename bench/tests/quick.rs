//! The bench measures every server, and wrong answers are errors.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use talkback_bench::{
    clients::Target,
    contenders::{Contender, TALKBACK},
    load::{Echo, Load},
    suite::Shape,
};

#[test]
fn a_quick_run_measures_every_server_under_every_load() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quick");
    let bench = env!("CARGO_BIN_EXE_talkback-bench");
    let output = Command::new(bench)
        .args(["run", "--quick", "--out"])
        .arg(&out)
        .arg("--before")
        .arg(Path::new(bench).with_file_name("talkback-server"))
        .args(TALKBACK.map(|off| format!("--before-option={}={}", off.option, off.value)))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let page = fs::read_to_string(out.join("bench.md")).unwrap();
    let plot = fs::read_to_string(out.join("bench.svg")).unwrap();
    // The other contenders need programs that are not built here, except Talkback itself as an earlier version.
    let measured = Contender::ALL
        .into_iter()
        .filter(|contender| *contender != Contender::UWebSockets);
    for contender in measured {
        assert!(page.contains(contender.name()), "no {} in:\n{page}", contender.name());
        assert!(plot.contains(contender.name()), "no {} in the plot", contender.name());
    }
    for shape in Shape::ALL {
        assert!(page.contains(&shape.title()), "no {} in:\n{page}", shape.title());
        assert!(plot.contains(&shape.title()), "no {} in the plot", shape.title());
    }
    for off in TALKBACK {
        let row = format!("`{} {}`", off.option, off.value);
        assert!(
            page.contains(&row),
            "{row} is switched off, and the report does not say so"
        );
    }
    let rows = |start: &str| {
        let mut rows = page.lines().filter(|line| line.starts_with(start));
        let row = rows.next().unwrap_or_else(|| panic!("no row {start:?} in:\n{page}"));
        assert_eq!(rows.next(), None, "a second row {start:?}");
        row.to_owned()
    };
    // One round is too few, and the report says so for every comparison: of limits, of cores and of rooms.
    for start in [
        format!("| {} | ", Shape::ROOM_DEFAULT_LIMITS.title()),
        format!("| {} | ", Shape::APPENDS.title()),
        format!("| {} | ", Shape::JOINS[2].title()),
    ] {
        assert!(rows(&start).ends_with(": too few rounds |"), "{}", rows(&start));
    }
    rows("| **Talkback, session, 60 in one room** | ");
    rows("| 60 idle sessions in one room: at most 5,120 bytes each | ");
    let against_axum = page
        .lines()
        .filter(|line| line.starts_with("| axum, flushing each batch | ") && line.contains("too few rounds"));
    for before in [Contender::Before, Contender::BeforeSession] {
        let start = format!("| {} | ", before.name());
        let against = page
            .lines()
            .filter(|line| line.starts_with(&start) && line.contains("too few rounds"));
        assert!(against.count() > 0, "nothing is compared with {}", before.name());
    }
    assert_eq!(against_axum.count(), 3, "echo, plain chat and session, in:\n{page}");
}

#[test]
fn a_server_that_answers_twice_fails_the_echo() {
    let error = echo_against(|bytes| bytes.repeat(2)).unwrap_err();
    assert!(error.contains("more messages came back"), "{error}");
}

#[test]
fn a_server_that_changes_a_byte_fails_the_echo() {
    let error = echo_against(|bytes| bytes.iter().map(|byte| byte ^ 1).collect()).unwrap_err();
    assert!(error.contains("differs"), "{error}");
}

#[test]
fn a_server_that_answers_with_the_same_bytes_passes_the_echo() {
    assert!(echo_against(<[u8]>::to_vec).unwrap() > 0);
}

/// Runs the echo load briefly over one plain TCP connection to a server that answers with `answer(received)`.
fn echo_against(answer: fn(&[u8]) -> Vec<u8>) -> Result<u64, String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
        unreachable!("bound to an IPv4 address")
    };
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&answer(&buffer[..length])).is_err() {
                return;
            }
        }
    });
    let mut echo = Echo::connect(&Target { address, path: None }, 1, 1, 32).unwrap();
    echo.run(Duration::from_millis(5)).map_err(|error| format!("{error:#}"))
}
