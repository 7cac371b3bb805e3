//! `docs/protocol.md` and the wire types say the same: each test fails when one is changed without the other.

use std::{collections::BTreeSet, fmt, time::Duration};

use serde::{
    Deserializer, Serialize,
    de::{DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, VariantAccess, Visitor},
};
use serde_json::Value;
use talkback_protocol::{
    ClientFrame, Cursor, ServerFrame, close,
    codec::{self, Frame, TextLimits},
    message::{Author, Limits, Member, code},
    session::{client::ClientConfig, server::ServerConfig},
};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SPEC: &str = include_str!("../../docs/protocol.md");

#[test]
fn every_kind_stands_in_the_spec_and_no_other() {
    for (title, kinds) in [
        ("Client to server", ClientFrame::KINDS),
        ("Server to client", ServerFrame::KINDS),
    ] {
        let specified: Vec<_> = entries(title).map(|entry| entry.name).collect();
        assert_eq!(specified, kinds, "the headings below \"{title}\"");
    }
}

#[test]
fn every_frame_has_the_fields_and_the_sample_of_the_spec() {
    for entry in entries("Client to server") {
        check_frame::<ClientFrame>(&entry);
    }
    for entry in entries("Server to client") {
        check_frame::<ServerFrame>(&entry);
    }
}

#[test]
fn every_object_has_the_fields_and_the_sample_of_the_spec() {
    let objects: Vec<_> = entries("Objects").collect();
    let names: Vec<_> = objects.iter().map(|object| object.name).collect();
    assert_eq!(names, ["cursor", "author", "member", "limits"]);
    check_object::<Cursor>(&objects[0]);
    check_object::<Author>(&objects[1]);
    check_object::<Member>(&objects[2]);
    check_object::<Limits>(&objects[3]);
}

#[test]
fn every_code_stands_in_the_spec_and_no_other() {
    let specified: Vec<_> = rows("Codes in `nack` and `error`").map(|row| bare(row[0])).collect();
    assert_eq!(specified, code::ALL);
}

#[test]
fn the_spec_stops_at_those_close_codes_that_are_final() {
    let mut own = BTreeSet::new();
    for row in rows("Close codes") {
        let number: u16 = row[0].parse().unwrap();
        assert_eq!(row[2].starts_with("stops"), close::is_final(number), "{number}");
        if number >= 4000 {
            own.insert(number);
        }
    }
    let known = [
        close::BAD_FRAME,
        close::UNAUTHORIZED,
        close::FORBIDDEN,
        close::NO_SUCH_ROOM,
        close::HEARTBEAT_LOST,
        close::TOO_SLOW,
        close::WRONG_VERSION,
        close::TOO_MANY,
    ];
    assert_eq!(own, BTreeSet::from(known));
}

#[test]
fn the_defaults_of_the_spec_are_those_of_the_configuration() {
    let client = ClientConfig::default();
    let server = ServerConfig::default();
    let limits = &server.limits;
    let expected = [
        ("connect_timeout", seconds(client.connect_timeout)),
        ("hello_timeout", seconds(client.hello_timeout)),
        ("token_timeout", seconds(client.token_timeout)),
        ("heartbeat_grace", seconds(client.heartbeat_grace)),
        ("probe_timeout", seconds(client.probe_timeout)),
        ("answer_timeout", seconds(client.answer_timeout)),
        ("max_retry_after", seconds(client.max_retry_after)),
        ("backoff.base", seconds(client.backoff.base)),
        ("backoff.cap", seconds(client.backoff.cap)),
        ("backoff.reset_after", seconds(client.backoff.reset_after)),
        ("outbox.messages", client.outbox.messages.to_string()),
        ("outbox.bytes", client.outbox.bytes.to_string()),
        ("outbox.ttl", seconds(client.outbox.ttl)),
        ("hello_timeout", seconds(server.hello_timeout)),
        ("heartbeat", seconds(server.heartbeat)),
        ("heartbeat_grace", seconds(server.heartbeat_grace)),
        ("frames_per_second", server.frames_per_second.to_string()),
        ("frames_burst", server.frames_burst.to_string()),
        ("limits.frame_bytes", limits.frame_bytes.to_string()),
        ("limits.frame_lines", limits.frame_lines.to_string()),
        ("limits.body_bytes", limits.body_bytes.to_string()),
        ("limits.rooms", limits.rooms.to_string()),
        ("limits.in_flight", limits.in_flight.to_string()),
        ("limits.page", limits.page.to_string()),
    ];
    let specified: Vec<_> = rows("Defaults").map(|row| (bare(row[0]), row[1].to_owned())).collect();
    assert_eq!(specified, expected);
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// A `### name` with its table of fields and its sample.
struct Entry {
    name: &'static str,
    text: &'static str,
}

impl Entry {
    fn fields(&self) -> Vec<&'static str> {
        table(self.text).map(|row| row[0]).collect()
    }

    fn sample(&self) -> Value {
        let mut blocks = self.text.split("```").skip(1);
        let block = blocks.find_map(|block| block.strip_prefix("json\n"));
        let block = block.unwrap_or_else(|| panic!("{} has no sample", self.name));
        serde_json::from_str(block).unwrap_or_else(|error| panic!("the sample of {}: {error}", self.name))
    }
}

