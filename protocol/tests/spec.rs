//! Compares `docs/protocol.md` with the wire types: a test fails when one of them is changed without the other.

use std::{collections::BTreeSet, fmt, time::Duration};

use serde::{
    Deserializer, Serialize,
    de::{DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, VariantAccess, Visitor},
};
use serde_json::{Value, json};
use talkback_protocol::{
    ClientKey, ClientLine, Cursor, ServerLine, close,
    codec::{self, Line, TextLimits},
    message::{Author, Limits, Member, Position, code},
    session::{client::ClientOptions, server::ServerOptions},
};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SPEC: &str = include_str!("../../docs/protocol.md");

#[test]
fn the_spec_has_exactly_the_kinds_of_the_wire_types() {
    for (title, kinds) in [
        ("Client to server", ClientLine::KINDS),
        ("Server to client", ServerLine::KINDS),
    ] {
        let specified: Vec<_> = entries(title).map(|entry| entry.name).collect();
        assert_eq!(specified, kinds, "the headings below \"{title}\"");
    }
}

#[test]
fn every_line_has_the_fields_and_the_sample_of_the_spec() {
    for entry in entries("Client to server") {
        check_line::<ClientLine>(&entry);
    }
    for entry in entries("Server to client") {
        check_line::<ServerLine>(&entry);
    }
}

#[test]
fn every_object_has_the_fields_and_the_sample_of_the_spec() {
    let objects: Vec<_> = entries("Objects").collect();
    let names: Vec<_> = objects.iter().map(|object| object.name).collect();
    assert_eq!(names, ["cursor", "position", "author", "member", "limits"]);
    check_object::<Cursor>(&objects[0]);
    check_object::<Position>(&objects[1]);
    check_object::<Author>(&objects[2]);
    check_object::<Member>(&objects[3]);
    check_object::<Limits>(&objects[4]);
}

/// Only numbers within the range of the spec are read, without fraction and exponent.
#[test]
fn every_number_is_read_within_its_range() {
    let ranges = ranges();
    assert_eq!(
        ranges.iter().map(|(name, ..)| *name).collect::<Vec<_>>(),
        ["offset", "seq", "request", "count", "milliseconds", "at"]
    );
    let mut checked = 0;
    for entry in entries("Client to server") {
        checked += check_numbers(&entry, &ranges, reads_line::<ClientLine>);
    }
    for entry in entries("Server to client") {
        checked += check_numbers(&entry, &ranges, reads_line::<ServerLine>);
    }
    for entry in entries("Objects") {
        checked += check_numbers(&entry, &ranges, |sample| match entry.name {
            "cursor" => serde_json::from_str::<Cursor>(sample).is_ok(),
            "position" => serde_json::from_str::<Position>(sample).is_ok(),
            "limits" => serde_json::from_str::<Limits>(sample).is_ok(),
            _ => true,
        });
    }
    assert!(checked >= 38, "{checked} numbers");
}

#[test]
fn only_optional_fields_may_be_absent_or_null() {
    for entry in entries("Client to server") {
        check_presence(&entry, reads_line::<ClientLine>);
    }
    for entry in entries("Server to client") {
        check_presence(&entry, reads_line::<ServerLine>);
    }
}

#[test]
fn a_list_is_not_an_object() {
    for entry in entries("Client to server") {
        check_lists(&entry, reads_line::<ClientLine>);
    }
    for entry in entries("Server to client") {
        check_lists(&entry, reads_line::<ServerLine>);
    }
}

/// The samples are one conversation, so their values must agree.
#[test]
fn the_samples_agree_with_each_other() {
    let sample = |title, name: &str| {
        let entry = entries(title).find(|entry| entry.name == name).unwrap();
        entry.samples()[0][name].clone()
    };
    let (hello, welcome) = (
        sample("Client to server", "hello"),
        sample("Server to client", "welcome"),
    );
    let key: ClientKey = hello["client"].as_str().unwrap().parse().unwrap();
    assert_eq!(welcome["sender"], key.sender().as_str());
    assert_eq!(welcome["user"], hello["name"]);
    let limits = serde_json::to_value(&ServerOptions::default().limits).unwrap();
    assert_eq!(welcome["limits"], limits);

    let (join, joined) = (sample("Client to server", "join"), sample("Server to client", "joined"));
    assert_eq!(
        join["since"], joined["fork"],
        "the newest offset that both epochs share"
    );
    assert_eq!(joined["after"], join["since"]["offset"]);
    assert_eq!(joined["recovered"], true);

    let (publish, message) = (
        sample("Client to server", "publish"),
        sample("Server to client", "message"),
    );
    let ack = sample("Server to client", "ack");
    for field in ["room", "seq", "id", "body"] {
        assert_eq!(publish[field], message[field], "{field}");
    }
    for field in ["room", "seq", "offset", "at"] {
        assert_eq!(ack[field], message[field], "{field}");
    }
    assert_eq!(ack["epoch"], joined["epoch"]);
    assert_eq!(message["from"]["sender"], welcome["sender"]);

    let (history, page) = (
        sample("Client to server", "history"),
        sample("Server to client", "page"),
    );
    assert_eq!((&history["id"], &history["room"]), (&page["id"], &page["room"]));
    let messages = page["messages"].as_array().unwrap();
    assert_eq!(messages.len() as u64, history["limit"].as_u64().unwrap());
    let newest = messages.last().unwrap()["offset"].as_u64().unwrap();
    assert_eq!(newest + 1, history["before"].as_u64().unwrap());
}

