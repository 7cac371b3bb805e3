//! Shortens the names by which a binary imports functions of its glue, and exports functions to it.
//!
//! wasm-bindgen ends each import with 16 hexadecimal digits, in the binary and in the glue, so that bindings of several versions of a crate are
//! different functions, and names each export that calls closures by their types. After linking the names only have to be equal in both files,
//! and random digits do not compress: 5 KB of the chat's first visit.

use std::{cmp::Reverse, fs, path::Path};

use anyhow::{Context, ensure};

use crate::files;

/// The numbers of the sections of imports and of exports, and of a function among the kinds of both:
/// <https://webassembly.github.io/spec/core/binary/modules.html#import-section>.
const IMPORTS: u8 = 2;
const EXPORTS: u8 = 7;
const FUNCTION: u8 = 0;

/// The beginning of the names of exports that call closures. No other name of the glue has it behind a dot.
const CLOSURES: &str = "wasm_bindgen_";

/// The header of a binary: its mark and its version.
const HEADER: usize = 8;

/// Shortens the imports and exports of each binary that has glue beside it.
pub(crate) fn shorten(directory: &Path) -> anyhow::Result<()> {
    for path in files(directory)? {
        let glue = path
            .to_str()
            .and_then(|path| path.strip_suffix("_bg.wasm"))
            .map(|name| format!("{name}.js"));
        let Some(glue) = glue.filter(|glue| Path::new(glue).exists()) else {
            continue;
        };
        let (binary, script) = (fs::read(&path)?, fs::read_to_string(&glue)?);
        let (binary, script) =
            shortened(&binary, &script).with_context(|| format!("cannot shorten the names of {}", path.display()))?;
        fs::write(path, binary)?;
        fs::write(glue, script)?;
    }
    Ok(())
}

fn shortened(binary: &[u8], script: &str) -> anyhow::Result<(Vec<u8>, String)> {
    let (header, mut rest) = binary.split_at_checked(HEADER).context("it has no header")?;
    let (mut shorter, mut script) = (header.to_vec(), script.to_owned());
    while let Some((&section, after)) = rest.split_first() {
        rest = after;
        let bytes = number(&mut rest)?;
        let content = take(&mut rest, bytes)?;
        match section {
            IMPORTS => write(&mut shorter, section, &shorten_imports(content, &mut script)?),
            EXPORTS => write(&mut shorter, section, &shorten_exports(content, &mut script)?),
            _ => write(&mut shorter, section, content),
        }
    }
    Ok((shorter, script))
}

fn write(binary: &mut Vec<u8>, section: u8, content: &[u8]) {
    binary.push(section);
    push_number(binary, content.len());
    binary.extend(content);
}

fn shorten_imports(mut section: &[u8], script: &mut String) -> anyhow::Result<Vec<u8>> {
    let count = number(&mut section)?;
    let mut shorter = Vec::new();
    push_number(&mut shorter, count);
    for index in 0..count {
        let module = text(&mut section)?;
        let name = text(&mut section)?;
        let kind = take(&mut section, 1)?[0];
        // wasm-bindgen imports functions only.
        ensure!(kind == FUNCTION, "{name} is not a function");
        let function = number(&mut section)?;
        let mut short = name.to_owned();
        if has_digits(name) {
            ensure!(script.contains(name), "the glue does not have {name}");
            short = letters(index);
            *script = script.replace(name, &short);
        }
        for text in [module, &short] {
            push_number(&mut shorter, text.len());
            shorter.extend(text.as_bytes());
        }
        shorter.push(kind);
        push_number(&mut shorter, function);
    }
    ensure!(section.is_empty(), "the section of imports is longer than its imports");
    Ok(shorter)
}

fn shorten_exports(mut section: &[u8], script: &mut String) -> anyhow::Result<Vec<u8>> {
    let mut exports = Vec::new();
    for index in 0..number(&mut section)? {
        let name = text(&mut section)?;
        let kind = take(&mut section, 1)?[0];
        let of_closures = kind == FUNCTION && name.starts_with(CLOSURES);
        let short = if of_closures { letters(index) } else { name.to_owned() };
        exports.push((name, short, kind, number(&mut section)?));
    }
    ensure!(section.is_empty(), "the section of exports is longer than its exports");
    let mut renamed: Vec<_> = exports.iter().filter(|(name, short, ..)| name != short).collect();
    // A name may be the beginning of a longer one.
    renamed.sort_by_key(|(name, ..)| Reverse(name.len()));
    for (name, short, ..) in renamed {
        let call = format!(".{name}");
        ensure!(script.contains(&call), "the glue does not call {name}");
        *script = script.replace(&call, &format!(".{short}"));
    }
    let mut shorter = Vec::new();
    push_number(&mut shorter, exports.len());
    for (_, short, kind, index) in exports {
        push_number(&mut shorter, short.len());
        shorter.extend(short.as_bytes());
        shorter.push(kind);
        push_number(&mut shorter, index);
    }
    Ok(shorter)
}

