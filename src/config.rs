//! `relight.toml`: what an operator sets once.
//!
//! ```toml
//! [library]
//! path = "runbooks"          # beside this file, unless absolute
//!
//! [azure]
//! subscription = "..."
//! tenant = "..."             # where one signed in to several with `relight login`
//! group = "rg-edge"          # the default of parameters that read AZURE_DEFAULTS_GROUP
//! cloud = "public"           # or "usgov", "china"
//!
//! [cloud]                    # an Azure of one's own, such as disconnected operations
//! arm = "https://armmanagement.autonomous.cloud.private"
//! login = "https://..."      # asked of `arm` when left out, with `audience`
//! audience = "https://..."
//! vault_dns = "vault..."     # what follows the name of a key vault
//! ca_bundle = "root.pem"
//!
//! [state]
//! path = "/var/lib/relight"
//!
//! [concurrency]              # how many runs may be under way at once
//! runs = 20                  # in all; any number when left out
//! per_target = 1             # on what a runbook names as its `target`
//! runbooks = { restart-vm = 2 }  # of a runbook, whatever its front matter says
//!
//! [service]                  # what `relight serve` offers
//! listen = "127.0.0.1:7411"  # to nobody when left out
//! tls_cert = "edge.pem"      # both are needed to listen at an address that others can reach
//! tls_key = "edge.key"
//! secrets = ["keyvault:edge/*"]  # what tokens below `admin` may name
//!
//! [remote]                   # for --server
//! token_file = "token"       # where RELIGHT_TOKEN is not set
//! ca_bundle = "edge-root.pem"  # trusted besides the system's certificates
//!
//! [retention]                # what `relight serve` takes away once a day: runs that are over and
//! older_than = "90d"         # ended longer ago,
//! keep = 1000                # and are not among the newest
//! export = "exported"        # each is written into this folder before it goes
//! ```
//!
//! The sections `[[receiver]]` are in [`receiver`], `[traces]` is in [`traces`]. It is read from `--config` or RELIGHT_CONFIG, else from
//! beside the library that `--library` or RELIGHT_LIBRARY names, else from the configuration folder. The environment goes before the file.

mod receiver;
mod traces;
mod wrong;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::{Path, PathBuf};

use relight_engine::{Concurrency, Error, Result, Snippet, Span};
use serde::Deserialize;

pub(crate) use self::receiver::{Address, By, Form, Receiver, parse as parse_address};
pub(crate) use self::traces::{Header, Traces};
use self::wrong::{Wrong, masked};
use crate::platform;

const NAME: &str = "relight.toml";

/// The file's content, with paths that no longer depend on where it lies.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where runbooks are.
    pub(crate) library: Place,
    /// Which part of Azure is meant.
    pub(crate) azure: Azure,
    /// An Azure that is not one of the known ones.
    pub(crate) cloud: Option<OwnCloud>,
    /// Where runs are kept.
    pub(crate) state: Place,
    /// How many runs may be under way at once.
    pub(crate) concurrency: Limits,
    /// What the service offers.
    pub(crate) service: Service,
    /// How services elsewhere are talked to.
    pub(crate) remote: Remote,
    /// How long runs are kept.
    pub(crate) retention: Retention,
    /// Who is told what needs a person, as the file has it.
    receiver: Vec<receiver::Written>,
    /// Who is told what needs a person.
    #[serde(skip)]
    pub(crate) receivers: Vec<Receiver>,
    /// Where traces of runs go, as the file has it.
    #[serde(rename = "traces")]
    written_traces: Option<traces::Written>,
    /// Where traces of runs go, as far as the file says so.
    #[serde(skip)]
    pub(crate) traces: Option<Traces>,
}

/// How services elsewhere are talked to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Remote {
    /// The file that holds the token.
    pub(crate) token_file: Option<PathBuf>,
    /// Certificates that are trusted besides the system's.
    pub(crate) ca_bundle: Option<PathBuf>,
}

/// How many runs may be under way at once.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// In all.
    pub(crate) runs: Option<NonZeroU32>,
    /// On one target; one when left out.
    pub(crate) per_target: Option<NonZeroU32>,
    /// Of a runbook, by its name.
    pub(crate) runbooks: BTreeMap<String, NonZeroU32>,
}

impl Limits {
    /// Returns them as the engine takes them.
    pub(crate) fn concurrency(&self) -> Concurrency {
        let mut concurrency = Concurrency::default();
        concurrency.runs = self.runs;
        concurrency.per_target = self.per_target.unwrap_or(concurrency.per_target);
        concurrency.runbooks.clone_from(&self.runbooks);
        concurrency
    }
}

/// What the service offers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Service {
    /// Where it listens; nowhere when left out.
    pub(crate) listen: Option<String>,
    /// Its certificate, as PEM.
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key, as PEM.
    pub(crate) tls_key: Option<PathBuf>,
    /// The secrets that tokens below `admin` may name, each perhaps with a `*` at its end.
    pub(crate) secrets: Vec<String>,
}

/// How long runs that are over are kept; for ever when nothing is said.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Retention {
    /// They go when they ended longer ago.
    pub(crate) older_than: Option<Span>,
    /// The newest ones stay, so many.
    pub(crate) keep: Option<usize>,
    /// Where each is exported to before it goes.
    pub(crate) export: Option<PathBuf>,
}

