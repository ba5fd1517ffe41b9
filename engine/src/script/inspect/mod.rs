//! Reading scripts without running them: what they call, what is wrong with them, what they would do.
//!
//! A runbook reaches as far as its imports, its children and what it schedules. Whatever names another
//! runbook in plain text is followed; a name that only the run can tell is called unknown.

mod branches;
mod check;
mod known;
mod outline;
mod plan;

use std::sync::Arc;

pub use check::Finding;
pub(super) use check::REPLACED;
pub(crate) use outline::Outline;
use outline::{Call, Import};
pub use plan::{Changes, Nested, PlannedCall};

use super::Language;
use super::texts::Text;
use crate::builtin::RUN;
use crate::error::{Error, Result};
use crate::event::Source;

/// How a text is found by its name.
pub(crate) type Find<'a> = &'a dyn Fn(&str) -> Result<Source>;

/// Every text that a run may come to: the runbook itself first, then those that are pinned with it, then those
/// that it only schedules.
pub(crate) struct Bundle {
    outlines: Vec<Outline>,
    pinned: usize,
    /// Names under which nothing was found, with what is said about each.
    missing: Vec<(String, Finding)>,
}

/// Which runbook a call starts.
enum Target {
    /// The call starts none.
    Nothing,
    /// The text names it.
    Named(String),
    /// Only the run can tell.
    Computed,
}

impl Bundle {
    /// Returns the texts that are pinned with the run.
    pub(crate) fn sources(&self) -> Vec<Source> {
        self.outlines[..self.pinned].iter().map(|outline| outline.source().clone()).collect()
    }

    /// Returns every text as it was compiled.
    pub(super) fn texts(&self) -> impl Iterator<Item = &Arc<Text>> {
        self.outlines.iter().map(|outline| &outline.text)
    }

    fn main(&self) -> &Outline {
        &self.outlines[0]
    }

    fn get(&self, name: &str) -> Option<&Outline> {
        self.outlines.iter().find(|outline| outline.source().name == name)
    }

    /// Returns a text with all that it imports.
    fn with_imports<'a>(&'a self, text: &'a Outline) -> Vec<&'a Outline> {
        let mut texts = vec![text];
        let mut checked = 0;
        while let Some(text) = texts.get(checked).copied() {
            for imported in text.imports.iter().filter_map(|import| self.get(import.name.as_deref()?)) {
                if !texts.iter().any(|known| known.source().name == imported.source().name) {
                    texts.push(imported);
                }
            }
            checked += 1;
        }
        texts
    }
}

impl Language {
    /// Reads a text with everything that it leads to.
    ///
    /// # Errors
    /// `Invalid` when one of the texts cannot be read or an import is computed: what a run uses must be pinned
    /// before it starts. What is not there is a finding.
    pub(crate) fn bundle(&self, main: Source, find: Find<'_>) -> Result<Bundle> {
        let outlines = vec![self.outline(&main)?];
        let mut bundle = Bundle { outlines, pinned: 0, missing: Vec::new() };
        self.follow(&mut bundle, find, false)?;
        bundle.pinned = bundle.outlines.len();
        self.follow(&mut bundle, find, true)?;
        Ok(bundle)
    }

    /// Adds the texts that those already there name.
    fn follow(&self, bundle: &mut Bundle, find: Find<'_>, scheduled: bool) -> Result<()> {
        let mut checked = 0;
        while let Some(text) = bundle.outlines.get(checked) {
            for (name, at) in self.named(text, scheduled)? {
                if bundle.get(&name).is_some() || bundle.missing.iter().any(|(missing, _)| *missing == name) {
                    continue;
                }
                match find(&name) {
                    Ok(source) => bundle.outlines.push(self.outline(&source)?),
                    Err(error) => {
                        let here = bundle.outlines[checked].here(at, "named here");
                        bundle.missing.push((name, error.snippet(here)));
                    }
                }
            }
            checked += 1;
        }
        Ok(())
    }

    /// Returns the names of texts that a text leads to, with where it names them.
    fn named(&self, outline: &Outline, scheduled: bool) -> Result<Vec<(String, rhai::Position)>> {
        let mut names = Vec::new();
        for Import { name, at, .. } in &outline.imports {
            let name = name.clone().ok_or_else(|| {
                Error::invalid("an import must name its runbook as plain text")
                    .snippet(outline.here(*at, "computed"))
                    .hint("what a run uses is pinned before it starts")
            })?;
            names.push((name, *at));
        }
        for call in outline.calls.iter().filter(|call| scheduled || call.name == RUN) {
            if let Target::Named(name) = self.target(call) {
                names.push((name, call.at));
            }
        }
        Ok(names)
    }

    /// Returns which runbook a call starts, now or later.
    fn target(&self, call: &Call) -> Target {
        if call.is_computed() {
            return Target::Computed;
        }
        let declaration = self.operation(&call.name).map(|operation| &operation.declaration);
        let Some(position) = declaration.and_then(|declaration| declaration.runbook_argument()) else {
            return Target::Nothing;
        };
        match call.args.as_ref().and_then(|args| args.get(position)) {
            Some(rhai::Expr::StringConstant(name, _)) => Target::Named(outline::plain_name(name).to_owned()),
            _ => Target::Computed,
        }
    }
}
