//! Type lists: what Microsoft publishes of newer API versions than those with a whole description.
//!
//! A list (`types.md` of Azure/bicep-types-az) names resource types, their properties and some actions. It is read into
//! a Swagger document, so that one validator serves both. A list says nothing about PATCH, about query parameters, and
//! about actions that return nothing: none of these is read into the document.

use serde_json::{Map, Value, json};

/// Reads a type list into a Swagger document, or returns the line that makes no sense.
pub(super) fn to_swagger(text: &str) -> Result<Value, String> {
    let mut list = List::default();
    for line in text.lines() {
        list.read(line).ok_or_else(|| format!("not understood: {line}"))?;
    }
    Ok(list.document())
}

/// What has been read so far.
#[derive(Default)]
struct List {
    version: String,
    definitions: Map<String, Value>,
    resources: Vec<Resource>,
    actions: Vec<Action>,
    /// The definition of the last `##` heading, and that of the last heading of any depth.
    outer: String,
    inner: String,
    section: Section,
}

#[derive(Default)]
struct Resource {
    kind: String,
    readable: Vec<String>,
    writable: Vec<String>,
    name: Value,
}

#[derive(Default)]
struct Action {
    name: String,
    kind: String,
    input: Option<Value>,
}

#[derive(Default, PartialEq)]
enum Section {
    #[default]
    Head,
    Properties,
    Additional,
    Action,
}

impl List {
    /// Reads one line.
    fn read(&mut self, line: &str) -> Option<()> {
        if let Some(title) = line.strip_prefix("# ") {
            self.version = title.split_once(" @ ")?.1.to_owned();
        } else if let Some(resource) = line.strip_prefix("## Resource ") {
            let kind = resource.split_once('@')?.0.to_owned();
            self.define(&format!("resource {kind}"));
            self.resources.push(Resource { kind, ..Resource::default() });
        } else if let Some(function) = line.strip_prefix("## Function ") {
            let (name, rest) = function.split_once(" (")?;
            self.actions.push(Action {
                name: name.to_owned(),
                kind: rest.split_once('@')?.0.to_owned(),
                input: None,
            });
            self.section = Section::Action;
        } else if let Some(name) = line.strip_prefix("## ") {
            self.define(name);
        } else if let Some(name) = line.strip_prefix("### ") {
            match section(name) {
                Some(section) => self.section = section,
                None => self.derive(name),
            }
        } else if let Some(name) = line.strip_prefix("#### ") {
            self.section = section(name)?;
        } else if let Some(item) = line.strip_prefix("* **") {
            let (name, rest) = item.split_once("**: ")?;
            self.item(name, rest)?;
        } else if !line.is_empty() {
            return None;
        }
        Some(())
    }

    /// Begins a definition.
    fn define(&mut self, name: &str) {
        name.clone_into(&mut self.outer);
        name.clone_into(&mut self.inner);
        self.section = Section::Head;
        self.definitions.insert(name.to_owned(), json!({"type": "object", "properties": {}}));
    }

    /// Begins a variant of the definition at hand.
    fn derive(&mut self, name: &str) {
        let variant = json!({
            "type": "object",
            "allOf": [{"$ref": format!("#/definitions/{}", escaped(&self.outer))}],
            "properties": {},
        });
        self.inner = format!("{}: {name}", self.outer);
        self.definitions.insert(self.inner.clone(), variant);
    }

    /// Reads `* **name**: rest`.
    fn item(&mut self, name: &str, rest: &str) -> Option<()> {
        match (&self.section, name) {
            (Section::Action, "Input") => self.actions.last_mut()?.input = Some(union(rest)?.0),
            (Section::Action, _) => {}
            (Section::Head, "Readable Scope(s)") => self.resources.last_mut()?.readable = words(rest),
            (Section::Head, "Writable Scope(s)") => self.resources.last_mut()?.writable = words(rest),
            (Section::Head, "Discriminator") => {
                self.definitions.get_mut(&self.outer)?["discriminator"] = rest.into();
            }
            (Section::Head, _) => return None,
            (Section::Additional, _) => {
                self.definitions.get_mut(&self.inner)?["additionalProperties"] = union(rest)?.0;
            }
            (Section::Properties, _) => self.property(name, rest)?,
        }
        Some(())
    }

