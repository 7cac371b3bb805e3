//! The room, the name, and the buttons that join and leave.

use web_sys::SubmitEvent;
use yew::{Callback, Html, html};

use super::state::{Action, Field, State};
use crate::{
    connection::Phase,
    form::{Button, Look, TextField, fault_line},
    i18n::{Language, Text},
    shell::{state_badge, waiting_hint},
};

pub(super) fn room_card(state: &State, act: &Callback<Action>, now: f64, language: Language) -> Html {
    let text = |text: Text| text.in_language(language);
    let field = |id: &'static str, label: Text, value, field: Field| TextField {
        invalid: state.fault.as_ref().is_some_and(|fault| fault.is_of(&field)),
        ..TextField::new(id, label, value, act.reform(move |text| Action::Edit(field, text)))
    };
    let submit = |action: fn() -> Action| {
        act.reform(move |event: SubmitEvent| {
            event.prevent_default();
            action()
        })
    };
    let name = TextField {
        disabled: !state.phase.is_over(),
        ..field("chat_name", Text::Name, &state.name, Field::Name)
    };
    let other_room = TextField {
        code: true,
        ..field("chat_other_room", Text::OtherRoom, &state.other_room, Field::Room)
    };
    let can_leave = matches!(state.phase, Phase::Open { .. } | Phase::Connecting { .. });
    let fault = state
        .fault
        .as_ref()
        .filter(|fault| !fault.is_of(&Field::Message))
        .map(|fault| &fault.message);
    let button = |id, label, look, disabled| Button {
        id,
        label: text(label),
        look,
        disabled,
    };
    // Never useful at once, so they take turns in one place.
    let join_or_leave = if state.phase.is_over() {
        let label = if state.phase.was_lost() {
            Text::Rejoin
        } else {
            Text::Join
        };
        button("chat_join", label, Look::Primary, state.room.is_none()).submit()
    } else {
        button("chat_leave", Text::Leave, Look::Plain, !can_leave).act(act.reform(|_| Action::Leave))
    };
    html! {
        <div class="card room">
            <div class="card-head">
                <h2><span class="quiet">{ text(Text::Room) }{ " " }</span><span id="chat_room">{ state.room_text() }</span></h2>
                { state_badge("chat_state", &state.phase, now, language) }
            </div>
            <div class="room-forms">
                <form class="inline" onsubmit={submit(|| Action::Join)}>
                    { name.draw(language) }
                    { join_or_leave }
                </form>
                <form class="inline" onsubmit={submit(|| Action::Go)}>
                    { other_room.draw(language) }
                    { button("chat_go", Text::Go, Look::Plain, false).submit() }
                </form>
            </div>
            { fault_line(fault, waiting_hint(&state.phase, now), language) }
        </div>
    }
}
