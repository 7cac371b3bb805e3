use talkback_protocol::message::Member;

/// The users in a room, sorted and without duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members(Vec<Member>);

impl Members {
    pub(crate) fn of(members: &[Member]) -> Self {
        let mut all = Self::default();
        all.add(members);
        all
    }

    /// Adds users; one may be in the list already.
    pub(crate) fn add(&mut self, members: &[Member]) {
        for member in members {
            if let Err(index) = self.0.binary_search(member) {
                self.0.insert(index, member.clone());
            }
        }
    }

    /// Removes users; one may be missing.
    pub(crate) fn remove(&mut self, members: &[Member]) {
        for member in members {
            if let Ok(index) = self.0.binary_search(member) {
                self.0.remove(index);
            }
        }
    }

    pub(crate) fn list(&self) -> Vec<Member> {
        self.0.clone()
    }
}
