//! Natives of the language that could make much of little, bounded before they begin.
//!
//! Rhai looks at a value after the function that made it. `s.replace("x", s)` and a list of references to
//! one long text are gigabytes by then, so these functions work out what they would make first. What
//! walks nested values stops at a depth, because it would use up the stack.

use std::fmt::Write;

use rhai::{
    Array, Dynamic, EvalAltResult, FuncRegistration, ImmutableString, Map, Module, NativeCallContext,
};
use serde_json::Value;

use super::convert;
use super::ending::mistake;
use super::raise::raised;
use crate::error::Error;
use crate::limits::{DEPTH, VALUE};
use crate::measure;
use crate::recorded;

type Result<T> = std::result::Result<T, Box<EvalAltResult>>;

/// The longest text that is taken apart.
const LONGEST_SPLIT: usize = 2 << 20;

/// Replaces those natives. `text` and `memory` are the most bytes of a text and of a list.
pub(super) fn bind_bounded(module: &mut Module, text: usize, memory: usize) {
    bind_replace(module, text);
    bind_pad(module, text, memory);
    bind_split(module);
    bind_shown(module);
    bind_equality(module);
    set("parse_json").set_into_module(module, |json: ImmutableString| parse_json(&json));
}

fn bind_replace(module: &mut Module, most: usize) {
    let replace = move |text: &mut ImmutableString, find: &str, by: &str| -> Result<()> {
        let found = text.matches(find).count();
        let bytes = found.checked_mul(by.len()).and_then(|more| more.checked_add(text.len()));
        bounded(bytes, most, "a text")?;
        *text = text.replace(find, by).into();
        Ok(())
    };
    set("replace").set_into_module(
        module,
        move |s: &mut ImmutableString, find: ImmutableString, by: ImmutableString| replace(s, &find, &by),
    );
    set("replace").set_into_module(
        module,
        move |s: &mut ImmutableString, find: ImmutableString, by: char| {
            replace(s, &find, by.encode_utf8(&mut [0; 4]))
        },
    );
    set("replace").set_into_module(
        module,
        move |s: &mut ImmutableString, find: char, by: ImmutableString| {
            replace(s, find.encode_utf8(&mut [0; 4]), &by)
        },
    );
    set("replace").set_into_module(module, move |s: &mut ImmutableString, find: char, by: char| {
        replace(s, find.encode_utf8(&mut [0; 4]), by.encode_utf8(&mut [0; 4]))
    });
}

fn bind_pad(module: &mut Module, most: usize, memory: usize) {
    let pad = move |text: &mut ImmutableString, len: i64, with: &str| -> Result<()> {
        let len = usize::try_from(len).unwrap_or_default();
        let missing = len.saturating_sub(text.chars().count());
        // Nothing to pad with: Rhai would go on for ever.
        if missing == 0 || with.is_empty() {
            return Ok(());
        }
        let letters = with.chars().count();
        let rest: usize = with.chars().take(missing % letters).map(char::len_utf8).sum();
        let bytes = (missing / letters).checked_mul(with.len()).and_then(|all| all.checked_add(rest));
        bounded(bytes.and_then(|more| more.checked_add(text.len())), most, "a text")?;
        *text = text.chars().chain(with.chars().cycle().take(missing)).collect::<String>().into();
        Ok(())
    };
    set("pad").set_into_module(module, move |s: &mut ImmutableString, len: i64, with: ImmutableString| {
        pad(s, len, &with)
    });
    set("pad").set_into_module(module, move |s: &mut ImmutableString, len: i64, with: char| {
        pad(s, len, with.encode_utf8(&mut [0; 4]))
    });
    set("pad").set_into_module(module, move |list: &mut Array, len: i64, item: Dynamic| -> Result<()> {
        let len = usize::try_from(len).unwrap_or_default();
        if len > list.len() {
            bounded((len - list.len()).checked_mul(weight(&item)), memory, "a list")?;
            list.resize(len, item);
        }
        Ok(())
    });
}

