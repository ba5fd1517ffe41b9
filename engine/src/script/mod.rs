//! Scripts: the only room that touches Rhai.
//!
//! Owns the language (what a runbook can say, and its limits), the binding of operations to script
//! functions, and one evaluation of a script from top to end. Does not own what a call means: that
//! is behind [`Host`].

mod bind;
mod branch;
mod context;
mod convert;
mod ending;
mod inspect;
mod limits;
mod lists;
mod natives;
mod raise;
mod texts;
mod values;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage,
    BasicMathPackage, BasicStringPackage, BitFieldPackage, LanguageCorePackage, LogicPackage,
    MoreStringPackage, Package,
};
use rhai::{
    AST, Dynamic, Engine as Rhai, EvalAltResult, Map, Module, ModuleResolver, OptimizationLevel, ParseError,
    Position, Scope, Shared,
};

use serde_json::Value;

use bind::{bind, bind_natives};
use context::Context;
pub(crate) use ending::Ending;
use ending::{Over, lowercase};
pub(crate) use inspect::Bundle;
pub use inspect::{Changes, Finding, Nested, PlannedCall};
use limits::{Budget, Together};
pub use limits::{Limits, MemoryMeter};
pub(crate) use raise::thrown;
use texts::{Text, Texts};

use crate::effect::Effect;
use crate::error::{Error, Result, Snippet};
use crate::event::{Branch, Place, Source};
use crate::operation::Registered;
use crate::value::SecretRef;

/// Where a script's calls go.
pub(crate) trait Host: Send + Sync {
    /// Carries out one call and returns its value as the journal has it.
    fn call(&self, operation: &Registered, args: Value, at: Place) -> Result<Arc<Value>, Raise>;

    /// Shows a message without recording it, unless the script is being replayed.
    fn progress(&self, message: String, percent: Option<f64>);

    /// Returns whether the script must end at once.
    fn is_halted(&self) -> bool;

    /// Says that the script itself is over. Returns whether what it deferred runs now: not when the
    /// script only unwound to wait.
    fn begin_deferred(&self) -> bool;

    /// Returns whether the run ends in spite of mistakes: somebody stopped it, and what it deferred
    /// runs as far as it can.
    fn ends_anyway(&self) -> bool;
}

/// How a call ends when it has no value.
pub(crate) enum Raise {
    /// The script may catch it.
    Throw(Error),
    /// The script unwinds; the host remembers why.
    Unwind,
}

/// A compiled runbook with all that it imports.
pub(crate) struct Program {
    text: Arc<Text>,
    sources: Arc<[Source]>,
}

/// The language of runbooks, built once and shared by all evaluations.
pub(crate) struct Language {
    operations: BTreeMap<&'static str, Registered>,
    packages: Vec<Shared<Module>>,
    areas: Vec<(String, Shared<Module>)>,
    limits: Limits,
    meter: Option<MemoryMeter>,
    together: Arc<Together>,
    texts: Arc<Texts>,
    /// The words of all effects that front matter may name.
    effects: Vec<&'static str>,
}

impl Language {
    /// Builds the language from the operations.
    ///
    /// # Errors
    /// `Invalid` when two operations share a name, a name is no `area::verb`, or one word stands for two effects.
    pub(crate) fn new(
        operations: Vec<Registered>,
        limits: Limits,
        meter: Option<MemoryMeter>,
    ) -> Result<Self> {
        let mut areas: BTreeMap<&str, Module> = BTreeMap::new();
        let mut by_name = BTreeMap::new();
        let mut effects: Vec<Effect> = Effect::ALL.map(|(effect, _)| effect).into();
        for operation in operations {
            let name = operation.declaration.name;
            for effect in operation.declaration.effects {
                match effects.iter().find(|known| known.as_str() == effect.as_str()) {
                    None => effects.push(*effect),
                    Some(known) if known == effect => {}
                    Some(_) => {
                        let word = effect.as_str();
                        return Err(Error::invalid(format!("`{name}` means something else by `{word}`")));
                    }
                }
            }
            let (area, verb) = operation.declaration.split_name();
            let is_word = |w: &str| w.starts_with(|c: char| c.is_ascii_lowercase()) && !w.contains(':');
            if !is_word(verb) || !(area.is_empty() || is_word(area)) {
                return Err(Error::invalid(format!("`{name}` cannot be the name of an operation")));
            }
            bind(areas.entry(area).or_default(), verb, &operation);
            if by_name.insert(name, operation).is_some() {
                return Err(Error::invalid(format!("two operations are called `{name}`")));
            }
        }
        let mut globals = areas.remove("").unwrap_or_default();
        bind_natives(&mut globals);
        values::bind_values(&mut globals);
        lists::bind_comparing(&mut globals);
        natives::bind_bounded(&mut globals, limits.string, limits.memory as usize / 2);
        globals.build_index();
        let mut packages = language_packages();
        packages.push(globals.into());
        let areas = areas.into_iter().map(|(name, mut module)| {
            module.build_index();
            (name.to_owned(), Shared::new(module))
        });
        let effects = effects.into_iter().map(Effect::as_str).collect();
        Ok(Language {
            areas: areas.collect(),
            operations: by_name,
            packages,
            limits,
            meter,
            together: Arc::default(),
            texts: Arc::default(),
            effects,
        })
    }

