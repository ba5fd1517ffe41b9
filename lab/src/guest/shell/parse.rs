//! Reads a script of the POSIX shell, as much of it as people send over SSH.
//!
//! Not read: functions, `case`, arithmetic, background jobs, and `[...]` in patterns. What cannot be read is a syntax error.

/// Commands one after another, each with what must have become of the one before.
pub(super) type List = Vec<(After, Pipeline)>;

/// When a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Anything,
    Success,
    Failure,
}

/// Commands that read what the one before wrote.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    /// Whether success counts as failure: `!`.
    pub(super) is_negated: bool,
    pub(super) commands: Vec<Command>,
}

#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) kind: Kind,
    pub(super) redirects: Vec<Redirect>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Simple { variables: Vec<(String, Word)>, words: Vec<Word> },
    If { branches: Vec<(List, List)>, otherwise: List },
    For { variable: String, words: Vec<Word>, body: List },
    While { condition: List, wanted: bool, body: List },
    Group(List),
    Subshell(List),
}

#[derive(Clone, Debug)]
pub(super) enum Redirect {
    From(Word),
    /// A text in the script itself.
    Here(Word),
    To {
        stream: u32,
        file: Word,
        appends: bool,
    },
    /// One stream goes where another does.
    Same {
        stream: u32,
        other: u32,
    },
}

pub(super) type Word = Vec<Part>;

#[derive(Clone, Debug)]
pub(super) enum Part {
    Text { text: String, is_quoted: bool },
    Variable { name: String, otherwise: Option<Word>, is_quoted: bool },
    Output { list: List, is_quoted: bool },
}

/// What a shell says about a script that it cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) line: usize,
    pub(super) text: String,
}

type Result<T> = std::result::Result<T, SyntaxError>;

/// How deeply commands may be nested.
const DEPTH: usize = 50;

