//! The misbehaving WebSockets, one function for each fault.

use super::{
    control::Control,
    request::{Answer, Request},
};
use futures_util::{SinkExt, StreamExt};
use socket2::SockRef;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};

pub(super) async fn handle(mut stream: TcpStream, request: &Request, control: &Control) -> io::Result<()> {
    let _live = control.count(&request.path);
    match request.path.as_str() {
        "/refuse" => {
            let status = request.query("status").parse().unwrap_or(403);
            Answer {
                status,
                body: "refused on request".into(),
            }
            .write(&mut stream)
            .await
        }
        "/silent" => tokio::select! {
            end = read_until_closed(&mut stream) => end,
            () = control.released(request.query("id")) => Ok(()),
        },
        "/protocol" => {
            let name = Some(request.query("name")).filter(|name| !name.is_empty());
            echo(accept(stream, request, name).await?).await;
            Ok(())
        }
        "/close" => close(accept(stream, request, None).await?, request).await,
        "/reset" => reset(stream, request).await,
        "/no-close" => no_close(stream, request).await,
        "/record" => {
            let close = echo(accept(stream, request, None).await?).await;
            control.record(request.query("id"), close);
            Ok(())
        }
        "/stall" => stall(accept(stream, request, None).await?, request, control).await,
        path => {
            Answer {
                status: 404,
                body: format!("no fault {path}"),
            }
            .write(&mut stream)
            .await
        }
    }
}

async fn accept(
    mut stream: TcpStream,
    request: &Request,
    subprotocol: Option<&str>,
) -> io::Result<WebSocketStream<TcpStream>> {
    stream.set_nodelay(true)?;
    stream
        .write_all(request.switching_protocols(subprotocol).as_bytes())
        .await?;
    let config = WebSocketConfig::default();
    Ok(WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await)
}

/// Echoes until the end, and returns the client's close.
async fn echo(mut socket: WebSocketStream<TcpStream>) -> (u16, String) {
    let mut close = (1006, String::new());
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Close(None) => close = (1005, String::new()),
            Message::Close(Some(frame)) => close = (frame.code.into(), frame.reason.to_string()),
            message @ (Message::Text(_) | Message::Binary(_)) => {
                let Ok(()) = socket.send(message).await else { break };
            }
            _ => {}
        }
    }
    close
}

async fn close(mut socket: WebSocketStream<TcpStream>, request: &Request) -> io::Result<()> {
    if !request.query("on_message").is_empty() {
        let _ = socket.next().await;
    }
    let frame = request.query("code").parse::<u16>().ok().map(|code| CloseFrame {
        code: code.into(),
        reason: request.query("reason").to_owned().into(),
    });
    let _ = socket.close(frame).await;
    // The closing handshake is over when the client's close frame has arrived.
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}

async fn reset(mut stream: TcpStream, request: &Request) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(request.switching_protocols(None).as_bytes()).await?;
    let after: usize = request.query("after").parse().unwrap_or(0);
    for number in 0..after {
        let text = number.to_string();
        let length = u8::try_from(text.len()).map_err(io::Error::other)?;
        stream.write_all(&[&[0x81, length], text.as_bytes()].concat()).await?;
    }
    // A text frame that announces 100 bytes and ends after 7.
    stream.write_all(b"\x81\x64partial").await?;
    // A reset discards bytes that the peer has not read yet; a message of the client shows that it has read them.
    stream.read_u8().await?;
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok(())
}

async fn no_close(mut stream: TcpStream, request: &Request) -> io::Result<()> {
    stream.write_all(request.switching_protocols(None).as_bytes()).await?;
    read_until_closed(&mut stream).await
}

async fn stall(mut socket: WebSocketStream<TcpStream>, request: &Request, control: &Control) -> io::Result<()> {
    control.released(request.query("id")).await;
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(_) | Message::Binary(_) = message {
            let size = message.len().to_string();
            if socket.send(Message::text(size)).await.is_err() {
                break;
            }
        }
    }
    Ok(())
}

/// Reads and drops bytes until the peer ends the connection.
async fn read_until_closed(stream: &mut TcpStream) -> io::Result<()> {
    let mut scratch = [0; 4096];
    while stream.read(&mut scratch).await? > 0 {}
    Ok(())
}
