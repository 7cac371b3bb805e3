//! A WebSocket endpoint that misbehaves on request, and the HTTP routes by which a page controls it.
//!
//! | route | what it does |
//! |---|---|
//! | WebSocket `/refuse?status=403` | refuses the upgrade with this status |
//! | WebSocket `/close?code=4000&reason=bye&on_message=1` | closes at once, or on the first message; without code the close frame is empty |
//! | WebSocket `/protocol?name=x` | answers this subprotocol, whatever was offered; without name it answers none |
//! | WebSocket `/reset?after=3` | sends messages `0` to `2` and half a frame, and resets the connection when the client sends something |
//! | WebSocket `/silent?id=X` | accepts the TCP connection and does not answer the handshake until it is released |
//! | WebSocket `/no-close` | reads, but never answers, not even a close frame, and keeps the connection |
//! | WebSocket `/record?id=X` | echoes, and stores the client's close |
//! | WebSocket `/stall?id=X` | reads nothing until it is released, then answers each message with its size in bytes |
//! | GET `/record?id=X` | waits for that close: `{"code":4000,"reason":"bye"}`; 1005 for an empty close frame, 1006 for none |
//! | POST `/stall?id=X` | releases that connection |
//! | POST `/silent?id=X` | ends that connection |
//! | GET `/live?path=/silent` | `{"open":2}`: WebSockets open here now, on that path or on all |
//! | POST `/server` | starts a real `talkback-server`: `{"port":1234}` |
//! | POST `/server?port=1234` | kills it with SIGKILL and starts it again on the same port |
//! | DELETE `/server?port=1234` | kills it with SIGKILL |
//! | POST `/proxy?to=1234` | starts a [`Proxy`](crate::Proxy) in front of that port: `{"port":5678}` |
//! | POST `/proxy?port=5678&stall=1` | forwards nothing, in either direction, until `stall=0`; connections stay open |
//! | POST `/proxy?port=5678&refuse=1` | resets new connections, until `refuse=0` |
//! | POST `/proxy?port=5678&delay_ms=50` | delays all bytes by this time |
//! | POST `/proxy?port=5678&cut=1` | resets its connections now |
//! | POST `/proxy?port=5678&cut_after_down=100` | resets them after this number of further bytes from the server, also within a frame; `cut_after_up` counts bytes to the server |
//! | GET `/proxy?port=5678` | `{"open":1,"accepted":2,"up":345,"down":678}`: open and accepted connections, bytes in each direction |
//! | POST `/publishers?port=1234&room=X&count=80&messages=125&bytes=98` | connects so many publishers of a room to the real server at that port; each sends so many messages when they are released |
//! | POST `/publishers?id=X` | releases the publishers of that room |
//! | POST `/address?port=1234&user=ann&body=7` | addresses this JSON to a user at the real server at that port, which has the key [`PUBLISH_KEY`]: a page of another origin cannot |
//! | GET `/cpu` | `{"us":1234.5}`: the CPU time of the main threads of the browser's pages, in microseconds; on Linux only |
//! | GET `/closed-port` | `{"port":1234}`, at which no server listens |
//!
//! It uses TCP directly, because no HTTP server lets a handler answer with half a frame or not at all.

mod control;
mod cpu;
mod publishers;
mod request;
mod sockets;

use control::Control;
use request::Request;
use std::{io, sync::Arc};
use tokio::net::{TcpListener, TcpStream};

/// The `--publish-key` of the servers of browser tests.
pub const PUBLISH_KEY: &str = "a-key-of-browser-tests";

/// Serves the faults on this listener until the future is dropped.
pub async fn serve(listener: TcpListener) {
    let control = Arc::new(Control::default());
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let control = Arc::clone(&control);
            tokio::spawn(async move {
                if let Err(error) = handle(stream, &control).await {
                    eprintln!("fault service: {error}");
                }
            });
        }
    }
}

async fn handle(mut stream: TcpStream, control: &Control) -> io::Result<()> {
    let Some(request) = Request::read(&mut stream).await? else {
        return Ok(());
    };
    if request.is_websocket() {
        sockets::handle(stream, &request, control).await
    } else {
        let answer = control.answer(&request).await;
        answer.write(&mut stream).await
    }
}