fn bind_split(module: &mut Module) {
    fn parts<'a>(text: &'a str, parts: impl Iterator<Item = &'a str>) -> Result<Array> {
        bounded(Some(text.len()), LONGEST_SPLIT, "a text that is taken apart")?;
        Ok(parts.map(|part| Dynamic::from(ImmutableString::from(part))).collect())
    }
    fn count(segments: i64) -> usize {
        usize::try_from(segments).unwrap_or_default().max(1)
    }
    type Text = ImmutableString;
    set("to_chars").set_into_module(module, |s: Text| -> Result<Array> {
        bounded(Some(s.len()), LONGEST_SPLIT, "a text that is taken apart")?;
        Ok(s.chars().map(Dynamic::from).collect())
    });
    set("split").set_into_module(module, |s: Text| parts(&s, s.split_whitespace()));
    set("split").set_into_module(module, |s: Text, at: Text| parts(&s, s.split(at.as_str())));
    set("split").set_into_module(module, |s: Text, at: char| parts(&s, s.split(at)));
    set("split")
        .set_into_module(module, |s: Text, at: Text, n: i64| parts(&s, s.splitn(count(n), at.as_str())));
    set("split").set_into_module(module, |s: Text, at: char, n: i64| parts(&s, s.splitn(count(n), at)));
    set("split_rev").set_into_module(module, |s: Text, at: Text| parts(&s, s.rsplit(at.as_str())));
    set("split_rev").set_into_module(module, |s: Text, at: char| parts(&s, s.rsplit(at)));
    set("split_rev")
        .set_into_module(module, |s: Text, at: Text, n: i64| parts(&s, s.rsplitn(count(n), at.as_str())));
    set("split_rev").set_into_module(module, |s: Text, at: char, n: i64| parts(&s, s.rsplitn(count(n), at)));
}

/// Rhai shows a value in another way when the function that shows it fails, so a value that is too large
/// is shown in part, and the script ends at its next operation.
fn bind_shown(module: &mut Module) {
    for name in ["to_string", "to_debug"] {
        set(name).set_into_module(module, |context: NativeCallContext<'_>, list: &mut Array| {
            show(&context, |page| page.list(list, DEPTH))
        });
        set(name).set_into_module(module, |context: NativeCallContext<'_>, map: &mut Map| {
            show(&context, |page| page.map(map, DEPTH))
        });
    }
    set("to_json").set_into_module(module, |map: &mut Map| -> Result<String> {
        let json = convert::to_json(&Dynamic::from(map.clone())).map_err(wrong)?;
        Ok(recorded::plain(&json).to_string())
    });
}

fn show(context: &NativeCallContext<'_>, write: impl FnOnce(&mut Page)) -> String {
    let mut page = Page::default();
    write(&mut page);
    if page.is_full {
        let error = Error::script(format!("a text of a list or a map may have {} MiB", VALUE >> 20));
        // It is noted that the script is over; the error itself would be lost.
        let _ = raised(&error.hint(format!("and show values that are nested {DEPTH} deep")), context);
    }
    page.text
}

/// Returns a value as text, in part when it is too large.
pub(super) fn shown(value: &Dynamic) -> String {
    let mut page = Page::default();
    match value.as_immutable_string_ref() {
        Ok(text) => page.push(&text),
        Err(_) => page.value(value, DEPTH),
    }
    page.text
}

/// A text that does not grow beyond [`VALUE`].
#[derive(Default)]
struct Page {
    text: String,
    is_full: bool,
}

impl Page {
    fn push(&mut self, text: &str) {
        match self.text.len() + text.len() <= VALUE {
            true => self.text.push_str(text),
            false => self.is_full = true,
        }
    }

    fn value(&mut self, value: &Dynamic, depth: usize) {
        if self.is_full {
            return;
        }
        if let Ok(list) = value.as_array_ref() {
            return self.list(&list, depth);
        }
        if let Ok(map) = value.as_map_ref() {
            return self.map(&map, depth);
        }
        if let Ok(text) = value.as_immutable_string_ref() {
            // Quoting may make a text six times as long.
            match text.len() <= VALUE / 6 {
                true => return self.push(&format!("{:?}", text.as_str())),
                false => self.is_full = true,
            }
            return;
        }
        if value.is_fnptr() {
            return self.push("Fn");
        }
        match convert::shown_special(value) {
            Some(text) => self.push(&text),
            None => {
                let mut text = String::new();
                // Writing into a string does not fail.
                let _ = write!(text, "{value:?}");
                self.push(&text);
            }
        }
    }

