//! A command that was called: what it was given, where it reads and writes, and how it complains.

use super::{Shell, Streams, io::Unwritten};
use crate::machine::Trouble;

/// A command under way.
pub(super) struct Call<'a> {
    pub(super) shell: &'a mut Shell,
    pub(super) name: &'a str,
    pub(super) arguments: &'a [String],
    pub(super) streams: &'a Streams,
}

/// What a command was given: its options, each with its value if it takes one, and the rest.
pub(super) struct Given<'a> {
    pub(super) options: Vec<(char, Option<&'a str>)>,
    pub(super) rest: Vec<&'a str>,
}

/// Why a command stops, already said.
pub(super) struct Failed(pub(super) u32);

pub(super) type Done = Result<u32, Failed>;

impl<'a> Call<'a> {
    /// Writes to the output.
    pub(super) async fn say(&self, text: &str) -> Done {
        self.write(text.as_bytes()).await.map(|()| 0)
    }

    pub(super) async fn write(&self, bytes: &[u8]) -> Result<(), Failed> {
        match self.streams.output.write(bytes).await {
            Ok(()) => Ok(()),
            // As when a signal ends it: nobody is told.
            Err(Unwritten::Lost) => Err(Failed(141)),
            Err(why) => Err(self.complain(format!("write error: {why}")).await),
        }
    }

    /// Writes what is wrong to the errors.
    pub(super) async fn complain(&self, text: impl std::fmt::Display) -> Failed {
        let said = format!("{}: {text}\n", self.name);
        let _ = self.streams.errors.write(said.as_bytes()).await;
        Failed(1)
    }

    /// Says what is wrong with a file.
    pub(super) async fn about(&self, doing: &str, path: &str, trouble: Trouble) -> Failed {
        match doing {
            "" => self.complain(format!("{path}: {trouble}")).await,
            doing => self.complain(format!("cannot {doing} '{path}': {trouble}")).await,
        }
    }

    pub(super) async fn missing(&self) -> Failed {
        self.complain("missing operand").await
    }

    /// Reads options: those of `flags` are alone, those of `valued` take a value.
    pub(super) async fn given(&self, flags: &str, valued: &str) -> Result<Given<'a>, Failed> {
        let mut given = Given { options: Vec::new(), rest: Vec::new() };
        let mut words = self.arguments.iter().map(String::as_str);
        while let Some(word) = words.next() {
            if word == "--" {
                given.rest.extend(words);
                break;
            }
            let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
                given.rest.push(word);
                continue;
            };
            for (at, letter) in letters.char_indices() {
                if flags.contains(letter) {
                    given.options.push((letter, None));
                    continue;
                }
                let value = Some(&letters[at + letter.len_utf8()..]).filter(|value| !value.is_empty());
                match value.or_else(|| words.next()).filter(|_| valued.contains(letter)) {
                    Some(value) => given.options.push((letter, Some(value))),
                    None => {
                        let Failed(_) = self.complain(format!("invalid option -- '{letter}'")).await;
                        return Err(Failed(2));
                    }
                }
                break;
            }
        }
        Ok(given)
    }

    pub(super) fn path(&self, word: &str) -> String {
        self.shell.computer.disk.files().absolute(&self.shell.folder, word)
    }

    /// Returns what is in a file; `-` is the input.
    pub(super) async fn bytes(&self, word: &str) -> Result<Vec<u8>, Failed> {
        match word {
            "-" => return Ok(self.streams.input.all().await),
            "/dev/null" => return Ok(Vec::new()),
            _ => {}
        }
        let path = self.path(word);
        let read = self.shell.computer.disk.files().read(&self.shell.user, &path).map(<[u8]>::to_vec);
        match read {
            Ok(bytes) => Ok(bytes),
            Err(trouble) => Err(self.about("", word, trouble).await),
        }
    }

    /// Does something to each file, and goes on where one cannot be done. Returns those, with the reasons.
    pub(super) fn each<'w>(
        &self,
        words: impl IntoIterator<Item = &'w str>,
        mut act: impl FnMut(&str) -> Result<(), Trouble>,
    ) -> Vec<(&'w str, Trouble)> {
        let done = words.into_iter().map(|word| (word, act(&self.path(word))));
        done.filter_map(|(word, done)| Some((word, done.err()?))).collect()
    }

    /// Says what could not be done, and returns the status.
    pub(super) async fn told(&self, doing: &str, failures: Vec<(&str, Trouble)>) -> Done {
        for (word, trouble) in &failures {
            let Failed(_) = self.about(doing, word, *trouble).await;
        }
        Ok(u32::from(!failures.is_empty()))
    }
}

impl<'a> Given<'a> {
    pub(super) fn has(&self, letter: char) -> bool {
        self.options.iter().any(|(known, _)| *known == letter)
    }

    pub(super) fn value(&self, letter: char) -> Option<&'a str> {
        self.options.iter().rev().find(|(known, _)| *known == letter).and_then(|(_, value)| *value)
    }
}
