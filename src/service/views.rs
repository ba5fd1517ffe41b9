//! What the API shows of runs, runbooks, leases and schedules: types of its own, so that what the journal keeps may change.

use std::collections::BTreeMap;

use jiff::Timestamp;
use relight_engine::event::{self, RunEnd, StepEnd};
use relight_engine::journal::{Delivery, Presence, Status, Summary};
use relight_engine::replay::{History, StepState};
use relight_engine::{Engine, Failure, OpenLease, Param, Runbook, recorded};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Prepared,
    Running,
    Parked,
    Succeeded,
    Failed,
    Stopped,
    Abandoned,
}

impl From<Status> for State {
    fn from(status: Status) -> Self {
        match status {
            Status::Prepared => State::Prepared,
            Status::Running => State::Running,
            Status::Parked => State::Parked,
            Status::Succeeded => State::Succeeded,
            Status::Failed => State::Failed,
            Status::Stopped => State::Stopped,
            Status::Abandoned => State::Abandoned,
        }
    }
}

impl From<State> for Status {
    fn from(state: State) -> Self {
        match state {
            State::Prepared => Status::Prepared,
            State::Running => Status::Running,
            State::Parked => Status::Parked,
            State::Succeeded => Status::Succeeded,
            State::Failed => Status::Failed,
            State::Stopped => Status::Stopped,
            State::Abandoned => Status::Abandoned,
        }
    }
}

/// What is known about the process that drives a run.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Driver {
    /// It is there.
    Here,
    /// It died; the run goes on with the next that looks.
    Gone,
    /// Only its heartbeat can tell.
    Unknown,
}

/// A run in a line: as `relight runs list --json` prints it, and who drives it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Run")]
pub(super) struct RunView {
    id: String,
    runbook: String,
    status: State,
    /// When it was prepared.
    created: Timestamp,
    /// When its last event was written.
    updated: Timestamp,
    /// When it goes on by itself.
    wake: Option<Timestamp>,
    /// Why it is parked: `why`, and what belongs to that, such as the `text` and the `choices` of a question.
    park: Option<BTreeMap<String, Value>>,
    /// The last step that was started.
    step: u32,
    /// The number of its last event.
    seq: u64,
    /// The hash of its last event.
    hash: String,
    /// The fencing number of its last claim.
    epoch: u64,
    /// The process that drives it, or did when it died.
    owner: Option<String>,
    /// What is known about that process.
    driver: Option<Driver>,
    /// The run that it came from.
    came_from: Option<String>,
    /// Who started it: a person, or the name of a token.
    who: Option<String>,
    /// What whoever started it calls it by.
    labels: BTreeMap<String, String>,
}

impl RunView {
    pub(super) fn of(engine: &Engine, run: Summary) -> Self {
        RunView {
            driver: engine.driver(&run).map(|presence| match presence {
                Presence::Here => Driver::Here,
                Presence::Gone => Driver::Gone,
                Presence::Unknown => Driver::Unknown,
            }),
            id: run.id.to_string(),
            runbook: run.runbook,
            status: run.status.into(),
            created: run.created,
            updated: run.updated,
            wake: run.wake,
            park: run.park.map(|park| map(&park)),
            step: run.step,
            seq: run.seq,
            hash: run.hash,
            epoch: run.epoch,
            owner: run.owner.map(|owner| owner.as_str().to_owned()),
            came_from: run.came_from.map(|from| from.to_string()),
            who: run.who,
            labels: run.labels,
        }
    }
}

/// A run with its steps.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RunDetail")]
pub(super) struct RunDetail {
    #[serde(flatten)]
    run: RunView,
    /// Why it exists: `by`, and what belongs to that.
    cause: BTreeMap<String, Value>,
    /// Its parameters. A secret is shown by where it is kept: `{"$secret": "env:NAME"}`.
    params: Value,
    /// The folder below which it may touch files, on the machine of the service.
    workdir: String,
    /// The SHA-256 of its runbook's text.
    fingerprint: Option<String>,
    steps: Vec<StepView>,
    /// The files that it wrote, as they were written.
    files: Vec<FileView>,
    /// How it ended: `end`, and what belongs to that, such as the `value` or the `failure`.
    end: Option<BTreeMap<String, Value>>,
}

/// A step of a run.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Step")]
struct StepView {
    number: u32,
    operation: String,
    /// The line of the text at which it is called; 0 where there is none.
    line: usize,
    state: Reached,
    attempt: u32,
    /// Why its last attempt failed.
    failure: Option<FailureView>,
}

