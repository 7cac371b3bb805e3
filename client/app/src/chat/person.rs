//! How a user looks: a square with the first letter of the name, in a colour of the name.

use yew::{Html, html};

/// The numbers of the colours, `data-person` in the style sheet.
const COLOURS: [&str; 12] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];

/// Not read to screen readers: the name stands beside it.
pub(super) fn avatar(name: &str) -> Html {
    html! { <span key="avatar" class="avatar" data-person={colour(name)} aria-hidden="true">{ initial(name) }</span> }
}

/// The same for a name in every tab and on every device.
fn colour(name: &str) -> &'static str {
    // FNV-1a, then the last steps of MurmurHash3: names of a few letters differ in few bits of the first.
    let mut hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    COLOURS[(hash ^ hash >> 16) as usize % COLOURS.len()]
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
        let mut used = [0; COLOURS.len()];
        for number in 0..600 {
            let colour = colour(&format!("User {number}"));
            used[COLOURS.iter().position(|other| *other == colour).unwrap()] += 1;
        }
        assert!(used.iter().all(|count| (30..=75).contains(count)), "{used:?}");
        assert_eq!(colour("Ann"), colour("Ann"));
    }

    #[test]
    fn short_names_differ() {
        let names = ["Ann", "Bob", "Cy", "Dan", "陈小明", "Alice"];
        let colours: std::collections::BTreeSet<_> = names.map(colour).into();
        assert_eq!(colours.len(), names.len(), "{colours:?}");
    }

    #[test]
    fn the_letter_is_the_first_character_of_any_script() {
        for (name, letter) in [("Ann", "A"), ("陈小明", "陈"), ("<i>", "i"), ("", ""), ("#", "")] {
            assert_eq!(initial(name), letter);
        }
    }
}
