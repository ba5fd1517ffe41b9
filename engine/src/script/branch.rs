//! Functions of a script that are called in another evaluation: how one is written down, and how it is
//! found and called again.
//!
//! A function without a name is known by its place among those of its text, so that an edit elsewhere
//! leaves it what it is. What it captures is copied: nothing that one evaluation changes is seen by another.

use rhai::{
    AST, CallFnOptions, Dynamic, Engine as Rhai, FnPtr, Module, NativeCallContext, Position, Scope, Shared,
    Stmt,
};
use serde_json::Value;

use super::{Language, NativeResult, Program, convert};
use crate::event::{Branch, Function};

/// Writes down a function that a script passes to a call.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn recorded(value: &Dynamic, context: &NativeCallContext<'_>) -> Result<Value, String> {
    let wanted = || "it is a function of one item: |item| ..".to_owned();
    let function = value.clone().try_cast::<FnPtr>().ok_or_else(wanted)?;
    let (name, params) = (function.fn_name(), function.curry().len() + 1);
    let mut modules = context.namespaces().iter().rev();
    let (number, module) =
        modules.find_map(|module| Some((number_of(module, name, params)?, module))).ok_or_else(wanted)?;
    let captured = function.curry().iter().map(|value| convert::to_json(&value.flatten_clone()));
    let captured =
        captured.collect::<Result<_, _>>().map_err(|why| format!("what it names cannot be copied: {why}"))?;
    let source = module.id().filter(|id| !id.is_empty()).map(str::to_owned);
    serde_json::to_value(Function { source, number, captured }).map_err(|e| e.to_string())
}

impl Language {
    /// Calls the function of a branch, where nothing of its text has run but the imports.
    ///
    /// Returns what came of it, and the texts in which what it deferred is found. Nothing when the text has no
    /// such function.
    pub(super) fn call(
        &self,
        engine: &Rhai,
        scope: &mut Scope<'_>,
        program: &Program,
        branch: &Branch,
    ) -> Option<(NativeResult, AST)> {
        let Branch { function, item } = branch;
        let imported = match &function.source {
            None => None,
            Some(name) => {
                let source = program.sources.iter().find(|source| source.name == *name)?;
                Some(self.text(source).ok()?)
            }
        };
        let ast = imported.as_ref().map_or(&program.text.ast, |text| text.module());
        let params = function.captured.len() + 1;
        let name = find(ast.shared_lib(), function.number, params)?;
        let imports = ast.statements().iter().filter(|statement| matches!(statement, Stmt::Import(..)));
        let mut beginning = AST::new(imports.cloned(), ast.shared_lib().clone());
        if let Some(source) = &function.source {
            beginning.set_source(source);
        }
        let args = function.captured.iter().chain([item]).map(convert::from_json);
        let args = args.collect::<Result<Vec<Dynamic>, _>>().ok()?;
        let options = CallFnOptions::new().eval_ast(true).rewind_scope(false);
        Some((engine.call_fn_with_options(options, scope, &beginning, name, args), beginning))
    }
}

fn number_of(module: &Shared<Module>, name: &str, params: usize) -> Option<u32> {
    let place =
        nameless(module).into_iter().position(|(_, known, count)| known == name && count == params)?;
    u32::try_from(place + 1).ok()
}

fn find(module: &Shared<Module>, number: u32, params: usize) -> Option<String> {
    let place = usize::try_from(number).ok()?.checked_sub(1)?;
    let (_, name, count) = nameless(module).into_iter().nth(place)?;
    (count == params).then_some(name)
}

/// Returns the functions without a name, in the order of the text.
fn nameless(module: &Shared<Module>) -> Vec<(Position, String, usize)> {
    let functions = module.iter_script_fn_info().filter(|(_, _, name, ..)| name.starts_with(NAMELESS));
    let mut all: Vec<_> = functions
        .map(|(_, _, name, params, function)| (function.body.start_position(), name.to_owned(), params))
        .collect();
    all.sort_unstable();
    all
}

/// What the interpreter puts before the names that it makes up.
pub(super) const NAMELESS: &str = "anon$";
