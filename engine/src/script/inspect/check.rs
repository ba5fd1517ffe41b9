//! What is wrong with a runbook, as far as it can be seen without running it.

use rhai::Expr;
use serde_json::Value;

use super::known::known;
use super::{Bundle, Call, Outline, Target};
use crate::builtin::{ALL, RUN};
use crate::error::{Error, Result};
use crate::event::Source;
use crate::hint::NextStep;
use crate::library::near;
use crate::operation::Declaration;
use crate::retry::{EXAMPLE as RETRY, RetryOptions};
use crate::runbook::Runbook;
use crate::script::Language;

/// What Rhai brings, with how many arguments, and what a runbook uses instead.
pub(in crate::script) const REPLACED: &[(&str, usize, &str)] = &[
    ("sleep", 1, "wait(\"10s\"), which survives a restart"),
    ("timestamp", 0, "now(), which is recorded"),
    ("print", 1, "note(\"...\"), which is recorded"),
    ("debug", 1, "note(\"...\"), which is recorded"),
];

/// Something wrong with a runbook that can be seen without running it.
pub type Finding = Error;

impl Language {
    /// Returns what is wrong with a bundle's runbook and with its children: wrong front matter, unknown
    /// operations, effects that are not named or not covered, wrong arguments, names that a runbook must not use.
    pub(crate) fn findings(&self, bundle: &mut Bundle) -> Vec<Finding> {
        let mut findings: Vec<Finding> = bundle.missing.drain(..).map(|(_, finding)| finding).collect();
        let bundle = &*bundle;
        let mut started = vec![bundle.main()];
        let mut checked = 0;
        while let Some(text) = started.get(checked).copied() {
            let texts = bundle.with_imports(text);
            match self.header(text.source()) {
                Ok(runbook) => self.check_texts(&runbook, &texts, bundle, &mut findings),
                Err(error) => findings.push(error),
            }
            for call in texts.iter().flat_map(|text| &text.calls).filter(|call| call.name == RUN) {
                if let Target::Named(name) = self.target(call)
                    && let Some(child) = bundle.get(&name)
                    && !started.iter().any(|known| known.source().name == name)
                {
                    started.push(child);
                }
            }
            checked += 1;
        }
        findings
    }

    /// Reads a runbook's front matter and checks what only the language can tell about it. The script is not
    /// read.
    ///
    /// # Errors
    /// `Invalid`, with the wrong part underlined.
    pub(crate) fn header(&self, source: &Source) -> Result<Runbook> {
        let runbook = Runbook::parse(source)?;
        runbook.check_effects(&self.effects)?;
        self.check_params(&runbook)?;
        Ok(runbook)
    }

    /// Checks that a script can name its parameters: some words are the language's own.
    fn check_params(&self, runbook: &Runbook) -> Result<()> {
        let engine = self.engine();
        for param in &runbook.params {
            let name = &param.name;
            if engine.compile_expression(format!("#{{}}.{name}")).is_err() {
                return Err(Error::invalid(format!(
                    "a parameter of `{}` cannot be called `{name}`: the language keeps that word",
                    runbook.name
                ))
                .hint(format!("rename it, for example to `{name}_`")));
            }
        }
        Ok(())
    }

    /// Checks a runbook's text and what it imports, which does what it does on the runbook's behalf.
    fn check_texts(
        &self,
        runbook: &Runbook,
        texts: &[&Outline],
        bundle: &Bundle,
        findings: &mut Vec<Finding>,
    ) {
        for text in texts {
            for import in &text.imports {
                if self.areas.iter().any(|(area, _)| *area == import.alias) {
                    let error = Error::invalid(format!("an import cannot be called `{}`", import.alias));
                    let here = text.here(import.at, "this import");
                    findings.push(error.snippet(here).hint("operations are called by that name"));
                }
                let imported = import.name.as_deref().and_then(|name| bundle.get(name));
                if let Some(imported) = imported.filter(|imported| imported.is_runbook())
                    && let Err(error) = self.covers(runbook, imported)
                {
                    findings.push(error.snippet(text.here(import.at, "imported here")));
                }
            }
            for (name, at) in &text.lost {
                let error =
                    Error::invalid(format!("a branch has a copy of `{name}`: a change of it would be lost"));
                let here = text.here(*at, "changed here");
                findings.push(
                    error
                        .snippet(here)
                        .hint("give what a branch finds out as its value: all() returns the values"),
                );
            }
            let found = text.calls.iter().filter_map(|call| {
                self.finding(runbook, text, call).or_else(|| self.finding_beyond(runbook, text, call, bundle))
            });
            findings.extend(found);
        }
    }

