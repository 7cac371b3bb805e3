//! Clients that violate the protocol: each gets its close code, and the server continues.

use crate::support::{
    self, Client, Server, assert_contains, close_frame, frame, read_close, read_frame, send, text, within,
};
use talkback_server::AppOptions;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Message;

/// Sends these bytes after the handshake and returns how the server closed.
async fn closes_with(server: &Server, bytes: &[u8]) -> (u16, String) {
    let mut stream = server.raw_socket("/echo").await;
    stream.write_all(bytes).await.unwrap();
    read_close(&mut stream).await
}

async fn assert_alive(server: &Server) {
    let mut client = server.connect("/echo").await;
    send(&mut client, "alive?").await;
    assert_eq!(text(&mut client).await, "alive?");
}

#[tokio::test]
async fn malformed_frames_close_with_1002() {
    let server = Server::start().await;
    let unmasked = [0x81, 2, b'h', b'i'];
    let fragmented_ping = frame(0x09, b"");
    let long_ping = frame(0x89, &[0; 126]);
    let continuation_of_nothing = frame(0x80, b"x");
    let new_message_inside_another = [frame(0x01, b"a"), frame(0x81, b"b")].concat();
    let close_with_one_byte = frame(0x88, &[3]);
    for (what, bytes) in [
        ("unmasked", &unmasked[..]),
        ("reserved bit", &frame(0xc1, b"x")),
        ("reserved opcode", &frame(0x83, b"x")),
        ("reserved control opcode", &frame(0x8b, b"x")),
        ("fragmented ping", &fragmented_ping),
        ("long ping", &long_ping),
        ("continuation of nothing", &continuation_of_nothing),
        ("new message inside another", &new_message_inside_another),
        ("close with one byte", &close_with_one_byte),
    ] {
        assert_eq!(closes_with(&server, bytes).await.0, 1002, "{what}");
    }
    assert_alive(&server).await;
}

/// Autobahn's cases 3.2 to 4.2.5 and 5.15: otherwise the last valid messages before an error are lost silently.
#[tokio::test]
async fn messages_before_a_violation_in_the_same_packet_are_answered_first() {
    let server = Server::start().await;
    for bad in [
        frame(0xc1, b"x"),
        frame(0x83, b""),
        frame(0x80, b""),
        frame(0x81, b"\xff"),
        frame(0x88, &[3]),
    ] {
        let mut stream = server.raw_socket("/echo").await;
        stream
            .write_all(&[frame(0x81, b"good"), frame(0x82, b"too"), bad].concat())
            .await
            .unwrap();
        assert_eq!(read_frame(&mut stream).await, (0x81, b"good".to_vec()));
        assert_eq!(read_frame(&mut stream).await, (0x82, b"too".to_vec()));
        assert!(matches!(read_close(&mut stream).await.0, 1002 | 1007));
    }
}

#[tokio::test]
async fn a_close_code_that_may_not_be_sent_is_answered_with_1002() {
    let server = Server::start().await;
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        assert_eq!(
            closes_with(&server, &frame(0x88, &code.to_be_bytes())).await.0,
            1002,
            "{code}"
        );
    }
}

#[tokio::test]
async fn text_that_is_not_utf8_closes_with_1007_also_across_fragments() {
    let server = Server::start().await;
    assert_eq!(closes_with(&server, &frame(0x81, &[0xff])).await.0, 1007);
    assert_eq!(
        closes_with(&server, &frame(0x81, b"\xed\xa0\x80")).await.0,
        1007,
        "a surrogate"
    );
    let cut = [frame(0x01, b"\xe4\xbd"), frame(0x80, b"")].concat();
    assert_eq!(closes_with(&server, &cut).await.0, 1007, "ends inside a character");
    let reason = [&1000_u16.to_be_bytes()[..], b"\xff"].concat();
    assert_eq!(
        closes_with(&server, &frame(0x88, &reason)).await.0,
        1007,
        "the reason of a close"
    );
    assert_alive(&server).await;
}