    fn property(&mut self, name: &str, rest: &str) -> Option<()> {
        let (mut schema, rest) = union(rest)?;
        let flags = flags(rest)?;
        let has = |flag: &str| flags.iter().any(|f| f == flag);
        if self.inner.starts_with("resource ") && name == "name" {
            self.resources.last_mut()?.name = schema.clone();
        }
        let tag = self.definitions.get(&self.outer)?.get("discriminator");
        let is_tag = self.inner != self.outer && tag.is_some_and(|tag| tag == name);
        let definition = self.definitions.get_mut(&self.inner)?;
        if is_tag {
            definition["x-ms-discriminator-value"] = schema["enum"][0].clone();
        }
        // What is fixed when deploying is part of the address, not of the body.
        if has("ReadOnly") || has("DeployTimeConstant") {
            schema["readOnly"] = true.into();
        } else if has("Required") {
            match definition.get_mut("required").and_then(Value::as_array_mut) {
                Some(required) => required.push(name.into()),
                None => definition["required"] = json!([name]),
            }
        }
        definition["properties"][name] = schema;
        Some(())
    }

    /// Puts together what was read.
    fn document(self) -> Value {
        let mut paths = Map::new();
        for resource in &self.resources {
            resource.add_paths(&mut paths);
        }
        for action in &self.actions {
            let targets = self.resources.iter().filter(|r| r.kind == action.kind);
            for address in targets.flat_map(|resource| resource.addresses(&resource.readable)) {
                let operation = match &action.input {
                    Some(schema) => json!({"parameters": [body(schema.clone())]}),
                    None => json!({}),
                };
                paths.insert(format!("{address}/{}", action.name), json!({"post": operation}));
            }
        }
        json!({
            "swagger": "2.0",
            "info": {"version": self.version},
            "paths": paths,
            "definitions": self.definitions,
        })
    }
}

impl Resource {
    /// Returns where a resource of this type has its address.
    fn addresses(&self, scopes: &[String]) -> Vec<String> {
        let (namespace, types) = self.kind.split_once('/').unwrap_or((&self.kind, ""));
        let tail: String = types.split('/').map(|word| format!("/{word}/{{{word}Name}}")).collect();
        scopes.iter().map(|scope| format!("{}/providers/{namespace}{tail}", prefix(scope))).collect()
    }

    fn schema(&self) -> Value {
        json!({"$ref": format!("#/definitions/{}", escaped(&format!("resource {}", self.kind)))})
    }

    /// Returns the path item of a list of such resources.
    fn list(&self) -> Value {
        let properties =
            json!({"value": {"type": "array", "items": self.schema()}, "nextLink": {"type": "string"}});
        json!({"get": answering(json!({"type": "object", "properties": properties, "required": ["value"]}))})
    }

    fn add_paths(&self, paths: &mut Map<String, Value>) {
        let last = self.kind.rsplit('/').next().unwrap_or_default();
        let mut name = self.name.clone();
        name["name"] = format!("{last}Name").into();
        name["in"] = "path".into();
        for address in self.addresses(&self.readable) {
            let (list, _) = address.rsplit_once('/').unwrap_or_default();
            paths.insert(list.to_owned(), self.list());
            paths.insert(address, json!({"parameters": [name], "get": answering(self.schema())}));
        }
        if self.readable.iter().any(|scope| scope == "ResourceGroup") && !last.is_empty() {
            let list = format!("{}/providers/{}", prefix("Subscription"), self.kind);
            paths.insert(list, self.list());
        }
        for address in self.addresses(&self.writable) {
            let item = &mut paths[&address];
            item["put"] = json!({"parameters": [body(self.schema())]});
            item["delete"] = json!({});
        }
    }
}

/// Returns an operation that answers with this.
fn answering(schema: Value) -> Value {
    json!({"responses": {"200": {"schema": schema}}})
}

fn section(heading: &str) -> Option<Section> {
    match heading {
        "Properties" | "Base Properties" => Some(Section::Properties),
        "Additional Properties" => Some(Section::Additional),
        _ => None,
    }
}

fn prefix(scope: &str) -> &'static str {
    match scope {
        "Subscription" => "/subscriptions/{subscriptionId}",
        "ResourceGroup" => "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}",
        "ManagementGroup" => "/providers/Microsoft.Management/managementGroups/{managementGroupId}",
        "Extension" => "/{resourceUri}",
        _ => "",
    }
}

