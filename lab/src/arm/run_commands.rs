//! Run commands on machines, of Azure Arc and in Azure: a script that the agent runs, and what it said.

use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::{Cx, address::Address, body::Fields, host::Host, operations, pages, tags};
use crate::{
    arm_error::ArmError,
    faults::Work,
    guest,
    http::Reply,
    world::{Outcome, RunCommand},
};

/// `Retry-After` of everything about run commands.
const PACE: &str = "15";

/// How much of each stream is kept: its end.
const KEPT: usize = 4096;

/// How long a script may take when nothing is said.
const PATIENCE: u64 = 90 * 60;

/// Fields that never come back.
const SECRET: [&str; 2] = ["protectedParameters", "runAsPassword"];

pub(super) fn answer(cx: &mut Cx<'_>, at: &Address) -> Result<Reply, ArmError> {
    let (group, machine) = (at.group().to_owned(), at.name(0, 0).to_owned());
    let host = Host::of(at);
    let id = host.owner(cx, &group, &machine, "runCommands")?;
    cx.only_query(&["$expand", "$skiptoken"])?;
    if at.is_collection() {
        cx.read_only()?;
        let all = cx.world.run_commands.iter().filter(|it| it.is_on(&group, &machine));
        let all = all.map(|it| show(cx, host, &id, it)).collect();
        return Ok(pages::page(cx, all, 100));
    }
    let name = at.name(0, 1).to_owned();
    let missing = || {
        let kind = host.part_type("runCommands");
        ArmError::resource_not_found(&kind, &format!("{machine}/{name}"), &group)
    };
    let found = cx.world.run_commands.iter().find(|it| it.is(&group, &machine, &name)).cloned();
    match (cx.call.method.as_str(), found) {
        ("GET" | "HEAD", Some(command)) => Ok(Reply::json(200, show(cx, host, &id, &command))),
        ("GET" | "HEAD" | "PATCH", None) => Err(missing()),
        ("PUT", found) => put(cx, host, &id, [group.clone(), machine.clone(), name.clone()], found),
        ("PATCH", Some(command)) => patch(cx, host, &id, &command),
        ("DELETE", Some(command)) => delete(cx, host, &id, &command),
        ("DELETE", None) => {
            cx.no_body()?;
            Ok(Reply::empty(204))
        }
        (method, _) => Err(ArmError::not_allowed(method)),
    }
}

/// What is asked for.
struct Asked {
    script: String,
    /// The parameters, those that are secret too.
    parameters: Vec<(String, String)>,
    user: Option<String>,
    patience: u64,
    is_async: bool,
    /// The properties without the secrets.
    shown: Value,
}

/// Runs a script. One that is sent again under the same name runs again.
fn put(
    cx: &mut Cx<'_>,
    host: Host,
    id: &str,
    [group, machine, name]: [String; 3],
    found: Option<RunCommand>,
) -> Result<Reply, ArmError> {
    check_name(&name)?;
    let body = cx.json_body()?;
    let (asked, tags) = desired(cx, &body)?;
    host.check_takes_work(cx, &group, &machine, "runCommands")?;
    if let Some(found) = &found
        && (found.state(cx.now) != "Succeeded" || found.execution(cx.now) == "Running")
    {
        return Err(busy(found));
    }
    let label = cx.world.next_label("run command");
    let seed = cx.world.seed();
    let before = found.as_ref().map_or(0, |it| it.runs);
    let mut command = RunCommand {
        name: name.clone(),
        machine: machine.clone(),
        group: group.clone(),
        sent: asked.shown.clone(),
        tags,
        begins: None,
        ends: None,
        settled: None,
        outcome: Outcome::default(),
        gone: None,
        runs: before,
    };
    let mut told = None;
    if host.is_in_touch(cx, &group, &machine) {
        // The script does its work at once; that it did is told when its time has come.
        let Asked { user, script, parameters, patience, .. } = &asked;
        let (outcome, took) = run(cx, [&group, &machine], user.as_deref(), script, parameters, *patience);
        let pickup = seed.seconds(&format!("{label} begins"), 5, 15);
        let took =
            seed.seconds(&format!("{label} ends"), 2, 6) + SignedDuration::from_secs(took.cast_signed());
        let (begins, ends) = (
            cx.faults.timing(Work::Other, cx.now, pickup),
            cx.faults.timing(Work::Other, cx.now, pickup + took),
        );
        let settled = if asked.is_async { begins } else { ends };
        command.outcome = outcome;
        (command.begins, command.ends) = (begins.done, ends.done);
        (command.settled, told) = (settled.done, settled.told);
        command.runs += 1;
    }
    let shown = show(cx, host, id, &command);
    cx.world.run_commands.retain(|it| !it.is(&group, &machine, &name));
    cx.world.run_commands.push(command);
    cx.effect = true;
    let operation =
        operations::start(cx, host.shape(), &format!("{id}/runCommands/{name}"), "Creating", told, None);
    let status = if found.is_some() { 200 } else { 201 };
    Ok(Reply::json(status, shown)
        .with("Azure-AsyncOperation", operations::address(cx, &operation, false))
        .with("Location", operations::address(cx, &operation, true))
        .with("Retry-After", PACE))
}

