//! `/echo` and `/once`: each message is sent back, byte for byte.

use crate::support::{self, Server, assert_contains, close_frame, frame, next, read_frame, send, text, within};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};

#[tokio::test]
async fn text_and_binary_of_every_length_class_come_back_byte_for_byte() {
    let server = Server::start().await;
    let mut client = server.connect("/echo").await;
    for length in [
        0, 1, 125, 126, 127, 1023, 1024, 1025, 4096, 4097, 16_384, 65_535, 65_536,
    ] {
        let binary: Vec<u8> = (0..=255).cycle().take(length).collect();
        send(&mut client, binary.clone()).await;
        assert!(next(&mut client).await == Message::binary(binary), "{length} bytes");
        let text: String = "aé好🙂"
            .chars()
            .cycle()
            .scan(0, |bytes, c| {
                *bytes += c.len_utf8();
                (*bytes <= length).then_some(c)
            })
            .collect();
        send(&mut client, text.clone()).await;
        assert!(next(&mut client).await == Message::text(text), "{length} bytes of text");
    }
}

#[tokio::test]
async fn a_thousand_messages_sent_without_waiting_come_back_in_order() {
    let server = Server::start().await;
    let mut client = server.connect("/echo").await;
    for number in 0..1000 {
        futures_util::SinkExt::feed(&mut client, Message::text(number.to_string()))
            .await
            .unwrap();
    }
    within("flushing", futures_util::SinkExt::flush(&mut client))
        .await
        .unwrap();
    for number in 0..1000 {
        assert_eq!(text(&mut client).await, number.to_string());
    }
}

#[tokio::test]
async fn fragments_are_joined_and_a_ping_between_them_is_answered() {
    let server = Server::start().await;
    let mut stream = server.raw_socket("/echo").await;
    // The cut is inside the bytes of "好".
    let (start, rest) = "你好".as_bytes().split_at(4);
    stream.write_all(&frame(0x01, start)).await.unwrap();
    stream.write_all(&frame(0x89, b"are you there")).await.unwrap();
    assert_eq!(read_frame(&mut stream).await, (0x8a, b"are you there".to_vec()));
    stream.write_all(&frame(0x00, b"")).await.unwrap();
    stream.write_all(&frame(0x80, rest)).await.unwrap();
    assert_eq!(read_frame(&mut stream).await, (0x81, "你好".as_bytes().to_vec()));
}

#[tokio::test]
async fn a_message_that_comes_byte_by_byte_is_one_message() {
    let server = Server::start().await;
    let mut stream = server.raw_socket("/echo").await;
    stream.set_nodelay(true).unwrap();
    for byte in frame(0x82, &[7; 130]) {
        stream.write_all(&[byte]).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(read_frame(&mut stream).await, (0x82, vec![7; 130]));
}

#[tokio::test]
async fn frames_that_come_in_one_packet_with_the_handshake_are_not_lost() {
    let server = Server::start().await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let mut bytes = support::handshake("/echo").into_bytes();
    bytes.extend(frame(0x81, b"early"));
    bytes.extend(frame(0x81, b"bird"));
    stream.write_all(&bytes).await.unwrap();
    assert_contains(&support::read_head(&mut stream).await, "101 Switching Protocols");
    assert_eq!(read_frame(&mut stream).await, (0x81, b"early".to_vec()));
    assert_eq!(read_frame(&mut stream).await, (0x81, b"bird".to_vec()));
}

#[tokio::test]
async fn a_suffix_is_appended_to_text_and_not_to_binary() {
    let server = Server::start().await;
    let mut client = server.connect("/echo?suffix=%20%E5%A5%BD%21").await;
    send(&mut client, "hello").await;
    assert_eq!(text(&mut client).await, "hello 好!");
    send(&mut client, vec![1, 2]).await;
    assert_eq!(next(&mut client).await, Message::binary(vec![1, 2]));
}

#[tokio::test]
async fn over_http_the_message_comes_back_as_plain_text_and_cannot_become_markup() {
    let server = Server::start().await;
    let answer = server.get("/echo?message=%3Cb%3E%E5%A5%BD%20%26", "").await;
    assert_contains(&answer, "HTTP/1.1 200 OK");
    assert_contains(&answer, "content-type: text/plain; charset=utf-8");
    assert_contains(&answer, "x-content-type-options: nosniff");
    assert!(answer.ends_with("\r\n\r\n<b>好 &"), "{answer}");
    assert_contains(&server.get("/echo?message=", "").await, "content-length: 0");
    assert_contains(
        &server
            .raw("POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await,
        "405",
    );
}

#[tokio::test]
async fn a_page_that_may_connect_may_also_read_the_plain_answer() {
    let server = Server::start().await;
    let origin = "Origin: http://localhost:8080\r\n";
    let answer = server.get("/echo?message=a", origin).await;
    assert_contains(&answer, "access-control-allow-origin: http://localhost:8080");
    let answer = server.get("/echo?message=a", "Origin: https://evil.example\r\n").await;
    assert!(!answer.contains("access-control"), "{answer}");
}

#[tokio::test]
async fn a_clients_close_is_answered_with_its_code_and_reason() {
    let server = Server::start().await;
    for (code, reason) in [(1000, ""), (3000, "再见"), (4999, &"x".repeat(123)[..])] {
        let mut client = server.connect("/echo").await;
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        within("closing", client.close(Some(frame))).await.unwrap();
        assert_eq!(close_frame(&mut client).await, (code, reason.to_owned()));
    }
    let mut client = server.connect("/echo").await;
    within("closing", client.close(None)).await.unwrap();
    assert_eq!(close_frame(&mut client).await, (1005, String::new()));
}

#[tokio::test]
async fn messages_sent_right_before_a_close_are_all_echoed() {
    let server = Server::start().await;
    let mut stream = server.raw_socket("/echo").await;
    let mut bytes = Vec::new();
    for number in 0..50_u8 {
        bytes.extend(frame(0x82, &[number]));
    }
    bytes.extend(frame(0x88, &4000_u16.to_be_bytes()));
    stream.write_all(&bytes).await.unwrap();
    for number in 0..50_u8 {
        assert_eq!(read_frame(&mut stream).await, (0x82, vec![number]));
    }
    assert_eq!(support::read_close(&mut stream).await, (4000, String::new()));
}

#[tokio::test]
async fn once_sends_one_message_back_and_closes_normally() {
    let server = Server::start().await;
    let mut client = server.connect("/once").await;
    send(&mut client, "one").await;
    send(&mut client, "two").await;
    assert_eq!(text(&mut client).await, "one");
    assert_eq!(close_frame(&mut client).await, (1000, String::new()));
}

#[tokio::test]
async fn once_tells_a_plain_request_to_upgrade() {
    let server = Server::start().await;
    let answer = server.get("/once", "").await;
    assert_contains(&answer, "HTTP/1.1 426 Upgrade Required");
    assert_contains(&answer, "upgrade: websocket");
    assert_contains(&answer, "ws://");
}
