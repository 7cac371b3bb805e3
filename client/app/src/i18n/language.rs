//! The languages of the page, and which one it starts with.

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

    /// The remembered language, else the browser's, else English.
    pub(crate) fn choose(remembered: Option<&str>, browser: Option<&str>) -> Self {
        [remembered, browser]
            .into_iter()
            .flatten()
            .find_map(Self::from_tag)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remembered_language_wins_over_the_browsers_and_unknown_ones_are_skipped() {
        assert_eq!(Language::choose(Some("zh-CN"), Some("en-US")), Language::Chinese);
        assert_eq!(Language::choose(None, Some("ZH-tw")), Language::Chinese);
        assert_eq!(Language::choose(Some("xx"), Some("zh")), Language::Chinese);
        assert_eq!(Language::choose(None, Some("fr-FR")), Language::English);
        assert_eq!(Language::choose(None, None), Language::English);
    }

    #[test]
    fn every_language_is_found_by_its_name_and_tag() {
        for language in Language::ALL {
            assert_eq!(Language::from_tag(language.name()), Some(language));
            assert_eq!(Language::from_tag(language.tag()), Some(language));
        }
    }
}
