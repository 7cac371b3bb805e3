//! The languages of the page. `assets/boot.js` chooses the one that it starts with.

/// The languages of the page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Language {
    #[default]
    English,
    Chinese,
}

impl Language {
    /// All languages, in the order of the menu.
    pub(crate) const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// The name in storage and in the menu's values.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }

    /// The [BCP 47](https://www.rfc-editor.org/info/bcp47) tag for the page's `lang`: with its region, which picks the
    /// right glyphs.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-CN",
        }
    }

    /// The language's name in itself.
    pub(crate) fn own_name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::Chinese => "中文",
        }
    }

    /// The language of a tag like `zh-TW`, by its first part; none for a language the page does not have.
    pub(crate) fn from_tag(tag: &str) -> Option<Self> {
        let primary = tag.split('-').next().unwrap_or_default();
        Self::ALL
            .into_iter()
            .find(|language| language.name().eq_ignore_ascii_case(primary))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_is_found_by_its_name_and_tag() {
        for language in Language::ALL {
            assert_eq!(Language::from_tag(language.name()), Some(language));
            assert_eq!(Language::from_tag(language.tag()), Some(language));
        }
    }
}
