//! The records of one client key in a storage of texts. The head record has the name of the set, each other record that
//! name, `#` and its number.

use std::cell::RefCell;

use talkback_protocol::{
    message::Millis,
    session::client::{ClientSession, Kept, Write},
};

/// A storage of named texts, like `sessionStorage`.
pub(crate) trait Texts {
    fn names(&self) -> Vec<String>;

    fn get(&self, name: &str) -> Option<String>;

    /// Stores a text, and replaces the one with this name.
    ///
    /// # Errors
    /// Why it cannot be stored, for instance because the quota is exceeded. Then the former text remains.
    fn set(&self, name: &str, text: &str) -> Result<(), String>;

    /// Removes the text, if there is one.
    fn remove(&self, name: &str);
}

/// The records of one client key.
pub(super) struct Records {
    name: String,
    /// The head as it was written last, to detect that another page removed the records, see [`Store`](super::Store).
    head: RefCell<Option<String>>,
}

impl Records {
    pub(super) fn new(name: String) -> Self {
        let head = RefCell::default();
        Self { name, head }
    }

    /// The stored outbox, if it can be read.
    pub(super) fn read(&self, texts: &dyn Texts) -> Option<Kept> {
        let names = texts.names();
        let records = names.iter().filter_map(|name| {
            let number = number(&self.name, name)?;
            Some((number, texts.get(name)?))
        });
        Kept::read(records)
    }

    /// Writes what changed since the last save, or everything if another page removed the records. `free_space` is
    /// called if a text does not fit.
    ///
    /// # Errors
    /// Why it cannot be stored. Then all records are removed, because a client that restored them would use sequence
    /// numbers again.
    pub(super) fn save(
        &self,
        texts: &dyn Texts,
        session: &mut ClientSession,
        wall: Millis,
        free_space: impl Fn(),
    ) -> Result<(), String> {
        let is_there = self.head.borrow().is_some() && texts.get(&self.name) == *self.head.borrow();
        if !is_there {
            session.write_all();
        }
        let writes = session.writes(wall);
        for write in &writes {
            let put = match write {
                Write::Put { record, text } => self.put(texts, *record, text).or_else(|_| {
                    free_space();
                    // The storage may have no capacity for both the replaced records and the new ones.
                    let replaced = writes.iter().filter(|write| matches!(write, Write::RemoveBelow { .. }));
                    replaced.for_each(|write| self.remove(texts, write));
                    self.put(texts, *record, text)
                }),
                remove => {
                    self.remove(texts, remove);
                    Ok(())
                }
            };
            if put.is_err() {
                self.remove_all(texts);
                return put;
            }
        }
        Ok(())
    }

    /// Removes all records, the head first, so that a page that ends in between leaves no set that could be read.
    pub(super) fn remove_all(&self, texts: &dyn Texts) {
        self.head.take();
        texts.remove(&self.name);
        self.remove(texts, &Write::RemoveBelow { record: u64::MAX });
    }

    fn put(&self, texts: &dyn Texts, record: u64, text: &str) -> Result<(), String> {
        if record == 0 {
            texts.set(&self.name, text)?;
            self.head.replace(Some(text.to_owned()));
            return Ok(());
        }
        texts.set(&format!("{}#{record}", self.name), text)
    }

    fn remove(&self, texts: &dyn Texts, write: &Write) {
        match write {
            Write::Put { .. } => {}
            Write::Remove { record } => texts.remove(&format!("{}#{record}", self.name)),
            Write::RemoveBelow { record } => {
                for name in texts.names() {
                    if number(&self.name, &name).is_some_and(|number| (1..*record).contains(&number)) {
                        texts.remove(&name);
                    }
                }
            }
        }
    }
}

/// The names of the heads with this prefix. Records without a head are removed: they remain when a page ends during
/// [`Records::remove_all`].
pub(super) fn heads(texts: &dyn Texts, prefix: &str) -> Vec<String> {
    let names = texts.names();
    let heads: Vec<_> = names.iter().filter(|name| is_head(prefix, name)).cloned().collect();
    for name in names {
        let head = name.rsplit_once('#').map(|(head, _)| head);
        if let Some(head) = head.filter(|head| is_head(prefix, head))
            && number(head, &name).is_some()
            && !heads.iter().any(|other| other == head)
        {
            texts.remove(&name);
        }
    }
    heads
}

