//! `[[receiver]]`: who is told when a run, a lease or a schedule needs a person.
//!
//! ```toml
//! [[receiver]]
//! name = "ops"
//! form = "teams"                     # or "slack", "signed"
//! url = "env:TEAMS_URL"              # the address is a secret, and is named as one
//! on = ["question", "late-lease"]    # everything when left out
//! runbooks = ["recover-vm"]          # all when left out
//!
//! [[receiver]]
//! name = "desk"
//! form = "signed"
//! url = "https://hooks.example.org/relight"
//! secret = "keyvault:edge/webhook"   # signs what is sent
//! ca_bundle = "root.pem"             # trusted besides the system's certificates
//!
//! [[receiver]]
//! name = "pager"
//! command = ["/usr/local/bin/page", "--urgent"]
//! ```

use std::path::PathBuf;

use relight_engine::journal::Occasion;
use reqwest::Url;
use serde::Deserialize;
use toml::Spanned;

use super::wrong::{Wrong, is_secret, wrong};
use crate::platform::is_this_machine;

/// A receiver as the file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    name: Spanned<String>,
    form: Option<Spanned<Word>>,
    url: Option<Spanned<String>>,
    secret: Option<Spanned<String>>,
    ca_bundle: Option<Spanned<PathBuf>>,
    command: Option<Spanned<Vec<String>>>,
    on: Option<Spanned<Vec<Occasion>>>,
    #[serde(default)]
    runbooks: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Teams,
    Slack,
    Signed,
}

/// Somebody who is told.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    /// Its name, in the journal, lists and the log.
    pub(crate) name: String,
    /// Of what it is told.
    pub(crate) on: Vec<Occasion>,
    /// Only of what has to do with these runbooks; of all when there are none.
    pub(crate) runbooks: Vec<String>,
    /// How.
    pub(crate) by: By,
}

/// How somebody is told.
#[derive(Clone, Debug)]
pub(crate) enum By {
    /// A request to an address.
    Webhook {
        /// Where.
        address: Address,
        /// What it says.
        form: Form,
        /// Certificates that are trusted besides the system's.
        ca_bundle: Option<PathBuf>,
    },
    /// A program, with JSON on its standard input.
    Command {
        /// The program.
        program: String,
        /// Its arguments.
        args: Vec<String>,
    },
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// The address itself.
    Plain(Url),
    /// The name of the secret that is the address.
    Secret(String),
}

/// What a request says.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    /// A card for a workflow of Microsoft Teams.
    Teams,
    /// A message for an incoming webhook of Slack.
    Slack,
    /// JSON, signed as Standard Webhooks wants it with the secret of this name.
    Signed(String),
}

impl Receiver {
    /// Returns the names of the secrets that it takes to tell it.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        let (address, signs) = match &self.by {
            By::Webhook { address, form, .. } => (
                match address {
                    Address::Secret(name) => Some(name.as_str()),
                    Address::Plain(_) => None,
                },
                match form {
                    Form::Signed(name) => Some(name.as_str()),
                    Form::Teams | Form::Slack => None,
                },
            ),
            By::Command { .. } => (None, None),
        };
        address.into_iter().chain(signs)
    }
}

impl By {
    /// Returns the word for it that people read.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            By::Webhook { form: Form::Teams, .. } => "teams",
            By::Webhook { form: Form::Slack, .. } => "slack",
            By::Webhook { form: Form::Signed(_), .. } => "signed",
            By::Command { .. } => "command",
        }
    }
}

/// Reads the receivers of a file.
pub(super) fn read(all: &[Written]) -> Result<Vec<Receiver>, Wrong> {
    let mut receivers: Vec<Receiver> = Vec::with_capacity(all.len());
    for written in all {
        let receiver = written.read()?;
        if receivers.iter().any(|other| other.name == receiver.name) {
            return Err(wrong(&written.name, "another receiver has this name"));
        }
        receivers.push(receiver);
    }
    Ok(receivers)
}

/// Returns what may be a secret that somebody wrote into the file.
pub(super) fn delicate(all: &[Written]) -> impl Iterator<Item = &Spanned<String>> {
    all.iter().flat_map(|written| [&written.url, &written.secret]).flatten()
}