/// Runs the script and returns what it did, and how many seconds of the lab it took.
pub(super) fn run(
    cx: &mut Cx<'_>,
    [group, machine]: [&str; 2],
    user: Option<&str>,
    script: &str,
    parameters: &[(String, String)],
    patience: u64,
) -> (Outcome, u64) {
    if cx.faults.fails_scripts() {
        let error = "the shell could not be started\n".to_owned();
        return (Outcome { status: 1, error, ..Outcome::default() }, 1);
    }
    let now = cx.now;
    let Some(computer) =
        guest::Computer::of(cx.world, cx.faults, std::sync::Arc::new(move || now), group, machine)
    else {
        return (Outcome::default(), 0);
    };
    let ran = guest::run_script(computer, user, script, parameters);
    let is_late = ran.seconds >= patience;
    let end = |text: String| {
        let start = text.len().saturating_sub(KEPT);
        let start = (start..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(start);
        text[start..].to_owned()
    };
    let (status, took) = if is_late { (1, patience) } else { (ran.status, ran.seconds) };
    (Outcome { status, output: end(ran.output), error: end(ran.error), is_late }, took)
}

/// Changes the tags; a script is sent with PUT.
fn patch(cx: &mut Cx<'_>, host: Host, id: &str, command: &RunCommand) -> Result<Reply, ArmError> {
    let body = cx.json_body()?;
    let outer = Fields::of(&body, "", &["tags"])?;
    let mut changed = command.clone();
    if let Some(tags) = tags::read(&outer)? {
        changed.tags = tags;
    }
    let shown = show(cx, host, id, &changed);
    if let Some(it) =
        cx.world.run_commands.iter_mut().find(|it| it.is(&command.group, &command.machine, &command.name))
    {
        cx.effect = it.tags != changed.tags;
        *it = changed;
    }
    Ok(Reply::json(200, shown))
}

fn delete(cx: &mut Cx<'_>, host: Host, id: &str, command: &RunCommand) -> Result<Reply, ArmError> {
    cx.no_body()?;
    if command.gone.is_some() {
        return Err(busy(command));
    }
    let label = cx.world.next_label("run command record");
    let duration = cx.world.seed().seconds(&label, 3, 8);
    let timing = cx.faults.timing(Work::Other, cx.now, duration);
    if let Some(it) =
        cx.world.run_commands.iter_mut().find(|it| it.is(&command.group, &command.machine, &command.name))
    {
        it.gone = timing.done;
    }
    cx.effect = true;
    let resource = format!("{id}/runCommands/{}", command.name);
    let operation = operations::start(cx, host.shape(), &resource, "Deleting", timing.told, None);
    Ok(Reply::empty(202)
        .with("Azure-AsyncOperation", operations::address(cx, &operation, false))
        .with("Location", operations::address(cx, &operation, true))
        .with("Retry-After", PACE))
}

fn busy(command: &RunCommand) -> ArmError {
    let message = format!("The run command '{}' is still being worked on.", command.name);
    ArmError::service(409, "Conflict", message)
}

fn check_name(name: &str) -> Result<(), ArmError> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.bytes().all(is_good) && (1..=80).contains(&name.len()) {
        return Ok(());
    }
    let message = format!("The run command name '{name}' does not match the pattern '[a-zA-Z0-9-_\\.]+'.");
    Err(ArmError::service(400, "InvalidResourceName", message).at("runCommandName"))
}

