//! Every kind of content, sent and received.

use js_sys::{ArrayBuffer, DataView, Float32Array, JsString, Uint8Array, Uint16Array};
use talkback_client::{Binary, BinaryType, Message, Socket, SocketOptions, Text};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::Blob;

use crate::support::{connect, connect_with, echo, next, server};

const MEBIBYTE: usize = 1024 * 1024;

async fn blobs() -> Socket {
    let options = SocketOptions {
        binary_type: BinaryType::Blob,
        ..SocketOptions::default()
    };
    connect_with(&server("/echo"), &options).await
}

fn blob_of(bytes: &[u8]) -> Blob {
    Blob::new_with_u8_array_sequence(&js_sys::Array::of1(&Uint8Array::from(bytes))).unwrap()
}

async fn read(message: Message) -> Vec<u8> {
    let Message::Blob(blob) = message else {
        panic!("{message:?}")
    };
    let buffer = JsFuture::from(blob.array_buffer()).await.unwrap();
    Uint8Array::new(&buffer).to_vec()
}

/// Bytes in which a shifted or swapped byte is detected.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 + n / 251).to_le_bytes()[0]).collect()
}

#[wasm_bindgen_test]
async fn text_is_echoed_unchanged() {
    let mut socket = connect(&server("/echo")).await;
    let mebibyte = "0123456789abcdef".repeat(MEBIBYTE / 16);
    for text in [
        "Hello, World!",
        "",
        " ",
        "a\0b",
        "\u{feff}bom",
        "你好，世界",
        "🧵👩‍👩‍👧‍👦",
        &"好".repeat(100_000),
        &mebibyte,
    ] {
        let back = echo(&mut socket, text).await;
        assert!(back.as_text() == Some(text), "{:.40}", text);
    }
}

#[wasm_bindgen_test]
async fn bytes_are_echoed_unchanged_with_both_binary_types() {
    let mut buffers = connect(&server("/echo")).await;
    let mut blobs = blobs().await;
    for length in [0, 1, 125, 126, 65_535, 65_536, MEBIBYTE] {
        let bytes = pattern(length);
        assert!(
            echo(&mut buffers, bytes.clone()).await.as_binary() == Some(&bytes),
            "{length}"
        );
        assert!(read(echo(&mut blobs, bytes.clone()).await).await == bytes, "{length}");
    }
}

#[wasm_bindgen_test]
async fn blobs_are_sent_and_received() {
    let mut socket = blobs().await;
    for length in [0, 1, MEBIBYTE] {
        let bytes = pattern(length);
        let back = echo(&mut socket, blob_of(&bytes)).await;
        assert!(read(back).await == bytes, "{length}");
    }
}

#[wasm_bindgen_test]
async fn a_blob_keeps_its_place_among_other_messages() {
    let mut socket = connect(&server("/echo")).await;
    socket.send("before").unwrap();
    socket.send(blob_of(b"blob")).unwrap();
    socket.send("after").unwrap();
    assert_eq!(next(&mut socket).await, Message::from("before"));
    assert_eq!(next(&mut socket).await.as_binary(), Some(b"blob".as_slice()));
    assert_eq!(next(&mut socket).await, Message::from("after"));
}

#[wasm_bindgen_test]
async fn the_binary_type_can_change_while_open() {
    let mut socket = connect(&server("/echo")).await;
    assert!(matches!(echo(&mut socket, vec![1]).await, Message::Binary(_)));
    socket.set_binary_type(BinaryType::Blob);
    assert_eq!(socket.binary_type(), BinaryType::Blob);
    assert!(matches!(echo(&mut socket, vec![1]).await, Message::Blob(_)));
    socket.set_binary_type(BinaryType::ArrayBuffer);
    assert!(matches!(echo(&mut socket, vec![1]).await, Message::Binary(_)));
}

#[wasm_bindgen_test]
async fn array_buffers_and_every_view_send_exactly_their_bytes() {
    let mut socket = connect(&server("/echo")).await;
    let buffer: ArrayBuffer = Uint8Array::from(pattern(32).as_slice()).buffer();
    let part = pattern(32)[8..24].to_vec();
    let views: [(&str, Binary); 4] = [
        (
            "Uint8Array",
            Uint8Array::new_with_byte_offset_and_length(&buffer, 8, 16).into(),
        ),
        (
            "Uint16Array",
            Uint16Array::new_with_byte_offset_and_length(&buffer, 8, 8).into(),
        ),
        (
            "Float32Array",
            Float32Array::new_with_byte_offset_and_length(&buffer, 8, 4).into(),
        ),
        ("DataView", DataView::new(&buffer, 8, 16).into()),
    ];
    for (name, view) in views {
        assert_eq!(view, Binary::from(part.as_slice()), "{name} as a slice");
        assert_eq!(
            echo(&mut socket, view).await.as_binary(),
            Some(part.as_slice()),
            "{name}"
        );
    }
    assert_eq!(
        echo(&mut socket, buffer).await.as_binary(),
        Some(pattern(32).as_slice())
    );
}

#[wasm_bindgen_test]
async fn a_lone_surrogate_becomes_the_replacement_character_in_rust_and_on_the_wire() {
    let mut socket = connect(&server("/echo")).await;
    let lone = JsString::from_char_code(&[0x61, 0xd83d, 0x62]);
    assert_eq!(Text::from(lone.clone()), "a\u{fffd}b");
    assert_eq!(echo(&mut socket, lone).await.as_text(), Some("a\u{fffd}b"));
}

#[wasm_bindgen_test]
async fn a_received_text_is_forwarded_as_the_browsers_own_string() {
    let mut socket = connect(&server("/echo")).await;
    let Message::Text(text) = echo(&mut socket, "你好").await else {
        panic!()
    };
    assert_eq!(JsValue::from(text.to_js()), JsValue::from("你好"));
    assert_eq!(echo(&mut socket, text.clone()).await, Message::Text(text));
}
