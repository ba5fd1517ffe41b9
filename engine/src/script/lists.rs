//! Sorting and thinning lists by a function of the script, which may fail.
//!
//! Rhai's own go on when the function fails, with whatever they have: the error would be lost.

use jiff::SignedDuration;
use rhai::{Array, Dynamic, EvalAltResult, FnPtr, FuncRegistration, Module, NativeCallContext};

use super::ending::mistake;
use crate::error::Error;

type Result<T> = std::result::Result<T, Box<EvalAltResult>>;

/// Replaces what compares items by a function.
pub(super) fn bind_comparing(module: &mut Module) {
    for name in ["sort", "sort_by"] {
        set(name).set_into_module(
            module,
            |context: NativeCallContext<'_>, list: &mut Array, by: FnPtr| -> Result<()> {
                *list = sorted(&context, list, &by)?;
                Ok(())
            },
        );
    }
    for name in ["order", "order_by"] {
        set(name).set_into_module(module, |context: NativeCallContext<'_>, list: &mut Array, by: FnPtr| {
            sorted(&context, list, &by)
        });
    }
    set("dedup").set_into_module(
        module,
        |context: NativeCallContext<'_>, list: &mut Array, same: FnPtr| -> Result<()> {
            *list = thinned(&context, list, &same)?;
            Ok(())
        },
    );
}

/// Keeps the first of neighbours that a function calls the same.
fn thinned(context: &NativeCallContext<'_>, list: &Array, same: &FnPtr) -> Result<Array> {
    let mut kept = Array::new();
    for item in list {
        let is_same = match kept.last() {
            Some(last) => {
                same.call_raw(context, None, [last.clone(), item.clone()])?.as_bool().unwrap_or(false)
            }
            None => false,
        };
        if !is_same {
            kept.push(item.clone());
        }
    }
    Ok(kept)
}

/// Returns the items in the order that a function says. The same calls are made for the same items.
fn sorted(context: &NativeCallContext<'_>, list: &Array, by: &FnPtr) -> Result<Array> {
    let mut order: Vec<usize> = (0..list.len()).collect();
    merge_sort(&mut order, &mut |a, b| is_after(context, by, &list[a], &list[b]))?;
    Ok(order.into_iter().map(|n| list[n].clone()).collect())
}

/// A merge sort is stable, and an order that contradicts itself does it no harm.
fn merge_sort(order: &mut [usize], is_after: &mut impl FnMut(usize, usize) -> Result<bool>) -> Result<()> {
    if order.len() < 2 {
        return Ok(());
    }
    let (left, right) = order.split_at_mut(order.len() / 2);
    merge_sort(left, is_after)?;
    merge_sort(right, is_after)?;
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (&*left, &*right);
    while let ([first, rest @ ..], [other, others @ ..]) = (left, right) {
        if is_after(*first, *other)? {
            merged.push(*other);
            right = others;
        } else {
            merged.push(*first);
            left = rest;
        }
    }
    merged.extend_from_slice(left);
    merged.extend_from_slice(right);
    order.copy_from_slice(&merged);
    Ok(())
}

/// Asks the function. It answers with a number or a duration, which is above zero when the first comes later,
/// or with whether the first comes earlier.
fn is_after(context: &NativeCallContext<'_>, by: &FnPtr, a: &Dynamic, b: &Dynamic) -> Result<bool> {
    let answer = by.call_raw(context, None, [a.clone(), b.clone()])?;
    if let Some(apart) = answer.read_lock::<SignedDuration>() {
        return Ok(apart.is_positive());
    }
    match (answer.as_int(), answer.as_float(), answer.as_bool()) {
        (Ok(number), ..) => Ok(number > 0),
        (_, Ok(number), _) => Ok(number > 0.0),
        (.., Ok(earlier)) => Ok(!earlier),
        _ => Err(mistake(
            &Error::script(format!("the function that sorts gave {}", answer.type_name()))
                .hint("it gives a number: |a, b| a.size - b.size"),
        )),
    }
}

fn set(name: &str) -> FuncRegistration {
    FuncRegistration::new(name).in_global_namespace().with_purity(true).with_volatility(true)
}
