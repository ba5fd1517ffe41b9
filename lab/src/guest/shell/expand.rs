//! From the words of a script to the arguments of a command: variables, output of commands, folders, patterns.

use super::{
    Ended, Shell, Streams,
    parse::{Part, Word},
};
use crate::machine::{User, join};

/// A character, and whether it stands for itself.
type Char = (char, bool);

impl Shell {
    /// Returns the arguments that words stand for.
    pub(super) async fn fields(&mut self, words: &[Word], streams: &Streams) -> Result<Vec<String>, Ended> {
        let mut fields = Vec::new();
        for word in words {
            for field in self.split(word, streams).await? {
                fields.extend(self.matches(&field));
            }
        }
        Ok(fields)
    }

    /// Returns the one text that a word stands for, where it is neither split nor a pattern.
    pub(super) async fn joined(&mut self, word: &Word, streams: &Streams) -> Result<String, Ended> {
        let quoted: Word = word
            .iter()
            .cloned()
            .map(|part| match part {
                Part::Variable { name, otherwise, .. } => Part::Variable { name, otherwise, is_quoted: true },
                Part::Output { list, .. } => Part::Output { list, is_quoted: true },
                text => text,
            })
            .collect();
        let fields = self.split(&quoted, streams).await?;
        Ok(fields.into_iter().flatten().map(|(char, _)| char).collect())
    }

    async fn split(&mut self, word: &Word, streams: &Streams) -> Result<Vec<Vec<Char>>, Ended> {
        let mut fields: Vec<Vec<Char>> = Vec::new();
        // Whether the next character belongs to the last field.
        let mut goes_on = false;
        for (n, part) in word.iter().enumerate() {
            let (value, is_quoted, is_split) = match part {
                Part::Text { text, is_quoted } if n == 0 && !is_quoted => (self.home(text), false, false),
                Part::Text { text, is_quoted } => (text.clone(), *is_quoted, false),
                Part::Variable { name, otherwise, is_quoted } => {
                    let value = self.variable(name).filter(|value| !value.is_empty());
                    let value = match (value, otherwise) {
                        (Some(value), _) => value,
                        (None, Some(word)) => Box::pin(self.joined(word, streams)).await?,
                        (None, None) => String::new(),
                    };
                    (value, *is_quoted, !is_quoted)
                }
                Part::Output { list, is_quoted } => {
                    let (status, output) = self.output(list, streams).await;
                    self.status = status;
                    (output, *is_quoted, !is_quoted)
                }
            };
            if !is_split {
                let is_new = !goes_on || fields.is_empty();
                if is_new && (is_quoted || !value.is_empty()) {
                    fields.push(Vec::new());
                    goes_on = true;
                }
                if let Some(field) = fields.last_mut() {
                    field.extend(value.chars().map(|char| (char, is_quoted)));
                }
                continue;
            }
            for char in value.chars() {
                if matches!(char, ' ' | '\t' | '\n') {
                    goes_on = false;
                    continue;
                }
                if !goes_on {
                    fields.push(Vec::new());
                    goes_on = true;
                }
                if let Some(field) = fields.last_mut() {
                    field.push((char, false));
                }
            }
        }
        Ok(fields)
    }

    /// Replaces `~` at the beginning of a word.
    fn home(&self, text: &str) -> String {
        let Some(rest) = text.strip_prefix('~') else { return text.to_owned() };
        let (name, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        match name {
            "" => format!("{}{rest}", self.variable("HOME").unwrap_or_default()),
            name if self.computer.users().contains(&name.to_owned()) => {
                format!("{}{rest}", self.computer.home(&User::new(name)))
            }
            _ => text.to_owned(),
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "?" => Some(self.status.to_string()),
            "#" => Some("0".to_owned()),
            "$" => Some("4242".to_owned()),
            "0" => Some("sh".to_owned()),
            "PWD" => Some(self.folder.clone()),
            name => self.variables.get(name).cloned(),
        }
    }

    /// Returns the paths that a pattern meets, or the pattern itself.
    fn matches(&self, field: &[Char]) -> Vec<String> {
        let plain = || field.iter().map(|(char, _)| *char).collect::<String>();
        if !field.iter().any(|(char, is_quoted)| !is_quoted && matches!(char, '*' | '?')) {
            return vec![plain()];
        }
        let files = self.computer.disk.files();
        let mut found = vec![if field[0].0 == '/' { "/".to_owned() } else { String::new() }];
        for part in field.split(|(char, _)| *char == '/').filter(|part| !part.is_empty()) {
            let mut next = Vec::new();
            for folder in found {
                let there = files.absolute(&self.folder, &folder);
                let names = files.list(&self.user, &there).unwrap_or_default();
                let wanted = names.into_iter().filter(|name| {
                    let is_hidden = name.starts_with('.') && part[0].0 != '.';
                    !is_hidden && meets(&name.chars().collect::<Vec<_>>(), part)
                });
                next.extend(wanted.map(|name| match folder.as_str() {
                    "" => name.to_owned(),
                    folder => join(folder, name),
                }));
            }
            found = next;
        }
        if found.is_empty() { vec![plain()] } else { found }
    }
}

/// Returns whether a name meets a pattern.
fn meets(name: &[char], pattern: &[Char]) -> bool {
    // Where to go on when a star took too little.
    let (mut at, mut wanted, mut again) = (0, 0, None);
    while at < name.len() {
        match pattern.get(wanted) {
            Some(('*', false)) => {
                again = Some((wanted + 1, at));
                wanted += 1;
            }
            Some((char, is_quoted)) if *char == name[at] || (*char == '?' && !is_quoted) => {
                at += 1;
                wanted += 1;
            }
            _ => match again {
                Some((after, taken)) => {
                    again = Some((after, taken + 1));
                    (at, wanted) = (taken + 1, after);
                }
                None => return false,
            },
        }
    }
    pattern[wanted..].iter().all(|(char, is_quoted)| *char == '*' && !is_quoted)
}