/// How far a step came.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Reached {
    Sent,
    Again,
    UnderWay,
    Done,
    Failed,
}

/// An error.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Failure")]
pub(super) struct FailureView {
    /// What it means, such as `rejected` or `denied`.
    kind: String,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
}

impl FailureView {
    fn of(failure: &Failure) -> Self {
        FailureView {
            kind: failure.kind.as_str().to_owned(),
            message: failure.message.clone(),
            causes: failure.causes.clone(),
            hints: failure.hints.iter().map(ToString::to_string).collect(),
        }
    }
}

/// A file that a run wrote.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "File")]
struct FileView {
    path: String,
    sha256: String,
    bytes: u64,
}

impl RunDetail {
    pub(super) fn of(engine: &Engine, run: Summary, history: &History) -> Self {
        let prepared = &history.prepared;
        let mut files: Vec<FileView> = Vec::new();
        for (_, file) in &history.files {
            files.retain(|known| known.path != file.path);
            files.push(FileView { path: file.path.clone(), sha256: file.sha256.clone(), bytes: file.bytes });
        }
        let steps = (1..).zip(&history.steps).map(|(number, past)| {
            let (state, failure) = match &past.state {
                StepState::Started { failure, .. } => (Reached::Sent, failure.as_ref()),
                StepState::Clean { failure, .. } => (Reached::Again, Some(failure)),
                StepState::Finished(StepEnd::Err(failure)) => (Reached::Failed, Some(failure)),
                StepState::Finished(_) => (Reached::Done, None),
                _ => (Reached::UnderWay, None),
            };
            StepView {
                number,
                operation: past.operation.clone(),
                line: past.at.line,
                state,
                attempt: past.attempt,
                failure: failure.map(FailureView::of),
            }
        });
        RunDetail {
            run: RunView::of(engine, run),
            cause: map(&prepared.cause),
            params: recorded::plain(&prepared.params),
            workdir: prepared.workdir.clone(),
            fingerprint: prepared.sources.first().map(|pin| pin.fingerprint.clone()),
            steps: steps.collect(),
            files,
            end: history.end.as_ref().map(ended),
        }
    }
}

/// Returns how a run ended, with its value as people read it.
fn ended(end: &RunEnd) -> BTreeMap<String, Value> {
    let mut map = map(end);
    if let Some(value) = map.get_mut("value") {
        *value = recorded::plain(value);
    }
    map
}

/// A runbook in a line.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Runbook")]
pub(super) struct RunbookView {
    name: String,
    /// A few words; null when its text cannot be read.
    title: Option<String>,
    /// Why its text cannot be read.
    broken: Option<String>,
}

impl RunbookView {
    pub(super) fn of(name: String, runbook: relight_engine::Result<Runbook>) -> Self {
        match runbook {
            Ok(runbook) => RunbookView { name, title: Some(runbook.title), broken: None },
            Err(error) => RunbookView { name, title: None, broken: Some(error.message().to_owned()) },
        }
    }
}

/// A runbook: what it does, may do and takes.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RunbookDetail")]
pub(super) struct RunbookDetail {
    name: String,
    title: String,
    summary: String,
    /// What it may do, such as `azure:write`.
    effects: Vec<String>,
    /// The roles in Azure that whoever runs it needs.
    roles: Vec<String>,
    params: Vec<ParamView>,
    /// Whether it ships with relight.
    ships: bool,
    /// The SHA-256 of its text.
    fingerprint: String,
}

/// A parameter.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Parameter")]
struct ParamView {
    name: String,
    help: String,
    /// What kind of value it takes, such as `string`, `duration` or `secret`.
    kind: String,
    /// Whether it must be given.
    required: bool,
    default: Option<Value>,
    min: Option<Value>,
    max: Option<Value>,
    /// The values that are allowed; any when there are none.
    one_of: Vec<Value>,
    /// What the whole text must look like.
    pattern: Option<String>,
}

