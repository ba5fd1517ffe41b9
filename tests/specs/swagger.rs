//! Swagger 2.0 documents as Microsoft publishes them, read strictly: what a document does not name must not be sent.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use jiff::{Timestamp, civil::Date};
use regex::Regex;
use serde_json::{Map, Value};

/// A request to be looked up and checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    /// The method, in upper case.
    pub(super) method: String,
    /// The path, without the query.
    pub(super) path: String,
    /// The query with the api-version.
    pub(super) query: Vec<(String, String)>,
    /// The body.
    pub(super) body: Option<Value>,
}

impl Request {
    /// Returns the api-version, empty when there is none.
    pub(super) fn version(&self) -> &str {
        self.query.iter().find(|(name, _)| name == "api-version").map_or("", |(_, version)| version)
    }

    fn verb(&self) -> String {
        self.method.to_ascii_lowercase()
    }
}

/// A part of a document, with the file against which its references are read.
#[derive(Clone, Copy)]
struct Spot<'a> {
    file: &'a Path,
    value: &'a Value,
}

/// One operation that fits a request.
pub(super) struct Operation<'a> {
    spot: Spot<'a>,
    /// The parameters of the path, shared by its operations.
    shared: Spot<'a>,
    /// The names in the path's template, each with what stands there.
    bound: Vec<(&'a str, String)>,
    /// The version of the document.
    pub(super) version: &'a str,
    /// The document's file.
    pub(super) file: &'a Path,
}

/// Every document, by its path below the folder they lie in.
#[derive(Default)]
pub(super) struct Shelf(BTreeMap<PathBuf, Value>);

impl Shelf {
    /// Puts a document on the shelf.
    pub(super) fn add(&mut self, file: PathBuf, document: Value) {
        self.0.insert(file, document);
    }

    /// Returns how many documents there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the operations that fit a request's path and method, the best first: of the very version that the
    /// request names, else of the nearest; a whole description rather than a type list; words rather than placeholders.
    pub(super) fn operations(&self, request: &Request) -> Vec<Operation<'_>> {
        let mut found: Vec<_> = self.paths().filter_map(|path| path.operation(request)).collect();
        let asked = request.version();
        found.sort_by_key(|operation| {
            let is_list = operation.file.extension().is_some_and(|e| e == "md");
            let distance = days_between(asked, operation.version);
            (operation.version != asked, distance, is_list, operation.bound.len())
        });
        found
    }

    /// Returns whether anything of a resource provider is described.
    pub(super) fn knows(&self, namespace: &str) -> bool {
        let part = format!("/providers/{namespace}/").to_ascii_lowercase();
        self.paths().any(|path| path.template.to_ascii_lowercase().contains(&part))
    }

    /// Returns what is wrong with a request, each as a sentence.
    pub(super) fn check(&self, operation: &Operation<'_>, request: &Request) -> Vec<String> {
        let verb = request.verb();
        let mut checking = Checking { shelf: self, verb: &verb, problems: Vec::new() };
        checking.request(operation, request);
        checking.problems
    }

    /// Returns what is wrong with the body of an answer 200, each as a sentence; nothing when it is not described.
    pub(super) fn check_answer(&self, operation: &Operation<'_>, body: &Value) -> Option<Vec<String>> {
        let value = operation.spot.value.pointer("/responses/200/schema")?;
        let mut checking = Checking { shelf: self, verb: ANSWER, problems: Vec::new() };
        checking.value(Spot { value, ..operation.spot }, body, "body");
        Some(checking.problems)
    }

    fn paths(&self) -> impl Iterator<Item = PathItem<'_>> {
        self.0.iter().flat_map(|(file, document)| {
            let version = document.pointer("/info/version").and_then(Value::as_str);
            let paths = document.get("paths").and_then(Value::as_object);
            paths.into_iter().flatten().map(move |(template, value)| {
                let spot = Spot { file, value };
                let version = version.unwrap_or_default();
                PathItem { version, template, spot }
            })
        })
    }

    /// Follows references. Fails with what is not there.
    fn resolve<'a>(&'a self, mut spot: Spot<'a>) -> Result<Spot<'a>, String> {
        while let Some(reference) = spot.value.get("$ref").and_then(Value::as_str) {
            let missing = || format!("the description refers to {reference}, which is not published here");
            let (file, pointer) = reference.split_once('#').ok_or_else(missing)?;
            let file = match file {
                "" => spot.file.to_owned(),
                other => beside(spot.file, other),
            };
            let (file, document) = self.0.get_key_value(&file).ok_or_else(missing)?;
            let value = document.pointer(pointer).ok_or_else(missing)?;
            spot = Spot { file, value };
        }
        Ok(spot)
    }
}

