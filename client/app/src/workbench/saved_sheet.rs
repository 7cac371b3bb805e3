//! The sheets with what is saved: connections, opened from the bar, and snippets, opened from the composer. The same form saves and renames, the
//! same list opens, moves, renames and deletes.

use web_sys::{Element, Event, HtmlInputElement, InputEvent, MouseEvent, SubmitEvent};
use yew::{Callback, Html, TargetCast, html};

use super::{
    addresses::masked,
    icon_button::IconButton,
    saved::{Change, Item, Kind, Saved},
};
use crate::{
    form::text_of,
    format,
    i18n::{Language, Sentence, Text},
};

/// The bytes of a text that the list shows, at most: more than one line.
const PREVIEW_BYTES: usize = 200;

/// The characters of a name, at most: more than one line of the list.
const MAX_NAME: usize = 80;

/// The `id` of the button that moved something last, which is focused again where it is now.
pub(super) const MOVED_ID: &str = "moved";

/// What is typed into a sheet, and what it says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SavedSheet {
    /// It is open: while it is not, its list is not drawn.
    pub(super) is_open: bool,
    name: String,
    collection: String,
    /// What the form renames: an item, or all items of a collection; nothing while it saves.
    renamed: Vec<Item>,
    is_collection: bool,
    /// The export has the secrets of addresses.
    pub(super) with_secrets: bool,
    /// What was done or went wrong last.
    notice: Option<Sentence>,
    has_failed: bool,
    /// What takes the last change back.
    undo: Option<Change>,
    /// What was moved last, and whether down. Of a collection, its first item.
    moved: Option<(Item, bool, bool)>,
}

/// What the user does in a sheet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SheetMove {
    Toggled(bool),
    Name(String),
    Collection(String),
    /// Save or rename.
    Submit,
    Open(Item),
    /// A text that was sent is to be taken back.
    Take(String),
    Rename {
        items: Vec<Item>,
        is_collection: bool,
    },
    Delete(Vec<Item>),
    /// By one place.
    Move {
        items: Vec<Item>,
        is_collection: bool,
        down: bool,
    },
    Undo,
    Secrets(bool),
    Export,
    Import(web_sys::File),
    /// The text of the file; none if the browser cannot read it.
    Imported(Result<String, super::saved::ImportProblem>),
}

impl SavedSheet {
    /// The change that the form asks for, with an item for what is to be saved.
    pub(super) fn submitted(&self, saved: &Saved, new: Item) -> Result<Change, Sentence> {
        let name = self.name.trim();
        if name.is_empty() {
            return Err(Text::NoName.into());
        }
        if self.renamed.is_empty() {
            return Ok(saved.saving(vec![new.named(&self.collection, name)]));
        }
        let renamed = self.renamed.iter().cloned().map(|item| {
            if self.is_collection {
                let item_name = item.name().to_owned();
                item.named(name, &item_name)
            } else {
                item.named(&self.collection, name)
            }
        });
        Ok(saved.renaming(&self.renamed, renamed.collect()))
    }

    pub(super) fn type_name(&mut self, name: String) {
        self.name = name;
        self.notice = None;
    }

    pub(super) fn type_collection(&mut self, collection: String) {
        self.collection = collection;
        self.notice = None;
    }

    /// Begins to rename an item or a collection.
    pub(super) fn rename(&mut self, items: Vec<Item>, is_collection: bool) {
        if let Some(first) = items.first() {
            self.collection = first.collection().to_owned();
            self.name = if is_collection {
                first.collection()
            } else {
                first.name()
            }
            .to_owned();
        }
        (self.renamed, self.is_collection) = (items, is_collection);
        self.notice = None;
    }

    /// An item was opened: the form saves it again.
    pub(super) fn opened(&mut self, item: &Item) {
        self.rename(vec![item.clone()], false);
        self.renamed.clear();
    }

    /// Where something is that was moved; nothing else is marked then.
    pub(super) fn moved(&mut self, moved: Option<(Item, bool, bool)>) {
        self.moved = moved;
    }

