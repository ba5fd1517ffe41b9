//! As much of PowerShell as it takes to read and write files: what is sent to a machine to learn its host keys and to add
//! a public key.
//!
//! Understood: `$name = value`, `if (condition) {..} else {..}`, `exit`, `throw`, texts with `$name` and `$env:NAME` in them,
//! `-not`, `-eq`, `-ne`, `-contains`, `-notcontains`, `| Out-Null`, and the commands in [`Script::command`]. Anything else
//! ends the script and says so.

use std::collections::BTreeMap;

use super::{Computer, status};
use crate::machine::{Trouble, User, join, parent};

/// What a script wrote, and its status.
pub(super) struct Ran {
    pub(super) status: u32,
    pub(super) output: String,
    pub(super) error: String,
}

/// Runs a script with named parameters.
pub(super) fn run(computer: &Computer, user: &User, script: &str, parameters: &[(String, String)]) -> Ran {
    let named = parameters.iter().map(|(name, value)| (name.to_ascii_lowercase(), vec![value.clone()]));
    let mut script = Script {
        computer,
        user,
        tokens: tokens(script),
        at: 0,
        values: named.collect(),
        output: String::new(),
    };
    let ended = script.block(true, true);
    let (status, error) = match ended {
        Ok(()) => (0, String::new()),
        Err(Ended::Exit(status)) => (status, String::new()),
        Err(Ended::Failed(text)) => (1, format!("{text}\r\n")),
    };
    Ran { status, output: script.output, error }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    /// A text, and whether variables are filled in.
    Text(String, bool),
    Sign(char),
    End,
}

/// Why a script goes no further.
enum Ended {
    Exit(u32),
    Failed(String),
}

type Value = Vec<String>;

struct Script<'a> {
    computer: &'a Computer,
    user: &'a User,
    tokens: Vec<Token>,
    at: usize,
    values: BTreeMap<String, Value>,
    output: String,
}

