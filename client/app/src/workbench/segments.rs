//! A choice of one among a few, drawn as joined segments.

use yew::{Callback, Html, html};

pub(super) struct Segment {
    pub(super) id: &'static str,
    pub(super) label: Html,
    /// What the label means, where it has no words.
    pub(super) title: Option<&'static str>,
    pub(super) selected: bool,
    pub(super) onselect: Callback<()>,
}

/// Radio buttons: one tab stop, and the arrow keys choose.
pub(super) fn segments(name: &'static str, legend: &'static str, choices: impl IntoIterator<Item = Segment>) -> Html {
    let choices = choices.into_iter().map(|choice| {
        let Segment {
            id,
            label,
            title,
            selected,
            onselect,
        } = choice;
        html! {
            <label key={id} {title}>
                <input {id} {name} type="radio" checked={selected} onchange={onselect.reform(|_| ())} />
                { label }
                if let Some(title) = title {
                    <span class="visually-hidden">{ title }</span>
                }
            </label>
        }
    });
    html! {
        <fieldset key={name} class="segments">
            <legend key="legend" class="visually-hidden">{ legend }</legend>
            { for choices }
        </fieldset>
    }
}