    /// A change was made, which another one takes back, or is refused.
    pub(super) fn done(&mut self, outcome: Result<(Option<Sentence>, Change), Sentence>) {
        self.has_failed = outcome.is_err();
        (self.notice, self.undo) = match outcome {
            Ok((sentence, undo)) => {
                self.renamed.clear();
                let has_changed = undo != Change::default();
                (sentence, has_changed.then_some(undo))
            }
            Err(sentence) => (Some(sentence), None),
        };
    }

    /// What takes the last change back, once.
    pub(super) fn take_undo(&mut self) -> Option<Change> {
        self.undo.take()
    }

    /// The form, what it says, and the list. The prefix of the `id`s is the name of the kind's list.
    pub(super) fn draw(&self, kind: Kind, saved: &Saved, send: &Callback<SheetMove>, language: Language) -> Html {
        let text = |text: Text| text.in_language(language);
        let id = |part: &str| [kind.list(), "_", part].concat();
        let onsubmit = send.reform(|event: SubmitEvent| {
            event.prevent_default();
            SheetMove::Submit
        });
        // The field that a failure is about has it as its description.
        let lacks_name = self.has_failed && self.notice == Some(Text::NoName.into());
        let field = |part: &'static str,
                     label: Text,
                     value: &str,
                     list: Option<String>,
                     typed: fn(String) -> SheetMove| {
            let label = text(label);
            let invalid = lacks_name && list.is_none();
            html! {
                <input
                    key={part} id={id(part)} type="text" value={value.to_owned()} placeholder={label} aria-label={label}
                    maxlength={MAX_NAME.to_string()} autocomplete="off" {list}
                    aria-invalid={invalid.then_some("true")} aria-describedby={invalid.then(|| id("notice"))}
                    oninput={send.reform(move |event: InputEvent| typed(text_of(&event)))}
                />
            }
        };
        let has_collections = !self.is_collection || self.renamed.is_empty();
        let submit = if self.renamed.is_empty() {
            Text::Save
        } else {
            Text::Rename
        };
        html! {
            <>
                <form key="form" class="saved-form" {onsubmit}>
                    { field("name", Text::SavedName, &self.name, None, SheetMove::Name) }
                    if has_collections {
                        { field("collection", Text::Collection, &self.collection, Some(id("collections")), SheetMove::Collection) }
                    }
                    <button key="save" id={id("save")} type="submit" data-look="primary">{ text(submit) }</button>
                </form>
                <div key="notice" class="saved-notice" role="status">
                    if let Some(notice) = &self.notice {
                        <span id={id("notice")} class={self.has_failed.then_some("fault")}>{ notice.in_language(language) }</span>
                        if self.undo.is_some() {
                            { button(&id("undo"), Text::Undo, send, || SheetMove::Undo, language) }
                        }
                    }
                </div>
                if self.is_open {
                    { self.list(kind, saved, send, language) }
                }
            </>
        }
    }

    /// The buttons of the export and the import.
    pub(super) fn draw_files(&self, send: &Callback<SheetMove>, language: Language) -> Html {
        let text = |text: Text| text.in_language(language);
        let input = |event: &Event| event.target_dyn_into::<HtmlInputElement>();
        let onsecrets =
            send.reform(move |event: Event| SheetMove::Secrets(input(&event).is_some_and(|input| input.checked())));
        let onimport = {
            let send = send.clone();
            move |event: Event| {
                let Some(input) = input(&event) else { return };
                if let Some(file) = input.files().and_then(|files| files.get(0)) {
                    send.emit(SheetMove::Import(file));
                }
                // Otherwise the choice of the same file would be no change.
                input.set_value("");
            }
        };
        html! {
            <div key="files" class="saved-files">
                { button("export_saved", Text::Export, send, || SheetMove::Export, language) }
                <label key="secrets" class="switch">
                    <input id="export_secrets" type="checkbox" checked={self.with_secrets} onchange={onsecrets} />
                    { text(Text::WithSecrets) }
                </label>
                <label key="import" class="file-button">
                    { text(Text::Import) }
                    <input id="import_saved" class="visually-hidden" type="file" accept=".json,application/json" onchange={onimport} />
                </label>
            </div>
        }
    }