fn check_frame<F: Frame>(entry: &Entry) {
    let name = entry.name;
    assert_eq!(entry.fields(), fields::<F>(name), "the fields of {name}");
    let sample = entry.sample();
    let limits = TextLimits {
        bytes: usize::MAX,
        lines: 1,
    };
    let frames: Vec<F> = codec::decode(&sample.to_string(), limits).unwrap();
    assert_eq!(serde_json::to_value(frames).unwrap(), Value::from(vec![sample.clone()]));
    let content = sample
        .get(name)
        .unwrap_or_else(|| panic!("the sample of {name} is of another kind"));
    assert_eq!(
        keys(content),
        BTreeSet::from_iter(entry.fields()),
        "in the sample of {name}"
    );
}

fn check_object<T: Serialize + DeserializeOwned>(entry: &Entry) {
    assert_eq!(entry.fields(), fields::<T>(""), "the fields of {}", entry.name);
    let sample = entry.sample();
    let object: T = serde_json::from_str(&sample.to_string()).unwrap();
    assert_eq!(serde_json::to_value(object).unwrap(), sample);
    assert_eq!(
        keys(&sample),
        BTreeSet::from_iter(entry.fields()),
        "in the sample of {}",
        entry.name
    );
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The text below `## title`.
fn section(title: &str) -> &'static str {
    let mut sections = SPEC.split("\n## ");
    let found = sections.find_map(|section| section.strip_prefix(title)?.strip_prefix('\n'));
    found.unwrap_or_else(|| panic!("docs/protocol.md has no section \"{title}\""))
}

fn entries(title: &str) -> impl Iterator<Item = Entry> {
    section(title).split("\n### ").skip(1).map(|entry| {
        let (name, text) = entry.split_once('\n').unwrap();
        Entry { name: bare(name), text }
    })
}

fn rows(title: &str) -> impl Iterator<Item = Vec<&'static str>> {
    table(section(title))
}

/// The rows of the tables in a text, without their heads.
fn table(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let following = text.lines().skip(1).chain([""]);
    text.lines()
        .zip(following)
        .filter(|(line, next)| line.starts_with("| ") && !next.starts_with("|-"))
        .map(|(line, _)| line.trim_matches('|').split('|').map(str::trim).collect())
}

fn bare(name: &str) -> &str {
    name.trim_matches('`')
}

/// The fields that a type reads, in order; of an enum those of one kind. serde names them to the format it reads from, also the
/// optional ones, which no sample could be trusted to have.
fn fields<T: DeserializeOwned>(kind: &'static str) -> Vec<&'static str> {
    let Err(Fields(fields)) = T::deserialize(Probe { kind }) else {
        panic!("the probe has no values to give");
    };
    fields
}

/// A format without values. It answers the question for an enum with one kind, and that for a struct with an error that has the fields.
struct Probe {
    kind: &'static str,
}

#[derive(Debug)]
struct Fields(Vec<&'static str>);

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Fields {}

impl serde::de::Error for Fields {
    fn custom<T: fmt::Display>(message: T) -> Self {
        panic!("{message}")
    }
}

impl<'de> Deserializer<'de> for Probe {
    type Error = Fields;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fields> {
        panic!("the type is neither an enum nor a struct")
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _kinds: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fields> {
        visitor.visit_enum(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Fields> {
        Err(Fields(fields.to_vec()))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Probe {
    type Error = Fields;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fields> {
        let kind = IntoDeserializer::<Fields>::into_deserializer(self.kind);
        Ok((seed.deserialize(kind)?, self))
    }
}

impl<'de> VariantAccess<'de> for Probe {
    type Error = Fields;

    fn unit_variant(self) -> Result<(), Fields> {
        Err(Fields(Vec::new()))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fields> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, _: V) -> Result<V::Value, Fields> {
        panic!("{} is a tuple", self.kind)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], _: V) -> Result<V::Value, Fields> {
        Err(Fields(fields.to_vec()))
    }
}
