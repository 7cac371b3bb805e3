//! Switching to another room by keyboard: a field and the rooms that fit, the unread ones first.

use talkback_client::RoomName;
use web_sys::{InputEvent, KeyboardEvent, MouseEvent};
use yew::{Callback, Html, html};

use super::reducer::{Action, Field};
use crate::{
    form::text_of,
    format,
    i18n::{Language, Text},
    keyboard::{EnterKey, enter_key, is_of_input_method},
    route::parse_room,
};

/// At most this many rooms are offered: as many as fit without scrolling.
const MAX_OFFERED: usize = 8;

/// The `id` of the field.
pub(super) const SWITCHER_ID: &str = "chat_switch_to";

const LIST_ID: &str = "chat_switcher_rooms";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Switcher {
    text: String,
    /// Each with how many of its messages are unread.
    rooms: Vec<(RoomName, usize)>,
    /// The last of them is not among the rooms that the user has opened.
    has_new: bool,
    marked: usize,
}

impl Switcher {
    /// The rooms whose name contains a text in any case, the unread ones first, and the room of that name itself.
    pub(super) fn new<'a>(
        text: String,
        rooms: impl Iterator<Item = &'a RoomName>,
        unread: impl Fn(&RoomName) -> usize,
        lower: fn(&str) -> String,
    ) -> Self {
        let part = lower(text.trim());
        let fits = rooms.filter(|name| lower(name).contains(&part));
        // Not sorted: the code of a stable sort is larger than all of this.
        let (mut rooms, mut read): (Vec<_>, Vec<_>) = fits
            .map(|name| (name.clone(), unread(name)))
            .partition(|(_, unread)| *unread > 0);
        rooms.append(&mut read);
        rooms.truncate(MAX_OFFERED);
        let new = parse_room(text.trim()).ok();
        let new = new.filter(|new| rooms.iter().all(|(name, _)| name != new));
        let has_new = new.is_some();
        rooms.extend(new.map(|name| (name, 0)));
        Self {
            text,
            rooms,
            has_new,
            marked: 0,
        }
    }

    /// Marks the room before or after, around the ends of the list.
    pub(super) fn mark(&mut self, back: bool) {
        if let Some(count @ 1..) = Some(self.rooms.len()) {
            self.marked = (self.marked + if back { count - 1 } else { 1 }) % count;
        }
    }

    pub(super) fn marked_room(&self) -> Option<RoomName> {
        self.rooms.get(self.marked).map(|(name, _)| name.clone())
    }

    pub(super) fn draw(&self, dispatch: &Callback<Action>, language: Language) -> Html {
        let label = Text::SwitchRoom.in_language(language);
        let onkeydown = {
            let dispatch = dispatch.clone();
            move |event: KeyboardEvent| {
                let action = match event.key().as_str() {
                    _ if enter_key(&event) == Some(EnterKey::Alone) => Action::TakeRoom,
                    "ArrowDown" if !is_of_input_method(&event) => Action::MarkRoom { back: false },
                    "ArrowUp" if !is_of_input_method(&event) => Action::MarkRoom { back: true },
                    _ => return,
                };
                event.prevent_default();
                dispatch.emit(action);
            }
        };
        let option_id = |index: usize| format!("{LIST_ID}_{index}");
        let rooms = self.rooms.iter().enumerate().map(|(index, (name, unread))| {
            let is_marked = index == self.marked;
            let is_new = self.has_new && index + 1 == self.rooms.len();
            let room = name.clone();
            // On the press, because the field would lose the focus to it.
            let onmousedown = dispatch.reform(move |event: MouseEvent| {
                event.prevent_default();
                Action::OpenRoom(room.clone())
            });
            html! {
                <li
                    key={name.to_string()} id={option_id(index)} role="option"
                    aria-selected={if is_marked { "true" } else { "false" }} {onmousedown}
                >
                    if is_new {
                        <span key="name" class="name" dir="auto">
                            { Text::OpenRoom.with([name.to_string().into()]).in_language(language) }
                        </span>
                    } else {
                        <span key="name" class="name" dir="auto">{ "# " }{ name.to_string() }</span>
                    }
                    if *unread > 0 {
                        <span key="unread" class="unread-count">{ format::thousands(*unread as u64) }</span>
                    }
                </li>
            }
        });
        let expanded = if self.rooms.is_empty() { "false" } else { "true" };
        html! {
            <div key="switcher" class="switcher" role="dialog" aria-modal="true" aria-label={label}>
                <input
                    key={SWITCHER_ID} id={SWITCHER_ID} type="text" role="combobox" dir="auto" autocomplete="off"
                    spellcheck="false" aria-label={label} placeholder={label} aria-autocomplete="list"
                    aria-expanded={expanded} aria-controls={LIST_ID}
                    aria-activedescendant={(!self.rooms.is_empty()).then(|| option_id(self.marked))}
                    value={self.text.clone()} {onkeydown}
                    oninput={dispatch.reform(|event: InputEvent| Action::Edit(Field::Switcher, text_of(&event)))}
                    onblur={dispatch.reform(|_| Action::CloseSwitcher)}
                />
                if !self.rooms.is_empty() {
                    <ul key="rooms" id={LIST_ID} role="listbox" aria-label={label}>{ for rooms }</ul>
                }
            </div>
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switcher(text: &str) -> Switcher {
        let rooms = ["lobby", "deploys", "Lab"].map(|name| RoomName::parse(name).unwrap());
        let unread = |name: &RoomName| usize::from(&**name == "deploys") * 3;
        Switcher::new(text.into(), rooms.iter(), unread, |text| text.to_lowercase())
    }

    fn names(switcher: &Switcher) -> Vec<String> {
        switcher.rooms.iter().map(|(name, _)| name.to_string()).collect()
    }

    #[test]
    fn unread_rooms_come_first_and_a_room_that_was_never_opened_last() {
        assert_eq!(names(&switcher("")), ["deploys", "lobby", "Lab"]);
        assert_eq!(names(&switcher(" LOB")), ["lobby", "LOB"]);
        assert_eq!(names(&switcher("lobby")), ["lobby"]);
        assert_eq!(names(&switcher("new")), ["new"]);
        assert_eq!(names(&switcher("a b")), [""; 0]);
    }

    #[test]
    fn the_marked_room_is_the_first_and_the_mark_goes_round() {
        let mut rooms = switcher("");
        assert_eq!(rooms.marked_room().as_deref(), Some("deploys"));
        rooms.mark(true);
        assert_eq!(rooms.marked_room().as_deref(), Some("Lab"));
        rooms.mark(false);
        assert_eq!(rooms.marked_room().as_deref(), Some("deploys"));
        let mut none = switcher("a b");
        none.mark(false);
        assert_eq!(none.marked_room(), None);
    }
}
