//! `{{seq}}`, `{{ts}}` and `{{uuid}}` in a message. Pure.

use crate::format;

/// Replaces what stands in double braces: `seq` by the number of the message, `ts` by the time in milliseconds since the Unix epoch, `uuid` by
/// a new one each time; a backslash before the braces is removed and leaves them as they are. Every other text stays as it is, also in double braces.
pub(super) fn expand(text: &str, seq: u64, now: f64, mut uuid: impl FnMut() -> String) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = format::find(rest, "{{") {
        let (before, from) = rest.split_at(start);
        expanded += before;
        let name = format::find(&from[2..], "}}").map(|end| &from[2..2 + end]);
        let value = match name.map(str::trim) {
            Some("seq") => Some(seq.to_string()),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the time is positive and far below 2^53"
            )]
            Some("ts") => Some((now as u64).to_string()),
            Some("uuid") => Some(uuid()),
            _ => None,
        };
        let is_literal = value.is_some() && expanded.ends_with('\\');
        match (value, name) {
            (Some(_), Some(name)) if is_literal => {
                expanded.pop();
                let (literal, after) = from.split_at(name.len() + 4);
                expanded += literal;
                rest = after;
            }
            (Some(value), Some(name)) => {
                expanded += &value;
                rest = &from[name.len() + 4..];
            }
            _ => {
                // The next brace may begin one: `{{{seq}}`.
                expanded.push('{');
                rest = &from[1..];
            }
        }
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_replaced_and_everything_else_stays() {
        let mut count = 0;
        let mut expand = |text: &str| {
            expand(text, 7, 1_795_238_400_123.4, || {
                count += 1;
                format!("uuid{count}")
            })
        };
        for (text, expanded) in [
            ("{{seq}} at {{ ts }}", "7 at 1795238400123"),
            ("{{uuid}}{{uuid}}", "uuid1uuid2"),
            ("{{{seq}}}", "{7}"),
            ("{{seq", "{{seq"),
            ("{{other}} {{seq}}", "{{other}} 7"),
            ("{\"a\":{\"b\":{}}}", "{\"a\":{\"b\":{}}}"),
            ("好{{seq}}好", "好7好"),
            ("{{", "{{"),
            ("\\{{seq}} {{seq}}", "{{seq}} 7"),
            ("\\{{other}}", "\\{{other}}"),
            ("{{}}", "{{}}"),
        ] {
            assert_eq!(expand(text), expanded, "{text}");
        }
    }
}