fn desired(cx: &Cx<'_>, body: &Value) -> Result<(Asked, tags::Map), ArmError> {
    let outer = Fields::of(body, "", &["location", "tags", "properties"])?;
    if !outer.required_text("location")?.eq_ignore_ascii_case(&cx.world.location) {
        return Err(outer.wrong("location", "must be the location of the machine"));
    }
    let properties = outer.value("properties").ok_or_else(|| outer.wrong("properties", "is required"))?;
    let known = [
        "source",
        "parameters",
        "protectedParameters",
        "asyncExecution",
        "runAsUser",
        "runAsPassword",
        "timeoutInSeconds",
        "outputBlobUri",
        "errorBlobUri",
        "treatFailureAsDeploymentFailure",
    ];
    let fields = Fields::of(properties, "properties", &known)?;
    // There is no storage in the lab.
    for name in ["outputBlobUri", "errorBlobUri"] {
        if fields.value(name).is_some() {
            return Err(fields.wrong(name, "is not known here: the lab has no storage"));
        }
    }
    let source = fields.value("source").ok_or_else(|| fields.wrong("source", "is required"))?;
    let script = Fields::of(source, "properties.source", &["script"])?.required_text("script")?.to_owned();
    let mut parameters = parameters(&fields, "parameters")?;
    parameters.extend(self::parameters(&fields, "protectedParameters")?);
    let patience = match fields.value("timeoutInSeconds") {
        None => PATIENCE,
        Some(value) => {
            let seconds = value.as_u64().filter(|seconds| *seconds > 0);
            seconds.ok_or_else(|| fields.wrong("timeoutInSeconds", "must be a number of seconds"))?
        }
    };
    let mut shown = properties.as_object().cloned().unwrap_or_default();
    shown.retain(|name, _| !SECRET.contains(&name.as_str()));
    let asked = Asked {
        script,
        parameters,
        user: fields.text("runAsUser")?.map(str::to_owned),
        patience,
        is_async: fields.flag("asyncExecution")?.unwrap_or_default(),
        shown: Value::Object(shown),
    };
    Ok((asked, tags::read(&outer)?.unwrap_or_default()))
}

pub(super) fn parameters(fields: &Fields<'_>, name: &str) -> Result<Vec<(String, String)>, ArmError> {
    let list = match fields.value(name) {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(fields.wrong(name, "must be a list")),
    };
    let read = |item: &Value| {
        let item = Fields::of(item, &format!("properties.{name}[]"), &["name", "value"])?;
        Ok((item.required_text("name")?.to_owned(), item.text("value")?.unwrap_or_default().to_owned()))
    };
    list.iter().map(read).collect()
}

/// Returns the resource. Secrets never come back.
pub(super) fn show(cx: &Cx<'_>, host: Host, machine_id: &str, it: &RunCommand) -> Value {
    let mut properties: Map<String, Value> = it.sent.as_object().cloned().unwrap_or_default();
    let execution = it.execution(cx.now);
    let mut view = json!({"executionState": execution});
    let has_begun = execution != "Pending";
    if let Some(begins) = it.begins.filter(|_| has_begun) {
        view["startTime"] = json!(begins.to_string());
    }
    if let Some(ends) = it.ends.filter(|ends| *ends <= cx.now) {
        view["endTime"] = json!(ends.to_string());
        view["exitCode"] = json!(it.outcome.status);
        view["output"] = json!(it.outcome.output);
        view["error"] = json!(it.outcome.error);
    }
    if it.outcome.is_late && execution == "TimedOut" {
        view["executionMessage"] = json!("The script took longer than timeoutInSeconds and was ended.");
    }
    properties.insert("provisioningState".to_owned(), json!(it.state(cx.now)));
    // In Azure only who asks for it is told how the script does.
    if host == Host::Arc || cx.call.query("$expand").is_some_and(|it| it.eq_ignore_ascii_case("instanceView"))
    {
        properties.insert("instanceView".to_owned(), view);
    }
    json!({
        "id": format!("{machine_id}/runCommands/{}", it.name),
        "name": it.name,
        "type": host.part_type("runCommands"),
        "location": cx.world.location,
        "tags": it.tags,
        "properties": properties,
    })
}
