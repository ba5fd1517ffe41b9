//! Runbooks of a history: made of a grammar, so that no two histories are alike.

use std::fmt::Write as _;

use super::chance::Chance;

/// A runbook's name and text.
pub(crate) type Text = (String, String);

/// What histories of a sort may contain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grammar {
    /// Operations that panic once.
    pub(crate) panics: bool,
    /// Operations that take longer than a heartbeat.
    pub(crate) slow: bool,
    /// Many operations whose state two versions write differently.
    pub(crate) long: bool,
    /// Questions to a person.
    pub(crate) questions: bool,
}

struct Author<'a> {
    chance: &'a mut Chance,
    grammar: Grammar,
    names: u32,
    children: usize,
    doors: u32,
}

/// Writes the runbooks: `main-*` are run by people, `child-*` also by other runbooks.
pub(crate) fn write(chance: &mut Chance, grammar: Grammar) -> Vec<Text> {
    let children = 1 + chance.below(2);
    let mains = 2 + chance.below(2);
    let mut author = Author { chance, grammar, names: 0, children: 0, doors: 0 };
    let mut all = Vec::new();
    for n in 0..children {
        // A child may have children that were written before it: there is no circle.
        author.children = n;
        all.push((format!("child-{n}"), author.runbook()));
    }
    author.children = children;
    for n in 0..mains {
        all.push((format!("main-{n}"), author.runbook()));
    }
    all
}

impl Author<'_> {
    fn runbook(&mut self) -> String {
        let mut body = String::new();
        let steps = 1 + self.chance.below(4);
        for _ in 0..steps {
            self.statement(&mut body, 0);
        }
        format!(
            "/*---\ntitle = \"A script\"\neffects = [\"azure:write\", \"secret\"]\n---*/\n{body}\"end\"\n"
        )
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("n{}", self.names)
    }

    fn statement(&mut self, out: &mut String, depth: usize) {
        let nests = u64::from(depth < 2);
        let has_child = u64::from(self.children > 0);
        let weights = [
            6, // one request
            2 + 5 * u64::from(self.grammar.long),
            3, // a wait
            1, // a note
            u64::from(self.grammar.questions),
            2 * has_child,
            has_child,
            2,         // a door
            2 * nests, // a loop
            2 * nests, // try and catch
            nests,     // what is done at the end
            u64::from(self.grammar.panics),
            1, // a secret
            u64::from(self.grammar.slow),
        ];
        let pad = "    ".repeat(depth);
        let name = self.name();
        let line = match self.chance.weighed(&weights) {
            0 => {
                let verb = *self.chance.one_of(&["put", "put", "find", "find", "post"]);
                match self.chance.below(4) {
                    0 => format!(r#"box::{verb}("{name}", #{{ retry: #{{ attempts: 2 }} }});"#),
                    _ => format!(r#"let {name} = box::{verb}("{name}");"#),
                }
            }
            1 => format!(r#"note(box::long("{name}"));"#),
            2 => {
                let wait = *self.chance.one_of(&["1s", "20s", "70s", "5m", "20m"]);
                format!(r#"wait("{wait}");"#)
            }
            3 => format!(r#"note(`{name} ${{now()}} ${{random()}}`);"#),
            4 => format!(r#"note(ask("{name}?", #{{ choices: ["one", "two"] }}));"#),
            5 => {
                let child = self.chance.below(self.children);
                format!(r#"note(run("child-{child}", #{{}}));"#)
            }
            6 => {
                let (child, minutes) = (self.chance.below(self.children), self.chance.from(1, 10));
                format!(r#"later("child-{child}", {minutes});"#)
            }
            7 => {
                self.doors += 1;
                let (door, minutes) = (self.doors, self.chance.from(5, 20));
                let mut text = format!(r#"door::open(`door-{door}-${{random()}}`, {minutes});"#);
                if self.chance.per_mille(400) {
                    text = format!(
                        r#"let {name} = `door-{door}-${{random()}}`; door::open({name}, {minutes}); wait("2m"); door::close({name});"#
                    );
                }
                text
            }
            8 => {
                let times = self.chance.from(2, 3);
                let _ = writeln!(out, "{pad}for i in 0..{times} {{");
                self.statement(out, depth + 1);
                "}".to_owned()
            }
            9 => {
                let _ = writeln!(out, "{pad}try {{");
                self.statement(out, depth + 1);
                if self.chance.per_mille(300) {
                    let _ = writeln!(out, r#"{pad}    fail("{name}");"#);
                }
                let _ = writeln!(out, "{pad}}} catch (e) {{\n{pad}    note(e.kind);");
                if self.chance.per_mille(500) {
                    self.statement(out, depth + 1);
                }
                "}".to_owned()
            }
            10 => format!(r#"defer(|| {{ box::put("{name}"); }});"#),
            11 => format!(r#"box::panics("{name}");"#),
            12 => r#"note(box::sign_in(secret("env:CANARY")));"#.to_owned(),
            _ => format!(r#"box::slow("{name}");"#),
        };
        let _ = writeln!(out, "{pad}{line}");
    }
}
