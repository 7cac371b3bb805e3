//! What the user has saved under a name: connections, in collections, and messages (snippets). Pure; the JSON of it is kept in `localStorage`, and
//! is the file of the export too. docs/browser.md has its format.

use super::{addresses::without_values, json, log_export::push_json_string, message_mode::Mode};

/// The connections and snippets, at most: more than a list is good for.
const MAX_ITEMS: usize = 500;

/// The bytes of all their texts, and of an imported file, at most: of the few megabytes that a browser gives a page.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// The version of the format. A file of a higher one is refused.
const VERSION: &str = "1";

/// The first field of a file, by which it is told from other JSON.
const FORMAT: (&str, &str) = ("talkback", "saved");

/// The names of an item's fields in JSON. The drafts have the names of their modes.
const FIELDS: [&str; 9] = [
    "collection",
    "name",
    "url",
    "subprotocols",
    "mode",
    Mode::ALL[0].name(),
    Mode::ALL[1].name(),
    Mode::ALL[2].name(),
    Mode::ALL[3].name(),
];
const COLLECTION: usize = 0;
const NAME: usize = 1;
const URL: usize = 2;
const SUBPROTOCOLS: usize = 3;
const MODE: usize = 4;
const DRAFTS: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Connection,
    Snippet,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Connection, Self::Snippet];

    /// The name of the list in JSON.
    pub(super) fn list(self) -> &'static str {
        match self {
            Self::Connection => "connections",
            Self::Snippet => "snippets",
        }
    }
}

/// A connection with its drafts, or a snippet, which has one draft and no address.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(super) kind: Kind,
    /// In the order of [`FIELDS`].
    fields: [String; FIELDS.len()],
}

impl Item {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            fields: Default::default(),
        }
    }

    pub(super) fn collection(&self) -> &str {
        &self.fields[COLLECTION]
    }

    pub(super) fn name(&self) -> &str {
        &self.fields[NAME]
    }

    pub(super) fn url(&self) -> &str {
        &self.fields[URL]
    }

    pub(super) fn subprotocols(&self) -> &str {
        &self.fields[SUBPROTOCOLS]
    }

    /// Whether it says how the message is written, and has drafts.
    pub(super) fn has_mode(&self) -> bool {
        !self.fields[MODE].is_empty()
    }

    pub(super) fn mode(&self) -> Mode {
        Mode::from_name(&self.fields[MODE])
    }

    /// What is written in a mode; empty for a file.
    pub(super) fn draft(&self, mode: Mode) -> &str {
        self.fields.get(DRAFTS + mode as usize).map_or("", String::as_str)
    }

    pub(super) fn named(mut self, collection: &str, name: &str) -> Self {
        self.fields[COLLECTION] = collection.trim().to_owned();
        self.fields[NAME] = name.trim().to_owned();
        self
    }

    pub(super) fn with_address(mut self, url: &str, subprotocols: &str) -> Self {
        self.fields[URL] = url.to_owned();
        self.fields[SUBPROTOCOLS] = subprotocols.to_owned();
        self
    }

    pub(super) fn with_mode(mut self, mode: Mode) -> Self {
        self.fields[MODE] = mode.name().to_owned();
        self
    }

    pub(super) fn with_draft(mut self, mode: Mode, text: &str) -> Self {
        if let Some(draft) = self.fields.get_mut(DRAFTS + mode as usize) {
            *draft = text.to_owned();
        }
        self
    }

    /// By which items are ordered; no two have the same.
    fn key(&self) -> (Kind, &str, &str) {
        (self.kind, self.collection(), self.name())
    }
}

/// What is saved, in the order of kinds, collections and names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Saved {
    items: Vec<Item>,
}

/// A change that can be undone.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Change {
    pub(super) remove: Vec<Item>,
    pub(super) add: Vec<Item>,
}

impl Change {
    pub(super) fn undo(self) -> Self {
        Self {
            remove: self.add,
            add: self.remove,
        }
    }
}

