//! The result of a check.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// The most texts that are kept of one broken rule.
const SHOWN: usize = 5;

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rule {
    /// The recording is complete and can be read.
    Recording,
    /// Each kind of fault of the plan happened, and there was load.
    Faults,
    /// A member that stayed, or resumed without `recovered: false`, has each acknowledged message.
    Missing,
    /// No member gets a message twice, and no log has one twice.
    Twice,
    /// All members get the messages of a room and an epoch in one order, and those of a sender in the order in which it
    /// sent them.
    Order,
    /// A message is delivered in the room and with the bytes with which it was sent.
    Bytes,
    /// A member gets offset after offset; what it misses is announced.
    Gap,
    /// Each message has one outcome at the end.
    Settled,
    /// An offset of an epoch means one message.
    Offsets,
    /// At the end the log has each acknowledged message that no recorded fault may have lost, at its offset, and none
    /// that certainly failed.
    Log,
    /// `recovered: false` comes only after a fault with which the engine may lose messages.
    Reset,
    /// An epoch is not used any more after its newest messages were lost.
    Epoch,
}

impl Rule {
    pub(crate) const ALL: [Self; 12] = [
        Self::Recording,
        Self::Faults,
        Self::Missing,
        Self::Twice,
        Self::Order,
        Self::Bytes,
        Self::Gap,
        Self::Settled,
        Self::Offsets,
        Self::Log,
        Self::Reset,
        Self::Epoch,
    ];

    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// How often a rule is broken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Broken {
    pub(crate) times: u64,
    /// The first ones. A number behind "line" is that of the line in the recording, from 1.
    pub(crate) first: Vec<String>,
}

/// The result of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Verdict {
    pub(crate) seed: u64,
    pub(crate) topology: String,
    pub(crate) kept: bool,
    /// Figures by name.
    pub(crate) counts: BTreeMap<String, u64>,
    /// Faults by kind.
    pub(crate) faults: BTreeMap<String, u64>,
    /// How often each rule is broken.
    pub(crate) rules: BTreeMap<Rule, Broken>,
}

impl Verdict {
    pub(crate) fn break_rule(&mut self, rule: Rule, text: String) {
        let broken = self.rules.entry(rule).or_default();
        broken.times += 1;
        if broken.first.len() < SHOWN {
            broken.first.push(text);
        }
    }

    pub(crate) fn count(&mut self, name: &str, more: u64) {
        *self.counts.entry(name.to_owned()).or_default() += more;
    }

    /// Whether no rule is broken.
    pub(crate) fn is_kept(&self) -> bool {
        self.rules.values().all(|broken| broken.times == 0)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} with {}", self.seed, self.topology)?;
        let list = |counts: &BTreeMap<String, u64>| {
            let items: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
            items.join(", ")
        };
        writeln!(f, "  seen: {}", list(&self.counts))?;
        writeln!(f, "  faults: {}", list(&self.faults))?;
        for rule in Rule::ALL {
            match self.rules.get(&rule).filter(|broken| broken.times > 0) {
                None => writeln!(f, "  {:9} kept", rule.name())?,
                Some(broken) => {
                    writeln!(f, "  {:9} BROKEN {} times", rule.name(), broken.times)?;
                    for text in &broken.first {
                        writeln!(f, "    {text}")?;
                    }
                }
            }
        }
        Ok(())
    }
}