    /// Returns an operation by its name.
    pub(crate) fn operation(&self, name: &str) -> Option<&Registered> {
        self.operations.get(name)
    }

    /// Returns every operation in the order of names.
    pub(crate) fn operations(&self) -> impl Iterator<Item = &Registered> {
        self.operations.values()
    }

    /// Compiles a runbook. `sources` holds its text first, then what it imports.
    ///
    /// # Errors
    /// `Invalid`, with the place underlined.
    pub(crate) fn compile(&self, sources: Arc<[Source]>) -> Result<Program> {
        let main = sources.first().ok_or_else(|| Error::storage("the run has no source text"))?;
        Ok(Program { text: self.text(main)?, sources })
    }

    /// Reads one text.
    fn text(&self, source: &Source) -> Result<Arc<Text>> {
        let compile = || compile(&self.engine(), source);
        self.texts.get(source, compile).map_err(|e| syntax_error(source, e))
    }

    /// Takes over what another engine has compiled.
    pub(crate) fn learn(&self, bundle: &Bundle) {
        bundle.texts().for_each(|text| self.texts.learn(text));
    }

    /// Evaluates a program on the calling thread, which must have [`STACK`](crate::bridge::STACK) bytes: from the top, or only the
    /// function with which a branch begins.
    pub(crate) fn evaluate(
        &self,
        program: &Program,
        params: &Value,
        branch: Option<&Branch>,
        host: &Arc<dyn Host>,
    ) -> Ending {
        let mut engine = self.engine();
        let budget = Arc::new(Budget::new(self.limits, self.meter, self.together.clone()));
        let context = Arc::new(Context {
            host: host.clone(),
            deferred: Mutex::default(),
            over: Over::default(),
            budget,
        });
        engine.set_default_tag(Dynamic::from(context.clone()));
        engine.set_module_resolver(Pinned { sources: program.sources.clone(), texts: self.texts.clone() });
        context.watch(&mut engine);

        let mut scope = Scope::new();
        match convert::from_json(params) {
            Ok(params) => scope.push_constant_dynamic("params", params),
            Err(why) => {
                return Ending::Error(Error::invalid(format!("the parameters are wrong: {why}")), None);
            }
        };
        let main = program.sources.first();
        let (result, beginning) = match branch {
            None => (engine.eval_ast_with_scope::<Dynamic>(&mut scope, &program.text.ast), None),
            Some(branch) => match self.call(&engine, &mut scope, program, branch) {
                Some((result, beginning)) => (result, Some(beginning)),
                None => {
                    let error = Error::script("the text no longer has the function of this branch");
                    return Ending::Mistake(
                        error.hint("stop the branch, or bring the text back"),
                        None,
                        false,
                    );
                }
            },
        };
        let mut ending = context.over.ending(result, main);
        if matches!(ending, Ending::Mistake(..)) && !host.ends_anyway() {
            return ending.with_deferred(context.has_deferred());
        }

        // Newest first; what fails here must not keep the others from running.
        if !host.begin_deferred() {
            return Ending::Unwound;
        }
        // What the script held must not keep from running what it deferred.
        drop(scope);
        context.budget.renew();
        let ast = beginning.as_ref().unwrap_or(&program.text.ast);
        loop {
            let Some(next) = context.deferred.lock().expect("no panic while the list is held").pop() else {
                break;
            };
            let result = next.call::<Dynamic>(&engine, ast, ());
            match (context.over.ending(result, main), &ending) {
                (Ending::Unwound, _) => return Ending::Unwound,
                (Ending::Mistake(..), _) if host.ends_anyway() => {}
                (mistake @ Ending::Mistake(..), _) => {
                    return mistake.with_deferred(context.has_deferred());
                }
                (Ending::Error(error, at), Ending::Value(_)) => ending = Ending::Error(error, at),
                _ => {}
            }
        }
        ending
    }