/// A path of a document.
struct PathItem<'a> {
    version: &'a str,
    template: &'a str,
    spot: Spot<'a>,
}

impl<'a> PathItem<'a> {
    fn operation(&self, request: &Request) -> Option<Operation<'a>> {
        let value = self.spot.value.get(request.verb())?;
        Some(Operation {
            spot: Spot { value, ..self.spot },
            shared: self.spot,
            bound: bind(self.template, &request.path)?,
            version: self.version,
            file: self.spot.file,
        })
    }
}

/// Fits a path into a template. A first `{placeholder}` stands for a whole resource id, any other for one segment.
/// Words are compared without case, as Azure does.
fn bind<'t>(template: &'t str, path: &str) -> Option<Vec<(&'t str, String)>> {
    let mut wanted: Vec<&str> = template.split('/').skip(1).collect();
    let mut given: Vec<&str> = path.split('/').skip(1).collect();
    let mut bound = Vec::new();
    if let Some(name) = placeholder(wanted[0]) {
        let scope = given.len().checked_sub(wanted.len() - 1).filter(|n| *n > 0)?;
        given[0].eq_ignore_ascii_case("subscriptions").then_some(())?;
        bound.push((name, given.drain(..scope).collect::<Vec<_>>().join("/")));
        wanted.remove(0);
    }
    (wanted.len() == given.len()).then_some(())?;
    for (wanted, given) in wanted.into_iter().zip(given) {
        match placeholder(wanted) {
            Some(name) if !given.is_empty() => bound.push((name, given.to_owned())),
            None if wanted.eq_ignore_ascii_case(given) => {}
            _ => return None,
        }
    }
    Some(bound)
}

fn placeholder(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// Returns the file that a reference in another file means.
fn beside(file: &Path, reference: &str) -> PathBuf {
    let mut path = file.parent().map(Path::to_owned).unwrap_or_default();
    for part in Path::new(reference).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path
}

fn days_between(one: &str, other: &str) -> i32 {
    let date = |version: &str| version.get(..10)?.parse::<Date>().ok();
    match (date(one), date(other)) {
        (Some(one), Some(other)) => (one - other).get_days().abs(),
        _ => i32::MAX,
    }
}

/// Stands for the method when an answer is checked.
const ANSWER: &str = "";

/// One check, and what it found.
struct Checking<'a> {
    shelf: &'a Shelf,
    verb: &'a str,
    problems: Vec<String>,
}

impl<'a> Checking<'a> {
    fn request(&mut self, operation: &Operation<'a>, request: &Request) {
        let parameters = self.parameters(operation);
        let of = |place: &'static str| parameters.iter().filter(move |p| p.value["in"] == place);
        for parameter in of("path") {
            let name = parameter.value["name"].as_str().unwrap_or_default();
            if let Some((_, text)) = operation.bound.iter().find(|(bound, _)| *bound == name) {
                self.text(*parameter, text, &format!("{{{name}}} in the path"));
            }
        }
        self.query(&of("query").copied().collect::<Vec<_>>(), request);
        self.body(of("body").next().copied(), request.body.as_ref());
    }

