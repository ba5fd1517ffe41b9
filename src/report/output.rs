//! What steps say, as lines with the name of the step, or raw where one has the terminal to itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use relight_engine::RunId;
use relight_engine::event::Stream;

use super::told::{Key, Told};

/// A line that does not end is broken after so many bytes.
const LONGEST_LINE: usize = 8 << 10;

/// The outputs of all runs that are told about.
#[derive(Default)]
pub(super) struct Outputs {
    titles: HashMap<Key, String>,
    /// Lines whose ends are still to come.
    begun: BTreeMap<(Key, Stream), String>,
    /// Steps that write to a terminal as if it were theirs.
    attached: BTreeSet<Key>,
}

impl Outputs {
    /// Notes how a step is called.
    pub(super) fn name(&mut self, key: Key, title: &str) {
        self.titles.insert(key, title.to_owned());
    }

    /// Returns what to show for the next piece.
    pub(super) fn tell(&mut self, key: Key, stream: Stream, text: &str, is_terminal: bool) -> Vec<Told> {
        if stream == Stream::Terminal {
            self.attached.insert(key.clone());
            if is_terminal && self.attached.len() == 1 {
                return vec![Told::Raw(text.to_owned())];
            }
        }
        let title = self.title(&key);
        let begun = self.begun.entry((key, stream)).or_default();
        begun.push_str(text);
        let end = begun.rfind('\n').map_or(0, |newline| newline + 1);
        let end = if begun.len() - end > LONGEST_LINE { begun.len() } else { end };
        let rest = begun.split_off(end);
        let lines = std::mem::replace(begun, rest);
        lines.lines().map(|line| self::line(&title, line)).collect()
    }

    /// Returns what is left to show of a step that is over.
    pub(super) fn end(&mut self, over: &Key) -> Vec<Told> {
        self.attached.remove(over);
        self.close(|key| key == over)
    }

    /// Returns what is left to show of a run that is over or put away.
    pub(super) fn end_run(&mut self, run: &RunId) -> Vec<Told> {
        self.attached.retain(|(attached, _)| attached != run);
        self.close(|(of, _)| of == run)
    }

    fn close(&mut self, is_over: impl Fn(&Key) -> bool) -> Vec<Told> {
        let (over, on) = std::mem::take(&mut self.begun).into_iter().partition(|((key, _), _)| is_over(key));
        self.begun = on;
        let rest: BTreeMap<(Key, Stream), String> = over;
        let rest = rest.into_iter().filter(|(_, text)| !text.is_empty());
        rest.map(|((key, _), text)| line(&self.title(&key), &text)).collect()
    }

    fn title(&self, key: &Key) -> String {
        self.titles.get(key).cloned().unwrap_or_else(|| format!("step {}", key.1))
    }
}

fn line(title: &str, text: &str) -> Told {
    Told::Output(format!("{title} | {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(step: u32) -> Key {
        ("r".into(), step)
    }

    fn told(outputs: &mut Outputs, step: u32, stream: Stream, text: &str) -> Vec<String> {
        let told = outputs.tell(key(step), stream, text, true);
        told.into_iter()
            .map(|told| match told {
                Told::Output(line) => line,
                Told::Raw(text) => format!("raw {text}"),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn whole_lines_are_shown_with_the_name_of_their_step() {
        let mut outputs = Outputs::default();
        outputs.name(key(1), "net::read");
        assert_eq!(told(&mut outputs, 1, Stream::Stdout, "on"), [""; 0]);
        assert_eq!(told(&mut outputs, 2, Stream::Stdout, "two\n"), ["step 2 | two"]);
        assert_eq!(told(&mut outputs, 1, Stream::Stderr, "oops\n"), ["net::read | oops"]);
        assert_eq!(told(&mut outputs, 1, Stream::Stdout, "e\n\nrest"), ["net::read | one", "net::read | "]);
        assert_eq!(outputs.end(&key(1)), [Told::Output("net::read | rest".into())]);
        assert_eq!(outputs.end_run(&"r".into()), []);
    }

    #[test]
    fn one_attached_terminal_is_raw_and_two_are_told_apart() {
        let mut outputs = Outputs::default();
        assert_eq!(told(&mut outputs, 1, Stream::Terminal, "\x1b[31m$ "), ["raw \x1b[31m$ "]);
        assert_eq!(told(&mut outputs, 2, Stream::Terminal, "a\n"), ["step 2 | a"]);
        assert_eq!(told(&mut outputs, 1, Stream::Terminal, "b\n"), ["step 1 | b"]);
        outputs.end(&key(2));
        assert_eq!(told(&mut outputs, 1, Stream::Terminal, "c"), ["raw c"]);
    }
}