/// A folder.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Place {
    /// Where it is.
    pub(crate) path: Option<PathBuf>,
}

/// Which part of Azure is meant.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Azure {
    /// The subscription.
    pub(crate) subscription: Option<String>,
    /// The directory, where somebody signs in to several.
    pub(crate) tenant: Option<String>,
    /// The resource group of parameters that name none.
    pub(crate) group: Option<String>,
    /// Which of the known clouds.
    pub(crate) cloud: KnownCloud,
}

/// The clouds whose addresses are known.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KnownCloud {
    /// Azure.
    #[default]
    Public,
    /// Azure of the US government.
    UsGov,
    /// Azure in China.
    China,
}

/// An Azure that is not one of the known ones.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnCloud {
    /// The address of Azure Resource Manager.
    pub(crate) arm: String,
    /// Where one signs in.
    pub(crate) login: Option<String>,
    /// For whom a token is asked.
    pub(crate) audience: Option<String>,
    /// What follows the name of a key vault in its address.
    pub(crate) vault_dns: Option<String>,
    /// Certificates that are trusted besides the system's.
    pub(crate) ca_bundle: Option<PathBuf>,
}

impl Config {
    /// Reads the configuration, if there is any.
    ///
    /// # Errors
    /// `Invalid` when the chosen file is not there or not right, with the wrong line underlined.
    pub(crate) fn read(chosen: Option<&Path>, library: Option<&Path>) -> Result<Self> {
        let beside = [library.map(Path::to_owned), platform::config_folder()];
        let found =
            || beside.into_iter().flatten().map(|folder| folder.join(NAME)).find(|file| file.is_file());
        let Some(path) = chosen.map(Path::to_owned).or_else(found) else { return Ok(Config::default()) };
        let text = std::fs::read_to_string(&path).map_err(|e| {
            Error::invalid(format!("failed to read the configuration {}", path.display())).because(e)
        })?;
        let mut config = parse(&path, &text)?;
        let here = path.parent().unwrap_or(Path::new("."));
        let ca_bundle = config.cloud.as_mut().and_then(|cloud| cloud.ca_bundle.as_mut());
        let export = config.retention.export.as_mut();
        let service = &mut config.service;
        let paths = [
            config.library.path.as_mut(),
            config.state.path.as_mut(),
            ca_bundle,
            service.tls_cert.as_mut(),
            service.tls_key.as_mut(),
            config.remote.token_file.as_mut(),
            config.remote.ca_bundle.as_mut(),
            export,
        ];
        for path in paths.into_iter().flatten() {
            *path = here.join(&*path);
        }
        for by in config.receivers.iter_mut().map(|receiver| &mut receiver.by) {
            if let By::Webhook { ca_bundle: Some(path), .. } = by {
                *path = here.join(&*path);
            }
        }
        Ok(config)
    }
}

fn parse(path: &Path, text: &str) -> Result<Config> {
    let wrong = |text: &str, at: Option<Range<usize>>, why: &str| {
        let error = Error::invalid(format!("the configuration {} is not right", path.display()));
        let offset = at.as_ref().map_or(0, |at| at.start).min(text.len().saturating_sub(1));
        let len = at.map_or(1, |at| at.len()).clamp(1, (text.len() - offset).max(1));
        error.snippet(Snippet::new(NAME, text, offset, len).label(why))
    };
    let mut config: Config = toml::from_str(text).map_err(|e| wrong(text, e.span(), e.message()))?;
    let is_wrong = |config: &Config, (at, why): Wrong| {
        let traces = config.written_traces.iter().flat_map(traces::delicate);
        let delicate = receiver::delicate(&config.receiver).chain(traces);
        wrong(&masked(text, delicate), Some(at), &why)
    };
    config.receivers = receiver::read(&config.receiver).map_err(|found| is_wrong(&config, found))?;
    let here = path.parent().unwrap_or(Path::new("."));
    let traces = config.written_traces.as_ref().map(|written| written.read(here)).transpose();
    config.traces = traces.map_err(|found| is_wrong(&config, found))?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_and_underlined() {
        let text = "[azure]\nsubscripton = \"x\"\n";
        let error = parse(Path::new("relight.toml"), text).unwrap_err();
        let snippet = error.points_at().unwrap();
        assert_eq!(&text[snippet.offset..snippet.offset + snippet.len], "subscripton");
    }

    #[test]
    fn paths_lie_beside_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(NAME);
        std::fs::write(
            &file,
            "[library]\npath = \"books\"\n[cloud]\narm = \"https://arm\"\nca_bundle = \"ca.pem\"\n",
        )
        .unwrap();
        let config = Config::read(None, Some(folder.path())).unwrap();
        assert_eq!(config.library.path, Some(folder.path().join("books")));
        assert_eq!(config.cloud.unwrap().ca_bundle, Some(folder.path().join("ca.pem")));
    }

    #[test]
    fn a_chosen_file_must_be_there() {
        assert!(Config::read(Some(Path::new("/nowhere/relight.toml")), None).is_err());
    }
}
