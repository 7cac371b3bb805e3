//! The help: what each key does, and what the page remembers, with the button that makes it forget all.

use web_sys::MouseEvent;
use yew::{Html, html};

use crate::{
    browser,
    i18n::{Language, Text},
};

/// The `id` of the help's element, a popover.
pub(crate) const ID: &str = "help";

/// A key, or several with spaces between them, and what it does.
type KeyMeaning = (&'static str, Text);

/// The keys of both views (without a title), of the workbench, and of the chat.
const KEYS: [(Option<Text>, &[KeyMeaning]); 3] = [
    (None, &[("?", Text::KeyHelp)]),
    (
        Some(Text::Workbench),
        &[
            ("Ctrl Enter", Text::KeySend),
            ("Ctrl Shift Enter", Text::KeyConnect),
            ("↑ ↓", Text::KeyHistory),
            ("Ctrl K", Text::KeyAddress),
            ("Ctrl /", Text::KeyFilter),
            ("↑ ↓ PgUp PgDn Home End", Text::KeyList),
            ("Enter", Text::KeyDetails),
            ("C", Text::KeyCopy),
            ("← →", Text::KeyWidth),
            ("Delete", Text::KeyForget),
            ("Enter , Backspace", Text::KeyChip),
            ("Esc", Text::KeyDismiss),
        ],
    ),
    (
        Some(Text::Chat),
        &[
            ("Enter", Text::KeyChatSend),
            ("Shift Enter", Text::KeyChatLine),
            ("↑ ↓ Tab", Text::KeyMention),
            ("Ctrl K", Text::KeyRoom),
            ("Ctrl /", Text::Search),
            ("Enter", Text::KeyFoundOlder),
            ("Shift Enter", Text::KeyFoundNewer),
            ("↑ ↓", Text::KeyMessages),
            ("C", Text::KeyCopy),
            ("L", Text::KeyCopyLink),
            ("Esc", Text::KeyDismiss),
        ],
    ),
];

/// The popover, with what is in it once it was opened.
pub(crate) fn draw(language: Language, has_content: bool) -> Html {
    html! {
        // With the focus, it scrolls by keys.
        <div id={ID} class="help" popover="auto" role="dialog" aria-labelledby="help_title" tabindex="-1" autofocus=true>
            if has_content {
                { content(language) }
            }
        </div>
    }
}

fn content(language: Language) -> Html {
    let text = |text: Text| text.in_language(language);
    let groups = KEYS.iter().map(|(title, keys)| {
        let rows = keys.iter().map(|(keys, meaning)| {
            let keys = keys.split(' ').map(|key| html! { <kbd>{ key }</kbd> });
            html! { <div><dt>{ for keys }</dt><dd>{ text(*meaning) }</dd></div> }
        });
        html! {
            <>
                if let Some(title) = title {
                    <h3>{ text(*title) }</h3>
                }
                <dl>{ for rows }</dl>
            </>
        }
    });
    let onforget = |_: MouseEvent| browser::forget_all();
    html! {
        <>
            <h2 id="help_title">{ text(Text::Keys) }</h2>
            { for groups }
            <p class="quiet">{ text(Text::KeyMac) }</p>
            <h2>{ text(Text::Remembered) }</h2>
            <p class="quiet">{ text(Text::RememberedHint) }</p>
            <details>
                <summary id="forget">{ text(Text::Forget) }</summary>
                <button id="forget_all" type="button" data-look="danger" onclick={onforget}>{ text(Text::ForgetNow) }</button>
            </details>
        </>
    }
}
