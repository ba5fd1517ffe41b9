//! The journal of a service as its API shows it: for looking, and for what is said to runs. Nothing else passes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use relight_engine::event::{Event, ExtendedLease, Lease, Record, Schedule, Signal, Source, Tick};
use relight_engine::journal::{
    Around, Journal, LeaseFilter, MemoryJournal, OwnerId, Presence, Queued, RunFilter, Sort, Summary,
    TickFilter,
};
use relight_engine::{Error, Result, RunId};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::client::{Client, event};

/// As many runs as a page may have.
const PAGE: usize = 500;

/// A journal that is read over an API.
pub(crate) struct RemoteJournal {
    client: Client,
    /// Never written: what is not asked of the service is refused.
    nothing: MemoryJournal,
    /// What was last said of the processes that drive runs.
    drivers: Mutex<HashMap<String, Presence>>,
    /// Of which run a kept text is.
    kept: Mutex<HashMap<String, RunId>>,
}

impl RemoteJournal {
    pub(crate) fn new(client: Client) -> Self {
        let nothing = MemoryJournal::default();
        RemoteJournal { client, nothing, drivers: Mutex::default(), kept: Mutex::default() }
    }

    fn summary(&self, run: Value) -> Result<Summary> {
        if let Some(owner) = run["owner"].as_str() {
            let presence = match run["driver"].as_str() {
                Some("here") => Presence::Here,
                Some("gone") => Presence::Gone,
                _ => Presence::Unknown,
            };
            let mut drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner);
            drivers.insert(owner.to_owned(), presence);
        }
        parsed(run)
    }

    fn summaries(&self, page: &mut Value) -> Result<Vec<Summary>> {
        let runs = page["runs"].take();
        let Value::Array(runs) = runs else { return Err(strange("a page without runs")) };
        runs.into_iter().map(|run| self.summary(run)).collect()
    }
}

#[async_trait]
impl Around for RemoteJournal {
    fn behind(&self) -> &dyn Journal {
        &self.nothing
    }

    fn allow(&self) -> Result<()> {
        Err(Error::invalid("this cannot be done through a service")
            .hint("do it on the machine of the service, without --server"))
    }

    fn presence(&self, owner: &OwnerId) -> Presence {
        let drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        drivers.get(owner.as_str()).copied().unwrap_or(Presence::Unknown)
    }

    async fn records(&self, run: &RunId, after: u64) -> Result<Vec<Record>> {
        let query = [("after", after.to_string())];
        let path = ["v1", "runs", run.as_str(), "records"];
        let mut answer = self.client.found(&path, &query).await?.ok_or_else(|| unknown(run))?;
        let Value::Array(events) = answer["events"].take() else { return Err(strange("no events")) };
        let mut records = Vec::with_capacity(events.len());
        for line in events {
            let (Some(seq), at, body) = event(line).ok_or_else(|| strange("an event without a time"))? else {
                return Err(strange("an event without a number"));
            };
            let record: Record =
                parsed(json!({ "seq": seq, "at": at, "body": body.to_string(), "hash": "" }))?;
            if let Ok(Event::OutputKept { output, .. }) = record.event() {
                let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.insert(output.sha256, run.clone());
            }
            records.push(record);
        }
        Ok(records)
    }

    async fn sources(&self, run: &RunId) -> Result<Vec<Source>> {
        let mut answer = self.client.get(&["v1", "runs", run.as_str(), "texts"], &[]).await?;
        parsed(answer["texts"].take())
    }

    async fn kept(&self, fingerprint: &str) -> Result<String> {
        let run = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(fingerprint).cloned();
        let run = run.ok_or_else(|| strange("a text of no run"))?;
        let answer = self.client.get(&["v1", "runs", run.as_str(), "output"], &[]).await?;
        let pieces = answer["output"].as_array().into_iter().flatten();
        let mut fitting = pieces.filter(|piece| piece["sha256"] == fingerprint);
        let text = fitting.next().and_then(|piece| piece["text"].as_str());
        text.map(str::to_owned).ok_or_else(|| strange("a text that is not there"))
    }