/// Reads a whole script.
pub(super) fn parse(script: &str) -> Result<List> {
    let mut parser = Parser { chars: script.chars().collect(), at: 0, line: 1, depth: 0 };
    let list = parser.list(&[])?;
    match parser.peek() {
        None => Ok(list),
        Some(odd) => Err(parser.unexpected(&odd.to_string())),
    }
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    line: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        self.line += usize::from(next == '\n');
        Some(next)
    }

    fn take(&mut self, wanted: &str) -> bool {
        let is_there = wanted.chars().zip(self.at..).all(|(char, at)| self.chars.get(at) == Some(&char));
        if is_there {
            wanted.chars().for_each(|_| {
                self.next();
            });
        }
        is_there
    }

    fn error(&self, text: impl Into<String>) -> SyntaxError {
        SyntaxError { line: self.line, text: text.into() }
    }

    fn unexpected(&self, what: &str) -> SyntaxError {
        let what = if what == "\n" { "newline".to_owned() } else { format!("\"{what}\"") };
        self.error(format!("{what} unexpected"))
    }

    fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r') => {
                    self.next();
                }
                Some('\\') if self.chars.get(self.at + 1) == Some(&'\n') => {
                    self.take("\\\n");
                }
                Some('#') => {
                    while self.peek().is_some_and(|char| char != '\n') {
                        self.next();
                    }
                }
                _ => return,
            }
        }
    }

    fn lines(&mut self) {
        self.blanks();
        while matches!(self.peek(), Some('\n')) {
            self.next();
            self.blanks();
        }
    }

    /// Returns the bare word that comes next, without taking it.
    fn word_ahead(&self) -> String {
        let rest = self.chars[self.at..].iter();
        rest.take_while(|char| !" \t\r\n;&|<>()\"'$`\\".contains(**char)).collect()
    }

    fn take_word(&mut self, word: &str) -> bool {
        self.blanks();
        self.word_ahead() == word && self.take(word)
    }

    fn want(&mut self, word: &str) -> Result<()> {
        self.lines();
        if self.take_word(word) {
            return Ok(());
        }
        match self.peek() {
            None => Err(self.error(format!("end of file unexpected (expecting \"{word}\")"))),
            Some(_) => Err(self.unexpected(&self.word_ahead())),
        }
    }

    /// Reads commands up to a closing parenthesis or one of these words.
    fn list(&mut self, ends: &[&str]) -> Result<List> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.error("too many commands inside one another"));
        }
        let mut list = List::new();
        let mut after = After::Anything;
        loop {
            self.lines();
            let ahead = self.word_ahead();
            if matches!(self.peek(), None | Some(')')) || ends.contains(&ahead.as_str()) {
                if after != After::Anything {
                    return Err(self.error("end of file unexpected"));
                }
                break;
            }
            list.push((after, self.pipeline()?));
            self.blanks();
            after = match self.peek() {
                Some('&') if self.take("&&") => After::Success,
                Some('|') if self.take("||") => After::Failure,
                Some(';' | '\n') => {
                    self.next();
                    After::Anything
                }
                None | Some(')') => break,
                Some(odd) => return Err(self.unexpected(&odd.to_string())),
            };
        }
        self.depth -= 1;
        Ok(list)
    }

    /// The same, with at least one command.
    fn some(&mut self, ends: &[&str]) -> Result<List> {
        let list = self.list(ends)?;
        if list.is_empty() {
            let ahead = self.word_ahead();
            return Err(self.unexpected(if ahead.is_empty() { "newline" } else { &ahead }));
        }
        Ok(list)
    }

    fn pipeline(&mut self) -> Result<Pipeline> {
        let is_negated = self.take_word("!");
        let mut commands = vec![self.command()?];
        loop {
            self.blanks();
            if self.peek() != Some('|') || self.chars.get(self.at + 1) == Some(&'|') {
                return Ok(Pipeline { is_negated, commands });
            }
            self.next();
            self.lines();
            commands.push(self.command()?);
        }
    }

    fn command(&mut self) -> Result<Command> {
        self.blanks();
        let kind = match self.word_ahead().as_str() {
            "if" => self.conditional()?,
            "for" => self.repetition()?,
            word @ ("while" | "until") => {
                let wanted = word == "while";
                self.take_word(word);
                let condition = self.some(&["do"])?;
                Kind::While { condition, wanted, body: self.body()? }
            }
            "{" => {
                self.take("{");
                let list = self.some(&["}"])?;
                self.want("}")?;
                Kind::Group(list)
            }
            word @ ("then" | "else" | "elif" | "fi" | "do" | "done" | "}" | "case" | "function" | "esac") => {
                return Err(self.unexpected(word));
            }
            _ if self.take("(") => {
                let list = self.some(&[])?;
                if !self.take(")") {
                    return Err(self.error("end of file unexpected (expecting \")\")"));
                }
                Kind::Subshell(list)
            }
            _ => return self.simple(),
        };
        let mut redirects = Vec::new();
        while let Some(redirect) = self.redirect()? {
            redirects.push(redirect);
        }
        Ok(Command { kind, redirects })
    }

    fn conditional(&mut self) -> Result<Kind> {
        let (mut branches, mut otherwise) = (Vec::new(), List::new());
        self.want("if")?;
        loop {
            let condition = self.some(&["then"])?;
            self.want("then")?;
            branches.push((condition, self.some(&["elif", "else", "fi"])?));
            if !self.take_word("elif") {
                break;
            }
        }
        if self.take_word("else") {
            otherwise = self.some(&["fi"])?;
        }
        self.want("fi")?;
        Ok(Kind::If { branches, otherwise })
    }

    fn repetition(&mut self) -> Result<Kind> {
        self.want("for")?;
        self.blanks();
        let variable = self.word_ahead();
        if !is_name(&variable) {
            return Err(self.error("Bad for loop variable"));
        }
        self.take(&variable);
        self.want("in")?;
        let mut words = Vec::new();
        while let Some(word) = self.word()? {
            words.push(word);
        }
        self.blanks();
        if matches!(self.peek(), Some(';')) {
            self.next();
        }
        Ok(Kind::For { variable, words, body: self.body()? })
    }

    fn body(&mut self) -> Result<List> {
        self.want("do")?;
        let body = self.some(&["done"])?;
        self.want("done")?;
        Ok(body)
    }

    fn simple(&mut self) -> Result<Command> {
        let (mut variables, mut words, mut redirects) = (Vec::new(), Vec::<Word>::new(), Vec::new());
        loop {
            if let Some(redirect) = self.redirect()? {
                redirects.push(redirect);
                continue;
            }
            let ahead = self.word_ahead();
            if words.is_empty()
                && let Some((name, _)) = ahead.split_once('=').filter(|(name, _)| is_name(name))
            {
                self.take(&format!("{name}="));
                let is_empty = self.peek().is_none_or(|char| " \t\r\n;&|<>()".contains(char));
                let value = if is_empty { None } else { self.word()? };
                variables.push((name.to_owned(), value.unwrap_or_default()));
                continue;
            }
            match self.word()? {
                Some(word) => words.push(word),
                None => break,
            }
        }
        if words.is_empty() && variables.is_empty() && redirects.is_empty() {
            let odd = self.peek().map_or_else(|| "end of file".to_owned(), String::from);
            return Err(self.unexpected(&odd));
        }
        if self.peek() == Some('(') {
            return Err(self.unexpected("("));
        }
        Ok(Command { kind: Kind::Simple { variables, words }, redirects })
    }

    fn redirect(&mut self) -> Result<Option<Redirect>> {
        self.blanks();
        let digit = self.peek().and_then(|char| char.to_digit(10));
        let is_numbered = digit.is_some() && matches!(self.chars.get(self.at + 1), Some('<' | '>'));
        if is_numbered {
            self.next();
        }
        let stream = digit.filter(|_| is_numbered).unwrap_or(1);
        if self.take("<<") {
            return Ok(Some(Redirect::Here(self.here()?)));
        }
        let appends = self.take(">>");
        if appends || self.take(">") {
            if !appends && self.take("&") {
                let other = self.next().and_then(|char| char.to_digit(10));
                let other = other.ok_or_else(|| self.error("Bad fd number"))?;
                return Ok(Some(Redirect::Same { stream, other }));
            }
            return Ok(Some(Redirect::To { stream, file: self.file()?, appends }));
        }
        if self.take("<") {
            return Ok(Some(Redirect::From(self.file()?)));
        }
        Ok(None)
    }

    fn file(&mut self) -> Result<Word> {
        match self.word()? {
            Some(file) => Ok(file),
            None => Err(self.unexpected(&self.peek().map_or_else(|| "end of file".to_owned(), String::from))),
        }
    }

    /// Reads the name of an end and cuts the lines up to it out of what follows this line.
    fn here(&mut self) -> Result<Word> {
        let strips_tabs = self.take("-");
        let parts = self.file()?;
        let mut is_literal = false;
        let mut end = String::new();
        for part in parts {
            if let Part::Text { text, is_quoted } = part {
                is_literal |= is_quoted;
                end.push_str(&text);
            }
        }
        let rest = &self.chars[self.at..];
        let Some(start) = rest.iter().position(|char| *char == '\n').map(|at| self.at + at + 1) else {
            return Err(self.error("end of file unexpected"));
        };
        let after: String = self.chars[start..].iter().collect();
        let (mut body, mut length) = (String::new(), 0);
        for line in after.split_inclusive('\n') {
            length += line.chars().count();
            let line = if strips_tabs { line.trim_start_matches('\t') } else { line };
            if line.trim_end_matches(['\n', '\r']) == end {
                break;
            }
            body.push_str(line);
        }
        self.chars.drain(start..start + length);
        if is_literal {
            return Ok(vec![Part::Text { text: body, is_quoted: true }]);
        }
        let mut inner = Parser { chars: body.chars().collect(), at: 0, line: self.line, depth: self.depth };
        inner.quoted(None)
    }

    /// Reads a word, if one comes next.
    fn word(&mut self) -> Result<Option<Word>> {
        self.blanks();
        let mut word = Word::new();
        loop {
            match self.peek() {
                None | Some(' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')') => break,
                Some('\'') => {
                    self.next();
                    let mut text = String::new();
                    loop {
                        match self.next() {
                            Some('\'') => break,
                            Some(char) => text.push(char),
                            None => return Err(self.error("Unterminated quoted string")),
                        }
                    }
                    word.push(Part::Text { text, is_quoted: true });
                }
                Some('"') => {
                    self.next();
                    word.extend(self.quoted(Some('"'))?);
                }
                Some('\\') => {
                    self.next();
                    match self.next() {
                        Some('\n') => {}
                        Some(char) => word.push(Part::Text { text: char.into(), is_quoted: true }),
                        None => word.push(Part::Text { text: "\\".into(), is_quoted: true }),
                    }
                }
                Some('$' | '`') => word.push(self.expansion(false)?),
                Some(char) => {
                    self.next();
                    match word.last_mut() {
                        Some(Part::Text { text, is_quoted: false }) => text.push(char),
                        _ => word.push(Part::Text { text: char.into(), is_quoted: false }),
                    }
                }
            }
        }
        Ok(Some(word).filter(|word| !word.is_empty()))
    }

    /// Reads what stands between double quotes, up to the closing one or the end.
    fn quoted(&mut self, close: Option<char>) -> Result<Word> {
        let mut word = Word::new();
        let mut text = String::new();
        loop {
            match self.peek() {
                None if close.is_none() => break,
                None => return Err(self.error("Unterminated quoted string")),
                char if char == close => {
                    self.next();
                    break;
                }
                Some('$' | '`') => {
                    word.push(Part::Text { text: std::mem::take(&mut text), is_quoted: true });
                    word.push(self.expansion(true)?);
                }
                Some('\\') => {
                    self.next();
                    match self.next() {
                        Some('\n') => {}
                        Some(char) if "$`\\".contains(char) || Some(char) == close => text.push(char),
                        Some(char) => text.extend(['\\', char]),
                        None => text.push('\\'),
                    }
                }
                Some(char) => {
                    self.next();
                    text.push(char);
                }
            }
        }
        // Also an empty one: `""` is a word.
        word.push(Part::Text { text, is_quoted: true });
        Ok(word)
    }

    fn expansion(&mut self, is_quoted: bool) -> Result<Part> {
        if self.take("`") {
            let rest = &self.chars[self.at..];
            let length = rest.iter().position(|char| *char == '`');
            let length = length.ok_or_else(|| self.error("EOF in backquote substitution"))?;
            let inner: String = rest[..length].iter().collect();
            self.at += length + 1;
            return Ok(Part::Output { list: parse(&inner)?, is_quoted });
        }
        self.next();
        if self.take("(") {
            if self.peek() == Some('(') {
                return Err(self.error("arithmetic is not understood here"));
            }
            let list = self.list(&[])?;
            if !self.take(")") {
                return Err(self.error("end of file unexpected (expecting \")\")"));
            }
            return Ok(Part::Output { list, is_quoted });
        }
        let is_braced = self.take("{");
        let mut name = String::new();
        match self.peek() {
            Some(special) if "?#@*$!0123456789".contains(special) => {
                self.next();
                name.push(special);
            }
            _ => {
                while let Some(char) = self.peek().filter(|char| char.is_ascii_alphanumeric() || *char == '_')
                {
                    self.next();
                    name.push(char);
                }
            }
        }
        let mut otherwise = None;
        if is_braced {
            if self.take(":-") {
                otherwise = Some(self.quoted(Some('}'))?);
            } else if !self.take("}") {
                return Err(self.error("Bad substitution"));
            }
        }
        if name.is_empty() && !is_braced {
            return Ok(Part::Text { text: "$".to_owned(), is_quoted });
        }
        if name.is_empty() {
            return Err(self.error("Bad substitution"));
        }
        Ok(Part::Variable { name, otherwise, is_quoted })
    }
}