    fn list(&mut self, list: &Array, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else {
            self.is_full = true;
            return;
        };
        self.push("[");
        for (n, item) in list.iter().enumerate() {
            if n > 0 {
                self.push(", ");
            }
            self.value(item, depth);
        }
        self.push("]");
    }

    fn map(&mut self, map: &Map, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else {
            self.is_full = true;
            return;
        };
        self.push("#{");
        for (n, (name, item)) in map.iter().enumerate() {
            if n > 0 {
                self.push(", ");
            }
            self.push(&format!("{:?}", name.as_str()));
            self.push(": ");
            self.value(item, depth);
        }
        self.push("}");
    }
}

/// Comparing walks as deep as the values are nested.
fn bind_equality(module: &mut Module) {
    for (name, answer) in [("==", true), ("!=", false)] {
        set(name).set_into_module(
            module,
            move |context: NativeCallContext<'_>, a: &mut Array, b: Array| -> Result<bool> {
                Ok(same_lists(&context, a, &b, DEPTH)? == answer)
            },
        );
        set(name).set_into_module(
            module,
            move |context: NativeCallContext<'_>, a: &mut Map, b: Map| -> Result<bool> {
                Ok(same_maps(&context, a, &b, DEPTH)? == answer)
            },
        );
    }
}

fn same(context: &NativeCallContext<'_>, a: &Dynamic, b: &Dynamic, depth: usize) -> Result<bool> {
    if let (Ok(a), Ok(b)) = (a.as_array_ref(), b.as_array_ref()) {
        return same_lists(context, &a, &b, depth);
    }
    if let (Ok(a), Ok(b)) = (a.as_map_ref(), b.as_map_ref()) {
        return same_maps(context, &a, &b, depth);
    }
    // Both are leaves, or they are of two kinds: nothing deep is copied.
    if a.is_array() || a.is_map() || b.is_array() || b.is_map() {
        return Ok(false);
    }
    let answer = context.call_native_fn_raw("==", true, &mut [&mut a.clone(), &mut b.clone()])?;
    Ok(answer.as_bool().unwrap_or(false))
}

fn same_lists(context: &NativeCallContext<'_>, a: &Array, b: &Array, depth: usize) -> Result<bool> {
    let depth = deeper(depth)?;
    if a.len() != b.len() {
        return Ok(false);
    }
    for (a, b) in a.iter().zip(b) {
        if !same(context, a, b, depth)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn same_maps(context: &NativeCallContext<'_>, a: &Map, b: &Map, depth: usize) -> Result<bool> {
    let depth = deeper(depth)?;
    if a.len() != b.len() {
        return Ok(false);
    }
    for ((name, a), (other, b)) in a.iter().zip(b) {
        if name != other || !same(context, a, b, depth)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn parse_json(json: &str) -> Result<Dynamic> {
    bounded(Some(json.len()), VALUE, "JSON text")?;
    let value: Value = serde_json::from_str(json).map_err(|e| wrong(format!("this is no JSON: {e}")))?;
    measure::check(&value).and_then(|()| convert::from_json(&recorded::data(value))).map_err(wrong)
}

/// Returns about how many bytes a copy of a value takes.
fn weight(value: &Dynamic) -> usize {
    const ENTRY: usize = 64;
    if let Ok(list) = value.as_array_ref() {
        return ENTRY + list.iter().map(weight).sum::<usize>();
    }
    if let Ok(map) = value.as_map_ref() {
        return ENTRY + map.iter().map(|(name, item)| ENTRY + name.len() + weight(item)).sum::<usize>();
    }
    size_of::<Dynamic>()
}

fn deeper(depth: usize) -> Result<usize> {
    depth.checked_sub(1).ok_or_else(|| wrong(format!("values that are compared may be nested {DEPTH} deep")))
}

fn bounded(bytes: Option<usize>, most: usize, what: &str) -> Result<()> {
    match bytes {
        Some(bytes) if bytes <= most => Ok(()),
        _ => Err(wrong(format!("{what} may have {} MiB", most >> 20))),
    }
}

fn wrong(message: impl Into<String>) -> Box<EvalAltResult> {
    mistake(&Error::script(message))
}

fn set(name: &str) -> FuncRegistration {
    FuncRegistration::new(name).in_global_namespace().with_purity(true).with_volatility(false)
}
