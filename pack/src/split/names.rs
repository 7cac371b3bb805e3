//! The names of functions as the list of those that a first visit does not run has them: the same on each machine.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// Longer names are cut, in characters: those of closures in generic types have thousands.
const LONGEST: usize = 200;

/// A name without what differs from machine to machine: the numbers of crates, `core[1f2e3d4c5b6a7988]`, and the hash at the end of names
/// of the older form.
pub(crate) fn stable(name: &str) -> String {
    let mut stable = String::new();
    let mut rest = name;
    while let Some(start) = rest.find('[') {
        let (before, bracket) = rest.split_at(start);
        stable += before;
        let digits = bracket[1..].bytes().take_while(u8::is_ascii_hexdigit).count();
        let is_number = digits >= 8 && bracket[1 + digits..].starts_with(']');
        let end = if is_number { digits + 2 } else { 1 };
        if !is_number {
            stable.push('[');
        }
        rest = &bracket[end..];
    }
    stable += rest;
    if let Some((before, hash)) = stable.rsplit_once("::h")
        && hash.len() == 16
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        stable.truncate(before.len());
    }
    match stable.char_indices().nth(LONGEST) {
        None => stable,
        Some((end, _)) => {
            let hash = HEXLOWER.encode(&Sha256::digest(&stable)[..6]);
            format!("{}… {hash}", &stable[..end])
        }
    }
}