fn tokens(script: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = script.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\n' | ';' => tokens.push(Token::End),
            '`' => drop(chars.next()),
            '#' => while chars.next_if(|char| *char != '\n').is_some() {},
            '\'' | '"' => {
                let mut text = String::new();
                while let Some(next) = chars.next() {
                    // A quote is doubled to stand for itself.
                    if next == char && chars.next_if_eq(&char).is_none() {
                        break;
                    }
                    text.push(next);
                }
                tokens.push(Token::Text(text, char == '"'));
            }
            '(' | ')' | '{' | '}' | '=' | '|' | '!' | '@' | ',' => tokens.push(Token::Sign(char)),
            char if char.is_whitespace() => {}
            char => {
                let mut word = String::from(char);
                while let Some(next) =
                    chars.next_if(|next| !next.is_whitespace() && !"(){}=|;'\"`,".contains(*next))
                {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    tokens
}

impl Script<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, sign: char) -> bool {
        let is_there = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(is_there);
        is_there
    }

    fn want(&mut self, sign: char) -> Result<(), Ended> {
        while sign == '{' && self.peek() == Some(&Token::End) {
            self.at += 1;
        }
        if self.take(sign) { Ok(()) } else { Err(self.unknown()) }
    }

    fn unknown(&self) -> Ended {
        let here = self.peek().map_or_else(|| "the end".to_owned(), |token| format!("{token:?}"));
        Ended::Failed(format!("The lab does not interpret this of PowerShell: {here}"))
    }

    /// Runs statements up to the closing brace, or to the end of the script; or only passes over them.
    fn block(&mut self, runs: bool, is_whole: bool) -> Result<(), Ended> {
        loop {
            match self.peek() {
                None if is_whole => return Ok(()),
                None => return Err(self.unknown()),
                Some(Token::End) => self.at += 1,
                Some(Token::Sign('}')) if !is_whole => return self.want('}'),
                Some(Token::Sign('{')) if !runs => {
                    self.at += 1;
                    self.block(false, false)?;
                }
                Some(_) if !runs => self.at += 1,
                Some(_) => self.statement()?,
            }
        }
    }

    fn statement(&mut self) -> Result<(), Ended> {
        if let Some(Token::Word(word)) = self.peek().cloned() {
            if word.starts_with('$') && self.tokens.get(self.at + 1) == Some(&Token::Sign('=')) {
                self.at += 2;
                let value = self.value()?;
                self.values.insert(word[1..].to_ascii_lowercase(), value);
                return self.end();
            }
            match word.to_ascii_lowercase().as_str() {
                "if" => {
                    self.at += 1;
                    self.want('(')?;
                    let holds = is_true(&self.value()?);
                    self.want(')')?;
                    self.want('{')?;
                    self.block(holds, false)?;
                    // It may stand on a line of its own.
                    let ahead = self.tokens[self.at..].iter().position(|token| *token != Token::End);
                    let at = self.at + ahead.unwrap_or(0);
                    if matches!(self.tokens.get(at), Some(Token::Word(word)) if word.eq_ignore_ascii_case("else"))
                    {
                        self.at = at + 1;
                        self.want('{')?;
                        self.block(!holds, false)?;
                    }
                    return Ok(());
                }
                "exit" => {
                    self.at += 1;
                    let status = self.atom()?.concat().parse().unwrap_or(0);
                    return Err(Ended::Exit(status));
                }
                "throw" => {
                    self.at += 1;
                    let text = self.atom()?.concat();
                    return Err(Ended::Failed(text));
                }
                _ => {}
            }
        }
        let value = self.value()?;
        let is_hidden = self.take('|');
        if is_hidden {
            match self.peek() {
                Some(Token::Word(word)) if word.eq_ignore_ascii_case("Out-Null") => self.at += 1,
                _ => return Err(self.unknown()),
            }
        }
        for line in value.iter().filter(|_| !is_hidden) {
            self.output.push_str(line);
            self.output.push_str("\r\n");
        }
        self.end()
    }

    fn end(&mut self) -> Result<(), Ended> {
        match self.peek() {
            None | Some(Token::End | Token::Sign('}')) => Ok(()),
            Some(_) => Err(self.unknown()),
        }
    }

    /// Reads a value, compared with another where an operator follows.
    fn value(&mut self) -> Result<Value, Ended> {
        let is_not = self.take('!') || self.take_word("-not");
        let mut value = match self.peek() {
            Some(Token::Word(word)) if !word.starts_with('$') => self.command()?,
            _ => self.atom()?,
        };
        if let Some(Token::Word(word)) = self.peek() {
            let operator = word.to_ascii_lowercase();
            if ["-eq", "-ne", "-contains", "-notcontains"].contains(&operator.as_str()) {
                self.at += 1;
                let other = self.atom()?.concat();
                let is_there = value.iter().any(|one| one.eq_ignore_ascii_case(&other));
                let holds = match operator.as_str() {
                    "-eq" => value.concat().eq_ignore_ascii_case(&other),
                    "-ne" => !value.concat().eq_ignore_ascii_case(&other),
                    "-contains" => is_there,
                    _ => !is_there,
                };
                value = truth(holds);
            }
        }
        Ok(if is_not { truth(!is_true(&value)) } else { value })
    }

    fn take_word(&mut self, wanted: &str) -> bool {
        let is_there = matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(wanted));
        self.at += usize::from(is_there);
        is_there
    }

    /// Reads one text, variable, or value in parentheses.
    fn atom(&mut self) -> Result<Value, Ended> {
        let token = self.peek().cloned();
        match token {
            Some(Token::Text(text, is_filled)) => {
                self.at += 1;
                Ok(vec![if is_filled { self.filled(&text) } else { text }])
            }
            Some(Token::Word(word)) => {
                self.at += 1;
                match word.strip_prefix('$').filter(|name| !name.contains(['\\', '/'])) {
                    Some(name) => Ok(self.variable(name)),
                    None => Ok(vec![self.filled(&word)]),
                }
            }
            Some(Token::Sign('@')) => {
                self.at += 1;
                self.atom()
            }
            Some(Token::Sign('(')) => {
                self.at += 1;
                let value = self.value()?;
                self.want(')')?;
                Ok(value)
            }
            _ => Err(self.unknown()),
        }
    }

    fn variable(&self, name: &str) -> Value {
        let value = |text: &str| vec![text.to_owned()];
        match name.to_ascii_lowercase().as_str() {
            "true" => truth(true),
            "false" => truth(false),
            "null" => Vec::new(),
            "env:programdata" => value(r"C:\ProgramData"),
            "env:systemroot" | "env:windir" => value(r"C:\Windows"),
            "env:computername" => value(&self.computer.name.to_uppercase()),
            "env:username" => value(&self.user.name),
            name => self.values.get(name).cloned().unwrap_or_default(),
        }
    }

    /// Fills variables into a text.
    fn filled(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            filled.push_str(&rest[..at]);
            let name = &rest[at + 1..];
            let end = name.find(|char: char| !char.is_ascii_alphanumeric() && !"_:".contains(char));
            let (name, after) = name.split_at(end.unwrap_or(name.len()));
            filled.push_str(&self.variable(name).join(" "));
            rest = after;
        }
        filled + rest
    }

    /// Runs a command and returns what it writes.
    fn command(&mut self) -> Result<Value, Ended> {
        let name = self.atom()?.concat();
        let (mut named, mut plain) = (BTreeMap::<String, Value>::new(), Vec::<String>::new());
        loop {
            match self.peek().cloned() {
                None | Some(Token::End | Token::Sign(')' | '}' | '|' | ',')) => break,
                Some(Token::Word(word))
                    if ["-eq", "-ne", "-contains", "-notcontains"].contains(&word.as_str()) =>
                {
                    break;
                }
                Some(Token::Word(word)) if word.starts_with('-') && word.len() > 1 => {
                    self.at += 1;
                    let key = word[1..].trim_end_matches(':').to_ascii_lowercase();
                    let is_flag = matches!(key.as_str(), "force" | "raw" | "recurse" | "nonewline");
                    let value = if is_flag { truth(true) } else { self.atom()? };
                    named.insert(key, value);
                }
                Some(_) => plain.extend(self.atom()?),
            }
        }
        let mut plain = plain.into_iter();
        let mut path = || {
            let given = named
                .get("path")
                .or(named.get("literalpath"))
                .or(named.get("filepath"))
                .map(|value| value.concat());
            given.or_else(|| plain.next()).unwrap_or_default()
        };
        match name.to_ascii_lowercase().trim_end_matches(".exe") {
            "write-output" | "write-host" | "echo" => Ok(plain.collect()),
            "hostname" => Ok(vec![self.computer.name.clone()]),
            "whoami" => Ok(vec![r"nt authority\system".to_owned()]),
            "get-content" => {
                let path = path();
                self.content(&path).map_err(|_| {
                    Ended::Failed(format!("Cannot find path '{path}' because it does not exist."))
                })
            }
            "test-path" => {
                let path = path();
                Ok(truth(!self.found(&path).is_empty()))
            }
            command @ ("add-content" | "set-content") => {
                let path = path();
                let value = named.get("value").cloned().unwrap_or_else(|| plain.collect());
                let text: String = value.iter().map(|line| format!("{line}\r\n")).collect();
                self.write(&path, &text, command == "add-content")
                    .map_err(|trouble| Ended::Failed(format!("{path}: {trouble}")))?;
                Ok(Vec::new())
            }
            "new-item" => {
                let path = path();
                let kind = named
                    .get("itemtype")
                    .map(|value| value.concat().to_ascii_lowercase())
                    .unwrap_or_default();
                let done = if kind == "directory" { self.folder(&path) } else { self.write(&path, "", true) };
                done.map_err(|trouble| Ended::Failed(format!("{path}: {trouble}")))?;
                Ok(vec![path])
            }
            "remove-item" => {
                let path = self.absolute(&path());
                let done = self.computer.disk.files().remove_all(self.user, &path);
                done.map_err(|trouble| Ended::Failed(format!("{path}: {trouble}")))?;
                Ok(Vec::new())
            }
            // Only whether others are kept out counts.
            "icacls" => {
                let word = path();
                let path = self.absolute(&word);
                let inherits = !plain.any(|option| option.eq_ignore_ascii_case("/inheritance:r"));
                let mode = if inherits { None } else { Some(0o600) };
                let done = self.computer.disk.files().change(self.user, &path, mode, None, None);
                done.map_err(|_| {
                    Ended::Failed(format!("{word}: The system cannot find the file specified."))
                })?;
                Ok(vec![
                    format!("processed file: {word}"),
                    "Successfully processed 1 files; Failed processing 0 files".to_owned(),
                ])
            }
            name => match status::told(self.computer, name) {
                Some(told) => Ok(told.lines().map(str::to_owned).collect()),
                None => Err(Ended::Failed(format!("The lab does not interpret this of PowerShell: {name}"))),
            },
        }
    }

    fn absolute(&self, path: &str) -> String {
        self.computer.disk.files().absolute(&self.computer.home(self.user), path)
    }

    /// Returns the files that a path means; in its last part `*` stands for anything.
    fn found(&self, path: &str) -> Vec<String> {
        let path = self.absolute(path);
        let files = self.computer.disk.files();
        let name = path.rsplit('/').next().unwrap_or_default();
        let Some((start, end)) = name.split_once('*') else {
            return files.look(self.user, &path).map(|_| path.clone()).into_iter().collect();
        };
        let (start, end) = (start.to_lowercase(), end.to_lowercase());
        let folder = parent(&path);
        let names = files.list(self.user, folder).unwrap_or_default();
        let meets = |name: &&str| {
            let name = name.to_lowercase();
            name.len() >= start.len() + end.len() && name.starts_with(&start) && name.ends_with(&end)
        };
        names.into_iter().filter(meets).map(|name| join(folder, name)).collect()
    }

    fn content(&self, path: &str) -> Result<Value, Trouble> {
        let found = self.found(path);
        if found.is_empty() && !path.contains('*') {
            return Err(Trouble::NotFound);
        }
        let files = self.computer.disk.files();
        let mut lines = Vec::new();
        for path in found {
            lines.extend(String::from_utf8_lossy(files.read(self.user, &path)?).lines().map(str::to_owned));
        }
        Ok(lines)
    }

    fn write(&self, path: &str, text: &str, appends: bool) -> Result<(), Trouble> {
        let path = self.absolute(path);
        let now = self.computer.seconds();
        let mut files = self.computer.disk.files();
        files.create(self.user, &path, 0o644, now)?;
        if !appends {
            files.resize(self.user, &path, 0, now)?;
        }
        files.write(self.user, &path, None, text.as_bytes(), now)
    }

    fn folder(&self, path: &str) -> Result<(), Trouble> {
        let path = self.absolute(path);
        match self.computer.disk.files().make_folder(self.user, &path, 0o755, self.computer.seconds()) {
            Err(Trouble::Exists) => Ok(()),
            done => done,
        }
    }
}

