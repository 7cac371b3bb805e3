//! The subprotocols that a connection offers: those that are chosen, which are drawn as chips, and what is being typed. Pure.

/// The bytes of all names, at most: servers read a few kilobytes of headers.
pub(super) const MAX_BYTES: usize = 1 << 10;

/// Names, in the order in which they are offered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Subprotocols {
    chosen: Vec<String>,
    typed: String,
}

/// What the user does besides typing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChipMove {
    /// What is typed is a whole name.
    Add,
    Remove(usize),
    RemoveLast,
}

impl Subprotocols {
    pub(super) fn chosen(&self) -> &[String] {
        &self.chosen
    }

    pub(super) fn typed(&self) -> &str {
        &self.typed
    }

    /// What is offered: also what is typed and not added yet.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let typed = self.typed.split(',').map(str::trim).filter(|name| !name.is_empty());
        self.chosen.iter().map(String::as_str).chain(typed)
    }

    /// A text that [`Self::type_text`] reads.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        for name in &self.chosen {
            text += name;
            text += ", ";
        }
        text + &self.typed
    }

    /// The field has this text now: names that a comma follows are added.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub(super) fn type_text(&mut self, text: &str) -> Result<(), BadName> {
        self.typed = text.trim_start().to_owned();
        while let Some((name, rest)) = self.typed.split_once(',') {
            let (name, rest) = (name.trim().to_owned(), rest.trim_start().to_owned());
            self.add(name)?;
            self.typed = rest;
        }
        Ok(())
    }

    /// Adds or removes.
    ///
    /// # Errors
    /// A name that is chosen already, is no token of HTTP, or is too much; it stays in the field.
    pub(super) fn update(&mut self, chip: ChipMove) -> Result<(), BadName> {
        match chip {
            ChipMove::Add => self.type_text(&(self.typed.clone() + ","))?,
            ChipMove::Remove(index) if index < self.chosen.len() => drop(self.chosen.remove(index)),
            ChipMove::Remove(_) => {}
            ChipMove::RemoveLast => drop(self.chosen.pop()),
        }
        Ok(())
    }

    /// What is typed stays in the field, without the comma that would have added it.
    fn kept(&mut self, problem: BadName) -> BadName {
        self.typed = self.typed.trim_end_matches([',', ' ']).to_owned();
        problem
    }

    fn add(&mut self, name: String) -> Result<(), BadName> {
        let bytes: usize = self.chosen.iter().map(String::len).sum();
        if name.is_empty() {
            Ok(())
        } else if self.chosen.contains(&name) || !is_token(&name) {
            Err(self.kept(BadName::Malformed(name)))
        } else if bytes + name.len() > MAX_BYTES {
            Err(self.kept(BadName::TooLong(name)))
        } else {
            self.chosen.push(name);
            Ok(())
        }
    }
}

/// Why a name is not added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BadName {
    /// It is chosen already, or is no token of HTTP.
    Malformed(String),
    /// All names would have more than [`MAX_BYTES`].
    TooLong(String),
}

/// Whether a name is a token of HTTP ([RFC 9110, section 5.6.2](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2)), as subprotocols are.
fn is_token(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Subprotocols {
        let mut subprotocols = Subprotocols::default();
        for end in text.char_indices().map(|(at, c)| at + c.len_utf8()) {
            let field = subprotocols.typed.clone() + &text[end - 1..end];
            let _: Result<(), BadName> = subprotocols.type_text(&field);
        }
        subprotocols
    }

    #[test]
    fn a_comma_adds_a_name_and_the_rest_stays_in_the_field() {
        for mut subprotocols in [typed("a, b ,,c"), {
            let mut pasted = Subprotocols::default();
            pasted.type_text("a, b ,,c").unwrap();
            pasted
        }] {
            assert_eq!(
                (subprotocols.chosen(), subprotocols.typed()),
                (&["a".to_owned(), "b".to_owned()][..], "c")
            );
            assert_eq!(subprotocols.names().collect::<Vec<_>>(), ["a", "b", "c"]);
            subprotocols.update(ChipMove::Add).unwrap();
            assert_eq!(
                (subprotocols.to_text().as_str(), subprotocols.typed()),
                ("a, b, c, ", "")
            );
            let mut restored = Subprotocols::default();
            restored.type_text(&subprotocols.to_text()).unwrap();
            assert_eq!(restored, subprotocols);
        }
    }

    #[test]
    fn names_are_removed_by_their_button_and_from_the_end() {
        let mut subprotocols = typed("a,b,c,");
        subprotocols.update(ChipMove::Remove(0)).unwrap();
        subprotocols.update(ChipMove::Remove(9)).unwrap();
        subprotocols.update(ChipMove::RemoveLast).unwrap();
        assert_eq!(subprotocols.chosen(), ["b"]);
        subprotocols.update(ChipMove::RemoveLast).unwrap();
        subprotocols.update(ChipMove::RemoveLast).unwrap();
        assert_eq!(subprotocols, Subprotocols::default());
    }

    #[test]
    fn a_name_that_is_repeated_malformed_or_too_much_stays_in_the_field() {
        for (text, culprit, rest) in [
            ("chat, chat,", "chat", "chat"),
            ("good, b@d, more", "b@d", "b@d, more"),
            ("a b,", "a b", "a b"),
            ("好,", "好", "好"),
        ] {
            let mut subprotocols = Subprotocols::default();
            assert_eq!(
                subprotocols.type_text(text),
                Err(BadName::Malformed(culprit.to_owned()))
            );
            assert_eq!(subprotocols.typed(), rest);
        }
        let mut subprotocols = Subprotocols::default();
        let long = "x".repeat(MAX_BYTES + 1);
        subprotocols.type_text(&long).unwrap();
        assert_eq!(subprotocols.update(ChipMove::Add), Err(BadName::TooLong(long)));
    }
}
