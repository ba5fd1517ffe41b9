//! The description of the API in OpenAPI 3.1, made of the table by which requests are answered.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::endpoint::{Needs, Route};
use super::refusal::Told;

/// Describes the endpoints of a table.
pub(super) fn describe(table: &[Route]) -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .for_serialize()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
        .into_generator();
    let refusal = generator.subschema_for::<Told>().to_value();
    let mut paths = Map::new();
    for route in table {
        let answer = (route.answer)(&mut generator).to_value();
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation(route, &answer, &refusal);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Relight",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Runs, what is open and what is scheduled, of one `relight serve`.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "What `relight token create` prints.",
                },
            },
        },
    })
}

fn operation(route: &Route, answer: &Value, refusal: &Value) -> Value {
    let mut responses = Map::new();
    for (status, says) in route.granted {
        let mut response = json!({ "description": says });
        if let Some(media) = route.media {
            response["content"] = json!({ media: { "schema": answer } });
        }
        if *status == 201 {
            response["headers"] =
                json!({ "Location": { "schema": { "type": "string" }, "description": "Where it is." } });
        }
        responses.insert(status.to_string(), response);
    }
    let mut refused: Vec<u16> = vec![400];
    if route.needs != Needs::Nothing {
        refused.extend([401, 403, 503]);
    }
    if route.place_names().next().is_some() {
        refused.push(404);
    }
    if route.takes_body {
        refused.extend([408, 413, 415, 422]);
    }
    refused.extend(route.refused);
    for status in refused {
        let described =
            json!({ "description": says(status), "content": { "application/json": { "schema": refusal } } });
        responses.entry(status.to_string()).or_insert(described);
    }
    let mut operation = json!({
        "operationId": route.name,
        "summary": route.summary,
        "parameters": parameters(route),
        "responses": responses,
    });
    match route.needs {
        Needs::Nothing => operation["security"] = json!([]),
        Needs::Role(role) | Needs::WholeRole(role) => {
            operation["security"] = json!([{ "token": [] }]);
            operation["x-role"] = json!(role);
            operation["x-whole"] = json!(matches!(route.needs, Needs::WholeRole(_)));
        }
    }
    operation["x-changes"] = json!(route.changes);
    if route.takes_body {
        operation["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": route.body } } });
    }
    operation
}

fn parameters(route: &Route) -> Vec<Value> {
    let mut parameters: Vec<Value> = route
        .place_names()
        .map(|name| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } })
        })
        .collect();
    let required = route.query["required"].as_array().cloned().unwrap_or_default();
    for (name, field) in route.query["properties"].as_object().into_iter().flatten() {
        parameters.push(json!({
            "name": name,
            "in": "query",
            "required": required.contains(&json!(name)),
            "description": field["description"],
            "schema": sendable(field),
        }));
    }
    for header in route.headers {
        parameters.push(json!({
            "name": header.name,
            "in": "header",
            "required": false,
            "description": header.says,
            "schema": { "type": "string", "pattern": header.pattern },
        }));
    }
    parameters
}

/// Returns the schema of a query's field as it can be sent: what may be left out is never sent as null.
fn sendable(field: &Value) -> Value {
    let mut field = field.clone();
    if let Some(map) = field.as_object_mut() {
        map.remove("description");
        map.remove("default");
        if let Some(Value::Array(types)) = map.get_mut("type") {
            types.retain(|one| one != "null");
            if let [one] = types.as_slice() {
                let one = one.clone();
                map.insert("type".to_owned(), one);
            }
        }
        if let Some(Value::Array(values)) = map.get_mut("enum") {
            values.retain(|one| !one.is_null());
        }
        if let Some(Value::Array(either)) = map.get_mut("anyOf") {
            either.retain(|one| one["type"] != "null");
            if let [one] = either.as_slice() {
                return sendable(&one.clone());
            }
        }
    }
    field
}

fn says(status: u16) -> &'static str {
    match status {
        400 => "The request cannot be read.",
        401 => "There is no token, or it is worth nothing.",
        403 => "The token may not do this.",
        404 => "There is no such thing, or not for this token.",
        408 => "The body took too long.",
        409 => "It does not fit how things stand.",
        413 => "The body is too large.",
        415 => "The body is not application/json.",
        422 => "The request is well written, and wrong all the same.",
        429 => "There are too many of these at once.",
        503 => "The service cannot answer now; ask again.",
        _ => "It is not granted.",
    }
}
