//! Compiled texts: each is compiled once, however many runs, branches and replays go by it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use rhai::{AST, Module, ParseError};

use crate::event::{Source, fingerprint};

/// How many are kept. When there are more, all are forgotten and compiled anew.
const KEPT: usize = 256;

/// A text as it was compiled.
pub(crate) struct Text {
    pub(crate) source: Source,
    /// As a runbook.
    pub(super) ast: AST,
    /// As what others import.
    module: OnceLock<AST>,
}

impl Text {
    /// Returns it as what others import: what it says is told with its name.
    pub(super) fn module(&self) -> &AST {
        self.module.get_or_init(|| {
            let name = &self.source.name;
            let mut functions = Module::clone(self.ast.shared_lib());
            functions.set_id(name.as_str());
            let mut ast = AST::new(self.ast.statements().iter().cloned(), functions);
            ast.set_source(name.as_str());
            ast
        })
    }
}

/// The texts that were compiled lately, by name and fingerprint.
#[derive(Default)]
pub(super) struct Texts(Mutex<HashMap<(String, String), Arc<Text>>>);

impl Texts {
    /// Returns a text, and compiles it when it is new.
    pub(super) fn get(
        &self,
        source: &Source,
        compile: impl FnOnce() -> Result<AST, ParseError>,
    ) -> Result<Arc<Text>, ParseError> {
        let key = (source.name.clone(), fingerprint(&source.text));
        if let Some(known) = self.known().get(&key) {
            return Ok(known.clone());
        }
        tracing::debug!("compiles `{}`", source.name);
        let text = Arc::new(Text { source: source.clone(), ast: compile()?, module: OnceLock::new() });
        self.keep(key, &text);
        Ok(text)
    }

    /// Keeps a text that was compiled elsewhere.
    pub(super) fn learn(&self, text: &Arc<Text>) {
        self.keep((text.source.name.clone(), fingerprint(&text.source.text)), text);
    }

    fn keep(&self, key: (String, String), text: &Arc<Text>) {
        let mut known = self.known();
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(key, text.clone());
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Arc<Text>>> {
        self.0.lock().expect("no panic while the texts are held")
    }
}