impl Written {
    fn read(&self) -> Result<Receiver, Wrong> {
        let name = self.name.get_ref();
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if !(1..=40).contains(&name.len()) || !name.chars().all(fits) {
            return Err(wrong(&self.name, "a name has up to 40 letters, digits, `-` and `_`"));
        }
        let on = match &self.on {
            Some(on) if on.get_ref().is_empty() => {
                return Err(wrong(on, "a receiver that is told of nothing: leave `on` out for everything"));
            }
            Some(on) => on.get_ref().clone(),
            None => Occasion::ALL.to_vec(),
        };
        let by = match (&self.url, &self.command) {
            (Some(url), None) => self.webhook(url)?,
            (None, Some(command)) => self.command(command)?,
            _ => return Err(wrong(&self.name, "a receiver has either a `url` or a `command`")),
        };
        Ok(Receiver { name: name.clone(), on, runbooks: self.runbooks.clone(), by })
    }

    fn webhook(&self, url: &Spanned<String>) -> Result<By, Wrong> {
        let Some(form) = &self.form else {
            return Err(wrong(url, "say what is sent there: form = \"teams\", \"slack\" or \"signed\""));
        };
        let signs = *form.get_ref() == Word::Signed;
        let form = match (form.get_ref(), &self.secret) {
            (Word::Signed, Some(secret)) => {
                if !is_secret(secret.get_ref()) {
                    return Err(wrong(
                        secret,
                        "name where the secret is kept, such as env:NAME or keyvault:VAULT/NAME",
                    ));
                }
                Form::Signed(secret.get_ref().clone())
            }
            (Word::Signed, None) => {
                return Err(wrong(form, "what is signed needs a `secret`, such as env:NAME"));
            }
            (_, Some(secret)) => return Err(wrong(secret, "only form = \"signed\" has a `secret`")),
            (Word::Teams, None) => Form::Teams,
            (Word::Slack, None) => Form::Slack,
        };
        let text = url.get_ref();
        let address = if is_secret(text) {
            Address::Secret(text.clone())
        } else if signs {
            Address::Plain(parse(text).map_err(|why| wrong(url, why))?)
        } else {
            let why = "whoever knows this address can write there: keep it as a secret, and name that, such as env:NAME";
            return Err(wrong(url, why));
        };
        let ca_bundle = self.ca_bundle.as_ref().map(|file| file.get_ref().clone());
        Ok(By::Webhook { address, form, ca_bundle })
    }

    fn command(&self, command: &Spanned<Vec<String>>) -> Result<By, Wrong> {
        let only_webhooks = "a command takes none of `form`, `secret` and `ca_bundle`";
        if let Some(form) = &self.form {
            return Err(wrong(form, only_webhooks));
        }
        if let Some(secret) = &self.secret {
            return Err(wrong(secret, only_webhooks));
        }
        if let Some(bundle) = &self.ca_bundle {
            return Err(wrong(bundle, only_webhooks));
        }
        match command.get_ref().split_first() {
            Some((program, args)) if !program.is_empty() => {
                Ok(By::Command { program: program.clone(), args: args.to_vec() })
            }
            _ => Err(wrong(command, "a command begins with a program")),
        }
    }
}