    /// Checks that a runbook may do all that another text asks for.
    fn covers(&self, runbook: &Runbook, other: &Outline) -> Result<Runbook> {
        let other = Runbook::parse(other.source())?;
        other.check_granted(&runbook.reach(), &format!("`{}`", runbook.name))?;
        Ok(other)
    }

    fn finding(&self, runbook: &Runbook, text: &Outline, call: &Call) -> Option<Finding> {
        let name = call.name.as_str();
        let here = |label: &str| text.here(call.at, label);
        if let Some((_, _, instead)) = REPLACED.iter().find(|(replaced, ..)| *replaced == name) {
            let error = Error::invalid(format!("a runbook has no `{name}`"));
            return Some(error.snippet(here("not in a runbook")).hint(format!("use {instead}")));
        }
        if name == ALL && call.is_method {
            let error = Error::invalid("`all` begins branches and does not ask whether something holds");
            let hint = "write `!list.some(|item| !..)`, or `all(list, |item| ..)` for branches";
            return Some(error.snippet(here("asked of a list")).hint(hint));
        }
        let Some(operation) = self.operation(name) else { return self.unknown(text, call) };
        let declaration = &operation.declaration;
        if let Some(effect) = runbook.effects.lacking_for(declaration.effects) {
            let error = Error::invalid(format!(
                "`{name}` requires the effect `{}`, which `{}` does not declare",
                effect.as_str(),
                runbook.name
            ));
            let label = format!("needs {}", effect.as_str());
            return Some(error.snippet(here(&label)).hint(format!("add \"{}\" to effects", effect.as_str())));
        }
        let args = call.args.as_ref()?;
        let positional = declaration.positional().count();
        if !(positional..=positional + 1).contains(&args.len()) {
            let error = Error::invalid(format!("`{name}` takes {positional} arguments and an optional map"));
            let label = format!("{} given", args.len());
            return Some(error.snippet(here(&label)).hint(declaration.signature()));
        }
        if let Some(Expr::Map(map, _)) = args.get(positional) {
            for (option, _) in &map.0 {
                if option.name != "retry" && !declaration.optional().any(|p| p.name == option.name.as_str()) {
                    let error = Error::invalid(format!("`{name}` has no option `{}`", option.name));
                    return Some(error.snippet(here("in this call")).hint(declaration.signature()));
                }
            }
            let retry = map.0.iter().find(|(option, _)| option.name == "retry");
            if let Some(retry) = retry.and_then(|(_, value)| known(value, &Value::Null))
                && !retry.is_null()
                && let Err(why) = RetryOptions::read(&retry)
            {
                let error = Error::invalid(format!("wrong `retry` of `{name}`: {why}"));
                return Some(error.snippet(here("in this call")).hint(RETRY));
            }
        }
        None
    }

    /// Says what was meant by an `area::verb` that is none.
    fn unknown(&self, text: &Outline, call: &Call) -> Option<Finding> {
        let name = call.name.as_str();
        let (area, _) = name.split_once("::")?;
        if text.imports.iter().any(|import| import.alias == area) {
            return None;
        }
        let error = Error::invalid(format!("there is no operation `{name}`"));
        let error = error.snippet(text.here(call.at, "not known"));
        let names: Vec<&str> = self.operations.keys().copied().filter(|other| near(name, other)).collect();
        let is_area = self.areas.iter().any(|(known, _)| known == area);
        Some(match (names.is_empty(), is_area) {
            (false, _) => error.hint(format!("did you mean {}?", names.join(" or "))),
            (true, true) => {
                let all = self.operations.keys().filter(|n| n.starts_with(&format!("{area}::")));
                error.hint(format!("`{area}` has {}", all.copied().collect::<Vec<_>>().join(", ")))
            }
            (true, false) => error.hint(NextStep::ListOperations),
        })
    }

