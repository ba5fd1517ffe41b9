//! Extensions of machines, of Azure Arc and in Azure: PUT and DELETE that take minutes, and what the agent says about them.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Cx, address::Address, body::Fields, catalogue, host::Host, operations, pages, tags};
use crate::{
    arm_error::ArmError,
    faults::Work as Kind,
    guest,
    http::Reply,
    world::{Extension, Failure, Properties, Work},
};

/// `Retry-After` of everything about extensions.
const PACE: &str = "15";

/// How long work is kept for a machine whose agent is out of touch.
const QUEUED: SignedDuration = SignedDuration::from_hours(6);

pub(super) fn answer(cx: &mut Cx<'_>, at: &Address) -> Result<Reply, ArmError> {
    let (group, machine) = (at.group().to_owned(), at.name(0, 0).to_owned());
    let host = Host::of(at);
    let id = host.owner(cx, &group, &machine, "extensions")?;
    if at.is_collection() {
        cx.read_only()?;
        cx.only_query(&["$expand", "$skiptoken"])?;
        let all = cx.world.extensions.iter().filter(|it| it.is_on(&group, &machine));
        let all = all.map(|it| show(cx, host, &id, it)).collect();
        return Ok(pages::page(cx, all, 100));
    }
    cx.only_query(if host == Host::Azure { &["$expand"] } else { &[] })?;
    let name = at.name(0, 1).to_owned();
    let found = cx.world.extensions.iter().find(|it| it.is(&group, &machine, &name)).cloned();
    match (cx.call.method.as_str(), found) {
        ("GET" | "HEAD", Some(extension)) => Ok(Reply::json(200, show(cx, host, &id, &extension))),
        ("GET" | "HEAD", None) => {
            let kind = host.part_type("extensions");
            Err(ArmError::resource_not_found(&kind, &format!("{machine}/{name}"), &group))
        }
        ("PUT", found) => put(cx, host, &id, [group, machine, name], found),
        ("DELETE", Some(extension)) => delete(cx, host, &id, &extension),
        ("DELETE", None) => {
            cx.no_body()?;
            Ok(Reply::empty(204))
        }
        (method, _) => Err(ArmError::not_allowed(method)),
    }
}

/// Installs, or changes what is installed. An unchanged PUT is carried out again, as the agent does.
fn put(
    cx: &mut Cx<'_>,
    host: Host,
    id: &str,
    [group, machine, name]: [String; 3],
    found: Option<Extension>,
) -> Result<Reply, ArmError> {
    let body = cx.json_body()?;
    let (sent, tags) = desired(cx, &body)?;
    if let Some(vm) = cx.world.azure_vm(&group, &machine).filter(|_| host == Host::Azure) {
        catalogue::check(&sent, vm.os)?;
    }
    host.check_takes_work(cx, &group, &machine, "extensions")?;
    if let Some(found) = &found {
        check_free(found)?;
        // Inferred from Azure VMs, whose extensions keep what they are.
        for (property, old, new) in
            [("publisher", &found.sent.publisher, &sent.publisher), ("type", &found.sent.kind, &sent.kind)]
        {
            if !old.eq_ignore_ascii_case(new) {
                let message = format!("Changing property 'properties.{property}' is not allowed.");
                return Err(ArmError::service(409, "PropertyChangeNotAllowed", message).at(property));
            }
        }
    }
    // Inferred: of each type a machine has one instance, whatever it is called.
    let same = |it: &&Extension| {
        it.is_on(&group, &machine) && it.name != name && it.sent.kind.eq_ignore_ascii_case(&sent.kind)
    };
    if let Some(other) = cx.world.extensions.iter().find(same).filter(|_| found.is_none()) {
        check_free(other)?;
        let message = format!("An extension of type {} exists already: '{}'.", other.sent.kind, other.name);
        return Err(ArmError::service(409, "PropertyChangeNotAllowed", message).at("type"));
    }

    let label = cx.world.next_label("extension");
    let (duration, failure) = if host.is_in_touch(cx, &group, &machine) {
        let failure = match cx.faults.fails_extensions() {
            true => Some(failed(&name, "Install command of the extension exited with code 1603.")),
            false => install(cx, host, [&group, &machine], &sent, &body).err().map(|why| failed(&name, &why)),
        };
        (cx.world.seed().seconds(&label, 100, 160), failure)
    } else {
        (QUEUED, Some(queued_in_vain(&machine)))
    };
    let timing = cx.faults.timing(Kind::Other, cx.now, duration);
    let word = if found.is_some() { "Updating" } else { "Creating" };
    let work = Some(Work { word: word.to_owned(), ends: timing.done, failure: failure.clone() });
    let (old, installs) =
        (found.as_ref().and_then(|it| it.failure.clone()), found.map_or(0, |it| it.installs));
    let extension = Extension {
        name: name.clone(),
        machine: machine.clone(),
        group: group.clone(),
        sent,
        tags,
        work,
        failure: old,
        installs,
        reported: cx.now,
    };
    cx.world.extensions.retain(|it| !it.is(&group, &machine, &name));
    cx.world.extensions.push(extension);
    let shown = cx.world.extensions.last().filter(|_| host == Host::Azure).map(|it| show(cx, host, id, it));
    let created = shown.map(|shown| (if word == "Creating" { 201 } else { 200 }, shown));
    Ok(accepted(cx, host, &format!("{id}/extensions/{name}"), timing.told, failure, created))
}