fn truth(holds: bool) -> Value {
    vec![if holds { "True" } else { "False" }.to_owned()]
}

fn is_true(value: &Value) -> bool {
    !value.is_empty() && value.concat() != "False" && !value.concat().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Os;

    #[test]
    fn a_key_is_added_once_and_kept_from_others() {
        let computer = Computer::alone(Os::Windows);
        let script = r#"
            $ErrorActionPreference = 'Stop'
            $file = "$env:ProgramData\ssh\administrators_authorized_keys"
            if (-not (Test-Path $file)) { New-Item -ItemType File -Path $file -Force | Out-Null }
            if ((Get-Content $file) -notcontains $key) { Add-Content -Path $file -Value $key -Encoding ascii }
            else { Write-Output 'there' }
            icacls.exe $file /inheritance:r /grant '*S-1-5-32-544:F' /grant '*S-1-5-18:F' | Out-Null
        "#;
        let key = [("key".to_owned(), "ssh-ed25519 AAAA me".to_owned())];
        for said in ["", "there\r\n"] {
            let ran = run(&computer, &User::root(), script, &key);
            assert_eq!((ran.status, ran.output.as_str(), ran.error.as_str()), (0, said, ""));
        }
        let shown = run(
            &computer,
            &User::root(),
            r"Get-Content C:\ProgramData\ssh\administrators_authorized_keys",
            &[],
        );
        assert_eq!(shown.output, "ssh-ed25519 AAAA me\r\n");
        let files = computer.disk.files();
        let node = files.look(&User::root(), "/C:/ProgramData/ssh/administrators_authorized_keys");
        assert_eq!(node.map(|node| node.mode), Ok(0o600));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let computer = Computer::alone(Os::Windows);
        for script in
            ["Get-Service sshd", "foreach ($x in 1) { }", "Write-Output x | Select-Object y", "if (", "1 + 2"]
        {
            let ran = run(&computer, &User::root(), script, &[]);
            assert!(ran.status == 1 && ran.error.contains("does not interpret"), "{script}: {}", ran.error);
        }
        let ran = run(&computer, &User::root(), "Write-Output one; exit 3; Write-Output two", &[]);
        assert_eq!((ran.status, ran.output.as_str()), (3, "one\r\n"));
        let ran = run(&computer, &User::root(), r"Get-Content C:\none", &[]);
        assert!(ran.status == 1 && ran.error.contains("does not exist"), "{}", ran.error);
    }
}
