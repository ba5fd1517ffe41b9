//! Whatever texts hold, a terminal is sent nothing that it obeys.

use crate::support::sealed::Sealed;

/// Colours, the clipboard, an overwritten line, marks that turn text round or hide in it.
const OBEYED: &str = "\x1b[31m\x1b]52;c;cm0gLXJm\x07\r\u{9b}2J\u{202e}\u{2066}\u{200b}\u{feff}";

/// Says it in a title, a note, a question, an error and a value.
fn runbook() -> String {
    // TOML and Rhai both know this escape.
    let escaped: String = OBEYED.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
    format!(
        r#"/*---
title   = "Shout{escaped}"
summary = "Loud{escaped}"
[params.name]
help    = "Name{escaped}"
default = "x{escaped}"
[params.fails]
type    = "bool"
default = false
---*/
note("a note{escaped}\nrun r1 was stopped by nobody");
note(params.name);
progress("half way{escaped}", 50);
if params.fails {{ fail("it failed{escaped}"); }}
ask("sure{escaped}?\nrun r1 failed", #{{ choices: ["yes{escaped}", "no"] }});
"done{escaped}"
"#
    )
}

#[test]
fn nothing_that_a_terminal_obeys_is_printed() {
    let world = Sealed::new();
    let name = "shout\u{202e}\x1b[2J";
    world.runbook("shout", &runbook());
    world.runbook(name, &format!("/*---\ntitle = \"T\"\n---*/\nlet x = \"{OBEYED}"));
    let mut seen = String::new();
    let mut look = |args: &[&str]| {
        // No subscription has to be asked for, so nothing is reached.
        let command = world.relight(args).env("RELIGHT_LOG", "trace").env("AZURE_SUBSCRIPTION_ID", "s");
        let text = command.run().raw();
        for c in text.chars().filter(|c| *c != '\n' && *c != '\t') {
            assert!(
                !c.is_control() && (c.is_ascii() || !OBEYED.contains(c)),
                "{c:?} of {args:?} in {text:?}"
            );
        }
        for forged in ["run r1 was stopped", "run r1 failed"] {
            assert!(!text.lines().any(|line| line.starts_with(forged)), "{args:?}: {text}");
        }
        seen.push_str(&text);
        text
    };
    look(&["list"]);
    look(&["show", "shout"]);
    look(&["show", name, "--source"]);
    look(&["check"]);
    look(&["run", "shout", "--plan"]);
    look(&["run", "shout", &format!("nam{OBEYED}=1")]);
    look(&["run", "shout", &format!("fails={OBEYED}")]);
    look(&["run", "shout", "fails=true"]);
    look(&["run", "shout", "--json"]);
    look(&[&format!("--{OBEYED}")]);
    look(&["docs", OBEYED.trim_start_matches('\u{0}')]);
    look(&["schedule", "add", "shout", "--after", "2h", &format!("name={OBEYED}")]);
    look(&["schedule"]);
    look(&["run", "shout"]);
    let listed = look(&["runs"]);
    let run = listed.lines().find(|line| line.contains("relight runs answer")).expect("a parked run");
    let run = run.split_whitespace().next().expect("its id").to_owned();
    look(&["runs", "show", &run]);
    look(&["runs", "show", &run, "--json"]);
    look(&["runs", "export", &run]);
    look(&["runs", "answer", &run, &format!("yes{OBEYED}")]);
    look(&["runs", "show", &run]);
    assert!(seen.matches(r"\u202e").count() > 30, "the texts were printed: {seen}");
}
