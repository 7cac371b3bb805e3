//! The constructor, the properties, and every failure to connect.

use std::time::Duration;

use futures_util::{FutureExt, future::join};
use gloo_net::http::Method;
use js_sys::Reflect;
use talkback_client::{BinaryType, ConnectError, ReadyState, Socket, SocketOptions};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::AbortController;

use crate::support::{
    Port, ask, connect, connect_with, faults, server, unique, until_connections, until_silence_is_left, with_global,
    within,
};

fn offering(protocols: &[&str]) -> SocketOptions {
    SocketOptions {
        protocols: protocols.iter().map(|&name| name.into()).collect(),
        ..SocketOptions::default()
    }
}

async fn failure(url: &str, options: &SocketOptions) -> ConnectError {
    within("connecting fails", Socket::connect(url, options))
        .await
        .unwrap_err()
}

fn assert_hidden(error: ConnectError) {
    let ConnectError::Closed(event) = error else {
        panic!("{error}")
    };
    assert_eq!((event.code, event.reason.as_str(), event.was_clean), (1006, "", false));
}

/// Ready state never shows CLOSING in several libraries, which keep a copy of it.
#[wasm_bindgen_test]
async fn properties_are_correct_in_every_state() {
    let url = server("/echo");
    let socket = Socket::new(&url, &SocketOptions::default()).unwrap();
    assert_eq!(socket.ready_state(), ReadyState::Connecting);
    assert_eq!(socket.url(), url);
    assert_eq!((socket.protocol(), socket.extensions()), (String::new(), String::new()));
    assert_eq!(socket.binary_type(), BinaryType::ArrayBuffer);
    assert_eq!(socket.buffered_amount(), 0);

    within("it opens", socket.opened()).await.unwrap();
    assert_eq!(socket.ready_state(), ReadyState::Open);

    socket.close();
    assert_eq!(socket.ready_state(), ReadyState::Closing);
    within("it closes", socket.closed()).await;
    assert_eq!(socket.ready_state(), ReadyState::Closed);
    assert_eq!(socket.opened().now_or_never(), Some(Ok(())), "it was open");
}

#[wasm_bindgen_test]
async fn open_is_called_back_once_and_all_waiting_tasks_continue() {
    let socket = Socket::new(&server("/echo"), &SocketOptions::default()).unwrap();
    let opens = std::rc::Rc::new(std::cell::Cell::new(0));
    let _guard = socket.on_open({
        let opens = opens.clone();
        move || opens.set(opens.get() + 1)
    });
    let clone = socket.clone();
    let both = within("both go on", join(socket.opened(), clone.opened())).await;
    assert_eq!(both, (Ok(()), Ok(())));
    assert_eq!(opens.get(), 1);
}

#[wasm_bindgen_test]
async fn an_http_address_is_changed_to_its_websocket_address() {
    let socket = connect(&server("/echo").replace("ws:", "http:")).await;
    assert_eq!(socket.url(), server("/echo"));
}

#[wasm_bindgen_test]
fn a_relative_address_is_resolved_against_the_page() {
    let socket = Socket::new("/some/../room?x=大", &SocketOptions::default()).unwrap();
    let host = Reflect::get(&js_sys::global(), &"origin".into())
        .unwrap()
        .as_string()
        .unwrap();
    assert_eq!(
        socket.url(),
        format!("{}/room?x=%E5%A4%A7", host.replace("http:", "ws:"))
    );
}

#[wasm_bindgen_test]
fn bad_addresses_are_refused_with_a_reason() {
    for url in ["ws://", "ws://[::1", "ws://host:99999/", "ftp://host/", "javascript:0"] {
        match Socket::new(url, &SocketOptions::default()) {
            Err(ConnectError::InvalidUrl { url: given, .. }) => assert_eq!(given, url),
            other => panic!("{url}: {other:?}"),
        }
    }
    for url in ["ws://127.0.0.1/#top", "ws://127.0.0.1/#"] {
        let refused = Socket::new(url, &SocketOptions::default()).unwrap_err();
        assert_eq!(refused, ConnectError::Fragment { url: url.into() });
    }
}

/// Several libraries join the list into one string; the browser throws a SyntaxError then.
#[wasm_bindgen_test]
async fn several_subprotocols_are_offered_and_the_chosen_one_is_known() {
    let socket = connect_with(&faults("/protocol?name=b"), &offering(&["a", "b"])).await;
    assert_eq!(socket.protocol(), "b");
}

#[wasm_bindgen_test]
fn a_repeated_or_malformed_subprotocol_is_refused_by_name() {
    for (names, wrong, repeated) in [(["a", "a"], "a", true), (["a", "b, c"], "b, c", false)] {
        let refused = Socket::new(&server("/echo"), &offering(&names)).unwrap_err();
        assert_eq!(
            refused,
            ConnectError::Subprotocol {
                name: wrong.into(),
                repeated
            }
        );
    }
}

/// Firefox opens such connections, so several libraries continue with a server that chose no offered subprotocol.
#[wasm_bindgen_test]
async fn a_server_that_takes_no_offered_subprotocol_fails_the_connection() {
    for path in ["/protocol?name=x", "/protocol"] {
        let socket = Socket::new(&faults(path), &offering(&["a", "b"])).unwrap();
        let opened = std::rc::Rc::new(std::cell::Cell::new(false));
        let _guard = socket.on_open({
            let opened = opened.clone();
            move || opened.set(true)
        });
        assert_hidden(within("it fails", socket.opened()).await.unwrap_err());
        assert!(!opened.get());
    }
}

