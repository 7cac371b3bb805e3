//! The kinds as they are deserialised. For a variant with named fields serde's derive would accept a list as well as an
//! object, so here each kind has a struct of its own.

use serde::{Deserialize, Deserializer};

use super::{
    Ack, Body, ClientLine, ErrorLine, Forgotten, Hello, History, Join, Joined, Left, Message, Nack, Page, Presence,
    Publish, RoomName, ServerLine, Signal, Welcome, Withdraw,
    fields::{Fields, read_by_fields},
};

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Client {
    Hello(Hello),
    Join(Join),
    Leave(Room),
    Publish(Publish),
    Withdraw(Withdraw),
    Signal(RoomBody),
    History(History),
    Auth(Token),
    Ping(Nothing),
    Pong(Nothing),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Server {
    Welcome(Welcome),
    Joined(Joined),
    Message(Message),
    Ack(Ack),
    Nack(Nack),
    Forgotten(Forgotten),
    Presence(Presence),
    Signal(Signal),
    Page(Page),
    Left(Left),
    Error(ErrorLine),
    Ping(Nothing),
    Pong(Nothing),
}

pub(super) struct Room {
    room: RoomName,
}

pub(super) struct RoomBody {
    room: RoomName,
    body: Body,
}

pub(super) struct Token {
    token: String,
}

pub(super) struct Nothing {}

read_by_fields! {
    Room { room: required }
    RoomBody { room: required, body: required }
    Token { token: required }
}

impl<'de> Deserialize<'de> for Nothing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fields::read(deserializer, "Nothing", &[]).map(|_| Self {})
    }
}

impl From<Client> for ClientLine {
    fn from(kind: Client) -> Self {
        match kind {
            Client::Hello(hello) => Self::Hello(hello),
            Client::Join(join) => Self::Join(join),
            Client::Leave(Room { room }) => Self::Leave { room },
            Client::Publish(publish) => Self::Publish(publish),
            Client::Withdraw(withdraw) => Self::Withdraw(withdraw),
            Client::Signal(RoomBody { room, body }) => Self::Signal { room, body },
            Client::History(history) => Self::History(history),
            Client::Auth(Token { token }) => Self::Auth { token },
            Client::Ping(Nothing {}) => Self::Ping {},
            Client::Pong(Nothing {}) => Self::Pong {},
        }
    }
}

impl From<Server> for ServerLine {
    fn from(kind: Server) -> Self {
        match kind {
            Server::Welcome(welcome) => Self::Welcome(welcome),
            Server::Joined(joined) => Self::Joined(joined),
            Server::Message(message) => Self::Message(message),
            Server::Ack(ack) => Self::Ack(ack),
            Server::Nack(nack) => Self::Nack(nack),
            Server::Forgotten(forgotten) => Self::Forgotten(forgotten),
            Server::Presence(presence) => Self::Presence(presence),
            Server::Signal(signal) => Self::Signal(signal),
            Server::Page(page) => Self::Page(page),
            Server::Left(left) => Self::Left(left),
            Server::Error(error) => Self::Error(error),
            Server::Ping(Nothing {}) => Self::Ping {},
            Server::Pong(Nothing {}) => Self::Pong {},
        }
    }
}