    /// Returns an interpreter. It shares all modules, so that making one costs microseconds.
    fn engine(&self) -> Rhai {
        let mut engine = Rhai::new_raw();
        for package in &self.packages {
            engine.register_global_module(package.clone());
        }
        for (name, area) in &self.areas {
            engine.register_static_module(name, area.clone());
        }
        engine.register_type_with_name::<SecretRef>("secret");
        engine.register_type_with_name::<jiff::Timestamp>("time");
        engine.register_type_with_name::<jiff::SignedDuration>("duration");
        engine.set_optimization_level(OptimizationLevel::None);
        engine.set_strict_variables(true);
        engine.set_fail_on_invalid_map_property(true);
        engine.disable_symbol("eval");
        engine.set_max_operations(self.limits.operations);
        engine.set_max_call_levels(self.limits.call_depth);
        engine.set_max_expr_depths(self.limits.expression_depth, self.limits.expression_depth);
        // Rhai counts a whole value after every change to it. What the allocator counts is exact and free.
        if self.meter.is_none() {
            engine.set_max_string_size(self.limits.string);
            engine.set_max_array_size(self.limits.array);
            engine.set_max_map_size(self.limits.map);
        }
        engine.set_max_modules(self.limits.modules);
        engine
    }
}

/// Everything of Rhai's standard library but time: a script has no clock except `now()`.
fn language_packages() -> Vec<Shared<Module>> {
    vec![
        LanguageCorePackage::new().as_shared_module(),
        ArithmeticPackage::new().as_shared_module(),
        BasicStringPackage::new().as_shared_module(),
        BasicIteratorPackage::new().as_shared_module(),
        BasicFnPackage::new().as_shared_module(),
        BitFieldPackage::new().as_shared_module(),
        LogicPackage::new().as_shared_module(),
        BasicMathPackage::new().as_shared_module(),
        BasicArrayPackage::new().as_shared_module(),
        BasicMapPackage::new().as_shared_module(),
        MoreStringPackage::new().as_shared_module(),
    ]
}

type NativeResult = Result<Dynamic, Box<EvalAltResult>>;

/// Returns what the interpreter reads of a text: some editors begin a file with a byte-order mark.
fn script_of(source: &Source) -> &str {
    source.text.strip_prefix('\u{feff}').unwrap_or(&source.text)
}

/// Compiles a text, which may be a runbook or what others import.
fn compile(engine: &Rhai, source: &Source) -> Result<AST, ParseError> {
    let mut scope = Scope::new();
    // A variable here although it is a constant later: the optimiser must not fold it away.
    scope.push_dynamic("params", Dynamic::from(Map::new()));
    engine.compile_with_scope(&scope, script_of(source))
}

fn syntax_error(source: &Source, error: ParseError) -> Error {
    let at = error.position();
    let text: Arc<str> = source.text.as_str().into();
    let what = error.err_type().to_string();
    let snippet = Snippet::at(&source.name, &text, at.line().unwrap_or(1), at.position().unwrap_or(1));
    let mut error = Error::invalid(format!("the script of `{}` cannot be read", source.name))
        .snippet(snippet.label(lowercase(&what)));
    if what.contains("eval") {
        error = error.hint("a runbook cannot evaluate text: what it does must be seen by reading it");
    }
    error
}

/// Resolves `import` among the texts that were pinned with the run.
struct Pinned {
    sources: Arc<[Source]>,
    texts: Arc<Texts>,
}

impl ModuleResolver for Pinned {
    fn resolve(
        &self,
        engine: &Rhai,
        _: Option<&str>,
        path: &str,
        at: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let source = self.sources.iter().skip(1).find(|source| source.name == path.trim_end_matches(".rhai"));
        let source = source.ok_or_else(|| EvalAltResult::ErrorModuleNotFound(path.to_owned(), at))?;
        let text = self.texts.get(source, || compile(engine, source));
        let text = text.map_err(|e| EvalAltResult::ErrorInModule(path.to_owned(), e.into(), at))?;
        let module = Module::eval_ast_as_new(Scope::new(), text.module(), engine)
            .map_err(|e| EvalAltResult::ErrorInModule(path.to_owned(), e, at))?;
        Ok(module.into())
    }
}
