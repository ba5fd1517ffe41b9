//! Binding: operations and what needs the interpreter become functions that scripts call.

use std::any::TypeId;
use std::sync::Arc;

use rhai::{Array, Dynamic, EvalAltResult, FnPtr, FuncRegistration, Module, NativeCallContext, RhaiFunc};
use serde_json::Value;

use super::context::of_call;
use super::ending::{place, terminated};
use super::natives::shown;
use super::raise::raised;
use super::{NativeResult, Raise, branch, convert, inspect};
use crate::code::ErrorCode;
use crate::error::{Error, Result};
use crate::operation::{FUNCTION, Registered};
use crate::recorded;
use crate::retry::{EXAMPLE as RETRY, RetryOptions};

/// Binds an operation under its verb: once with its positional arguments, once with a map behind them.
pub(super) fn bind(module: &mut Module, verb: &'static str, operation: &Registered) {
    let positional = operation.declaration.positional().count();
    for count in [positional, positional + 1] {
        let bound = operation.clone();
        let call = move |context: &NativeCallContext<'_>, args: &mut [&mut Dynamic]| {
            let at = place(context.call_source(), context.call_position());
            let tag = of_call(context)?;
            let call = || {
                let args = arguments(&bound, args, context).map_err(Raise::Throw)?;
                tag.host.call(&bound, args, at)
            };
            tag.budget.aside(call, |called| match called {
                Ok(value) => convert::from_json(value)
                    .map_err(|why| EvalAltResult::ErrorRuntime(why.into(), context.call_position()).into()),
                Err(Raise::Throw(error)) => Err(raised(error, context)),
                Err(Raise::Unwind) => {
                    tag.over.end(None);
                    Err(terminated(context.call_position()))
                }
            })
        };
        let call: Arc<Native> = Arc::new(call);
        // Rhai's own `all` takes a list and a function: what names the types comes first.
        if operation.declaration.positional().any(|param| param.kind == FUNCTION) && count == positional {
            typed(module, verb, vec![TypeId::of::<Array>(), TypeId::of::<FnPtr>()], call.clone());
        }
        typed(module, verb, vec![TypeId::of::<Dynamic>(); count], call);
    }
}

/// Binds what needs the interpreter itself, and what Rhai brings but a runbook must not have.
pub(super) fn bind_natives(module: &mut Module) {
    native(module, "defer", 1, |context, args| match args[0].clone().try_cast::<FnPtr>() {
        Some(deferred) => {
            of_call(context)?.deferred.lock().expect("no panic while the list is held").push(deferred);
            Ok(Dynamic::UNIT)
        }
        None => Err(raised(&Error::script("`defer` takes a function: defer(|| ...)"), context)),
    });
    for count in [1, 2] {
        native(module, "progress", count, |context, args| {
            let tag = of_call(context)?;
            let number = |value: &&mut Dynamic| {
                let whole = || value.as_int().map(|whole| whole as f64);
                value.as_float().or_else(|_| whole()).map_err(|_| {
                    let error = Error::script("the second argument of `progress` is a number of percent");
                    raised(&error.hint("write for example progress(\"half of it\", 50)"), context)
                })
            };
            let percent = args.get(1).map(number).transpose()?;
            let text = shown(args[0]);
            tag.budget.aside(|| tag.host.progress(text, percent), |()| Ok(Dynamic::UNIT))
        });
    }
    native(module, "fail", 1, |context, args| {
        Err(raised(&Error::rejected(shown(args[0])).code(ErrorCode::FAILED), context))
    });
    for (name, count, instead) in inspect::REPLACED {
        native(module, name, *count, move |context, _| {
            let error = Error::script(format!("a runbook has no `{name}`")).hint(format!("use {instead}"));
            Err(raised(&error, context))
        });
    }
}

/// Registers a native function of untyped arguments. Always volatile: nothing may run it early.
fn native(
    module: &mut Module,
    name: &str,
    count: usize,
    call: impl Fn(&NativeCallContext<'_>, &mut [&mut Dynamic]) -> NativeResult + Send + Sync + 'static,
) {
    typed(module, name, vec![TypeId::of::<Dynamic>(); count], Arc::new(call));
}

type Native = dyn Fn(&NativeCallContext<'_>, &mut [&mut Dynamic]) -> NativeResult + Send + Sync;

fn typed(module: &mut Module, name: &str, types: Vec<TypeId>, call: Arc<Native>) {
    let func = RhaiFunc::Method {
        func: Arc::new(move |context: Option<NativeCallContext<'_>>, args: &mut [&mut Dynamic]| {
            let context = context.expect("the function is registered with has_context");
            call(&context, args)
        }),
        has_context: true,
        is_pure: true,
        is_volatile: true,
    };
    module.set_fn_raw_with_options(FuncRegistration::new(name).in_internal_namespace(), types, func);
}

/// Turns the arguments of a call into JSON by name. An option that is `()` counts as not given.
fn arguments(
    operation: &Registered,
    args: &[&mut Dynamic],
    context: &NativeCallContext<'_>,
) -> Result<Value> {
    let declaration = &operation.declaration;
    let name = declaration.name;
    let mut json = serde_json::Map::with_capacity(args.len());
    let mut given = args.iter();
    for param in declaration.positional() {
        let Some(value) = given.next() else { break };
        let json_of = match param.kind.as_str() {
            FUNCTION => branch::recorded(value, context),
            _ => convert::to_json(value),
        };
        let value = json_of
            .map_err(|why| Error::invalid(format!("wrong argument `{}` of `{name}`: {why}", param.name)))?;
        json.insert(param.name.clone(), value);
    }
    if let Some(options) = given.next() {
        let shape = || {
            Error::invalid(format!("the last argument of `{name}` is a map")).hint(declaration.signature())
        };
        let options = convert::to_json(options)
            .map_err(|why| Error::invalid(format!("wrong last argument of `{name}`: {why}")))?;
        let options = options.as_object().ok_or_else(shape)?;
        for (option, value) in options {
            if option != "retry" && !declaration.optional().any(|p| p.name == *option) {
                return Err(Error::invalid(format!("`{name}` has no option `{option}`"))
                    .hint(declaration.signature()));
            }
            if option == "retry" && !value.is_null() {
                let policy = RetryOptions::read(&recorded::plain(value))
                    .map_err(|why| Error::invalid(format!("wrong `retry` of `{name}`: {why}")).hint(RETRY))?;
                json.insert(option.clone(), policy);
            } else if !value.is_null() {
                json.insert(option.clone(), value.clone());
            }
        }
    }
    Ok(Value::Object(json))
}
