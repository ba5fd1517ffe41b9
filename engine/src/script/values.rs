//! Times and durations as scripts see them: types with the arithmetic that has a meaning.
//!
//! Everything here is pure. What has no meaning is refused with a word about what to write instead;
//! Rhai alone would answer such a comparison with `false`.

use jiff::{SignedDuration, Timestamp};
use rhai::{Dynamic, EvalAltResult, FuncRegistration, ImmutableString, Module};

use super::ending::mistake;
use crate::error::Error;
use crate::value::Span;

type Result<T> = std::result::Result<T, Box<EvalAltResult>>;

/// Adds the types, their operators, their properties and what makes them of text.
pub(super) fn bind_values(module: &mut Module) {
    bind_time(module);
    bind_duration(module);
    bind_mixed(module);
}

fn bind_time(module: &mut Module) {
    set(module, "time").set_into_module(module, |text: ImmutableString| parse_time(&text));
    set(module, "time").set_into_module(module, |time: Timestamp| time);
    set(module, "to_string").set_into_module(module, |time: &mut Timestamp| shown_time(*time));
    set(module, "to_debug").set_into_module(module, |time: &mut Timestamp| shown_time(*time));
    set(module, "-").set_into_module(module, |a: Timestamp, b: Timestamp| a.duration_since(b));
    set(module, "-").set_into_module(module, |time: Timestamp, by: SignedDuration| {
        time.checked_sub(by).map_err(|_| beyond("time"))
    });
    set(module, "+").set_into_module(module, move_on);
    set(module, "+").set_into_module(module, |by: SignedDuration, time: Timestamp| move_on(time, by));
    compare::<Timestamp>(module, "time", "time(\"2026-11-20T22:00:00Z\")");
    for operator in ["+", "-", "*", "/", "%", "**"] {
        refuse::<Timestamp>(
            module,
            operator,
            "time - time is a duration, and time + duration(\"2h\") is a time",
        );
    }
}

fn bind_duration(module: &mut Module) {
    set(module, "duration").set_into_module(module, |text: ImmutableString| parse_duration(&text));
    set(module, "duration").set_into_module(module, |duration: SignedDuration| duration);
    set(module, "to_string").set_into_module(module, |d: &mut SignedDuration| shown_duration(*d));
    set(module, "to_debug").set_into_module(module, |d: &mut SignedDuration| shown_duration(*d));
    set(module, "+").set_into_module(module, |a: SignedDuration, b: SignedDuration| {
        a.checked_add(b).ok_or_else(|| beyond("duration"))
    });
    set(module, "-").set_into_module(module, |a: SignedDuration, b: SignedDuration| {
        a.checked_sub(b).ok_or_else(|| beyond("duration"))
    });
    set(module, "-")
        .set_into_module(module, |d: SignedDuration| d.checked_neg().ok_or_else(|| beyond("duration")));
    set(module, "*").set_into_module(module, times);
    set(module, "*").set_into_module(module, |by: i64, d: SignedDuration| times(d, by));
    set(module, "/").set_into_module(module, |d: SignedDuration, by: i64| match i32::try_from(by) {
        Ok(0) => Err(wrong("a duration cannot be divided by zero", "")),
        Ok(by) => d.checked_div(by).ok_or_else(|| beyond("duration")),
        Err(_) => Err(beyond("duration")),
    });
    set(module, "/").set_into_module(module, |a: SignedDuration, b: SignedDuration| {
        if b.is_zero() {
            Err(wrong("a duration cannot be divided by zero", ""))
        } else {
            Ok(a.div_duration_f64(b))
        }
    });
    for (name, seconds) in [("seconds", 1), ("minutes", 60), ("hours", 3600), ("days", 86_400)] {
        getter(module, name, move |d: &mut SignedDuration| d.as_secs() / seconds);
    }
    compare::<SignedDuration>(module, "duration", "duration(\"90s\")");
    for operator in ["+", "-", "*", "/", "%", "**"] {
        refuse::<SignedDuration>(
            module,
            operator,
            "write durations on both sides, such as d + duration(\"5m\"); d * 2, d / 2 and d / duration(\"1m\") have a meaning too",
        );
    }
}

/// A text with a time or a duration is a longer text.
fn bind_mixed(module: &mut Module) {
    set(module, "+")
        .set_into_module(module, |text: ImmutableString, t: Timestamp| format!("{text}{}", shown_time(t)));
    set(module, "+")
        .set_into_module(module, |t: Timestamp, text: ImmutableString| format!("{}{text}", shown_time(t)));
    set(module, "+").set_into_module(module, |text: ImmutableString, d: SignedDuration| {
        format!("{text}{}", shown_duration(d))
    });
    set(module, "+").set_into_module(module, |d: SignedDuration, text: ImmutableString| {
        format!("{}{text}", shown_duration(d))
    });
}