/// There would be more than [`MAX_ITEMS`] or [`MAX_BYTES`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Why a file is not imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImportProblem {
    /// The browser cannot read it.
    Unreadable,
    /// It has so many bytes.
    TooLarge(u64),
    /// Where it is no JSON, from 1.
    NotJson { line: usize, column: usize },
    /// It has other JSON.
    Foreign,
    /// It has a higher version.
    Newer,
    /// The item with this number, from 1, of a list has no text in a field.
    Missing {
        list: &'static str,
        number: usize,
        field: &'static str,
    },
}

impl Saved {
    pub(super) fn of(&self, kind: Kind) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(move |item| item.kind == kind)
    }

    /// What saving an item changes: it takes the place of the one with the same name in the same collection.
    pub(super) fn saving(&self, items: Vec<Item>) -> Change {
        let replaced = self
            .items
            .iter()
            .filter(|old| items.iter().any(|new| new.key() == old.key()));
        Change {
            remove: replaced.cloned().collect(),
            add: items,
        }
    }

    /// What an import changes: items that are saved already are left out, and those that differ from a saved one of their name get another name.
    pub(super) fn importing(&self, file: Self) -> Change {
        let mut all = self.clone();
        let mut change = Change::default();
        for item in file.items {
            let mut new = item.clone();
            let mut number = 2;
            while let Some(same) = all.items.iter().find(|other| other.key() == new.key()) {
                if same.fields[URL..] == item.fields[URL..] {
                    break;
                }
                let name = [item.name(), " (", &number.to_string(), ")"].concat();
                new = item.clone().named(item.collection(), &name);
                number += 1;
            }
            if !all.items.contains(&new) {
                all.insert(new.clone());
                change.add.push(new);
            }
        }
        change
    }

    /// Applies a change.
    ///
    /// # Errors
    /// When there would be too much; nothing is changed then.
    pub(super) fn apply(&mut self, change: &Change) -> Result<(), Full> {
        let mut changed = self.clone();
        changed.items.retain(|item| !change.remove.contains(item));
        for item in &change.add {
            changed.items.retain(|other| other.key() != item.key());
            changed.insert(item.clone());
        }
        let texts = changed.items.iter().flat_map(|item| &item.fields);
        if !change.add.is_empty()
            && (changed.items.len() > MAX_ITEMS || texts.map(String::len).sum::<usize>() > MAX_BYTES)
        {
            return Err(Full);
        }
        *self = changed;
        Ok(())
    }

    fn insert(&mut self, item: Item) {
        let place = self.items.partition_point(|other| other.key() < item.key());
        self.items.insert(place, item);
    }

    /// The JSON, in which addresses have user names, passwords and values of the query on request only.
    pub(super) fn to_json(&self, with_secrets: bool) -> String {
        let mut text = ["{\"", FORMAT.0, "\":\"", FORMAT.1, "\",\"version\":", VERSION].concat();
        for kind in Kind::ALL {
            text += ",\n\"";
            text += kind.list();
            text += "\":[";
            for (index, item) in self.of(kind).enumerate() {
                text += if index == 0 { "\n{" } else { ",\n{" };
                let filled = FIELDS.iter().zip(&item.fields).filter(|(_, value)| !value.is_empty());
                for (index, (field, value)) in filled.enumerate() {
                    text += if index == 0 { "" } else { "," };
                    push_json_string(&mut text, field);
                    text.push(':');
                    if *field == FIELDS[URL] && !with_secrets {
                        push_json_string(&mut text, &without_values(value));
                    } else {
                        push_json_string(&mut text, value);
                    }
                }
                text.push('}');
            }
            text.push(']');
        }
        text += "}\n";
        text
    }

    /// Reads [`Saved::to_json`]. Other fields are left out; of several items with one name, the last counts.
    ///
    /// # Errors
    /// When it is anything else.
    pub(super) fn from_json(text: &str) -> Result<Self, ImportProblem> {
        let mut reader = Reader::default();
        if let Err(at) = json::visit(text, &mut |part| reader.read(text, part)) {
            let (line, column) = json::line_and_column(text, at);
            return Err(ImportProblem::NotJson { line, column });
        }
        if !reader.is_ours {
            return Err(ImportProblem::Foreign);
        }
        if reader.is_newer {
            return Err(ImportProblem::Newer);
        }
        let mut saved = Self::default();
        for kind in Kind::ALL {
            let needed: &[usize] = match kind {
                Kind::Connection => &[NAME, URL],
                Kind::Snippet => &[NAME],
            };
            for (index, item) in reader.items.iter().filter(|item| item.kind == kind).enumerate() {
                if let Some(&field) = needed.iter().find(|&&field| item.fields[field].trim().is_empty()) {
                    return Err(ImportProblem::Missing {
                        list: kind.list(),
                        number: index + 1,
                        field: FIELDS[field],
                    });
                }
                saved.items.retain(|other| other.key() != item.key());
                saved.insert(item.clone());
            }
        }
        Ok(saved)
    }
}

