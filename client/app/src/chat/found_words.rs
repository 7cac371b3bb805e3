//! Marks the words that the search has found, by the CSS Custom Highlight API: the texts stay the text nodes that they are. In browsers
//! without it, `mark` elements are around the words.

use js_sys::JsString;
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use web_sys::{Element, Node, Range};

use crate::browser;

/// The name of the highlight in the style sheet.
const NAME: &str = "found";

/// At most this many words are marked: more than two windows of them have.
const MAX_MARKED: usize = 1_000;

#[wasm_bindgen]
extern "C" {
    /// <https://drafts.csswg.org/css-highlight-api-1/#highlight>
    type Highlight;

    #[wasm_bindgen(constructor, catch)]
    fn new() -> Result<Highlight, JsValue>;

    #[wasm_bindgen(method)]
    fn add(this: &Highlight, range: &Range);

    #[wasm_bindgen(catch, js_namespace = ["CSS", "highlights"], js_name = set)]
    fn set_highlight(name: &str, highlight: &Highlight) -> Result<JsValue, JsValue>;
}

/// Marks a text, in letters of any size, in the messages near those that are in sight, and nothing else.
pub(super) fn mark(viewport: &Element, text: &str) {
    let highlight = Highlight::new().ok();
    if highlight.is_none() {
        remove_marks(viewport);
    }
    let text = browser::lower_case(text.trim());
    let mut words = Vec::new();
    if !text.is_empty() {
        for row in near_rows(viewport) {
            for part in [".from", ".text"] {
                if let Ok(Some(part)) = row.query_selector(part) {
                    add_words(&mut words, &part, &text);
                }
            }
        }
    }
    let Some(highlight) = highlight else {
        // The ranges are live. From the last one, because a mark would become a part of a range that begins where it ends.
        for word in words.iter().rev() {
            if let Ok(mark) = browser::document().create_element("mark") {
                // Fails for parts of elements only, and each range is in one text node.
                let _: Result<(), JsValue> = word.surround_contents(&mark);
            }
        }
        return;
    };
    for word in &words {
        highlight.add(word);
    }
    // A browser with highlights has the registry too.
    let _: Result<JsValue, JsValue> = set_highlight(NAME, &highlight);
}

/// Gives the text of each `mark` and of the node behind it back to the node before it, which is the one that Yew has made and may change.
fn remove_marks(viewport: &Element) {
    while let Ok(Some(mark)) = viewport.query_selector("mark") {
        let Some(node) = mark.previous_sibling() else { return };
        let mut text = node.node_value().unwrap_or_default();
        for _ in 0..2 {
            if let Some(next) = node.next_sibling() {
                text += &next.text_content().unwrap_or_default();
                if let Some(parent) = next.parent_node() {
                    // It is a child of this one.
                    let _: Result<Node, JsValue> = parent.remove_child(&next);
                }
            }
        }
        node.set_node_value(Some(&text));
    }
}

/// The messages in the viewport, and those up to its height above and below.
fn near_rows(viewport: &Element) -> Vec<Element> {
    let Ok(rows) = viewport.query_selector_all(".said[data-row]") else {
        return Vec::new();
    };
    let row = |index| rows.get(index).and_then(|row| row.dyn_into::<Element>().ok());
    let edges = viewport.get_bounding_client_rect();
    let (top, bottom) = (edges.top() - edges.height(), edges.bottom() + edges.height());
    let (mut from, mut to) = (0, rows.length());
    while from < to {
        let middle = u32::midpoint(from, to);
        if row(middle).is_some_and(|row| row.get_bounding_client_rect().bottom() > top) {
            to = middle;
        } else {
            from = middle + 1;
        }
    }
    let near = (from..rows.length()).map_while(row);
    near.take_while(|row| row.get_bounding_client_rect().top() < bottom)
        .collect()
}

/// Adds the places of a text in a node and those in it.
fn add_words(words: &mut Vec<Range>, node: &Node, text: &str) {
    if node.node_type() == Node::TEXT_NODE {
        let length = JsString::from(text).length();
        let content = JsString::from(node.node_value().unwrap_or_default()).to_lower_case();
        let mut from = 0;
        while words.len() < MAX_MARKED
            && let Ok(start) = u32::try_from(content.index_of(text, from))
        {
            let end = start + length;
            // Small letters may be more than the large ones were; then the range may end beyond the node.
            if let Ok(range) = browser::document().create_range()
                && range.set_start(node, start).is_ok()
                && range.set_end(node, end).is_ok()
            {
                words.push(range);
            }
            let Ok(next) = i32::try_from(end) else { return };
            from = next;
        }
        return;
    }
    let mut child = node.first_child();
    while let Some(node) = child {
        add_words(words, &node, text);
        child = node.next_sibling();
    }
}
