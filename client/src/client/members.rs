use talkback_protocol::message::Member;

/// The users in a room, sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members(Vec<Member>);

impl Members {
    pub(crate) fn of(members: &[Member]) -> Self {
        let mut all = Self::default();
        all.add(members);
        all
    }

    /// Takes in those who came; one may be there already.
    pub(crate) fn add(&mut self, members: &[Member]) {
        for member in members {
            if let Err(place) = self.0.binary_search(member) {
                self.0.insert(place, member.clone());
            }
        }
    }

    /// Takes out those who left; one may not be there.
    pub(crate) fn remove(&mut self, members: &[Member]) {
        for member in members {
            if let Ok(place) = self.0.binary_search(member) {
                self.0.remove(place);
            }
        }
    }

    pub(crate) fn list(&self) -> Vec<Member> {
        self.0.clone()
    }
}