/// Does what an installer does on the machine, as far as the lab knows it. It does its work at once; that it did is told when its time
/// has come.
fn install(
    cx: &mut Cx<'_>,
    host: Host,
    [group, machine]: [&str; 2],
    sent: &Properties,
    body: &Value,
) -> Result<(), String> {
    let Some(vm) = cx.world.azure_vm(group, machine).filter(|_| host == Host::Azure) else { return Ok(()) };
    let failure = catalogue::check(sent, vm.os).ok().and_then(|known| known.failure(vm.has_identity));
    if let Some(why) = failure {
        return Err(why.to_owned());
    }
    let now = cx.now;
    let clock = std::sync::Arc::new(move || now);
    let Some(computer) = guest::Computer::of(cx.world, cx.faults, clock, group, machine) else {
        return Ok(());
    };
    let given = &body["properties"]["protectedSettings"];
    match sent.kind.to_ascii_lowercase().as_str() {
        "vmaccessforlinux" => {
            guest::vm_access_on_linux(&computer, given).map_err(|why| format!("Enable failed: {why}"))
        }
        "vmaccessagent" => guest::vm_access_on_windows(&computer, &body["properties"]["settings"], given),
        _ => Ok(()),
    }
}

fn delete(cx: &mut Cx<'_>, host: Host, id: &str, extension: &Extension) -> Result<Reply, ArmError> {
    cx.no_body()?;
    check_free(extension)?;
    let Extension { group, machine, name, .. } = extension;
    let label = cx.world.next_label("extension");
    let (duration, failure) = match host.is_in_touch(cx, group, machine) {
        true => (cx.world.seed().seconds(&label, 40, 80), None),
        false => (QUEUED, Some(queued_in_vain(machine))),
    };
    let timing = cx.faults.timing(Kind::Other, cx.now, duration);
    let work = Work { word: "Deleting".to_owned(), ends: timing.done, failure: failure.clone() };
    if let Some(it) = cx.world.extensions.iter_mut().find(|it| it.is(group, machine, name)) {
        it.work = Some(work);
    }
    Ok(accepted(cx, host, &format!("{id}/extensions/{name}"), timing.told, failure, None))
}

/// Answers as recorded: 202 without a body, with both addresses. In Azure what is made is shown at once.
fn accepted(
    cx: &mut Cx<'_>,
    host: Host,
    id: &str,
    told: Option<jiff::Timestamp>,
    failure: Option<Failure>,
    created: Option<(u16, Value)>,
) -> Reply {
    cx.effect = true;
    let operation = operations::start(cx, host.shape(), id, "InProgress", told, failure);
    let reply = created.map_or_else(|| Reply::empty(202), |(status, shown)| Reply::json(status, shown));
    reply
        .with("Azure-AsyncOperation", operations::address(cx, &operation, false))
        .with("Location", operations::address(cx, &operation, true))
        .with("Retry-After", PACE)
}

fn check_free(extension: &Extension) -> Result<(), ArmError> {
    if extension.work.is_none() {
        return Ok(());
    }
    let message = format!(
        "An extension of type {} is still processing. Only one instance of an extension may be in progress at a \
         time for the same resource.",
        extension.sent.kind
    );
    Err(ArmError::service(409, "HCRP409", message))
}