#[tokio::test]
async fn a_message_over_the_limit_closes_with_1009_and_the_limit() {
    let config = AppOptions {
        max_message_size: 1000,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut client = server.connect("/echo").await;
    send(&mut client, vec![0; 1000]).await;
    assert_eq!(support::next(&mut client).await, Message::binary(vec![0; 1000]));
    send(&mut client, vec![0; 1001]).await;
    let (code, reason) = close_frame(&mut client).await;
    assert_eq!(code, 1009);
    assert_contains(&reason, "1000 bytes");
    let fragments = [frame(0x02, &[0; 600]), frame(0x80, &[0; 401])].concat();
    assert_eq!(closes_with(&server, &fragments).await.0, 1009, "in fragments");
    assert_alive(&server).await;
}

#[tokio::test]
async fn a_frame_with_a_length_above_the_limit_is_refused_before_its_payload_arrives() {
    let server = Server::start().await;
    let mut header = vec![0x82, 0xff];
    header.extend_from_slice(&(1_u64 << 40).to_be_bytes());
    header.extend_from_slice(&[1, 2, 3, 4]);
    assert_eq!(closes_with(&server, &header).await.0, 1009);
}

/// Former behaviour of axum (issue 2964): when the server stops reading while the client still sends, the close frame
/// is lost.
#[tokio::test]
async fn the_close_frame_arrives_although_the_client_continues_to_send() {
    let server = Server::start().await;
    let mut stream = server.raw_socket("/echo").await;
    let (mut read, mut write) = stream.split();
    let oversized = async {
        let mut header = vec![0x82, 0xff];
        header.extend_from_slice(&200_000_u64.to_be_bytes());
        header.extend_from_slice(&[0; 4]);
        write.write_all(&header).await.unwrap();
        write.write_all(&vec![0; 200_000]).await.unwrap();
    };
    within("sending all bytes", oversized).await;
    let mut answer = Vec::new();
    within("the end", read.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(&answer[..1], [0x88]);
    assert_eq!(u16::from_be_bytes([answer[2], answer[3]]), 1009);
}

#[tokio::test]
async fn the_server_continues_after_random_bytes() {
    let server = Server::start().await;
    // A fixed linear congruential generator: the same bytes in every run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..100 {
        let mut stream = server.raw_socket("/echo").await;
        let bytes: Vec<u8> = (0..256)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state.to_be_bytes()[0]
            })
            .collect();
        // The server may close before it has read everything.
        let _ = stream.write_all(&bytes).await;
    }
    assert_alive(&server).await;
    assert_eq!(server.app.sockets().metrics().handler_panics.get(), 0);
}

/// Sends these bytes to a server with a short request timeout, and returns its bytes until it closes the connection.
async fn response_until_closed(sent: &[u8]) -> String {
    let config = AppOptions {
        header_timeout: std::time::Duration::from_millis(100),
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(sent).await.unwrap();
    let mut answer = String::new();
    within("the server to close the connection", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    answer
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_request_head_is_cut_off() {
    response_until_closed(b"GET /echo HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await;
    assert_eq!(response_until_closed(b"").await, "", "a client that sends nothing");
}

#[tokio::test]
async fn an_idle_http_connection_is_closed() {
    let answer = response_until_closed(b"GET /echo?message=a HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.ends_with("\r\n\r\na"), "{answer}");
}

#[tokio::test]
async fn an_http_connection_that_does_not_read_its_responses_is_cut_off() {
    let config = AppOptions {
        http_lifetime: std::time::Duration::from_millis(200),
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!(
        "GET /echo?message={} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "x".repeat(8000)
    );
    let flood = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
    within("the server to close the connection", flood).await;
}

#[tokio::test]
async fn connections_over_the_limit_get_503_until_another_one_ends() {
    let config = AppOptions {
        max_connections: 2,
        max_address_connections: 3,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut first = server.connect("/echo").await;
    let _second = server.connect("/echo").await;
    let answer = server.get("/echo?message=a", "").await;
    assert_contains(&answer, "HTTP/1.1 503 Service Unavailable");
    assert_contains(&answer, "retry-after: 1");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_contains(&answer, format!("content-length: {}\r\n", body.len()));
    assert_eq!(server.app.sockets().metrics().connections_refused.get(), 1);

    within("closing", first.close(None)).await.unwrap();
    close_frame(&mut first).await;
    within("capacity for a connection", async {
        while !server.get("/echo?message=a", "").await.contains("200 OK") {}
    })
    .await;
}

#[tokio::test]
async fn connections_above_the_rate_get_503() {
    let config = AppOptions {
        max_connection_rate: 3,
        ..AppOptions::default()
    };
    let server = Server::with(config).await;
    let mut open: Vec<Client> = Vec::new();
    let mut refused = 0;
    for _ in 0..20 {
        match server.try_connect("/echo", &[]).await {
            Ok((client, _)) => open.push(client),
            Err(error) => {
                assert_contains(&error.to_string(), "503");
                refused += 1;
            }
        }
    }
    assert!(
        open.len() >= 3 && refused >= 10,
        "{} open, {refused} refused",
        open.len()
    );
}

#[tokio::test]
async fn the_queue_of_pongs_that_are_not_read_is_bounded() {
    let server = Server::start().await;
    let mut stream = server.raw_socket("/echo").await;
    let pings = frame(0x89, &[1; 125]).repeat(100);
    // Enough to fill the system's buffers with pongs many times.
    for _ in 0..2000 {
        within("the server to continue to read", stream.write_all(&pings))
            .await
            .unwrap();
    }
    stream.write_all(&frame(0x88, &1000_u16.to_be_bytes())).await.unwrap();
    let mut last = read_frame(&mut stream).await;
    while last.0 == 0x8a {
        last = read_frame(&mut stream).await;
    }
    assert_eq!(last, (0x88, 1000_u16.to_be_bytes().to_vec()));
}