/// How many containers are open in an item: the file, a list, and the item.
const ITEM_DEPTH: usize = 3;

/// Reads the items of a file, part by part.
#[derive(Default)]
struct Reader {
    /// How many containers are open.
    depth: usize,
    /// The last key of the file, and of the item.
    list: String,
    field: String,
    /// The item is one of a known list.
    in_item: bool,
    items: Vec<Item>,
    is_ours: bool,
    is_newer: bool,
}

impl Reader {
    fn read(&mut self, text: &str, part: json::Part) -> bool {
        match part {
            json::Part::Open(_) => {
                self.depth += 1;
                let kind = Kind::ALL.into_iter().find(|kind| kind.list() == self.list);
                if self.depth == ITEM_DEPTH {
                    self.in_item = kind.is_some();
                    self.items.extend(kind.map(Item::new));
                }
            }
            json::Part::Close => self.depth -= 1,
            json::Part::Key(range) => match self.depth {
                1 => self.list = json::string(&text[range]),
                ITEM_DEPTH => self.field = json::string(&text[range]),
                _ => {}
            },
            json::Part::Scalar(scalar) => {
                let value = &text[scalar.range];
                match self.depth {
                    1 if self.list == FORMAT.0 => self.is_ours = json::string(value) == FORMAT.1,
                    1 if self.list == "version" => self.is_newer = value != VERSION,
                    ITEM_DEPTH if self.in_item && value.starts_with('"') => {
                        let field = FIELDS.iter().position(|name| *name == self.field);
                        if let (Some(field), Some(item)) = (field, self.items.last_mut()) {
                            item.fields[field] = json::string(value);
                        }
                    }
                    _ => {}
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(collection: &str, name: &str, url: &str) -> Item {
        Item::new(Kind::Connection)
            .named(collection, name)
            .with_address(url, "a, b")
            .with_mode(Mode::Json)
            .with_draft(Mode::Json, "{\"a\": \"\\u00e9\"}")
    }

    fn snippet(name: &str, text: &str) -> Item {
        Item::new(Kind::Snippet)
            .named("", name)
            .with_mode(Mode::Text)
            .with_draft(Mode::Text, text)
    }

    fn saved(items: Vec<Item>) -> Saved {
        let mut saved = Saved::default();
        saved.apply(&saved.saving(items)).unwrap();
        saved
    }

    fn names(saved: &Saved) -> Vec<&str> {
        saved.items.iter().map(Item::name).collect()
    }

    #[test]
    fn the_file_has_everything_that_was_saved_in_the_documented_form() {
        let saved = saved(vec![
            snippet("ping", "a \"quoted\"\nline 好"),
            connection("Staging", "Orders", "ws://ann:pass@h/?token=1&x"),
            connection("", "Local", "ws://h/"),
        ]);
        assert_eq!(names(&saved), ["Local", "Orders", "ping"]);
        let text = saved.to_json(true);
        assert_eq!(Saved::from_json(&text).as_ref(), Ok(&saved));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&json["talkback"], &json["version"]), (&"saved".into(), &1.into()));
        assert_eq!(
            json["connections"][1],
            serde_json::json!({
                "collection": "Staging", "name": "Orders", "url": "ws://ann:pass@h/?token=1&x",
                "subprotocols": "a, b", "mode": "json", "json": "{\"a\": \"\\u00e9\"}"
            })
        );
        assert_eq!(json["snippets"][0]["message"], "a \"quoted\"\nline 好");
        assert_eq!(Saved::from_json(&Saved::default().to_json(false)), Ok(Saved::default()));
    }

    #[test]
    fn a_file_has_the_secrets_of_addresses_on_request_only() {
        let text = saved(vec![connection("", "x", "wss://ann:pass@h/p?token=abc&room=a&plain")]).to_json(false);
        assert!(text.contains("\"wss://h/p?token=&room=&\""), "{text}");
    }

    #[test]
    fn a_file_that_is_no_export_is_refused_with_what_is_wrong() {
        let missing = |list, number, field| ImportProblem::Missing { list, number, field };
        for (text, problem) in [
            ("", ImportProblem::NotJson { line: 1, column: 1 }),
            ("{\"talkback\":\n1,}", ImportProblem::NotJson { line: 2, column: 3 }),
            ("[]", ImportProblem::Foreign),
            ("null", ImportProblem::Foreign),
            ("{\"talkback\":\"log\"}", ImportProblem::Foreign),
            ("{\"talkback\":\"saved\",\"version\":2}", ImportProblem::Newer),
            (
                "{\"talkback\":\"saved\",\"connections\":[{\"name\":\"a\",\"url\":\"b\"},{\"name\":\"a\",\"url\":1}]}",
                missing("connections", 2, "url"),
            ),
            (
                "{\"talkback\":\"saved\",\"snippets\":[{\"message\":\"a\"}]}",
                missing("snippets", 1, "name"),
            ),
        ] {
            assert_eq!(Saved::from_json(text), Err(problem), "{text}");
        }
    }

    #[test]
    fn fields_and_lists_of_other_versions_are_left_out() {
        let text = "{\"talkback\":\"saved\",\"connections\":[{\"name\":\"a\",\"x\":{\"name\":\"no\"},\
                    \"url\":\"ws://h\",\"mode\":\"?\"}],\"more\":[{\"name\":\"no\"}]}";
        let saved = Saved::from_json(text).unwrap();
        assert_eq!(names(&saved), ["a"]);
        assert_eq!((saved.items[0].url(), saved.items[0].mode()), ("ws://h", Mode::Text));
    }

    #[test]
    fn an_item_takes_the_place_of_the_one_of_its_name_and_every_change_can_be_undone() {
        let mut now = saved(vec![connection("A", "x", "ws://1"), connection("B", "x", "ws://2")]);
        let before = now.clone();
        let change = now.saving(vec![connection("A", " x ", "ws://3")]);
        now.apply(&change).unwrap();
        let urls: Vec<_> = now.items.iter().map(Item::url).collect();
        assert_eq!(urls, ["ws://3", "ws://2"]);
        now.apply(&change.undo()).unwrap();
        assert_eq!(now, before);
        let all = Change {
            remove: before.items.clone(),
            add: Vec::new(),
        };
        now.apply(&all).unwrap();
        assert_eq!(now, Saved::default());
        now.apply(&all.undo()).unwrap();
        assert_eq!(now, before);
    }

    #[test]
    fn an_import_changes_nothing_that_is_there() {
        let mut now = saved(vec![connection("A", "x", "ws://1"), snippet("s", "1")]);
        let file = saved(vec![
            connection("A", "x", "ws://2"),
            connection("A", "y", "ws://3"),
            snippet("s", "1"),
        ]);
        let change = now.importing(file.clone());
        assert_eq!((change.remove.len(), change.add.len()), (0, 2));
        now.apply(&change).unwrap();
        assert_eq!(names(&now), ["x", "x (2)", "y", "s"]);
        assert_eq!(now.importing(file).add, [], "a second time there is nothing new");
    }

    #[test]
    fn what_is_saved_is_bounded_in_number_and_bytes() {
        let mut now = saved((0..MAX_ITEMS).map(|number| snippet(&number.to_string(), "")).collect());
        let full = now.clone();
        assert_eq!(now.apply(&now.saving(vec![snippet("one more", "")])), Err(Full));
        assert_eq!(now, full);
        now.apply(&now.saving(vec![snippet("1", "another text")])).unwrap();
        assert_eq!(
            now.apply(&now.saving(vec![snippet("1", &"x".repeat(MAX_BYTES))])),
            Err(Full)
        );
    }
}
