//! What a caller chooses when starting a lab.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use crate::{Fault, Guest};

/// Where the lab gets its time from. Everything in the lab is a function of it.
pub type Now = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;

/// Returns the wall clock as a [`Now`].
pub fn system_clock() -> Now {
    Arc::new(jiff::Timestamp::now)
}

/// How to start a lab.
#[derive(Clone)]
pub struct LabConfig {
    /// Decides every id and every duration. A saved lab keeps the seed and the world it was made with.
    pub seed: u64,
    /// The only clock of the lab.
    pub now: Now,
    /// Where to save the lab at every mutation, and where to find a saved one. `None` keeps it in memory.
    pub dir: Option<PathBuf>,
    /// Faults that are switched on from the start.
    pub faults: Vec<Fault>,
    /// Which world to build when no saved one is found.
    pub world: WorldName,
    /// The port to listen on. `None` takes the saved lab's port, else any free one.
    pub port: Option<u16>,
    /// What listens on the ports of Arc machines, for those who come through the relay.
    pub guests: Vec<Guest>,
    /// Whether device codes are confirmed at once, as if somebody sat at the page.
    pub confirms_devices: bool,
    /// How many tokens may be asked for within one token lifetime before it counts as a violation.
    pub token_requests: u32,
    /// How many seconds of the lab pass in one of the wall clock's. Other people's programs measure `expires_in` by the
    /// wall clock, so a token is good for that much longer in the lab.
    pub speed: u32,
}

impl LabConfig {
    /// Returns the defaults: seed 1, nothing saved, no faults, the `edge` world, any port, no hurry.
    pub fn new(now: Now) -> Self {
        Self {
            seed: 1,
            now,
            dir: None,
            faults: Vec::new(),
            world: WorldName::default(),
            port: None,
            guests: Vec::new(),
            confirms_devices: false,
            token_requests: 20,
            speed: 1,
        }
    }
}

impl fmt::Debug for LabConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LabConfig")
            .field("seed", &self.seed)
            .field("dir", &self.dir)
            .field("faults", &self.faults)
            .field("world", &self.world)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// The worlds a lab can be started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WorldName {
    /// Two clusters and six VMs: healthy, stopped, unbootable, in another resource group, on an old cluster.
    #[default]
    Edge,
    /// One cluster of four nodes with this many VMs; every fifth does not boot.
    Fleet(u32),
}

impl fmt::Display for WorldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorldName::Edge => f.write_str("edge"),
            WorldName::Fleet(count) => write!(f, "site-of-{count}"),
        }
    }
}

/// Reads `edge` or `site-of-<count>`.
impl FromStr for WorldName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "edge" {
            return Ok(WorldName::Edge);
        }
        text.strip_prefix("site-of-")
            .and_then(|count| count.parse().ok())
            .map(WorldName::Fleet)
            .ok_or_else(|| format!("unknown world `{text}`: use `edge` or `site-of-<count>`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn world_names_read_back() {
        for world in [WorldName::Edge, WorldName::Fleet(1000)] {
            assert_eq!(world.to_string().parse(), Ok(world));
        }
        assert!("moon".parse::<WorldName>().is_err());
    }
}
