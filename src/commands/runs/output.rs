//! `relight runs output`.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Args;
use relight_engine::event::{Event, Stream};
use relight_engine::{Engine, Error};

use crate::commands::which::Which;
use crate::exit::{Exit, Result};
use crate::setup::Home;
use crate::terminal;

/// Print what the steps of a run said: what went to standard output there goes there, the rest to standard error
///
/// A long output is kept with its beginning and its end; how much is missing in between is said.
#[derive(Args, Debug)]
pub(super) struct Output {
    #[command(flatten)]
    which: Which,

    /// Number of the step; all when left out
    step: Option<u32>,
}

impl Output {
    pub(super) async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine()?;
        let run = self.which.find(&engine).await?.id;
        let mut events = Vec::new();
        for record in engine.journal().records(&run, 0).await? {
            events.push(record.event()?);
        }
        if let Some(step) = self.step
            && !events.iter().any(|event| matches!(event, Event::StepStarted { step: s, .. } if *s == step))
        {
            let id = engine.shortest(&run).await?;
            return Err(Error::invalid(format!("run {id} has no step {step}"))
                .hint(format!("see its steps with `relight runs show {id}`"))
                .into());
        }
        self.print(&engine, &events).await
    }

    async fn print(&self, engine: &Engine, events: &[Event]) -> Result {
        let mut calls: BTreeMap<u32, &str> = BTreeMap::new();
        let mut last = None;
        for event in events {
            match event {
                Event::StepStarted { step, operation, .. } => drop(calls.insert(*step, operation)),
                Event::OutputKept { step, output } if self.step.is_none_or(|wanted| wanted == *step) => {
                    if self.step.is_none() && last.replace(*step) != Some(*step) {
                        let call = calls.get(step).copied().unwrap_or_default();
                        terminal::say(format!("step {step}, {call}:"));
                    }
                    if output.left_out > 0 {
                        terminal::say(format!("[{} bytes were not kept]", output.left_out));
                    }
                    let text = engine.journal().kept(&output.sha256).await?;
                    match output.stream {
                        Stream::Stdout | Stream::Terminal => {
                            let mut out = terminal::out();
                            out.write_all(text.as_bytes())?;
                            out.flush()?;
                        }
                        Stream::Stderr => terminal::pour(&text),
                    }
                }
                _ => {}
            }
        }
        Ok(Exit::Done)
    }
}