/// Reads an address to which something may be sent.
///
/// # Errors
/// Says what is wrong with it, without repeating it: it may be a secret.
pub(crate) fn parse(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "this is no address")?;
    match (url.scheme(), is_this_machine(&url)) {
        ("https", _) | ("http", true) => {}
        ("http", false) => return Err("this would cross the network in the clear: use https://"),
        _ => return Err("an address begins with https://"),
    }
    match url.username().is_empty() && url.password().is_none() {
        true => Ok(url),
        false => Err("a password in an address is readable for everybody who may read this file"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::wrong::masked;
    use super::*;

    #[derive(Deserialize)]
    struct File {
        receiver: Vec<Written>,
    }

    fn look(text: &str) -> Result<Vec<Receiver>, (String, String)> {
        let file: File = toml::from_str(text).map_err(|e| (String::new(), e.message().to_owned()))?;
        read(&file.receiver).map_err(|(at, why)| (text[at].to_owned(), why))
    }

    fn one(text: &str) -> Result<Receiver, (String, String)> {
        look(&format!("[[receiver]]\n{text}")).map(|mut all| all.remove(0))
    }

    #[test]
    fn receivers_are_told_of_everything_unless_the_file_says_otherwise() {
        let ops = one("name = \"ops\"\nform = \"teams\"\nurl = \"env:U\"").unwrap();
        assert_eq!((ops.on.len(), ops.by.as_str()), (Occasion::ALL.len(), "teams"));
        let pager = one("name = \"pager\"\ncommand = [\"page\", \"-u\"]\non = [\"late-lease\"]").unwrap();
        assert_eq!((pager.on.as_slice(), pager.by.as_str()), (&[Occasion::LateLease][..], "command"));
        let local = "name = \"x\"\nform = \"signed\"\nurl = \"http://127.0.0.1:9/\"\nsecret = \"file:/s\"";
        assert_eq!(one(local).unwrap().by.as_str(), "signed");
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        for (text, at, says) in [
            ("name = \"o ps\"\ncommand = [\"x\"]", "\"o ps\"", "letters"),
            ("name = \"ops\"", "\"ops\"", "either"),
            ("name = \"ops\"\ncommand = [\"x\"]\nurl = \"env:X\"", "\"ops\"", "either"),
            ("name = \"ops\"\ncommand = []", "[]", "program"),
            ("name = \"ops\"\ncommand = [\"x\"]\nform = \"slack\"", "\"slack\"", "none of"),
            ("name = \"ops\"\ncommand = [\"x\"]\non = []", "[]", "nothing"),
            ("name = \"ops\"\nurl = \"env:X\"", "\"env:X\"", "what is sent"),
            (
                "name = \"ops\"\nform = \"slack\"\nurl = \"https://hooks.example/T/x\"",
                "\"https://hooks.example/T/x\"",
                "keep it as a secret",
            ),
            ("name = \"ops\"\nform = \"signed\"\nurl = \"env:X\"", "\"signed\"", "needs a `secret`"),
            (
                "name = \"ops\"\nform = \"signed\"\nurl = \"env:X\"\nsecret = \"whsec_abc\"",
                "\"whsec_abc\"",
                "where the secret is kept",
            ),
            (
                "name = \"ops\"\nform = \"teams\"\nurl = \"env:X\"\nsecret = \"env:Y\"",
                "\"env:Y\"",
                "only form",
            ),
            (
                "name = \"ops\"\nform = \"signed\"\nurl = \"http://hooks.example/\"\nsecret = \"env:Y\"",
                "\"http://hooks.example/\"",
                "in the clear",
            ),
            (
                "name = \"ops\"\nform = \"signed\"\nurl = \"https://a:b@hooks.example/\"\nsecret = \"env:Y\"",
                "\"https://a:b@hooks.example/\"",
                "password",
            ),
            (
                "name = \"ops\"\nform = \"signed\"\nurl = \"ftp://x/\"\nsecret = \"env:Y\"",
                "\"ftp://x/\"",
                "https://",
            ),
        ] {
            let (found, why) = one(text).expect_err(text);
            assert_eq!(found, at, "{text}");
            assert!(why.contains(says), "{text}: {why}");
        }
        let plain = "[[receiver]]\nname = \"ops\"\nform = \"slack\"\nurl = \"https://hooks.example/T1\"\nsecret = \"env:X\"\n";
        let file: File = toml::from_str(plain).unwrap();
        let shown = masked(plain, delicate(&file.receiver));
        assert_eq!(shown, plain.replace("https://hooks.example/T1", &"*".repeat(24)));
        let twice =
            "[[receiver]]\nname = \"a\"\ncommand = [\"x\"]\n[[receiver]]\nname = \"a\"\ncommand = [\"x\"]\n";
        assert!(look(twice).unwrap_err().1.contains("another"));
        for unknown in
            ["name = \"a\"\ncommand = [\"x\"]\non = [\"sometimes\"]", "name = \"a\"\ncomand = [\"x\"]"]
        {
            assert!(one(unknown).unwrap_err().1.contains("unknown"), "{unknown}");
        }
    }
}