pub(super) fn is_name(text: &str) -> bool {
    let is_start = |char: char| char.is_ascii_alphabetic() || char == '_';
    text.starts_with(is_start) && text.chars().all(|char| is_start(char) || char.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_says_where_and_why() {
        for (script, line, text) in [
            ("echo 'x", 1, "Unterminated quoted string"),
            ("echo \"x", 1, "Unterminated quoted string"),
            ("true\nfi", 2, "\"fi\" unexpected"),
            ("if true; then echo x", 1, "end of file unexpected (expecting \"fi\")"),
            ("for x in a b; echo $x", 1, "\"echo\" unexpected"),
            ("echo )", 1, "\")\" unexpected"),
            ("echo & echo", 1, "\"&\" unexpected"),
            ("true &&", 1, "end of file unexpected"),
            ("echo > ; true", 1, "\";\" unexpected"),
            ("f() { true; }", 1, "\"(\" unexpected"),
            ("echo $(true", 1, "end of file unexpected (expecting \")\")"),
            ("; true", 1, "\";\" unexpected"),
        ] {
            let error = parse(script).expect_err(script);
            assert_eq!((error.line, error.text.as_str()), (line, text), "{script}");
        }
        assert!(parse(&"(".repeat(10_000)).is_err());
    }

    #[test]
    fn nothing_at_all_makes_it_panic() {
        let pieces = [
            "if", "then", "fi", "$(", ")", "'", "\"", "`", "|", "&&", ";", "\n", "<<E", ">", "x=", "${", "}",
            "\\", "é",
        ];
        for (n, a) in pieces.iter().enumerate() {
            for b in pieces {
                let c = pieces[(n * 7 + b.len()) % pieces.len()];
                let _ = parse(&format!("{a}{b}{c}"));
                let _ = parse(&format!("{a} {b} {c}"));
            }
        }
    }
}
