//! What a runbook may do: the words of its front matter, and how far each of them reaches.

use serde::{Deserialize, Serialize, Serializer};

/// What an operation does to the world. A step whose effects its runbook does not name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Effect {
    /// Reads from Azure.
    AzureRead,
    /// Changes something in Azure.
    AzureWrite,
    /// Opens an SSH session.
    Ssh,
    /// Connects to a port to see whether it answers, and what it says by itself.
    NetProbe,
    /// Opens a port of this machine that leads elsewhere.
    NetForward,
    /// Reads files below the run's folder.
    FileRead,
    /// Writes files below the run's folder.
    FileWrite,
    /// Talks HTTP to somebody else than Azure.
    Http,
    /// Shows something on the screen of whoever sits at this machine, in a window of its own.
    Screen,
    /// Uses a secret.
    Secret,
    /// An effect of the embedding program's own, which front matter may name as soon as an operation has it.
    Custom {
        /// The word that front matter uses, such as `telephony`.
        word: &'static str,
        /// Whether it leaves the world as it was.
        read_only: bool,
    },
}

impl Effect {
    /// Every effect that this crate names, with the word that front matter uses.
    pub const ALL: [(Effect, &'static str); 10] = [
        (Effect::AzureRead, "azure:read"),
        (Effect::AzureWrite, "azure:write"),
        (Effect::Ssh, "ssh"),
        (Effect::NetProbe, "net:probe"),
        (Effect::NetForward, "net:forward"),
        (Effect::FileRead, "file:read"),
        (Effect::FileWrite, "file:write"),
        (Effect::Http, "http"),
        (Effect::Screen, "screen"),
        (Effect::Secret, "secret"),
    ];

    /// Returns the word that front matter uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Effect::Custom { word, .. } => word,
            named => Effect::ALL.iter().find(|(effect, _)| *effect == named).map_or("", |(_, word)| word),
        }
    }

    /// Returns whether the effect leaves the world as it was.
    pub fn is_read_only(self) -> bool {
        match self {
            Effect::AzureRead | Effect::NetProbe | Effect::FileRead | Effect::Screen | Effect::Secret => true,
            Effect::AzureWrite | Effect::Ssh | Effect::NetForward | Effect::FileWrite | Effect::Http => false,
            Effect::Custom { read_only, .. } => read_only,
        }
    }
}

impl Serialize for Effect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What a runbook, or a run, may do: words in the order in which front matter has them.
///
/// Words rather than [`Effect`]s, because a journal may hold some that this program does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Effects(Vec<String>);

impl Effects {
    /// Returns the words.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Returns whether an effect is among them, by its own word or by one that includes it.
    pub fn allow(&self, effect: Effect) -> bool {
        self.cover(effect.as_str())
    }

    /// Returns the widest of an operation's effects that is not among them, if there is one.
    pub fn lacking_for(&self, operation: &[Effect]) -> Option<Effect> {
        let lacking: Vec<Effect> = operation.iter().copied().filter(|effect| !self.allow(*effect)).collect();
        let is_widest = |effect: &&Effect| {
            lacking.iter().all(|other| other == *effect || !includes(other.as_str(), effect.as_str()))
        };
        lacking.iter().find(is_widest).copied()
    }

    /// Returns the words of `wanted` that these do not cover.
    pub fn lacking<'a>(&self, wanted: &'a Effects) -> Vec<&'a str> {
        wanted.words().filter(|word| !self.cover(word)).collect()
    }

    /// Returns these with one more effect.
    #[must_use]
    pub(crate) fn with(mut self, effect: Effect) -> Self {
        if !self.allow(effect) {
            self.0.push(effect.as_str().to_owned());
        }
        self
    }

    fn cover(&self, word: &str) -> bool {
        self.words().any(|own| includes(own, word))
    }
}

/// Returns whether one effect includes another: who may write may read.
fn includes(wide: &str, narrow: &str) -> bool {
    wide == narrow || matches!((wide, narrow), ("azure:write", "azure:read") | ("file:write", "file:read"))
}

impl FromIterator<String> for Effects {
    fn from_iter<I: IntoIterator<Item = String>>(words: I) -> Self {
        Effects(words.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effects(words: &[&str]) -> Effects {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn writing_includes_reading_and_nothing_else_includes_anything() {
        let own = effects(&["azure:write", "telephony"]);
        assert!(own.allow(Effect::AzureRead) && !own.allow(Effect::FileRead));
        assert!(own.allow(Effect::Custom { word: "telephony", read_only: false }));
        assert_eq!(own.lacking(&effects(&["azure:read", "ssh", "telephony", "later"])), ["ssh", "later"]);
        assert_eq!(own.lacking_for(&[Effect::FileRead, Effect::FileWrite]), Some(Effect::FileWrite));
        assert!(effects(&["azure:read"]).lacking(&own) == ["azure:write", "telephony"]);
    }
}
