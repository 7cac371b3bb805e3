//! The lower limit of the cost: plain TCP on one epoll loop, a read and a write for the bytes that have arrived, no
//! HTTP, no frames. `--mode echo` writes them back; `--mode fan-out` writes them to every connection.

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsFd,
};

use anyhow::{Result, bail};
use clap::Parser;
use rustix::event::epoll;
use talkback_bench::reference::ReferenceArgs;

const LISTENER: u64 = u64::MAX;

fn main() -> Result<()> {
    let arguments = ReferenceArgs::parse();
    let fan_out = match arguments.mode.as_deref() {
        Some("echo") => false,
        Some("fan-out") => true,
        _ => bail!("--mode is `echo` or `fan-out`"),
    };
    serve(&arguments.bind()?, fan_out)
}

fn serve(listener: &TcpListener, fan_out: bool) -> Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    watch(&epoll, listener, LISTENER)?;
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    let mut events = [epoll::Event {
        flags: epoll::EventFlags::empty(),
        data: epoll::EventData::new_u64(0),
    }; 1024];
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let ready = epoll::wait(&epoll, &mut events, None)?;
        for event in &events[..ready] {
            let key = event.data.u64();
            if key == LISTENER {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                watch(&epoll, &stream, streams.len() as u64)?;
                streams.push(Some(stream));
                continue;
            }
            let from = usize::try_from(key)?;
            let Some(stream) = &mut streams[from] else { continue };
            match stream.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => streams[from] = None,
                Ok(length) => {
                    let to = if fan_out { 0..streams.len() } else { from..from + 1 };
                    for stream in &mut streams[to] {
                        // All bytes in flight fit into the system's buffers, so a failed write means that the client
                        // has left.
                        if stream
                            .as_mut()
                            .is_some_and(|stream| stream.write_all(&buffer[..length]).is_err())
                        {
                            *stream = None;
                        }
                    }
                }
            }
        }
    }
}

fn watch(epoll: impl AsFd, source: impl AsFd, key: u64) -> Result<()> {
    Ok(epoll::add(
        epoll,
        source,
        epoll::EventData::new_u64(key),
        epoll::EventFlags::IN,
    )?)
}
