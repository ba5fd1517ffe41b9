//! What is known about an expression before the script runs.

use rhai::Expr;
use serde_json::{Map, Value};

/// Returns what is known about an expression before the script runs.
pub(super) fn known(expr: &Expr, params: &Value) -> Option<Value> {
    match expr {
        Expr::StringConstant(text, _) => Some(Value::from(text.as_str())),
        Expr::IntegerConstant(number, _) => Some(Value::from(*number)),
        Expr::FloatConstant(number, _) => serde_json::Number::from_f64(**number).map(Value::Number),
        Expr::BoolConstant(flag, _) => Some(Value::Bool(*flag)),
        Expr::Unit(_) => Some(Value::Null),
        Expr::Array(items, _) => items.iter().map(|item| known(item, params)).collect(),
        Expr::Map(map, _) => {
            let entries =
                map.0.iter().map(|(name, value)| Some((name.name.to_string(), known(value, params)?)));
            entries.collect::<Option<Map<_, _>>>().map(Value::Object)
        }
        _ => params.get(parameter(expr)?).cloned(),
    }
}

/// Returns the name of the parameter that an expression is.
pub(super) fn parameter(expr: &Expr) -> Option<&str> {
    let Expr::Dot(pair, ..) = expr else { return None };
    match (&pair.lhs, &pair.rhs) {
        (Expr::Variable(variable, ..), Expr::Property(property, _)) if variable.1 == "params" => {
            Some(property.2.as_str())
        }
        _ => None,
    }
}