#[test]
fn the_spec_has_exactly_the_codes_of_the_wire_types() {
    let specified: Vec<_> = rows("Codes in `nack`, `error` and `left`")
        .map(|row| bare(row[0]))
        .collect();
    assert_eq!(specified, code::ALL);
}

#[test]
fn the_spec_stops_at_exactly_the_final_close_codes() {
    let mut own = BTreeSet::new();
    for row in rows("Close codes") {
        let number: u16 = row[0].parse().unwrap();
        assert_eq!(row[2].starts_with("stops"), close::is_final(number), "{number}");
        if number >= 4000 {
            own.insert(number);
        }
    }
    let known = [
        close::BAD_LINE,
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
fn the_defaults_of_the_spec_are_those_of_the_options() {
    let client = ClientOptions::default();
    let server = ServerOptions::default();
    let limits = &server.limits;
    let expected = [
        ("connect_timeout", seconds(client.connect_timeout)),
        ("hello_timeout", seconds(client.hello_timeout)),
        ("token_timeout", seconds(client.token_timeout)),
        ("heartbeat_grace", seconds(client.heartbeat_grace)),
        ("probe_timeout", seconds(client.probe_timeout)),
        ("answer_timeout", seconds(client.answer_timeout)),
        ("max_retry_after", seconds(client.max_retry_after)),
        ("min_retry_after", seconds(client.min_retry_after)),
        ("rooms", client.rooms.to_string()),
        ("pages", client.pages.to_string()),
        ("acknowledged", client.acknowledged.to_string()),
        ("text.bytes", client.text.bytes.to_string()),
        ("text.lines", client.text.lines.to_string()),
        ("backoff.base", seconds(client.backoff.base)),
        ("backoff.cap", seconds(client.backoff.cap)),
        ("backoff.reset_after", seconds(client.backoff.reset_after)),
        ("outbox.messages", client.outbox.messages.to_string()),
        ("outbox.bytes", client.outbox.bytes.to_string()),
        ("outbox.ttl", seconds(client.outbox.ttl)),
        ("hello_timeout", seconds(server.hello_timeout)),
        ("heartbeat", seconds(server.heartbeat)),
        ("heartbeat_grace", seconds(server.heartbeat_grace)),
        ("received_per_second", server.received_per_second.to_string()),
        ("received_burst", server.received_burst.to_string()),
        ("transmit_bytes", server.transmit_bytes.to_string()),
        ("limits.text_bytes", limits.text_bytes.to_string()),
        ("limits.text_lines", limits.text_lines.to_string()),
        ("limits.body_bytes", limits.body_bytes.to_string()),
        ("limits.body_depth", limits.body_depth.to_string()),
        ("limits.rooms", limits.rooms.to_string()),
        ("limits.in_flight", limits.in_flight.to_string()),
        ("limits.page", limits.page.to_string()),
        ("limits.history", limits.history.to_string()),
        ("limits.lines_per_second", limits.lines_per_second.to_string()),
        ("limits.lines_burst", limits.lines_burst.to_string()),
        ("limits.bytes_per_second", limits.bytes_per_second.to_string()),
        ("limits.bytes_burst", limits.bytes_burst.to_string()),
        ("limits.sent_text_bytes", limits.sent_text_bytes.to_string()),
    ];
    let specified: Vec<_> = rows("Defaults").map(|row| (bare(row[0]), row[1].to_owned())).collect();
    assert_eq!(specified, expected);
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// A `### name` with its table of fields and its samples.
struct Entry {
    name: &'static str,
    text: &'static str,
}

impl Entry {
    fn fields(&self) -> Vec<&'static str> {
        table(self.text).map(|row| row[0]).collect()
    }

    /// The name and the value column of each field.
    fn values(&self) -> Vec<(&'static str, &'static str)> {
        table(self.text).map(|row| (row[0], row[1])).collect()
    }

    /// The JSON samples; there is at least one.
    fn samples(&self) -> Vec<Value> {
        let blocks = self.text.split("```").skip(1);
        let blocks = blocks.filter_map(|block| block.strip_prefix("json\n"));
        let samples: Vec<_> = blocks
            .map(|block| {
                serde_json::from_str(block).unwrap_or_else(|error| panic!("a sample of {}: {error}", self.name))
            })
            .collect();
        assert!(!samples.is_empty(), "{} has no sample", self.name);
        samples
    }

    /// The object with the fields of a sample: the sample itself, or the content of the line.
    fn content<'a>(&self, sample: &'a mut Value) -> &'a mut Value {
        let is_line = sample.as_object().is_some_and(|object| object.contains_key(self.name));
        if is_line { &mut sample[self.name] } else { sample }
    }
}

