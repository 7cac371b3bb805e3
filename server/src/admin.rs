//! `talkback-server admin`: asks a running server, at its address for operators.

use std::{io::Write, net::SocketAddr, time::Duration};

use axum::body::Bytes;
use clap::{Parser, Subcommand};
use hyper::{Method, Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};

use crate::options::ApiKey;

/// The timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(30);
/// That of a deletion, for which the server may have to look at all its messages.
const DELETE_TIMEOUT: Duration = Duration::from_secs(600);

/// Asks a running server, which was started with --operations-listen and --admin-key.
#[derive(Debug, Parser)]
#[command(name = "talkback-server admin")]
pub struct AdminArgs {
    /// The address of the server for operators: what --operations-listen says.
    #[arg(long, env = "TALKBACK_OPERATIONS_LISTEN", value_name = "ADDR")]
    operations: String,
    /// The server's --admin-key. Set it in the environment, because other users of the machine can see flags.
    #[arg(long, env = "TALKBACK_ADMIN_KEY", value_name = "KEY", hide_env_values = true)]
    key: ApiKey,
    /// Print the server's answers as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the rooms that have members on this server, with the number of members.
    Rooms,
    /// List the users in a room.
    Members {
        /// The room.
        room: String,
    },
    /// Publish a message, to all rooms with members on this server or to some, or address it to users and groups.
    Announce {
        /// The message: a text, or with --body any JSON.
        text: String,
        /// The text is JSON, to be published as it is.
        #[arg(long)]
        body: bool,
        /// A room that gets it. Can be repeated.
        #[arg(long = "room", value_name = "ROOM")]
        rooms: Vec<String>,
        /// A user to whom it is addressed, wherever the user is; needs the server's --address-users. Can be repeated.
        #[arg(long = "user", value_name = "NAME")]
        users: Vec<String>,
        /// A group to which it is addressed. Can be repeated.
        #[arg(long = "group", value_name = "NAME")]
        groups: Vec<String>,
        /// The name of the sender; without it `server`.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Close the connections of the members of a room with 4403. Their clients do not reconnect by themselves.
    Close {
        /// The room.
        room: String,
        /// Only those of this user.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// What the clients are told.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Delete all messages of a room, for good.
    DeleteRoom {
        /// The room.
        room: String,
        /// The deletion is meant. Without it nothing is deleted.
        #[arg(long)]
        yes: bool,
    },
    /// Delete what a user said, for good: the messages stay in their places without their texts.
    DeleteMessages {
        /// The name of the user. All messages under this name are deleted, whoever used it.
        user: String,
        /// Only in this room.
        #[arg(long, value_name = "ROOM")]
        room: Option<String>,
        /// The deletion is meant. Without it nothing is deleted.
        #[arg(long)]
        yes: bool,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The server was not reached.
    #[error("cannot reach the server at {address}: {error}. It must run with --operations-listen {address}")]
    Unreachable {
        /// The address for operators.
        address: String,
        /// What failed.
        error: String,
    },
    /// The text of `announce --body` is not JSON.
    #[error("the message is not JSON: {0}")]
    Body(serde_json::Error),
    /// The server refused the request.
    #[error("{message} ({status})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The server's text.
        message: String,
    },
    /// Some rooms did not get an announcement; they were printed.
    #[error("{0} rooms did not get the message")]
    NotAll(usize),
    /// A deletion without `--yes`.
    #[error("this would delete {0} for good, and nothing was deleted: add --yes if it is meant")]
    NotConfirmed(String),
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] std::io::Error),
}