    /// What is saved of a kind, by collections.
    fn list(&self, kind: Kind, saved: &Saved, send: &Callback<SheetMove>, language: Language) -> Html {
        let mut rows = Vec::new();
        let mut collection = "";
        for item in saved.of(kind) {
            if item.collection() != collection {
                collection = item.collection();
                let items: Vec<_> = saved
                    .of(kind)
                    .filter(|item| item.collection() == collection)
                    .cloned()
                    .collect();
                rows.push(html! {
                    <li key={["collection ", collection].concat()} class="saved-collection">
                        <span>{ collection.to_owned() }</span>
                        { self.change_buttons(collection, items, true, send, language) }
                    </li>
                });
            }
            let detail = match kind {
                Kind::Connection => masked(item.url()),
                Kind::Snippet => item.draft(item.mode()).to_owned(),
            };
            let opened = item.clone();
            rows.push(row(
                [item.collection(), "\n", item.name()].concat(),
                Some(item.name()),
                &detail,
                send.reform(move |_| SheetMove::Open(opened.clone())),
                self.change_buttons(item.name(), vec![item.clone()], false, send, language),
            ));
        }
        html! {
            <>
                <ul key="list" id={[kind.list(), "_list"].concat()} class="saved-list">{ for rows }</ul>
                <datalist key="collections" id={[kind.list(), "_collections"].concat()}>{ for collections(kind, saved) }</datalist>
            </>
        }
    }

    /// Move up and down, rename and delete.
    fn change_buttons(
        &self,
        name: &str,
        items: Vec<Item>,
        is_collection: bool,
        send: &Callback<SheetMove>,
        language: Language,
    ) -> Html {
        let icon =
            |act: &'static str, label: Text, path: &'static str, movement: SheetMove, id: Option<&'static str>| {
                let label = [label.in_language(language), " ", name].concat();
                let button = IconButton {
                    of_row: true,
                    id,
                    ..IconButton::new(act, label, path, send.reform(move |_| movement.clone()))
                };
                button.draw()
            };
        let shift = |act, label, path, down| {
            let movement = SheetMove::Move {
                items: items.clone(),
                is_collection,
                down,
            };
            let is_moved = |moved: &&(Item, bool, bool)| {
                Some(&moved.0) == items.first() && (moved.1, moved.2) == (is_collection, down)
            };
            icon(
                act,
                label,
                path,
                movement,
                self.moved.as_ref().filter(is_moved).map(|_| MOVED_ID),
            )
        };
        let rename = SheetMove::Rename {
            items: items.clone(),
            is_collection,
        };
        html! {
            <>
                { shift("up", Text::MoveUp, "M8 13V3M4 7l4-4 4 4", false) }
                { shift("down", Text::MoveDown, "M8 3v10M4 9l4 4 4-4", true) }
                { icon("rename", Text::Rename, "M3 13l1-3 7-7 2 2-7 7z", rename, None) }
                { icon("delete", Text::Delete, "m4.5 4.5 7 7m0-7-7 7", SheetMove::Delete(items), None) }
            </>
        }
    }
}

/// Tells a sheet that the popover with this `id`, which shows it, was opened or closed.
pub(super) fn on_toggle(id: &'static str, send: &Callback<SheetMove>) -> Callback<Event> {
    let send = send.clone();
    Callback::from(move |event: Event| {
        // Those of popovers in this one come here too.
        if let Some(popover) = event.target_dyn_into::<Element>().filter(|popover| popover.id() == id) {
            send.emit(SheetMove::Toggled(popover.matches(":popover-open").unwrap_or_default()));
        }
    })
}

