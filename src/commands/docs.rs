//! `relight docs`: what scripts can call.

use std::io::Write;

use clap::Args;
use relight_engine::{Declaration, Error, Field, Redo};
use serde_json::{Value, json};

use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::format::{Table, wrapped};
use crate::setup::Home;
use crate::terminal;
use crate::visible::Visible;

type Out = Visible<std::io::StdoutLock<'static>>;

/// Show what scripts can call
#[derive(Args, Debug)]
pub(crate) struct Docs {
    /// An operation such as vmconnect::enable, or an area such as vmconnect; all of them when left out
    #[arg(value_name = "NAME|AREA")]
    name: Option<String>,

    /// Print one JSON object per line and operation
    #[arg(long)]
    json: bool,
}

/// What is bound to the interpreter itself, and so is no operation.
const NATIVES: [(&str, &str); 3] = [
    ("defer(|| ..)", "Runs a closure when the run ends in any way, the newest first."),
    ("fail(message)", "Ends the run with an error of the code `Failed`, which `catch` can catch."),
    ("progress(message, percent)", "Shows how far the script is, without recording it."),
];

impl Docs {
    pub(crate) fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        let operations = home.engine()?.operations();
        let mut operations: Vec<&Declaration> = operations.iter().map(AsRef::as_ref).collect();
        operations.sort_by_key(|operation| operation.split_name());
        let mut out = terminal::out();
        let overview = if self.json { lines } else { overview };
        let Some(name) = self.name else { return overview(&mut out, &operations) };
        if let Some(operation) = operations.iter().find(|operation| operation.name == name) {
            return if self.json { lines(&mut out, &[operation]) } else { page(&mut out, operation) };
        }
        let area: Vec<&Declaration> =
            operations.iter().filter(|o| o.split_name().0 == name).copied().collect();
        if area.is_empty() {
            return Err(unknown(&name, &operations).into());
        }
        overview(&mut out, &area)
    }
}

/// Returns the error about a name that is none, with what may have been meant: the same verb elsewhere,
/// or whatever the area has.
fn unknown(name: &str, operations: &[&Declaration]) -> Error {
    let (area, verb) = name.split_once("::").unwrap_or(("", name));
    let of = |fits: &dyn Fn(&Declaration) -> bool| -> Vec<&str> {
        operations.iter().filter(|operation| fits(operation)).map(|operation| operation.name).collect()
    };
    let error = Error::invalid(format!("there is no operation or area `{name}`"));
    let near = of(&|operation| verb.len() > 2 && operation.name.contains(verb));
    let beside = of(&|operation| !area.is_empty() && operation.split_name().0 == area);
    match (near.is_empty(), beside.is_empty()) {
        (false, _) => error.hint(format!("did you mean {}?", near.join(" or "))),
        (true, false) => error.hint(format!("`{area}` has {}", beside.join(", "))),
        (true, true) => error.hint("list them with `relight docs`"),
    }
}

fn lines(out: &mut Out, operations: &[&Declaration]) -> Result {
    for operation in operations {
        writeln!(out, "{}", as_json(operation))?;
    }
    Ok(Exit::Done)
}

fn as_json(operation: &Declaration) -> Value {
    let field = |field: &Field| json!({ "name": field.name, "type": field.kind, "help": field.help });
    json!({
        "name": operation.name,
        "signature": operation.signature(),
        "summary": operation.summary,
        "notes": operation.notes,
        "arguments": operation.positional().map(field).collect::<Vec<_>>(),
        "options": operation.optional().map(field).collect::<Vec<_>>(),
        "gives": operation.output_fields().iter().map(field).collect::<Vec<_>>(),
        "effects": operation.effects.iter().map(|effect| effect.as_str()).collect::<Vec<_>>(),
        "codes": operation.codes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "after_a_crash": after_a_crash(operation),
    })
}

fn overview(out: &mut Out, operations: &[&Declaration]) -> Result {
    let mut area = None;
    for operation in operations {
        let (own, _) = operation.split_name();
        if area != Some(own) {
            let gap = if area.is_some() { "\n" } else { "" };
            writeln!(out, "{gap}{}", if own.is_empty() { "built in" } else { own })?;
            let natives = NATIVES.iter().filter(|_| own.is_empty());
            for (signature, summary) in natives {
                writeln!(out, "  {signature}\n      {summary}")?;
            }
            area = Some(own);
        }
        writeln!(out, "  {}\n      {}", operation.signature(), operation.summary)?;
    }
    Ok(Exit::Done)
}

fn page(out: &mut impl Write, operation: &Declaration) -> Result {
    let width = terminal::width();
    writeln!(out, "{}\n", operation.signature())?;
    for line in wrapped(operation.summary, width) {
        writeln!(out, "{line}")?;
    }
    if let Some(notes) = &operation.notes {
        writeln!(out)?;
        for line in wrapped(notes, width) {
            writeln!(out, "{line}")?;
        }
    }
    fields(out, "Arguments", operation.positional())?;
    fields(out, "Options (in a map after the arguments)", operation.optional())?;
    fields(out, "Gives", operation.output_fields().iter())?;
    for (number, example) in operation.examples.iter().enumerate() {
        writeln!(out, "{}", if number == 0 { "\nExamples:" } else { "" })?;
        writeln!(out, "  // {}", example.title)?;
        for line in example.script.lines() {
            writeln!(out, "  {line}")?;
        }
        if let Some(value) = &example.gives {
            writeln!(out, "  // gives {value}")?;
        }
    }
    let mut codes = Table::default();
    for code in operation.codes {
        let own = relight_stdlib::CODES.iter().find(|(own, _)| own == code).map(|(_, meaning)| *meaning);
        codes.row([code.to_string(), code.meaning().or(own).unwrap_or_default().to_owned()]);
    }
    let lines = codes.lines(2);
    if !lines.is_empty() {
        writeln!(out, "\nErrors (`e.code` in `catch (e)`):")?;
    }
    for line in lines {
        writeln!(out, "{line}")?;
    }
    let effects: Vec<&str> = operation.effects.iter().map(|effect| effect.as_str()).collect();
    let mut table = Table::default();
    table.row([
        "Effects:".to_owned(),
        if effects.is_empty() { "none".to_owned() } else { effects.join(", ") },
    ]);
    table.row(["After a crash:".to_owned(), after_a_crash(operation).to_owned()]);
    writeln!(out)?;
    for line in table.lines(0) {
        writeln!(out, "{line}")?;
    }
    Ok(Exit::Done)
}

fn after_a_crash(operation: &Declaration) -> &'static str {
    match operation.redo {
        _ if operation.is_read_only() => "asked again",
        Redo::Resend => "sent again; doing it twice is the same as doing it once",
        Redo::Probe => "looked for first, and sent again only when it certainly had no effect",
        Redo::Ask => "a person is asked whether it happened",
    }
}

fn fields<'a>(out: &mut impl Write, title: &str, fields: impl Iterator<Item = &'a Field>) -> Result<()> {
    let mut table = Table::default();
    for field in fields {
        table.row([field.name.clone(), field.kind.clone(), field.help.clone()]);
    }
    let lines = table.lines(2);
    if !lines.is_empty() {
        writeln!(out, "\n{title}:")?;
    }
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}
