//! How a user looks: a square with the first letter of the name, in a colour of the name.

use yew::{Html, html};

/// The classes of `styles/chat.css`, one for each colour `--person-N`.
const CLASSES: [&str; 6] = [
    "avatar person-1",
    "avatar person-2",
    "avatar person-3",
    "avatar person-4",
    "avatar person-5",
    "avatar person-6",
];

/// Not read to screen readers: the name stands beside it.
pub(super) fn avatar(name: &str) -> Html {
    html! { <span key="avatar" class={class(name)} aria-hidden="true">{ initial(name) }</span> }
}

/// The same for a name in every tab and on every device.
fn class(name: &str) -> &'static str {
    // FNV-1a.
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    // The low bits of a short name's hash are poor.
    CLASSES[((hash >> 16 ^ hash) % 6) as usize]
}

/// The first character of the first word; the style sheet makes it a capital letter.
fn initial(name: &str) -> String {
    name.trim_start_matches(['#', '@', '<', '(', ' '])
        .chars()
        .take(1)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_spread_over_all_colours_and_keep_theirs() {
        let mut used = [0; CLASSES.len()];
        for number in 0..600 {
            let class = class(&format!("User {number}"));
            used[CLASSES.iter().position(|other| *other == class).unwrap()] += 1;
        }
        assert!(used.iter().all(|count| (60..=140).contains(count)), "{used:?}");
        assert_eq!(class("Ann"), class("Ann"));
    }

    #[test]
    fn the_letter_is_the_first_character_of_any_script() {
        for (name, letter) in [("Ann", "A"), ("陈小明", "陈"), ("<i>", "i"), ("", ""), ("#", "")] {
            assert_eq!(initial(name), letter);
        }
    }
}