/// The texts that were sent, as a list of the same kind, which cannot be changed.
pub(super) fn sent_list<'a>(texts: impl Iterator<Item = &'a String>, send: &Callback<SheetMove>) -> Html {
    let rows = texts.map(|text| {
        let taken = text.clone();
        let onopen = send.reform(move |_| SheetMove::Take(taken.clone()));
        row(text.clone(), None, text, onopen, Html::default())
    });
    html! { <ul key="sent" id="sent_list" class="saved-list">{ for rows }</ul> }
}

/// A row that is opened by its button, with other buttons behind it.
fn row(key: String, name: Option<&str>, detail: &str, onopen: Callback<MouseEvent>, buttons: Html) -> Html {
    html! {
        <li {key}>
            <button key="open" class="saved-open" type="button" onclick={onopen}>
                if let Some(name) = name {
                    <b>{ name.to_owned() }</b>
                }
                <span class="saved-detail">{ format::head(detail, PREVIEW_BYTES).to_owned() }</span>
            </button>
            { buttons }
        </li>
    }
}

fn button(id: &str, label: Text, send: &Callback<SheetMove>, does: fn() -> SheetMove, language: Language) -> Html {
    html! {
        <button key={id.to_owned()} id={id.to_owned()} type="button" onclick={send.reform(move |_: MouseEvent| does())}>
            { label.in_language(language) }
        </button>
    }
}

/// The names of the collections, to choose from.
fn collections(kind: Kind, saved: &Saved) -> impl Iterator<Item = Html> {
    let mut before = "";
    saved.of(kind).filter_map(move |item| {
        let collection = item.collection();
        (std::mem::replace(&mut before, collection) != collection)
            .then(|| html! { <option key={collection.to_owned()} value={collection.to_owned()} /> })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(collection: &str, name: &str) -> Item {
        Item::new(Kind::Connection)
            .named(collection, name)
            .with_address("ws://h", "")
    }

    fn submit(sheet: &SavedSheet, saved: &mut Saved) -> Vec<(String, String)> {
        let change = sheet.submitted(saved, Item::new(Kind::Connection)).unwrap();
        saved.apply(&change).unwrap();
        let items = saved.of(Kind::Connection);
        items
            .map(|item| (item.collection().to_owned(), item.name().to_owned()))
            .collect()
    }

    fn names(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter()
            .map(|(collection, name)| ((*collection).into(), (*name).into()))
            .collect()
    }

    #[test]
    fn the_form_saves_and_renames_an_item_and_a_collection() {
        let (mut sheet, mut saved) = (SavedSheet::default(), Saved::default());
        assert_eq!(sheet.submitted(&saved, item("", "")), Err(Text::NoName.into()));
        sheet.type_name(" x ".into());
        sheet.type_collection("A".into());
        assert_eq!(submit(&sheet, &mut saved), names(&[("A", "x")]));
        sheet.type_name("y".into());
        submit(&sheet, &mut saved);
        let items: Vec<_> = saved.of(Kind::Connection).cloned().collect();
        sheet.rename(items[..1].to_vec(), false);
        sheet.type_name("z".into());
        assert_eq!(
            submit(&sheet, &mut saved),
            names(&[("A", "z"), ("A", "y")]),
            "it keeps its place"
        );
        let items: Vec<_> = saved.of(Kind::Connection).cloned().collect();
        sheet.rename(items, true);
        sheet.type_name("B".into());
        assert_eq!(submit(&sheet, &mut saved), names(&[("B", "z"), ("B", "y")]));
    }

    #[test]
    fn a_change_is_told_and_can_be_undone_once_and_a_failed_one_cannot() {
        let mut sheet = SavedSheet::default();
        let undo = Change {
            add: vec![item("", "x")],
            ..Change::default()
        };
        sheet.done(Ok((Some(Text::SavedAs.with(["x".into()])), undo.clone())));
        assert_eq!((sheet.take_undo(), sheet.take_undo()), (Some(undo), None));
        sheet.done(Err(Text::NoName.into()));
        assert_eq!((sheet.take_undo(), sheet.has_failed), (None, true));
        sheet.done(Ok((Some(Text::NothingNew.into()), Change::default())));
        assert_eq!(sheet.take_undo(), None, "nothing was changed");
    }
}