impl RunbookDetail {
    pub(super) fn of(runbook: Runbook, ships: bool) -> Self {
        let param = |param: Param| ParamView {
            name: param.name,
            help: param.help,
            kind: param.kind.to_string(),
            required: param.required && param.default.is_none(),
            default: param.default,
            min: param.min,
            max: param.max,
            one_of: param.one_of,
            pattern: param.pattern,
        };
        RunbookDetail {
            effects: runbook.reach().words().map(str::to_owned).collect(),
            name: runbook.name,
            title: runbook.title,
            summary: runbook.summary,
            roles: runbook.roles,
            params: runbook.params.into_iter().map(param).collect(),
            ships,
            fingerprint: runbook.fingerprint,
        }
    }
}

/// Something that is open, and how its closing stands.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Lease")]
pub(super) struct LeaseView {
    id: String,
    /// The run that opened it.
    run: String,
    /// For whom it is open.
    subject: String,
    /// What it may share with other leases, such as one port of one host.
    door: String,
    /// One line for people.
    title: String,
    opened: Timestamp,
    /// When it is closed at the latest.
    deadline: Timestamp,
    /// What closes it: an `operation` and its `args`.
    close: Value,
    /// Whether it should have been closed by now.
    late: bool,
    /// Its closing, once somebody has asked for it.
    closing: Option<ClosingView>,
}

/// How far the closing of a lease came.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Closing")]
struct ClosingView {
    /// The run that closes it.
    run: String,
    /// Whether a process drives that run.
    driven: bool,
    /// When it tries again.
    again: Option<Timestamp>,
    /// How many attempts came to nothing.
    failed: u32,
    /// When the last of them came to nothing.
    tried: Option<Timestamp>,
    /// Why it did.
    failure: Option<FailureView>,
}

impl LeaseView {
    pub(super) fn of(open: OpenLease) -> Self {
        let closing = open.closing.map(|closing| ClosingView {
            run: closing.run.to_string(),
            driven: closing.is_driven,
            again: closing.again,
            failed: closing.failed,
            tried: closing.trouble.as_ref().map(|(at, _)| *at),
            failure: closing.trouble.as_ref().map(|(_, failure)| FailureView::of(failure)),
        });
        let lease = open.lease;
        LeaseView {
            id: lease.id,
            run: lease.run.to_string(),
            subject: lease.subject,
            door: lease.door,
            title: lease.title,
            opened: lease.opened,
            deadline: lease.deadline,
            close: json!(lease.close),
            late: open.is_late,
            closing,
        }
    }
}

/// A schedule: as `relight schedule list --json` prints it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Schedule")]
pub(super) struct ScheduleView {
    id: String,
    runbook: String,
    /// What would keep a run of it from starting now, such as that its runbook is gone.
    trouble: Option<String>,
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

impl ScheduleView {
    pub(super) async fn of(engine: &Engine, schedule: &event::Schedule) -> Self {
        let mut more = map(schedule);
        more.remove("id");
        more.remove("runbook");
        let trouble = engine.check_schedule(schedule).await.err();
        ScheduleView {
            id: schedule.id.clone(),
            runbook: schedule.runbook.clone(),
            trouble: trouble.map(|error| error.message().to_owned()),
            more,
        }
    }
}

/// What became of a firing, or of several in a row that came to the same.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Tick")]
pub(super) struct TickView {
    schedule: String,
    /// The time for which a run was wanted: of several, the first.
    due: Timestamp,
    /// Of several, the last.
    last: Timestamp,
    /// How many they are.
    count: u64,
    /// `why` a run was wanted, and who wanted it when a person did.
    cause: BTreeMap<String, Value>,
    /// What it `came_to`, and what belongs to that: the `run`, the reason, or the one `into` which it went.
    fate: BTreeMap<String, Value>,
    /// When that was decided.
    at: Timestamp,
}

impl TickView {
    pub(super) fn of(tick: &event::Tick) -> Self {
        TickView {
            schedule: tick.schedule.clone(),
            due: tick.due,
            last: tick.last,
            count: tick.count,
            cause: map(&tick.cause),
            fate: map(&tick.fate),
            at: tick.at,
        }
    }
}

/// A notification to one receiver: as `relight notifications --json` prints it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Notification")]
pub(super) struct DeliveryView {
    receiver: String,
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

impl DeliveryView {
    pub(super) fn of(delivery: &Delivery) -> Self {
        let mut more = map(delivery);
        more.remove("receiver");
        DeliveryView { receiver: delivery.receiver.clone(), more }
    }
}

/// Returns a value as a map of its fields.
pub(super) fn map(value: &impl Serialize) -> BTreeMap<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => map.into_iter().collect(),
        _ => BTreeMap::new(),
    }
}