/// Runs a command, and prints its result to `out`.
///
/// # Errors
/// [`AdminError`]
pub async fn run(arguments: &AdminArgs, out: &mut (impl Write + Send)) -> Result<(), AdminError> {
    match &arguments.command {
        Command::Rooms => rooms(arguments, out).await,
        Command::Members { room } => {
            let path = format!("/admin/rooms/{}/members", encoded(room));
            let answer = ask(arguments, Method::GET, &path, None).await?;
            print(arguments, out, &answer, |out| {
                for user in list(&answer, "users") {
                    writeln!(out, "{}", text(user))?;
                }
                Ok(())
            })
        }
        Command::Announce {
            text: message,
            body,
            rooms,
            users,
            groups,
            name,
        } => {
            let body = match body {
                true => serde_json::from_str(message).map_err(AdminError::Body)?,
                false => Value::from(message.as_str()),
            };
            let mut request = json!({"body": body, "name": name});
            for (field, names) in [("rooms", rooms), ("users", users), ("groups", groups)] {
                if !names.is_empty() {
                    request[field] = json!(names);
                }
            }
            let answer = ask(arguments, Method::POST, "/admin/announce", Some(&request)).await?;
            let results = list(&answer, "results");
            let failed = results.iter().filter(|result| result.get("offset").is_none());
            let failed: Vec<_> = failed.collect();
            print(arguments, out, &answer, |out| {
                writeln!(out, "published to {} rooms", results.len() - failed.len())?;
                for result in &failed {
                    writeln!(out, "{}: {}", text(&result["room"]), text(&result["message"]))?;
                }
                Ok(())
            })?;
            match failed.len() {
                0 => Ok(()),
                failed => Err(AdminError::NotAll(failed)),
            }
        }
        Command::Close { room, user, reason } => {
            let path = format!("/admin/rooms/{}/close", encoded(room));
            let request = json!({"user": user, "reason": reason});
            let answer = ask(arguments, Method::POST, &path, Some(&request)).await?;
            print(arguments, out, &answer, |out| {
                writeln!(out, "closed {} connections", answer["closed"])
            })
        }
        Command::DeleteRoom { room, yes } => {
            if !yes {
                let what = format!("all messages of the room {}", printable(room));
                return Err(AdminError::NotConfirmed(what));
            }
            let path = format!("/admin/rooms/{}", encoded(room));
            delete(arguments, out, &path).await
        }
        Command::DeleteMessages { user, room, yes } => {
            if !yes {
                let place = room.as_deref().map_or_else(
                    || "in all rooms".to_owned(),
                    |room| format!("in the room {}", printable(room)),
                );
                let what = format!("what {} said {place}", printable(user));
                return Err(AdminError::NotConfirmed(what));
            }
            let mut path = format!("/admin/users/{}/messages", encoded(user));
            if let Some(room) = room {
                path.push_str(&format!("?room={}", encoded(room)));
            }
            delete(arguments, out, &path).await
        }
    }
}

/// Asks for a deletion, and prints how many messages it deleted.
async fn delete(arguments: &AdminArgs, out: &mut (impl Write + Send), path: &str) -> Result<(), AdminError> {
    let answer = ask(arguments, Method::DELETE, path, None).await?;
    print(arguments, out, &answer, |out| {
        writeln!(out, "deleted {} messages", answer["messages"])
    })
}

/// Lists all rooms, a page at a time.
async fn rooms(arguments: &AdminArgs, out: &mut (impl Write + Send)) -> Result<(), AdminError> {
    let mut after = String::new();
    loop {
        let path = format!("/admin/rooms?after={}", encoded(&after));
        let answer = ask(arguments, Method::GET, &path, None).await?;
        print(arguments, out, &answer, |out| {
            for room in list(&answer, "rooms") {
                writeln!(out, "{}\t{}", text(&room["room"]), room["members"])?;
            }
            Ok(())
        })?;
        match list(&answer, "rooms").last().and_then(|room| room["room"].as_str()) {
            Some(last) if answer["more"] == true => after = last.to_owned(),
            _ => return Ok(()),
        }
    }
}

fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map_or(&[], Vec::as_slice)
}

/// A text without characters that a terminal would act on.
fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(shown).collect()
}

fn text(value: &Value) -> String {
    printable(value.as_str().unwrap_or_default())
}

fn print<W: Write>(
    arguments: &AdminArgs,
    out: &mut W,
    answer: &Value,
    plain: impl FnOnce(&mut W) -> std::io::Result<()>,
) -> Result<(), AdminError> {
    if arguments.json {
        writeln!(out, "{answer}")?;
    } else {
        plain(out)?;
    }
    Ok(())
}

/// A text as a part of a URL (RFC 3986, section 2.1).
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

async fn ask(arguments: &AdminArgs, method: Method, path: &str, body: Option<&Value>) -> Result<Value, AdminError> {
    let address = &arguments.operations;
    let unreachable = |error: String| AdminError::Unreachable {
        address: address.clone(),
        error,
    };
    let most = if method == Method::DELETE {
        DELETE_TIMEOUT
    } else {
        TIMEOUT
    };
    let asked = timeout(most, request(arguments, method, path, body)).await;
    let asked = asked.unwrap_or_else(|_| Err(format!("no answer within {most:?}").into()));
    let (status, bytes) = asked.map_err(|error| unreachable(error.to_string()))?;
    let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if status == 200 {
        return Ok(answer);
    }
    Err(AdminError::Refused {
        status,
        message: match answer["message"].as_str() {
            Some(message) => printable(message),
            None => printable(String::from_utf8_lossy(&bytes).trim()),
        },
    })
}

async fn request(
    arguments: &AdminArgs,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(u16, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(&arguments.operations).await?;
    let peer: SocketAddr = stream.peer_addr()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, peer.to_string())
        .header(header::AUTHORIZATION, arguments.key.bearer())
        .header(header::CONTENT_TYPE, "application/json")
        .body(axum::body::Body::from(body.map(Value::to_string).unwrap_or_default()))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let bytes = axum::body::to_bytes(axum::body::Body::new(answer.into_body()), usize::MAX).await?;
    Ok((status, bytes))
}
