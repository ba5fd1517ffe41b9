//! One look at a change, and what follows from it: the arrows of the drawing in [`change`](super::change).
//!
//! Knows no types of the resource ([`Subject`]): it is a large machine, and there is one of it rather than one for each
//! operation.

use std::error::Error as _;

use async_trait::async_trait;

use super::{Known, Look, Request};
use crate::prelude::*;

/// How often a resource is read while nothing says when to look again.
pub(super) const LOOK: Duration = Duration::from_secs(15);

/// How far a change has come.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) stage: Stage,
    /// Whether the resource was seen moving, since the request if there was one.
    pub(super) moved: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// Nothing was sent. What moves was somebody else's doing.
    Unsent,
    /// The request is about to be sent, or was by a process that died.
    Intended,
    /// Sent. Azure's status is asked, and the resource.
    Following(Box<Lro>),
    /// Sent. Only the resource is left to ask.
    Watching,
}

/// What a turn led to.
pub(super) enum Turned {
    /// Look again after the wait. What is said is for people.
    Wait { course: Course, wait: Duration, said: String, percent: Option<f64> },
    /// As wished.
    Reached,
}

/// The resource that a turn is about: [`DesiredState`](super::DesiredState) for one call and one target.
#[async_trait]
pub(super) trait Subject: Send + Sync {
    fn redo(&self) -> Redo;
    fn azure(&self) -> &Azure;
    async fn look(&mut self, known: Known) -> Result<Look<()>>;
    fn doing(&self) -> String;
    fn request(&self) -> Request<'_>;
    async fn explain(&self, error: Error) -> Error;
}

/// One look at a change, and what follows from it.
pub(super) struct Turn<'a> {
    pub(super) subject: &'a mut dyn Subject,
    pub(super) cx: &'a Cx,
    pub(super) course: Course,
}

impl Turn<'_> {
    pub(super) async fn advance(self) -> Result<Turned> {
        match self.course.stage.clone() {
            Stage::Unsent | Stage::Intended => self.begin().await,
            Stage::Following(status) => self.follow(*status).await,
            Stage::Watching => self.watch(None).await,
        }
    }

    /// Looks before this process sends anything.
    async fn begin(mut self) -> Result<Turned> {
        let was_moving = self.course.moved;
        match self.look(None).await? {
            Look::Reached(()) => return Ok(Turned::Reached),
            Look::Moving(said, percent) if self.subject.redo() != Redo::Ask => {
                return Ok(self.wait(LOOK, said, percent));
            }
            // It went elsewhere. The intent to send becomes durable before the request leaves.
            Look::Away if was_moving => {
                (self.course.stage, self.course.moved) = (Stage::Intended, false);
                return Ok(self.decide(Look::Away, Duration::ZERO, "next", None));
            }
            Look::Moving(..) | Look::Away | Look::Blind => {}
        }
        let started = self.subject.request().send(self.subject.azure(), self.cx).await;
        self.course.moved = false;
        match started {
            Ok(Started::Done(result)) => self.watch(Some(result)).await,
            Ok(Started::Pending(status, wait)) => {
                let said = status.status().to_owned();
                self.course.stage = Stage::Following(status);
                Ok(self.decide(Look::Away, wait, &said, None))
            }
            Err(error) => Err(self.subject.explain(error).await),
        }
    }

    /// Asks for Azure's status, and looks whether the resource agrees.
    async fn follow(mut self, status: Lro) -> Result<Turned> {
        match self.subject.azure().arm.follow(self.cx, status).await {
            Ok(Advance::Done(result)) => self.watch(Some(result)).await,
            Ok(Advance::Wait(status, wait, note)) => {
                self.course.stage = Stage::Following(status);
                // A look that fails costs nothing, and must not make us ask for the status sooner than wanted.
                let look = match self.look(None).await {
                    Err(error) if error.kind().is_retryable() => Look::Blind,
                    look => look?,
                };
                Ok(self.decide(look, wait, &note.status, note.percent))
            }
            Err(error) => match self.look(None).await {
                Ok(Look::Reached(())) => Ok(Turned::Reached),
                // The resource knows best why it failed.
                Err(why) if why.kind() == ErrorKind::Rejected => {
                    Err(if why.source().is_some() { why } else { why.because(error) })
                }
                Ok(Look::Moving(said, percent)) if error.kind().is_retryable() => {
                    Ok(self.wait(error.pause().unwrap_or_default().max(LOOK), said, percent))
                }
                _ => Err(self.subject.explain(error).await),
            },
        }
    }

    /// Looks when no status is left to ask.
    async fn watch(mut self, result: Option<Value>) -> Result<Turned> {
        self.course.stage = Stage::Watching;
        let look = self.look(result).await?;
        Ok(self.decide(look, LOOK, "accepted", None))
    }

    pub(super) async fn look(&mut self, result: Option<Value>) -> Result<Look<()>> {
        let Course { stage, moved } = &self.course;
        let (sent, over) = (*stage != Stage::Unsent, *stage == Stage::Watching);
        let known = Known { sent, moved: *moved, over, result };
        let look = self.subject.look(known).await?;
        self.course.moved |= matches!(look, Look::Moving(..));
        Ok(look)
    }

    /// Ends, or waits and says how it stands: in the resource's words if it has any, else in those of the status.
    pub(super) fn decide(self, look: Look<()>, wait: Duration, status: &str, percent: Option<f64>) -> Turned {
        match look {
            Look::Reached(()) => Turned::Reached,
            Look::Moving(said, own) => self.wait(wait, said, own.or(percent)),
            Look::Away | Look::Blind => {
                let said = format!("{}: {status}", self.subject.doing());
                self.wait(wait, said, percent)
            }
        }
    }

    fn wait(self, wait: Duration, said: String, percent: Option<f64>) -> Turned {
        Turned::Wait { course: self.course, wait, said, percent }
    }
}