/// Whether the name is a head's: the prefix, then 16 hexadecimal digits. A longer client name can begin with the same
/// prefix: `talkback:ann:` is one of `talkback:ann:x:`.
fn is_head(prefix: &str, name: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// The number of the record with this name, if it belongs to this head; the head's own number is 0.
fn number(head: &str, name: &str) -> Option<u64> {
    let rest = name.strip_prefix(head)?;
    if rest.is_empty() {
        return Some(0);
    }
    let digits = rest.strip_prefix('#')?;
    let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
    digits.parse().ok().filter(|number| is_number && *number > 0)
}

#[cfg(test)]
#[cfg(feature = "test-util")]
mod tests {
    use std::{cell::Cell, time::Duration};

    use talkback_protocol::{Body, ClientKey, Moment, RoomName, session::client::ClientOptions};

    use super::*;
    use crate::test_util::MemoryTexts;

    const NAME: &str = "talkback:chat.ann:00112233445566ff";

    fn len(texts: &MemoryTexts) -> usize {
        texts.names().len()
    }

    fn bytes(texts: &MemoryTexts) -> usize {
        texts.bytes_without("")
    }

    fn session() -> ClientSession {
        let mut options = ClientOptions {
            keep: true,
            ..ClientOptions::default()
        };
        options.outbox.messages = 8_000;
        ClientSession::new(options, ClientKey::from_random([7; 16]))
    }

    fn publish(session: &mut ClientSession, tags: std::ops::RangeInclusive<u64>) {
        for tag in tags {
            let moment = Moment {
                now: Duration::ZERO,
                random: tag,
            };
            let (room, body) = (RoomName::parse("lobby").unwrap(), Body::text("0123456789"));
            session.publish(moment, room, body, tag).unwrap();
        }
    }

    fn save(records: &Records, texts: &MemoryTexts, session: &mut ClientSession) -> Result<(), String> {
        records.save(texts, session, 0, || {})
    }

    fn tags(records: &Records, texts: &MemoryTexts) -> Vec<u64> {
        let kept = records.read(texts).unwrap();
        let rooms = kept.snapshot().rooms.iter();
        rooms
            .flat_map(|room| &room.pending)
            .filter_map(|message| message.tag)
            .collect()
    }

    #[test]
    fn records_of_a_name_are_distinct_from_those_of_a_longer_name() {
        let ann = "talkback:chat.ann:";
        assert!(is_head(ann, NAME));
        for other in [
            "talkback:chat.ann:x:00112233445566ff",
            "talkback:chat.ann:00112233445566ff:00112233445566ff",
            "talkback:chat.ann:00112233445566ff#1",
            "talkback:chat.anna:00112233445566ff",
            "talkback:chat.ann:00112233",
            "talkback:chat.ann:+0112233445566ff",
        ] {
            assert!(!is_head(ann, other), "{other}");
        }
        let numbered = |rest: &str| number(NAME, &format!("{NAME}{rest}"));
        assert_eq!([numbered(""), numbered("#7")], [Some(0), Some(7)]);
        for other in ["#", "#0", "#+1", "7", "#7:00112233445566ff", "#99999999999999999999"] {
            assert_eq!(numbered(other), None, "{other}");
        }
    }

    #[test]
    fn each_save_writes_what_changed_and_all_messages_are_read() {
        let (texts, records, mut session) = (MemoryTexts::default(), Records::new(NAME.to_owned()), session());
        for tag in 1..=8_000 {
            publish(&mut session, tag..=tag);
            save(&records, &texts, &mut session).unwrap();
        }
        assert_eq!(tags(&records, &texts), (1..=8_000).collect::<Vec<_>>());
        let written = texts.written.get();
        assert!(written < 8_000 * 450, "{written} bytes for 8,000 messages");
    }

    /// A frame of the same page may take the records for a copy and remove them.
    #[test]
    fn records_that_another_page_removed_are_written_again_as_a_whole() {
        let (texts, records, mut session) = (MemoryTexts::default(), Records::new(NAME.to_owned()), session());
        publish(&mut session, 1..=3);
        save(&records, &texts, &mut session).unwrap();
        Records::new(NAME.to_owned()).remove_all(&texts);
        assert_eq!(len(&texts), 0);
        publish(&mut session, 4..=4);
        save(&records, &texts, &mut session).unwrap();
        assert_eq!(tags(&records, &texts), [1, 2, 3, 4]);
        // Another page has written the head.
        texts.set(NAME, "{}").unwrap();
        save(&records, &texts, &mut session).unwrap();
        assert_eq!(tags(&records, &texts), [1, 2, 3, 4]);
        assert_eq!(len(&texts), 6, "the former records are removed");
    }

    #[test]
    fn records_of_other_names_and_without_a_head_are_not_read() {
        let (texts, records, mut session) = (MemoryTexts::default(), Records::new(NAME.to_owned()), session());
        publish(&mut session, 1..=2);
        save(&records, &texts, &mut session).unwrap();
        let longer = "talkback:chat.ann:00112233445566ff#1:00112233445566ff";
        let (own, orphan) = (len(&texts), "talkback:chat.ann:ffffffffffffffff#3");
        for name in [longer, orphan, "something else#1"] {
            texts.set(name, "{}").unwrap();
        }
        assert_eq!(heads(&texts, "talkback:chat.ann:"), [NAME]);
        assert_eq!(len(&texts), own + 2, "the record without a head is removed");
        assert_eq!(texts.get(orphan), None);
        records.remove_all(&texts);
        assert_eq!(texts.names(), ["something else#1", longer]);
    }

    #[test]
    fn a_full_storage_is_an_error_and_removes_all_records() {
        let (texts, records, mut session) = (MemoryTexts::default(), Records::new(NAME.to_owned()), session());
        publish(&mut session, 1..=3);
        save(&records, &texts, &mut session).unwrap();
        texts.set_quota(Some(bytes(&texts) + 50));
        publish(&mut session, 4..=4);
        assert!(save(&records, &texts, &mut session).is_err());
        assert_eq!(len(&texts), 0);
    }

    #[test]
    fn former_records_are_removed_if_both_sets_exceed_the_quota() {
        let (texts, records, mut session) = (MemoryTexts::default(), Records::new(NAME.to_owned()), session());
        publish(&mut session, 1..=10);
        save(&records, &texts, &mut session).unwrap();
        texts.set_quota(Some(bytes(&texts) * 3 / 2));
        let again = Records::new(NAME.to_owned());
        save(&again, &texts, &mut session).unwrap();
        assert_eq!(tags(&again, &texts), (1..=10).collect::<Vec<_>>());

        let other = Records::new("talkback:chat.ann:ffffffffffffffff".to_owned());
        let made = Cell::new(0);
        let free_space = || {
            again.remove_all(&texts);
            made.set(made.get() + 1);
        };
        session.write_all();
        other.save(&texts, &mut session, 0, free_space).unwrap();
        assert_eq!((made.get(), tags(&other, &texts).len(), len(&texts)), (1, 10, 12));
    }
}