/// Whether a name is wasm-bindgen's, which no other name contains.
fn has_digits(name: &str) -> bool {
    let digits = name.strip_prefix("__wb").and_then(|rest| rest.rsplit_once('_'));
    digits.is_some_and(|(_, digits)| digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// A name for each number. In the glue they are names of properties, where also reserved words are allowed.
fn letters(mut index: usize) -> String {
    const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut name = String::new();
    loop {
        name.push(char::from(LETTERS[index % LETTERS.len()]));
        index /= LETTERS.len();
        if index == 0 {
            return name;
        }
        index -= 1;
    }
}

/// Reads a number of the format LEB128.
fn number(bytes: &mut &[u8]) -> anyhow::Result<usize> {
    let mut number = 0;
    // A number of 32 bits has at most five bytes.
    for shift in (0..35).step_by(7) {
        let byte = take(bytes, 1)?[0];
        number |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    anyhow::bail!("a number is too long")
}

fn push_number(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> anyhow::Result<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count).context("it ends too early")?;
    *bytes = rest;
    Ok(taken)
}

fn text<'a>(bytes: &mut &'a [u8]) -> anyhow::Result<&'a str> {
    let length = number(bytes)?;
    Ok(str::from_utf8(take(bytes, length)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A binary with these imports from `./a_bg.js` and a section of 200 bytes behind them.
    fn binary(names: &[&str]) -> Vec<u8> {
        let mut section = Vec::new();
        push_number(&mut section, names.len());
        for (index, name) in names.iter().enumerate() {
            for text in ["./a_bg.js", name] {
                push_number(&mut section, text.len());
                section.extend(text.as_bytes());
            }
            section.push(FUNCTION);
            push_number(&mut section, index * 100);
        }
        let mut binary = b"\0asm\x01\0\0\0".to_vec();
        write(&mut binary, IMPORTS, &section);
        write(&mut binary, 10, &[7; 200]);
        binary
    }

    const CLOSE: &str = "__wbg_close_00112233445566aa";
    const SEND: &str = "__wbg_send_ffeeddccbbaa9988";
    const INIT: &str = "__wbindgen_init_externref_table";

    #[test]
    fn names_with_digits_are_short_and_the_same_in_binary_and_glue() {
        let script = format!("{{__proto__:null,{CLOSE}(e){{}},{INIT}:f,\"{SEND}\":function(){{}}}}");
        let (short, script) = shortened(&binary(&[CLOSE, INIT, SEND]), &script).unwrap();
        assert_eq!(short, binary(&["a", INIT, "c"]));
        assert_eq!(
            script,
            format!("{{__proto__:null,a(e){{}},{INIT}:f,\"c\":function(){{}}}}")
        );
    }

    #[test]
    fn exports_that_call_closures_are_short_also_where_one_name_begins_another() {
        let binary = |names: [(&str, u8); 4]| {
            let mut section = Vec::new();
            push_number(&mut section, names.len());
            for (name, kind) in names {
                push_number(&mut section, name.len());
                section.extend(name.as_bytes());
                section.push(kind);
                push_number(&mut section, 300);
            }
            let mut binary = b"\0asm\x01\0\0\0".to_vec();
            write(&mut binary, EXPORTS, &section);
            binary
        };
        let (one, other, memory) = ("wasm_bindgen_0_invoke", "wasm_bindgen_0_invoke_1", ("memory", 2));
        let script = format!("w.{one}(e);w.{other}(e);w.main(w.memory)");
        let long = binary([memory, (one, FUNCTION), (other, FUNCTION), ("main", FUNCTION)]);
        let (short, script) = shortened(&long, &script).unwrap();
        assert_eq!(
            short,
            binary([memory, ("b", FUNCTION), ("c", FUNCTION), ("main", FUNCTION)])
        );
        assert_eq!(script, "w.b(e);w.c(e);w.main(w.memory)");
        assert!(shortened(&long, "w.main()").is_err(), "glue of another binary");
    }

    #[test]
    fn each_number_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = (0..10_000).map(letters).collect();
        assert_eq!(names.len(), 10_000);
        assert!(names.iter().all(|name| name.len() <= 3));
    }

    #[test]
    fn a_binary_that_does_not_fit_its_glue_or_is_cut_off_is_an_error() {
        let whole = binary(&[CLOSE]);
        assert!(shortened(&whole, "no such function").is_err());
        for length in [0, 4, 9, 20, whole.len() - 1] {
            assert!(shortened(&whole[..length], CLOSE).is_err(), "{length}");
        }
    }
}
