//! A storage of texts in memory.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use crate::store::Texts;

/// A `sessionStorage` in memory.
#[derive(Default)]
pub(crate) struct MemoryTexts {
    texts: RefCell<BTreeMap<String, String>>,
    quota: Cell<Option<usize>>,
    /// How many bytes of names and texts were stored so far, replaced ones too.
    pub(crate) written: Cell<usize>,
}

impl MemoryTexts {
    pub(crate) fn all(&self) -> BTreeMap<String, String> {
        self.texts.borrow().clone()
    }

    pub(crate) fn replace_all(&self, texts: BTreeMap<String, String>) {
        self.texts.replace(texts);
    }

    /// Sets the capacity in bytes, of names and texts; there is no limit at first.
    pub(crate) fn set_quota(&self, bytes: Option<usize>) {
        self.quota.set(bytes);
    }

    /// The bytes of all names and texts except those with this name.
    pub(crate) fn bytes_without(&self, name: &str) -> usize {
        let texts = self.texts.borrow();
        let others = texts.iter().filter(|(other, _)| *other != name);
        others.map(|(name, text)| name.len() + text.len()).sum()
    }
}

impl Texts for MemoryTexts {
    fn names(&self) -> Vec<String> {
        self.texts.borrow().keys().cloned().collect()
    }

    fn get(&self, name: &str) -> Option<String> {
        self.texts.borrow().get(name).cloned()
    }

    fn set(&self, name: &str, text: &str) -> Result<(), String> {
        let bytes = name.len() + text.len();
        let quota = self.quota.get();
        if quota.is_some_and(|quota| self.bytes_without(name) + bytes > quota) {
            return Err("the quota is exceeded".to_owned());
        }
        self.texts.borrow_mut().insert(name.to_owned(), text.to_owned());
        self.written.set(self.written.get() + bytes);
        Ok(())
    }

    fn remove(&self, name: &str) {
        self.texts.borrow_mut().remove(name);
    }
}
