//! The kinds of lines: which there are, and how the object of each is read.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{EnumAccess, Error as _, VariantAccess, Visitor},
};
use serde_json::Error;

use super::{
    Ack, Body, ClientLine, Direct, ErrorLine, Find, Forgotten, Found, Hello, History, Join, Joined, Left, Message,
    Nack, Page, Presence, Publish, RoomName, ServerLine, Signal, Welcome, Withdraw,
    fields::{Fields, Index, read_by_fields},
};

struct Room {
    room: RoomName,
}

struct RoomBody {
    room: RoomName,
    body: Body,
}

struct Token {
    token: String,
}

struct Nothing {}

read_by_fields! {
    Room { room: required }
    RoomBody { room: required, body: required }
    Token { token: required }
}

impl Nothing {
    const FIELDS: &[&str] = &[];

    fn take(_: Fields<'_>) -> Result<Self, Error> {
        Ok(Self {})
    }
}

/// The lines of one direction.
pub(crate) trait Kinds: Sized {
    /// The names of the kinds.
    const NAMES: &'static [&'static str];

    /// The fields of each kind.
    const FIELDS: &'static [&'static [&'static str]];

    /// Reads the fields of a kind, given by its index.
    fn take(kind: usize, fields: Fields<'_>) -> Result<Self, Error>;
}

macro_rules! kinds {
    ($lines:ident { $($index:literal $name:literal $type:ident as $pattern:pat => $line:expr;)* }) => {
        impl Kinds for $lines {
            const NAMES: &'static [&'static str] = &[$($name),*];
            const FIELDS: &'static [&'static [&'static str]] = &[$($type::FIELDS),*];

            fn take(kind: usize, fields: Fields<'_>) -> Result<Self, Error> {
                Ok(match kind {
                    $($index => { let $pattern = $type::take(fields)?; $line })*
                    _ => return Err(Error::custom("unknown kind")),
                })
            }
        }

        impl<'de> Deserialize<'de> for $lines {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_enum(stringify!($lines), Self::NAMES, OneLine(PhantomData))
            }
        }
    };
}

kinds! { ClientLine {
    0 "hello" Hello as hello => Self::Hello(hello);
    1 "join" Join as join => Self::Join(join);
    2 "leave" Room as Room { room } => Self::Leave { room };
    3 "publish" Publish as publish => Self::Publish(publish);
    4 "withdraw" Withdraw as withdraw => Self::Withdraw(withdraw);
    5 "signal" RoomBody as RoomBody { room, body } => Self::Signal { room, body };
    6 "history" History as history => Self::History(history);
    7 "find" Find as find => Self::Find(find);
    8 "direct" Direct as direct => Self::Direct(direct);
    9 "auth" Token as Token { token } => Self::Auth { token };
    10 "ping" Nothing as Nothing {} => Self::Ping {};
    11 "pong" Nothing as Nothing {} => Self::Pong {};
}}

kinds! { ServerLine {
    0 "welcome" Welcome as welcome => Self::Welcome(welcome);
    1 "joined" Joined as joined => Self::Joined(joined);
    2 "message" Message as message => Self::Message(message);
    3 "ack" Ack as ack => Self::Ack(ack);
    4 "nack" Nack as nack => Self::Nack(nack);
    5 "forgotten" Forgotten as forgotten => Self::Forgotten(forgotten);
    6 "presence" Presence as presence => Self::Presence(presence);
    7 "signal" Signal as signal => Self::Signal(signal);
    8 "page" Page as page => Self::Page(page);
    9 "found" Found as found => Self::Found(found);
    10 "left" Left as left => Self::Left(left);
    11 "error" ErrorLine as error => Self::Error(error);
    12 "ping" Nothing as Nothing {} => Self::Ping {};
    13 "pong" Nothing as Nothing {} => Self::Pong {};
}}

/// Reads an object whose only field is a kind.
struct OneLine<L>(PhantomData<L>);

impl<'de, L: Kinds> Visitor<'de> for OneLine<L> {
    type Value = L;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a line")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, line: A) -> Result<L, A::Error> {
        let (kind, content) = line.variant_seed(Index(L::NAMES))?;
        let kind = kind.ok_or_else(|| A::Error::custom("unknown kind"))?;
        let fields = content.newtype_variant_seed(Fields::new(L::FIELDS[kind]))?;
        L::take(kind, fields).map_err(A::Error::custom)
    }
}