fn desired(cx: &Cx<'_>, body: &Value) -> Result<(Properties, tags::Map), ArmError> {
    let outer = Fields::of(body, "", &["location", "tags", "properties"])?;
    if !outer.required_text("location")?.eq_ignore_ascii_case(&cx.world.location) {
        return Err(outer.wrong("location", "must be the location of the machine"));
    }
    let properties = outer.value("properties").ok_or_else(|| outer.wrong("properties", "is required"))?;
    let known = [
        "publisher",
        "type",
        "typeHandlerVersion",
        "autoUpgradeMinorVersion",
        "enableAutomaticUpgrade",
        "forceUpdateTag",
        "suppressFailures",
        "settings",
        "protectedSettings",
    ];
    let fields = Fields::of(properties, "properties", &known)?;
    let owned = |text: Option<&str>| text.map(str::to_owned);
    for name in ["settings", "protectedSettings"] {
        if fields.value(name).is_some_and(|value| !value.is_object()) {
            return Err(fields.wrong(name, "must be an object"));
        }
    }
    let version = owned(fields.text("typeHandlerVersion")?);
    let is_version = |text: &String| {
        let parts: Vec<&str> = text.split('.').collect();
        parts.len() <= 4 && parts.iter().all(|part| part.parse::<u32>().is_ok())
    };
    if version.as_ref().is_some_and(|version| !is_version(version)) {
        return Err(fields.wrong("typeHandlerVersion", "must be a version such as 1.10"));
    }
    let sent = Properties {
        publisher: fields.required_text("publisher")?.to_owned(),
        kind: fields.required_text("type")?.to_owned(),
        version,
        minor_upgrades: fields.flag("autoUpgradeMinorVersion")?.unwrap_or_default(),
        upgrades: fields.flag("enableAutomaticUpgrade")?,
        force_tag: owned(fields.text("forceUpdateTag")?),
        settings: fields.value("settings").cloned(),
    };
    Ok((sent, tags::read(&outer)?.unwrap_or_default()))
}

/// What an installer says that did not get on. The code of the operation is inferred; the words of Azure VMs are recorded.
fn failed(name: &str, why: &str) -> Failure {
    Failure {
        code: "VMExtensionProvisioningError".to_owned(),
        message: format!(
            "Machine has reported a failure when processing extension '{name}'. Error message: \"{why}\""
        ),
        advice: String::new(),
        in_validation: false,
    }
}

/// Inferred: what becomes of work that no agent fetched in six hours.
fn queued_in_vain(machine: &str) -> Failure {
    Failure {
        code: "Timeout".to_owned(),
        message: format!("The agent of machine '{machine}' did not take up the operation in time."),
        advice: String::new(),
        in_validation: false,
    }
}

/// Returns the resource. `protectedSettings` never come back.
pub(super) fn show(cx: &Cx<'_>, host: Host, machine_id: &str, it: &Extension) -> Value {
    let mut body = json!({
        "id": format!("{machine_id}/extensions/{}", it.name),
        "name": it.name,
        "type": host.part_type("extensions"),
        "location": cx.world.location,
        "tags": it.tags,
        "properties": {
            "publisher": it.sent.publisher,
            "type": it.sent.kind,
            "typeHandlerVersion": it.version(),
            "autoUpgradeMinorVersion": it.sent.minor_upgrades,
            "provisioningState": it.state(),
        },
    });
    let properties = &mut body["properties"];
    if let Some(upgrades) = it.sent.upgrades {
        properties["enableAutomaticUpgrade"] = json!(upgrades);
    }
    if let Some(settings) = &it.sent.settings {
        properties["settings"] = settings.clone();
    }
    if let Some(tag) = &it.sent.force_tag {
        properties["forceUpdateTag"] = json!(tag);
    }
    // The agent speaks once it has done something; meanwhile the words are the old ones.
    let is_told = host == Host::Arc || cx.call.query("$expand").is_some();
    if is_told && (it.installs > 0 || it.failure.is_some()) {
        let (code, level, message) = match &it.failure {
            Some(failure) => ("1603", "Error", failure.message.clone()),
            None => ("0", "Information", format!("Extension Message: {} is enabled", it.sent.kind)),
        };
        let time = it.reported.to_string();
        let said = match host {
            Host::Arc => ("status", json!({"code": code, "level": level, "message": message, "time": time})),
            Host::Azure => {
                let word = if it.failure.is_some() { "failed/1603" } else { "succeeded" };
                let level = if it.failure.is_some() { "Error" } else { "Info" };
                let title =
                    if it.failure.is_some() { "Provisioning failed" } else { "Provisioning succeeded" };
                let code = format!("ProvisioningState/{word}");
                (
                    "statuses",
                    json!([{"code": code, "level": level, "displayStatus": title, "message": message, "time": time}]),
                )
            }
        };
        properties["instanceView"] = json!({"name": it.name, "type": it.sent.kind, "typeHandlerVersion": it.version(), said.0: said.1});
    }
    body
}