#[wasm_bindgen_test]
async fn a_port_where_no_server_listens_fails_with_1006() {
    let Port { port } = ask(Method::GET, "/closed-port").await;
    assert_hidden(failure(&format!("ws://127.0.0.1:{port}/"), &SocketOptions::default()).await);
}

/// The browser hides the status: whatwg/html#2401.
#[wasm_bindgen_test]
async fn a_refused_upgrade_fails_with_1006() {
    for status in [401, 403, 404, 503] {
        assert_hidden(failure(&faults(&format!("/refuse?status={status}")), &SocketOptions::default()).await);
    }
}

#[wasm_bindgen_test]
async fn a_failure_calls_back_with_an_error_and_then_the_close() {
    let socket = Socket::new(&faults("/refuse?status=403"), &SocketOptions::default()).unwrap();
    let events = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let log = |name: &'static str| {
        let events = events.clone();
        move || events.borrow_mut().push(name)
    };
    let (close, error, open) = (log("close"), log("error"), log("open"));
    let _guards = (
        socket.on_close(move |_| close()),
        socket.on_error(error),
        socket.on_open(open),
    );
    within("it fails", socket.closed()).await;
    assert_eq!(*events.borrow(), ["error", "close"]);
}

#[wasm_bindgen_test]
async fn a_handshake_that_takes_too_long_times_out_and_leaves_nothing() {
    let id = unique();
    let options = SocketOptions {
        timeout: Some(Duration::from_millis(50)),
        ..SocketOptions::default()
    };
    assert_eq!(
        failure(&faults(&format!("/silent?id={id}")), &options).await,
        ConnectError::TimedOut
    );
    until_silence_is_left(&id).await;
}

#[wasm_bindgen_test]
async fn an_abort_signal_ends_the_handshake_and_nothing_else() {
    let id = unique();
    let controller = AbortController::new().unwrap();
    let options = SocketOptions {
        abort: Some(controller.signal()),
        ..SocketOptions::default()
    };
    let open = connect_with(&server("/echo"), &options).await;
    let connecting = Socket::new(&faults(&format!("/silent?id={id}")), &options).unwrap();
    until_connections("/silent", 1).await;

    controller.abort();
    let given_up = within("it is given up", connecting.opened()).await;
    assert_eq!(given_up, Err(ConnectError::Aborted));
    assert_eq!(connecting.closed().await.code, 1006);
    until_silence_is_left(&id).await;
    assert_eq!(open.ready_state(), ReadyState::Open);
    assert_eq!(
        failure(&server("/echo"), &options).await,
        ConnectError::Aborted,
        "already aborted"
    );
}

/// hoppscotch#2773: there was no way to cancel connecting.
#[wasm_bindgen_test]
async fn dropping_the_future_ends_the_handshake() {
    let id = unique();
    let (url, options) = (faults(&format!("/silent?id={id}")), SocketOptions::default());
    {
        let connecting = Socket::connect(&url, &options);
        let mut connecting = std::pin::pin!(connecting);
        assert!(connecting.as_mut().now_or_never().is_none());
        until_connections("/silent", 1).await;
    }
    until_silence_is_left(&id).await;
}

#[wasm_bindgen_test]
async fn closing_ends_the_handshake() {
    let id = unique();
    let socket = Socket::new(&faults(&format!("/silent?id={id}")), &SocketOptions::default()).unwrap();
    until_connections("/silent", 1).await;
    socket.close();
    assert_hidden(within("it is given up", socket.opened()).await.unwrap_err());
    until_silence_is_left(&id).await;
}

#[wasm_bindgen_test]
fn an_https_page_may_not_open_ws_except_to_loopback_hosts() {
    let origin = JsValue::from("https://example.org");
    let open = |url: &str| with_global("origin", &origin, || Socket::new(url, &SocketOptions::default()));
    let url = "ws://example.org/";
    assert_eq!(open(url).unwrap_err(), ConnectError::MixedContent { url: url.into() });
    assert_eq!(open(&server("/echo")).unwrap().ready_state(), ReadyState::Connecting);
}

#[wasm_bindgen_test]
fn another_exception_of_the_browser_is_an_error_with_its_text() {
    let throwing = js_sys::Function::new_no_args("throw new DOMException('blocked by policy', 'SecurityError')");
    let refused = with_global("WebSocket", &throwing, || {
        Socket::new("/echo", &SocketOptions::default())
    });
    let reason = "blocked by policy".into();
    assert_eq!(refused.unwrap_err(), ConnectError::Refused { reason });
}

#[wasm_bindgen_test]
fn a_browser_without_websockets_is_an_error() {
    assert!(Socket::is_supported());
    let attempt = || {
        (
            Socket::is_supported(),
            Socket::new("/echo", &SocketOptions::default()).err(),
        )
    };
    let outcome = with_global("WebSocket", &JsValue::UNDEFINED, attempt);
    assert_eq!(outcome, (false, Some(ConnectError::Unsupported)));
}