    async fn run(&self, run: &RunId) -> Result<Option<Summary>> {
        if run.as_str().is_empty() {
            return Ok(None);
        }
        let found = self.client.found(&["v1", "runs", run.as_str()], &[]).await?;
        found.map(|run| self.summary(run)).transpose()
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<Summary>> {
        let sort = match filter.sort {
            Sort::Created => "created",
            Sort::Updated => "updated",
            Sort::Runbook => "runbook",
        };
        let mut after = filter.after.as_ref().map(|run| match filter.sort {
            // It may stand elsewhere by now.
            Sort::Updated => format!("{}@{}", run.id, run.updated),
            _ => run.id.to_string(),
        });
        let mut runs = Vec::new();
        loop {
            let left = if filter.limit == 0 { PAGE } else { PAGE.min(filter.limit - runs.len()) };
            let mut query = vec![("limit", left.to_string()), ("open", filter.open.to_string())];
            query.push(("sort", sort.to_owned()));
            query.extend(filter.status.map(|status| ("state", status.as_str().to_owned())));
            query.extend(filter.runbook.clone().map(|runbook| ("runbook", runbook)));
            query.extend(filter.who.clone().map(|who| ("who", who)));
            query.extend(filter.labels.iter().map(|(name, value)| ("label", format!("{name}={value}"))));
            query.extend(filter.since.map(|since| ("since", since.to_string())));
            query.extend(after.take().map(|after| ("after", after)));
            let mut page = self.client.get(&["v1", "runs"], &query).await?;
            runs.extend(self.summaries(&mut page)?);
            after = page["next"].as_str().map(str::to_owned);
            if after.is_none() || (filter.limit > 0 && runs.len() >= filter.limit) {
                return Ok(runs);
            }
        }
    }

    async fn find(&self, beginning: &str, limit: usize) -> Result<Vec<Summary>> {
        let query = [("id", beginning.to_owned()), ("limit", limit.clamp(1, PAGE).to_string())];
        self.summaries(&mut self.client.get(&["v1", "runs"], &query).await?)
    }

    async fn signal(&self, run: &RunId, signal: &Signal, _: Timestamp) -> Result<()> {
        let (what, body) = match signal {
            Signal::Stop { .. } => ("stop", json!({})),
            Signal::Answer { value, .. } => ("answer", json!({ "answer": value })),
            _ => return self.allow(),
        };
        self.client.post(&["v1", "runs", run.as_str(), what], &body).await.map(drop)
    }

    async fn queue(&self) -> Result<Vec<Queued>> {
        let mut answer = self.client.get(&["v1", "queue"], &[]).await?;
        parsed(answer["queue"].take())
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        let mut answer = self.client.get(&["v1", "leases"], &[]).await?;
        parsed(answer["leases"].take())
    }

    /// Which deadlines were moved is known where the service is; a lease says the one that holds.
    async fn extended_leases(&self) -> Result<Vec<ExtendedLease>> {
        Ok(Vec::new())
    }

    async fn leases_where(&self, filter: &LeaseFilter) -> Result<Vec<Lease>> {
        let mut leases = Around::leases(self).await?;
        leases.retain(|lease| filter.fits(lease));
        Ok(leases)
    }

    async fn schedules(&self) -> Result<Vec<Schedule>> {
        let mut answer = self.client.get(&["v1", "schedules"], &[]).await?;
        parsed(answer["schedules"].take())
    }

    async fn schedule(&self, id: &str) -> Result<Option<Schedule>> {
        self.client.found(&["v1", "schedules", id], &[]).await?.map(parsed).transpose()
    }

    async fn ticks(&self, filter: &TickFilter) -> Result<Vec<Tick>> {
        let limit = if filter.limit == 0 { PAGE } else { PAGE.min(filter.limit) };
        let query = [("limit", limit.to_string())];
        let answer = match &filter.schedule {
            Some(schedule) => self.client.found(&["v1", "schedules", schedule, "history"], &query).await?,
            None => Some(self.client.get(&["v1", "ticks"], &query).await?),
        };
        answer.map_or_else(|| Ok(Vec::new()), |mut answer| parsed(answer["ticks"].take()))
    }
}

fn parsed<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|e| strange("what this version cannot read").because(e))
}

fn strange(what: &str) -> Error {
    Error::rejected(format!("the service answers with {what}"))
        .hint("is it of another version? GET /v1/about says which")
}

fn unknown(run: &RunId) -> Error {
    Error::invalid(format!("there is no run `{run}`"))
}