    /// Checks a call against the runbook that it starts.
    fn finding_beyond(
        &self,
        runbook: &Runbook,
        text: &Outline,
        call: &Call,
        bundle: &Bundle,
    ) -> Option<Finding> {
        let Target::Named(name) = self.target(call) else { return None };
        let target = bundle.get(&name)?;
        let started = match self.covers(runbook, target) {
            Ok(started) => started,
            Err(error) => return Some(error.snippet(text.here(call.at, "started here"))),
        };
        let declaration = &self.operation(&call.name)?.declaration;
        if let Some(why) = wrong_params(&started, call.argument(declaration, "params")) {
            return Some(Error::invalid(why).snippet(text.here(call.at, "in this call")));
        }
        let endless =
            call.name == RUN && !call.conditional && self.always_runs(&started.name, runbook, bundle);
        endless.then(|| {
            Error::invalid(format!("`{}` runs itself again and again", runbook.name))
                .snippet(text.here(call.at, "it comes back here"))
                .hint("let a condition decide whether it goes on")
        })
    }

    /// Returns whether a runbook comes to run another one whatever happens.
    fn always_runs(&self, from: &str, to: &Runbook, bundle: &Bundle) -> bool {
        let mut reached = vec![from.to_owned()];
        let mut checked = 0;
        while let Some(name) = reached.get(checked).cloned() {
            if name == to.name {
                return true;
            }
            for call in bundle.get(&name).into_iter().flat_map(|text| &text.calls) {
                if let Target::Named(next) = self.target(call)
                    && call.name == RUN
                    && !call.conditional
                    && !reached.contains(&next)
                {
                    reached.push(next);
                }
            }
            checked += 1;
        }
        false
    }
}

impl Call {
    /// Returns the expression of an argument, wherever it stands.
    pub(super) fn argument(&self, declaration: &Declaration, name: &str) -> Argument<'_> {
        let Some(args) = &self.args else { return Argument::Unknown };
        if let Some(position) = declaration.positional().position(|field| field.name == name) {
            return args.get(position).map_or(Argument::Absent, Argument::Given);
        }
        match args.get(declaration.positional().count()) {
            None => Argument::Absent,
            Some(Expr::Map(map, _)) => {
                let option = map.0.iter().find(|(option, _)| option.name == name);
                option.map_or(Argument::Absent, |(_, value)| Argument::Given(value))
            }
            Some(_) => Argument::Unknown,
        }
    }
}

/// An argument as the text has it.
#[derive(Clone, Copy)]
pub(super) enum Argument<'a> {
    /// It is left out.
    Absent,
    /// This is it.
    Given(&'a Expr),
    /// Only the run can tell.
    Unknown,
}

/// Returns what is wrong with the names of the parameters that a call gives to a runbook.
fn wrong_params(runbook: &Runbook, given: Argument<'_>) -> Option<String> {
    let names: Vec<&str> = match given {
        Argument::Absent | Argument::Given(Expr::Unit(_)) => Vec::new(),
        Argument::Given(Expr::Map(map, _)) => map.0.iter().map(|(name, _)| name.name.as_str()).collect(),
        Argument::Given(_) | Argument::Unknown => return None,
    };
    if let Some(unknown) = names.iter().find(|name| !runbook.params.iter().any(|p| p.name == **name)) {
        return Some(format!("`{}` has no parameter `{unknown}`", runbook.name));
    }
    let missing = runbook
        .params
        .iter()
        .find(|param| param.required && param.default.is_none() && !names.contains(&param.name.as_str()))?;
    Some(format!("`{}` needs the parameter `{}`", runbook.name, missing.name))
}
