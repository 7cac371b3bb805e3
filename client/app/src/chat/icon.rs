//! The icons of the chat, drawn with lines of the text's colour.

use yew::{Html, html};

fn icon(path: &'static str) -> Html {
    html! {
        <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path d={path} /></svg>
    }
}

pub(super) fn plus() -> Html {
    icon("M8 3v10M3 8h10")
}

pub(super) fn cross() -> Html {
    icon("M4 4l8 8M12 4l-8 8")
}

pub(super) fn menu() -> Html {
    icon("M2.5 4h11M2.5 8h11M2.5 12h11")
}

pub(super) fn people() -> Html {
    icon(
        "M6 8a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM1.5 13.5c0-2.5 2-4 4.5-4s4.5 1.5 4.5 4M10.5 3.2a2.5 2.5 0 0 1 0 4.6M12 9.9c1.5.6 2.5 1.9 2.5 3.6",
    )
}

pub(super) fn bell() -> Html {
    icon("M4 11V7a4 4 0 0 1 8 0v4l1 1.5H3zM6.5 14h3")
}

pub(super) fn bell_off() -> Html {
    icon("M4 11V7a4 4 0 0 1 8 0v4l1 1.5H3zM6.5 14h3M2.5 2.5l11 11")
}

pub(super) fn up() -> Html {
    icon("M4 10l4-4 4 4")
}

pub(super) fn down() -> Html {
    icon("M4 6l4 4 4-4")
}

pub(super) fn search() -> Html {
    icon("M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM10.5 10.5L14 14")
}

pub(super) fn copy() -> Html {
    icon("M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3")
}

pub(super) fn link() -> Html {
    icon("M6.5 9.5l3-3M7 4.5l1.5-1.5a3 3 0 0 1 4.5 4.5L11.5 9M9 11.5L7.5 13A3 3 0 0 1 3 8.5L4.5 7")
}
