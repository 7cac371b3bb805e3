//! A text with a mark for each character that would not be seen, or that changes the direction of the text behind it. The characters stay in the text
//! and are copied with it; the style sheet writes the mark.

use yew::{Html, html};

/// The marks in a text, at most: each is an element. Behind them such characters are shown as U+FFFD.
const MAX_MARKS: usize = 1_000;

/// Controls except tabs and line breaks, controls of the direction, and what is drawn as nothing. Joiners and selectors of variants are not
/// among them: they are parts of words and emoji.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{0}'..='\u{8}'
            | '\u{b}'
            | '\u{c}'
            | '\u{e}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// The parts of a text: characters to be marked, each alone, and what stands between them.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((at, found)) = rest.char_indices().find(|(_, character)| is_invisible(*character)) {
        if parts.len() >= 2 * MAX_MARKS {
            break;
        }
        let (before, from) = rest.split_at(at);
        let (mark, behind) = from.split_at(found.len_utf8());
        parts.extend([before, mark]);
        rest = behind;
    }
    parts.push(rest);
    parts
}

/// Draws a text.
pub(super) fn marked(text: &str) -> Html {
    let parts = parts(text);
    let last = parts.len() - 1;
    if last == 0 {
        return text.to_owned().into();
    }
    let drawn = parts
        .into_iter()
        .enumerate()
        .map(|(index, part)| match part.chars().next() {
            Some(character) if index % 2 == 1 => {
                let name = format!("U+{:04X}", u32::from(character));
                html! { <bdi class="mark" data-mark={name}>{ part.to_owned() }</bdi> }
            }
            _ if index == last => part.replace(is_invisible, "\u{fffd}").into(),
            _ => part.to_owned().into(),
        });
    drawn.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_are_parts_of_their_own_and_nothing_is_lost() {
        assert_eq!(parts("plain 好 👩\u{200d}🚀\t\n"), ["plain 好 👩\u{200d}🚀\t\n"]);
        let text = "live \u{202e}edirrevo\u{202c} LTR\u{feff}";
        assert_eq!(
            parts(text),
            ["live ", "\u{202e}", "edirrevo", "\u{202c}", " LTR", "\u{feff}", ""]
        );
        let many = "\u{200b}".repeat(5 * MAX_MARKS);
        assert_eq!(parts(&many).len(), 2 * MAX_MARKS + 1);
        assert_eq!(parts(&many).concat(), many);
    }
}