    /// Returns the parameters, with those of the path.
    fn parameters(&mut self, operation: &Operation<'a>) -> Vec<Spot<'a>> {
        let lists = [operation.shared, operation.spot].map(|spot| {
            let list = spot.value.get("parameters").and_then(Value::as_array);
            list.into_iter().flatten().map(move |value| Spot { value, ..spot })
        });
        let mut parameters = Vec::new();
        for spot in lists.into_iter().flatten() {
            match self.shelf.resolve(spot) {
                Ok(spot) => parameters.push(spot),
                Err(missing) => self.problems.push(missing),
            }
        }
        parameters
    }

    fn query(&mut self, parameters: &[Spot<'a>], request: &Request) {
        if request.version().is_empty() {
            self.problems.push("no api-version is sent".to_owned());
        }
        for (name, text) in request.query.iter().filter(|(name, _)| name != "api-version") {
            match parameters.iter().find(|p| p.value["name"] == name.as_str()) {
                Some(parameter) => self.text(*parameter, text, &format!("the query's {name}")),
                None => self.problems.push(format!("there is no query parameter `{name}`")),
            }
        }
        for parameter in parameters.iter().filter(|p| p.value["required"] == true) {
            let name = parameter.value["name"].as_str().unwrap_or_default();
            if name != "api-version" && request.query.iter().all(|(given, _)| given != name) {
                self.problems.push(format!("the query parameter `{name}` is missing"));
            }
        }
    }

    fn body(&mut self, parameter: Option<Spot<'a>>, body: Option<&Value>) {
        match (parameter, body) {
            (Some(parameter), Some(body)) => {
                if let Some(value) = parameter.value.get("schema") {
                    self.value(Spot { value, ..parameter }, body, "body");
                }
            }
            (Some(parameter), None) if parameter.value["required"] == true => {
                self.problems.push("the body is missing".to_owned());
            }
            (None, Some(_)) => self.problems.push("there must be no body".to_owned()),
            _ => {}
        }
    }

    fn value(&mut self, spot: Spot<'a>, value: &Value, at: &str) {
        let is_nullable = spot.value["x-nullable"] == true;
        let spot = match self.shelf.resolve(spot) {
            Ok(spot) => spot,
            Err(missing) => return self.problems.push(format!("{at}: {missing}")),
        };
        if value.is_null() && (is_nullable || spot.value["x-nullable"] == true) {
            return;
        }
        let has = |name: &str| spot.value.get(name).is_some();
        let fallback = match has("properties") || has("allOf") {
            true => "object",
            false => "",
        };
        let kind = spot.value["type"].as_str().unwrap_or(fallback);
        let fits = match kind {
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => true,
        };
        if !fits {
            return self.problems.push(format!("{at} must be {kind}, not {value}"));
        }
        match value {
            Value::String(text) => self.text(spot, text, at),
            Value::Array(items) => self.items(spot, items, at),
            Value::Object(object) if kind == "object" => self.object(spot, object, at),
            Value::Number(number) => self.number(spot, number.as_f64().unwrap_or_default(), at),
            _ => {}
        }
    }

    fn text(&mut self, spot: Spot<'a>, text: &str, at: &str) {
        let limit = |name: &str| spot.value[name].as_u64();
        let length = text.chars().count() as u64;
        let words = spot.value["enum"].as_array();
        let is_open = spot.value["x-ms-enum"]["modelAsString"] == true;
        let pattern = spot.value["pattern"].as_str();
        // A pattern with looking around is none to this library, and is not checked.
        let pattern = pattern.and_then(|pattern| Regex::new(pattern).ok());
        // Answers spell types and names of enumerations as they like.
        let is = |word: &Value| {
            word == text
                || self.verb == ANSWER && word.as_str().is_some_and(|word| word.eq_ignore_ascii_case(text))
        };
        let wrong = if words.is_some_and(|words| !is_open && !words.iter().any(is)) {
            "is none of the known words"
        } else if limit("minLength").is_some_and(|least| length < least) {
            "is too short"
        } else if limit("maxLength").is_some_and(|most| length > most) {
            "is too long"
        } else if pattern.is_some_and(|pattern| !pattern.is_match(text)) {
            "does not fit the pattern"
        } else if !is_format(spot.value["format"].as_str().unwrap_or_default(), text) {
            "does not fit the format"
        } else {
            return;
        };
        self.problems.push(format!("{at}: `{text}` {wrong}"));
    }

    fn number(&mut self, spot: Spot<'a>, number: f64, at: &str) {
        let limit = |name: &str| spot.value[name].as_f64();
        if limit("minimum").is_some_and(|least| number < least)
            || limit("maximum").is_some_and(|most| number > most)
        {
            self.problems.push(format!("{at}: {number} is out of range"));
        }
    }

    fn items(&mut self, spot: Spot<'a>, items: &[Value], at: &str) {
        let limit = |name: &str| spot.value[name].as_u64();
        let length = items.len() as u64;
        if limit("minItems").is_some_and(|least| length < least)
            || limit("maxItems").is_some_and(|most| length > most)
        {
            self.problems.push(format!("{at} must not have {length} items"));
        }
        if let Some(value) = spot.value.get("items") {
            for (index, item) in items.iter().enumerate() {
                self.value(Spot { value, ..spot }, item, &format!("{at}[{index}]"));
            }
        }
    }

    fn object(&mut self, spot: Spot<'a>, object: &Map<String, Value>, at: &str) {
        let layers = self.variant(spot, object, at);
        let properties = |layer: &Spot<'a>| {
            let value = layer.value.get("properties")?;
            Some(Spot { value, ..*layer })
        };
        let is_free = layers.iter().all(|layer| properties(layer).is_none());
        for (name, value) in object {
            let at = format!("{at}.{name}");
            let named = layers.iter().filter_map(properties).find_map(|all| {
                let value = all.value.get(name)?;
                Some(Spot { value, ..all })
            });
            let others = || {
                layers.iter().find_map(|layer| {
                    let value = layer.value.get("additionalProperties")?;
                    Some(Spot { value, ..*layer })
                })
            };
            match named.map_or_else(others, Some) {
                Some(spot) if named.is_some() => {
                    self.may_be_sent(spot, &at);
                    self.value(spot, value, &at);
                }
                Some(spot) if spot.value != false => self.value(spot, value, &at),
                None if is_free => {}
                _ => self.problems.push(format!("{at} is not a known field")),
            }
        }
        let required = layers.iter().filter_map(|layer| layer.value["required"].as_array());
        for name in required.flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) && (self.verb == ANSWER || !self.is_read_only(&layers, name)) {
                self.problems.push(format!("{at}.{name} is missing"));
            }
        }
    }

    /// Azure marks some fields as both required and read-only: they are always in answers and never in requests.
    fn is_read_only(&self, layers: &[Spot<'a>], name: &str) -> bool {
        let marked = |layer: &Spot<'a>| layer.value["properties"][name]["readOnly"] == true;
        layers.iter().any(marked)
    }

    fn may_be_sent(&mut self, spot: Spot<'a>, at: &str) {
        let whole = self.shelf.resolve(spot).ok();
        let spots = || std::iter::once(spot).chain(whole);
        if self.verb == ANSWER {
            if spots().any(|spot| spot.value["x-ms-secret"] == true) {
                self.problems.push(format!("{at} is a secret, and never in an answer"));
            }
            return;
        }
        if spots().any(|spot| spot.value["readOnly"] == true) {
            self.problems.push(format!("{at} is read-only"));
        }
        let needed = match self.verb {
            "patch" => "update",
            _ => "create",
        };
        let mut limits = spots().filter_map(|spot| spot.value["x-ms-mutability"].as_array());
        if limits.any(|words| words.iter().all(|word| word != needed)) {
            self.problems.push(format!("{at} must not be sent with {}", self.verb));
        }
    }

    /// Returns the schema that an object's discriminator names, with everything it is made of.
    fn variant(&mut self, spot: Spot<'a>, object: &Map<String, Value>, at: &str) -> Vec<Spot<'a>> {
        let layers = self.layers(spot);
        let tag = layers.iter().find_map(|layer| Some((*layer, layer.value.get("discriminator")?.as_str()?)));
        let Some((base, tag)) = tag else {
            return layers;
        };
        let Some(word) = object.get(tag).and_then(Value::as_str) else {
            self.problems.push(format!("{at}.{tag} is missing, so that it cannot be told what this is"));
            return layers;
        };
        let definitions = self.shelf.0[base.file].get("definitions").and_then(Value::as_object);
        let variant = definitions.into_iter().flatten().find_map(|(name, value)| {
            let own = value["x-ms-discriminator-value"].as_str().unwrap_or(name);
            let spot = Spot { value, file: base.file };
            let all = (own == word).then(|| self.layers(spot))?;
            all.iter().any(|layer| std::ptr::eq(layer.value, base.value)).then_some(all)
        });
        variant.unwrap_or_else(|| {
            self.problems.push(format!("{at}: there is no `{word}` ({tag})"));
            layers
        })
    }

    /// Returns a schema and everything that it is made of.
    fn layers(&self, spot: Spot<'a>) -> Vec<Spot<'a>> {
        let mut layers = vec![spot];
        let parts = spot.value.get("allOf").and_then(Value::as_array);
        for value in parts.into_iter().flatten() {
            if let Ok(part) = self.shelf.resolve(Spot { value, ..spot }) {
                layers.extend(self.layers(part));
            }
        }
        layers
    }
}

fn is_format(format: &str, text: &str) -> bool {
    match format {
        "uuid" => uuid::Uuid::parse_str(text).is_ok(),
        "date-time" => text.parse::<Timestamp>().is_ok(),
        "arm-id" => text.starts_with('/'),
        "uri" => text.contains("://"),
        _ => true,
    }
}