const ONE_LINE: TextLimits = TextLimits {
    bytes: usize::MAX,
    lines: 1,
};

fn reads_line<L: Line>(sample: &str) -> bool {
    codec::decode::<L>(sample, ONE_LINE).is_ok_and(|lines| lines.len() == 1)
}

/// The name, the minimum and the maximum of each kind of number.
fn ranges() -> Vec<(&'static str, u64, u64)> {
    let values = section("Connection").split_once("### Values").unwrap().1;
    let numbers = table(values).filter(|row| row[1] == "number");
    numbers
        .map(|row| {
            let range = row[2].split(';').next().unwrap().trim();
            let (smallest, largest) = range.split_once(" to ").unwrap();
            let power = largest
                .strip_prefix("2^")
                .and_then(|largest| largest.strip_suffix(" - 1"));
            let bits: u32 = power.unwrap().parse().unwrap();
            (row[0], smallest.parse().unwrap(), (1 << bits) - 1)
        })
        .collect()
}

/// Puts valid and invalid numbers into each number field of the first sample. Returns the number of these fields.
fn check_numbers(entry: &Entry, ranges: &[(&str, u64, u64)], reads: impl Fn(&str) -> bool) -> usize {
    let mut checked = 0;
    for (field, value) in entry.values() {
        let kind = value.split(',').next().unwrap();
        let Some((_, smallest, largest)) = ranges.iter().find(|(name, ..)| *name == kind) else {
            assert_ne!(kind, "number", "{field} of {} needs a range", entry.name);
            continue;
        };
        checked += 1;
        let mut sample = entry.samples().swap_remove(0);
        entry.content(&mut sample)[field] = json!("@");
        let with = |number: &str| sample.to_string().replace("\"@\"", number);
        for number in [smallest, largest] {
            assert!(
                reads(&with(&number.to_string())),
                "{number} as {field} of {}",
                entry.name
            );
        }
        let outside = (i128::from(*smallest) - 1).to_string();
        let above = (largest + 1).to_string();
        for wrong in [&outside, &above, "5.0", "5e0", "\"5\"", "true", "[5]"] {
            assert!(!reads(&with(wrong)), "{wrong} as {field} of {}", entry.name);
        }
    }
    checked
}

/// Checks each sample without each field, and with null as the field.
fn check_presence(entry: &Entry, reads: impl Fn(&str) -> bool) {
    for (field, value) in entry.values() {
        for sample in entry.samples() {
            let optional = value.ends_with(", optional");
            let mut without = sample.clone();
            let fields = entry.content(&mut without).as_object_mut().unwrap();
            if fields.remove(field).is_none() {
                continue;
            }
            assert_eq!(reads(&without.to_string()), optional, "{} without {field}", entry.name);
            let mut null = sample;
            entry.content(&mut null)[field] = Value::Null;
            let taken = optional || value == "body";
            assert_eq!(reads(&null.to_string()), taken, "{} with null as {field}", entry.name);
        }
    }
}

/// Checks that a list with the values of an object is not read as the object.
fn check_lists(entry: &Entry, reads: impl Fn(&str) -> bool) {
    let sample = entry.samples().swap_remove(0);
    let mut list = sample.clone();
    let content = entry.content(&mut list);
    *content = content.as_object().unwrap().values().cloned().collect();
    assert!(!reads(&list.to_string()), "{list}");
    let fields = sample[entry.name].as_object().unwrap();
    let objects = fields
        .iter()
        .filter(|(name, value)| value.is_object() && *name != "body");
    for (name, object) in objects {
        let mut list = sample.clone();
        list[entry.name][name] = object.as_object().unwrap().values().cloned().collect();
        assert!(!reads(&list.to_string()), "{list}");
    }
}

fn check_line<L: Line>(entry: &Entry) {
    let name = entry.name;
    assert_eq!(entry.fields(), fields::<L>(name), "the fields of {name}");
    let mut found = BTreeSet::new();
    let samples = entry.samples();
    for sample in &samples {
        let lines: Vec<L> = codec::decode(&sample.to_string(), ONE_LINE).unwrap();
        assert_eq!(serde_json::to_value(lines).unwrap(), Value::from(vec![sample.clone()]));
        let content = sample
            .get(name)
            .unwrap_or_else(|| panic!("a sample of {name} is of another kind"));
        found.extend(keys(content));
    }
    assert_eq!(found, BTreeSet::from_iter(entry.fields()), "in the samples of {name}");
}

fn check_object<T: Serialize + DeserializeOwned>(entry: &Entry) {
    assert_eq!(entry.fields(), fields::<T>(""), "the fields of {}", entry.name);
    let sample = entry.samples().swap_remove(0);
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

/// The fields that a type reads, in order; for an enum those of one kind. serde passes their names to the format,
/// including optional fields, which samples may lack.
fn fields<T: DeserializeOwned>(kind: &'static str) -> Vec<&'static str> {
    let Err(Fields(fields)) = T::deserialize(Probe { kind }) else {
        panic!("the probe has no values");
    };
    fields
}

/// A format without values. It gives an enum one kind, and a struct an error that has the fields.
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