/// Adds the comparisons of a type with itself. With anything else there is none: only whether a value is
/// there at all may be asked of a time that may be missing.
fn compare<T: Ord + Clone + Send + Sync + 'static>(
    module: &mut Module,
    name: &'static str,
    write: &'static str,
) {
    set(module, "==").set_into_module(module, |a: T, b: T| a == b);
    set(module, "!=").set_into_module(module, |a: T, b: T| a != b);
    set(module, "<").set_into_module(module, |a: T, b: T| a < b);
    set(module, "<=").set_into_module(module, |a: T, b: T| a <= b);
    set(module, ">").set_into_module(module, |a: T, b: T| a > b);
    set(module, ">=").set_into_module(module, |a: T, b: T| a >= b);
    set(module, "max").set_into_module(module, |a: T, b: T| a.max(b));
    set(module, "min").set_into_module(module, |a: T, b: T| a.min(b));
    for (operator, absent) in
        [("==", Some(false)), ("!=", Some(true)), ("<", None), ("<=", None), (">", None), (">=", None)]
    {
        let unlike = move |other: Dynamic| match absent {
            Some(answer) if other.is_unit() => Ok(answer),
            _ => Err(wrong(
                format!("a {name} cannot be compared with {}", article(&other)),
                format!("compare it with a {name}, such as {write}"),
            )),
        };
        set(module, operator).set_into_module(module, move |_: T, other: Dynamic| unlike(other));
        set(module, operator).set_into_module(module, move |other: Dynamic, _: T| unlike(other));
    }
}

/// Refuses an operator wherever the type meets something that gives it no meaning.
fn refuse<T: Clone + Send + Sync + 'static>(
    module: &mut Module,
    operator: &'static str,
    instead: &'static str,
) {
    let refused = move |a: Dynamic, b: Dynamic| -> Result<Dynamic> {
        Err(wrong(format!("{} {operator} {} has no meaning", article(&a), article(&b)), instead))
    };
    set(module, operator).set_into_module(module, move |a: T, b: Dynamic| refused(Dynamic::from(a), b));
    set(module, operator).set_into_module(module, move |a: Dynamic, b: T| refused(a, Dynamic::from(b)));
}

fn set(_: &Module, name: &str) -> FuncRegistration {
    FuncRegistration::new(name).in_global_namespace().with_purity(true).with_volatility(false)
}

fn getter(module: &mut Module, name: &str, get: impl Fn(&mut SignedDuration) -> i64 + Send + Sync + 'static) {
    FuncRegistration::new_getter(name).with_purity(true).set_into_module(module, get);
}

fn parse_time(text: &str) -> Result<Timestamp> {
    text.trim().parse().map_err(|_| {
        wrong(format!("`{text}` is not a point in time"), "write for example time(\"2026-11-20T22:00:00Z\")")
    })
}

/// Reads a duration as the parameters of runbooks do: never negative, never a bare number.
fn parse_duration(text: &str) -> Result<SignedDuration> {
    let span: Span = text.parse().map_err(|why: String| wrong(why, ""))?;
    SignedDuration::try_from(span.get()).map_err(|_| beyond("duration"))
}

/// Shows whole seconds, which is what people mean; the value itself is exact.
fn shown_time(time: Timestamp) -> String {
    format!("{time:.0}")
}

fn shown_duration(duration: SignedDuration) -> String {
    format!("{duration:#}")
}

fn move_on(time: Timestamp, by: SignedDuration) -> Result<Timestamp> {
    time.checked_add(by).map_err(|_| beyond("time"))
}

fn times(duration: SignedDuration, by: i64) -> Result<SignedDuration> {
    let by = i32::try_from(by).ok();
    by.and_then(|by| duration.checked_mul(by)).ok_or_else(|| beyond("duration"))
}

fn article(value: &Dynamic) -> String {
    match value.type_name() {
        "string" => "a text".to_owned(),
        "()" => "()".to_owned(),
        "i64" => "a number".to_owned(),
        "f64" => "a number".to_owned(),
        _ if value.is::<Timestamp>() => "a time".to_owned(),
        _ if value.is::<SignedDuration>() => "a duration".to_owned(),
        name => format!("a {name}"),
    }
}

fn beyond(name: &str) -> Box<EvalAltResult> {
    wrong(format!("the {name} is beyond what can be counted"), "")
}

fn wrong(message: impl Into<String>, hint: impl Into<String>) -> Box<EvalAltResult> {
    let (error, hint) = (Error::script(message), hint.into());
    mistake(&if hint.is_empty() { error } else { error.hint(hint) })
}