fn words(list: &str) -> Vec<String> {
    list.split(", ").filter(|word| *word != "None").map(str::to_owned).collect()
}

fn body(schema: Value) -> Value {
    json!({"name": "body", "in": "body", "required": true, "schema": schema})
}

/// Escapes a name for a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Reads ` (Required, ReadOnly): ..`, which may be missing.
fn flags(rest: &str) -> Option<Vec<String>> {
    match rest.strip_prefix(" (") {
        Some(rest) => Some(words(rest.split_once(')')?.0)),
        None if rest.is_empty() || rest.starts_with(':') => Some(Vec::new()),
        None => None,
    }
}

/// Reads alternatives, and returns what stands behind them. Plain text among words makes the words mere examples.
fn union(text: &str) -> Option<(Value, &str)> {
    let (first, mut rest) = term(text)?;
    let mut all = vec![first];
    while let Some(more) = rest.strip_prefix(" | ") {
        let (next, behind) = term(more)?;
        all.push(next);
        rest = behind;
    }
    if all.len() == 1 {
        return Some((all.remove(0), rest));
    }
    let words: Vec<Value> =
        all.iter().filter_map(|schema| schema["enum"][0].as_str()).map(Value::from).collect();
    let are_texts = all.iter().all(|schema| schema["type"] == "string");
    let schema = match (words.len() == all.len(), are_texts) {
        (true, _) => json!({"type": "string", "enum": words}),
        (false, true) => json!({"type": "string"}),
        (false, false) => json!({}),
    };
    Some((schema, rest))
}

/// Reads one alternative.
fn term(text: &str) -> Option<(Value, &str)> {
    let (mut schema, mut rest) = if let Some(inside) = text.strip_prefix('(') {
        let (schema, rest) = union(inside)?;
        (schema, rest.strip_prefix(')')?)
    } else if let Some(word) = text.strip_prefix('\'') {
        let (word, rest) = word.split_once('\'')?;
        (json!({"type": "string", "enum": [word]}), rest)
    } else if let Some(link) = text.strip_prefix('[') {
        let (name, rest) = link.split_once("](#")?;
        let reference = format!("#/definitions/{}", escaped(name));
        (json!({"$ref": reference}), rest.split_once(')')?.1)
    } else {
        let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
        (plain(&text[..end])?, &text[end..])
    };
    loop {
        if let Some(behind) = rest.strip_prefix("[]") {
            schema = json!({"type": "array", "items": schema});
            rest = behind;
        } else if let Some(inside) = rest.strip_prefix(" {") {
            rest = limits(&mut schema, inside)?;
        } else {
            return Some((schema, rest));
        }
    }
}

fn plain(word: &str) -> Option<Value> {
    match word {
        "string" => Some(json!({"type": "string"})),
        "int" => Some(json!({"type": "integer"})),
        "bool" => Some(json!({"type": "boolean"})),
        "object" => Some(json!({"type": "object"})),
        "any" => Some(json!({})),
        _ => None,
    }
}

/// Reads `minLength: 1, sensitive, pattern: ".."}`. Texts are not escaped and stand last.
fn limits<'a>(schema: &mut Value, mut text: &'a str) -> Option<&'a str> {
    loop {
        let end = text.find([':', ',', '}'])?;
        let (name, rest) = text.split_at(end);
        let name = limit(name, schema["type"] == "array");
        if let Some(quoted) = rest.strip_prefix(": \"") {
            let (value, behind) = quoted.split_once("\"}")?;
            schema[name] = value.into();
            return Some(behind);
        }
        let (value, rest) = rest.split_at(rest.find([',', '}'])?);
        let number = value.strip_prefix(": ").map(str::parse::<i64>);
        schema[name] = number.map_or(Ok(true.into()), |n| n.map(Value::from)).ok()?;
        match rest.strip_prefix(", ") {
            Some(more) => text = more,
            None => return rest.strip_prefix('}'),
        }
    }
}

/// Returns Swagger's word for a limit.
fn limit(name: &str, is_list: bool) -> &str {
    match name {
        "minValue" => "minimum",
        "maxValue" => "maximum",
        "minLength" if is_list => "minItems",
        "maxLength" if is_list => "maxItems",
        other => other,
    }
}
