//! What the text in the composer means: a text, JSON, or bytes in one of two notations; or a file, which has no text. Pure.

use super::{
    binary_text::{BinaryTextError, from_base64, from_hex},
    json,
    log_entry::Payload,
    templates,
};
use crate::i18n::{Language, Sentence, Text};

/// How the message is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    #[default]
    Text,
    Json,
    Hex,
    Base64,
    /// The bytes of a file, which is sent as a binary message.
    File,
}

impl Mode {
    /// All modes, in the order of the switch.
    pub(crate) const ALL: [Self; 5] = [Self::Text, Self::Json, Self::Hex, Self::Base64, Self::File];

    /// The name in storage, which is that of the mode's draft too.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Text => "message",
            Self::Json => "json",
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::File => "file",
        }
    }

    /// The mode of a name; that of texts for an unknown one.
    pub(crate) fn from_name(name: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name() == name)
            .unwrap_or_default()
    }

    /// The `id` of its choice.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Text => "mode_text",
            Self::Json => "mode_json",
            Self::Hex => "mode_hex",
            Self::Base64 => "mode_base64",
            Self::File => "mode_file",
        }
    }

    pub(crate) fn label(self, language: Language) -> &'static str {
        match self {
            Self::Text => Text::Textual.in_language(language),
            Self::Json => "JSON",
            Self::Hex => Text::Hex.in_language(language),
            Self::Base64 => "Base64",
            Self::File => Text::ModeFile.in_language(language),
        }
    }

    /// What stands in the empty field.
    pub(crate) fn placeholder(self, language: Language) -> &'static str {
        match self {
            Self::Hex => "00 ff 7a",
            Self::Base64 => "AP96",
            Self::Text | Self::Json => Text::RepeatHint.in_language(language),
            Self::File => "",
        }
    }

    /// Whether `{{seq}}` and the like are replaced.
    pub(crate) fn has_templates(self) -> bool {
        matches!(self, Self::Text | Self::Json)
    }

    /// The message that a text stands for.
    ///
    /// # Errors
    /// When the text does not follow the notation.
    pub(crate) fn payload(self, text: String) -> Result<Payload, Sentence> {
        match self {
            Self::Text | Self::File => Ok(Payload::Text(text)),
            Self::Json => match json::check(&text) {
                Ok(()) => Ok(Payload::Text(text)),
                Err(at) => {
                    let (line, column) = json::line_and_column(&text, at);
                    Err(Text::BadJson.with([line.into(), column.into()]))
                }
            },
            Self::Hex => from_hex(&text)
                .map(Payload::Binary)
                .map_err(|error| bad_bytes(error, &text)),
            Self::Base64 => from_base64(&text)
                .map(Payload::Binary)
                .map_err(|error| bad_bytes(error, &text)),
        }
    }

    /// How many bytes the message of a text has, or what is wrong with the text.
    ///
    /// # Errors
    /// As [`Mode::payload`].
    pub(crate) fn size(self, text: &str) -> Result<usize, Sentence> {
        match self {
            Self::Text => Ok(text.len()),
            Self::Json => {
                // With templates, the text is JSON only when they are replaced.
                let sample = templates::expand(text, 1, 0.0, String::new);
                self.payload(sample).map(|_| text.len())
            }
            _ => self.payload(text.to_owned()).map(|payload| payload.bytes()),
        }
    }
}

fn bad_bytes(error: BinaryTextError, text: &str) -> Sentence {
    match error {
        BinaryTextError::Character('{', _) if templates::expand(text, 1, 0.0, String::new) != text => {
            Text::NoTemplates.with(["{{seq}}, {{ts}}, {{uuid}}".into()])
        }
        BinaryTextError::Character(found, place) => Text::BadDigit.with([place.into(), found.to_string().into()]),
        BinaryTextError::Incomplete => Text::IncompleteByte.into(),
        BinaryTextError::Padding => Text::BadPadding.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_is_found_by_its_name() {
        for mode in Mode::ALL {
            assert_eq!(Mode::from_name(mode.name()), mode);
        }
        assert_eq!(Mode::from_name("?"), Mode::Text);
    }

    #[test]
    fn json_is_sent_as_it_is_written_and_refused_with_the_place_of_the_error() {
        for text in [
            "{\"a\": 1e400, \"a\":12345678901234567890}",
            " [1,\n2]",
            "\"好\"",
            "null",
            "-0.10",
        ] {
            assert_eq!(
                Mode::Json.payload(text.into()),
                Ok(Payload::Text(text.into())),
                "{text}"
            );
        }
        for (text, line, column) in [
            ("", 1_usize, 1_usize),
            ("{\"a\":\n  \"好\" x}", 2, 7),
            ("[1,]", 1, 4),
            ("[1", 1, 3),
            ("truth", 1, 1),
            ("1 2", 1, 3),
        ] {
            let expected = Text::BadJson.with([line, column].map(Sentence::from));
            assert_eq!(Mode::Json.payload(text.into()), Err(expected), "{text}");
        }
    }

    #[test]
    fn templates_are_refused_where_bytes_are_written() {
        let no_templates = Text::NoTemplates.with(["{{seq}}, {{ts}}, {{uuid}}".into()]);
        for mode in [Mode::Hex, Mode::Base64] {
            for text in ["{{seq}}", "00ff {{ ts }}", "AAAA{{uuid}}"] {
                assert_eq!(mode.payload(text.into()), Err(no_templates.clone()), "{text}");
                assert_eq!(mode.size(text), Err(no_templates.clone()), "{text}");
            }
            let unknown = Text::BadDigit.with([1_usize.into(), "{".into()]);
            assert_eq!(mode.payload("{{other}}".into()), Err(unknown));
        }
    }

    #[test]
    fn the_size_is_that_of_the_message_and_not_of_its_notation() {
        assert_eq!(Mode::Text.size("好"), Ok(3));
        assert_eq!(Mode::Hex.size("00 ff"), Ok(2));
        assert_eq!(Mode::Base64.size("Zm9v"), Ok(3));
        assert!(Mode::Json.size("{\"n\": {{seq}}}").is_ok(), "templates are no errors");
        assert!(Mode::Json.size("{\"n\": }").is_err());
    }
}
