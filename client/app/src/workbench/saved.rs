//! What the user has saved under a name: connections, in collections, and messages (snippets). Pure; the JSON of it is kept in `localStorage`, and
//! is the file of the export too. docs/saved.md has its format.

use super::{addresses::without_values, json, log_export::push_json_string, message_mode::Mode};

/// The connections and snippets, at most: more than a list is good for.
const MAX_ITEMS: usize = 500;

/// The bytes of all their texts, and of an imported file, at most: of the few megabytes that a browser gives a page.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// The version of the format. A file of another one is refused.
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

    /// No two items have the same.
    fn key(&self) -> (Kind, &str, &str) {
        (self.kind, self.collection(), self.name())
    }

    fn owned_key(&self) -> Key {
        (self.kind, self.collection().to_owned(), self.name().to_owned())
    }
}

/// The kind, the collection and the name of an item.
pub(super) type Key = (Kind, String, String);

/// What is saved, in the user's order: of each kind first what is in no collection, then one collection after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Saved {
    items: Vec<Item>,
}

/// A change, of what may have been changed by another tab meanwhile.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Change {
    pub(super) remove: Vec<Item>,
    pub(super) add: Vec<Item>,
    /// The items in their new order; those that are not in it come after the others of their collection.
    pub(super) order: Vec<Key>,
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
    /// It has another version.
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
            order: self.order(),
            add: items,
        }
    }

    /// What renaming items changes: they keep their places, unless they come into another collection.
    pub(super) fn renaming(&self, items: &[Item], renamed: Vec<Item>) -> Change {
        let mut change = self.saving(renamed);
        change.remove.extend(items.iter().cloned());
        for (old, new) in items.iter().zip(&change.add) {
            change
                .order
                .retain(|key| *key != new.owned_key() || *key == old.owned_key());
            if let Some(key) = change.order.iter_mut().find(|key| **key == old.owned_key()) {
                *key = new.owned_key();
            }
        }
        change
    }

    /// What moving items up or down by one place changes: a single item, also into the collection before or behind it, or all items of a collection.
    /// None at the end of the list.
    pub(super) fn moving(&self, items: &[Item], is_collection: bool, down: bool) -> Option<Change> {
        let first = items.first()?;
        let mut list: Vec<_> = self.of(first.kind).cloned().collect();
        let start = list.iter().position(|item| item == first)?;
        let end = start + items.len();
        let neighbour = if down {
            end
        } else {
            start.checked_sub(1).unwrap_or(usize::MAX)
        };
        let collection = match list.get(neighbour) {
            Some(item) => item.collection().to_owned(),
            // What is first of the list's first collection comes out of it.
            None if !down && !is_collection && !first.collection().is_empty() => String::new(),
            None => return None,
        };
        if is_collection {
            // What is in no collection stays first.
            if collection.is_empty() {
                return None;
            }
            let of_neighbour = |item: &&Item| item.collection() == collection;
            let count = list.iter().filter(of_neighbour).count();
            if down {
                list[start..end + count].rotate_left(items.len());
            } else {
                list[start - count..end].rotate_right(items.len());
            }
        } else if collection == first.collection() {
            list.swap(start, neighbour);
        } else {
            list[start] = self.renamed(first, &collection);
        }
        let mut change = Change {
            order: list.iter().map(Item::owned_key).collect(),
            ..Change::default()
        };
        if !is_collection && !self.items.contains(&list[start]) {
            change.remove.push(first.clone());
            change.add.push(list.swap_remove(start));
        }
        Some(change)
    }

    /// An item in another collection, with a number behind its name where that is taken.
    fn renamed(&self, item: &Item, collection: &str) -> Item {
        let mut new = item.clone().named(collection, item.name());
        let mut number = 2;
        while self.items.iter().any(|other| other.key() == new.key()) {
            new = item.clone().named(collection, &numbered(item.name(), number));
            number += 1;
        }
        new
    }

    fn order(&self) -> Vec<Key> {
        self.items.iter().map(Item::owned_key).collect()
    }

    /// What an import changes: items that are saved already are left out, and those that differ from a saved one of their name get another name.
    pub(super) fn importing(&self, file: Self) -> Change {
        let mut all = self.clone();
        let mut change = Change {
            order: self.order(),
            ..Change::default()
        };
        for item in file.items {
            let mut new = item.clone();
            let mut number = 2;
            while let Some(same) = all.items.iter().find(|other| other.key() == new.key()) {
                if same.fields[URL..] == item.fields[URL..] {
                    break;
                }
                new = item.clone().named(item.collection(), &numbered(item.name(), number));
                number += 1;
            }
            if !all.items.contains(&new) {
                all.items.push(new.clone());
                change.add.push(new);
            }
        }
        change
    }

    /// Applies a change; returns what takes it back, which is empty where nothing has changed.
    ///
    /// # Errors
    /// When there would be too much; nothing is changed then.
    pub(super) fn apply(&mut self, change: &Change) -> Result<Change, Full> {
        let mut changed = self.clone();
        changed
            .items
            .retain(|item| !change.remove.contains(item) && !change.add.iter().any(|new| new.key() == item.key()));
        changed.items.extend(change.add.iter().cloned());
        let mut items = std::mem::take(&mut changed.items);
        for key in &change.order {
            if let Some(index) = items.iter().position(|item| item.owned_key() == *key) {
                changed.insert(items.remove(index));
            }
        }
        changed.insert_all(items);
        let texts = changed.items.iter().flat_map(|item| &item.fields);
        if !change.add.is_empty()
            && (changed.items.len() > MAX_ITEMS || texts.map(String::len).sum::<usize>() > MAX_BYTES)
        {
            return Err(Full);
        }
        if *self == changed {
            return Ok(Change::default());
        }
        let before = std::mem::replace(self, changed);
        let only = |all: &Self, others: &Self| {
            let only = all.items.iter().filter(|item| !others.items.contains(item));
            only.cloned().collect()
        };
        Ok(Change {
            remove: only(self, &before),
            add: only(&before, self),
            order: before.order(),
        })
    }

    fn insert_all(&mut self, items: Vec<Item>) {
        for item in items {
            self.insert(item);
        }
    }

    /// Adds an item behind the others of its kind and collection.
    fn insert(&mut self, item: Item) {
        let like = |other: &Item| other.kind == item.kind && other.collection() == item.collection();
        // A new collection comes last, and what is in none comes first.
        let is_before =
            |other: &Item| other.kind < item.kind || other.kind == item.kind && !item.collection().is_empty();
        let place = match self.items.iter().rposition(like) {
            Some(index) => index + 1,
            None => self.items.iter().take_while(|other| is_before(other)).count(),
        };
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

fn numbered(name: &str, number: usize) -> String {
    [name, " (", &number.to_string(), ")"].concat()
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
        let undo = now.apply(&change).unwrap();
        let urls: Vec<_> = now.items.iter().map(Item::url).collect();
        assert_eq!(urls, ["ws://3", "ws://2"]);
        now.apply(&undo).unwrap();
        assert_eq!(now, before);
        for count in 1..=2 {
            let some = Change {
                remove: before.items[..count].to_vec(),
                ..Change::default()
            };
            let undo = now.apply(&some).unwrap();
            assert_eq!(now.items, before.items[count..]);
            now.apply(&undo).unwrap();
            assert_eq!(now, before);
        }
    }

    /// The names in order, each collection in brackets.
    fn layout(saved: &Saved) -> String {
        let mut text = String::new();
        let mut collection = "";
        for item in &saved.items {
            if item.collection() != collection {
                collection = item.collection();
                text += &[" [", collection, "]"].concat();
            }
            text += &[" ", item.name()].concat();
        }
        text
    }

    #[test]
    fn items_move_by_one_place_and_into_the_collection_before_or_behind_and_back() {
        let items = [("", "a"), ("", "b"), ("A", "c"), ("A", "b"), ("B", "d")];
        let mut now = saved(
            items
                .map(|(collection, name)| connection(collection, name, "ws://h"))
                .to_vec(),
        );
        assert_eq!(layout(&now), " a b [A] c b [B] d");
        for (index, down, then) in [
            (0, true, " b a [A] c b [B] d"),
            (1, false, " a b [A] c b [B] d"),
            (1, true, " a [A] b (2) c b [B] d"),
            (1, false, " a b (2) [A] c b [B] d"),
            (3, true, " a b (2) [A] c [B] b d"),
            (4, false, " a b (2) [A] c [B] d b"),
            (2, false, " a b (2) c [B] d b"),
        ] {
            let before = now.clone();
            let change = now.moving(&[now.items[index].clone()], false, down).unwrap();
            let undo = now.apply(&change).unwrap();
            assert_eq!(layout(&now), then);
            let text = now.to_json(true);
            assert_eq!(Saved::from_json(&text).as_ref(), Ok(&now), "the file has the order");
            let mut undone = now.clone();
            undone.apply(&undo).unwrap();
            assert_eq!(undone, before);
        }
        assert_eq!(now.moving(&now.items[..1], false, false), None);
        assert_eq!(now.moving(&now.items[4..], false, true), None);
        let mut alone = saved(vec![connection("A", "x", "ws://h")]);
        let out = alone.moving(&alone.items, false, false).unwrap();
        alone.apply(&out).unwrap();
        assert_eq!(layout(&alone), " x");
    }

    #[test]
    fn collections_move_behind_each_other_but_not_before_what_is_in_none() {
        let items = [("", "a"), ("A", "b"), ("A", "c"), ("B", "d"), ("C", "e")];
        let mut now = saved(
            items
                .map(|(collection, name)| connection(collection, name, "ws://h"))
                .to_vec(),
        );
        let of = |saved: &Saved, collection: &str| -> Vec<Item> {
            let items = saved.items.iter().filter(|item| item.collection() == collection);
            items.cloned().collect()
        };
        for (collection, down, then) in [
            ("A", true, " a [B] d [A] b c [C] e"),
            ("A", true, " a [B] d [C] e [A] b c"),
            ("C", false, " a [C] e [B] d [A] b c"),
            ("A", false, " a [C] e [A] b c [B] d"),
        ] {
            let change = now.moving(&of(&now, collection), true, down).unwrap();
            now.apply(&change).unwrap();
            assert_eq!(layout(&now), then);
        }
        assert_eq!(now.moving(&of(&now, "C"), true, false), None);
        assert_eq!(now.moving(&of(&now, "B"), true, true), None);
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
        let again = now.importing(file);
        assert_eq!(again.add, [], "a second time there is nothing new");
        assert_eq!(now.apply(&again), Ok(Change::default()), "and nothing to take back");
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
