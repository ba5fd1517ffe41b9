//! A change of one resource: what is stored of it while it is waited for, and what one look at it leads to.
//!
//! ```text
//!           ┌── Reached: done, nothing is sent
//! Unsent ─► look ── Moving: look again later ──► Away: Intended ─► look ─► ..
//!           └── Away: send ─► Following ── the status is over ──► Watching
//!                                └──── look each time ─► Reached ◄───┘
//! ```
//!
//! Azure's status of the request never decides alone. One that never ends, ends too early, says that it failed or says
//! nothing is outvoted by a resource that is as wished; one that says nothing, also by a resource that still moves.
//! Whoever stands before the request looks first, so that it makes no difference whether an earlier process that died
//! had sent it.

use std::error::Error as _;

use super::{DesiredState, Known, Look};
use crate::prelude::*;

/// How often a resource is read while nothing says when to look again.
const LOOK: Duration = Duration::from_secs(15);

/// Where a change of a resource stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Change<T> {
    target: T,
    stage: Stage,
    /// Whether the resource was seen moving, since the request if there was one.
    moved: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// Nothing was sent. What moves was somebody else's doing.
    Unsent,
    /// The request is about to be sent, or was by a process that died.
    Intended,
    /// Sent. Azure's status is asked, and the resource.
    Following(Box<Lro>),
    /// Sent. Only the resource is left to ask.
    Watching,
}

/// What a look led to.
#[derive(Debug)]
pub(crate) enum Advanced<T, V> {
    /// Look again after the wait. What is said is for people.
    Wait { change: Change<T>, wait: Duration, said: String, percent: Option<f64> },
    /// As wished.
    Reached(V),
}

impl<T: Serialize, V> Advanced<T, V> {
    /// Returns what an operation of its own says of it. The whole may take as long as `within`.
    ///
    /// # Errors
    /// `Invalid` when the target cannot be written down.
    pub(super) fn outcome(self, within: Duration) -> Result<Outcome<V>> {
        Ok(match self {
            Advanced::Reached(value) => Outcome::done(value),
            Advanced::Wait { change, wait, said, percent } => {
                Outcome::pending(&change, wait)?.within(within).saying(said, percent)
            }
        })
    }
}

impl<T: Serialize> Change<T> {
    /// Describes a change for which nothing was sent.
    pub(crate) fn of(target: T) -> Self {
        Change { target, stage: Stage::Unsent, moved: false }
    }

    /// Describes a change whose request may have been sent by a process that died.
    pub(crate) fn intended(target: T) -> Self {
        Change { target, stage: Stage::Intended, moved: false }
    }

    pub(crate) fn target(&self) -> &T {
        &self.target
    }

    /// Returns whether the change was seen to be under way.
    pub(crate) fn is_begun(&self) -> bool {
        self.moved || self.stage != Stage::Unsent
    }

    /// Looks at the resource, and sends the request if that is needed and nobody has.
    ///
    /// # Errors
    /// What no waiting mends, as the resource or Azure's status tells it. `Transient` when it is unclear whether the
    /// request was sent.
    pub(crate) async fn advance<S>(self, it: &S, cx: &Cx, args: &S::Args) -> Result<Advanced<T, S::Value>>
    where
        S: DesiredState<Target = T>,
    {
        Turn { it, cx, args, change: self }.advance().await
    }

    /// Looks for the trace of a request that may have been sent. With [`Redo::Ask`] the resource shows none, and this is
    /// asked only once a person has said that it was sent.
    ///
    /// # Errors
    /// Whatever the look says.
    pub(super) async fn probe<S>(
        target: T,
        it: &S,
        cx: &Cx,
        args: &S::Args,
        within: Duration,
    ) -> Result<Probe<S::Value>>
    where
        S: DesiredState<Target = T>,
    {
        let is_told = S::REDO == Redo::Ask;
        let change = Change { target, stage: Stage::Intended, moved: is_told };
        let mut turn = Turn { it, cx, args, change };
        let look = turn.look(None).await?;
        if is_told {
            turn.change.stage = Stage::Watching;
        }
        Ok(match look {
            Look::Away if !is_told => Probe::Absent,
            Look::Blind => Probe::Unclear("the resource does not tell".to_owned()),
            look => Probe::Found(turn.decide(look, LOOK, "accepted", None).outcome(within)?),
        })
    }
}

/// One look at a change, and what follows from it.
struct Turn<'a, S: DesiredState> {
    it: &'a S,
    cx: &'a Cx,
    args: &'a S::Args,
    change: Change<S::Target>,
}

type Turned<S> = Result<Advanced<<S as DesiredState>::Target, <S as DesiredState>::Value>>;

impl<S: DesiredState> Turn<'_, S> {
    async fn advance(self) -> Turned<S> {
        match self.change.stage.clone() {
            Stage::Unsent | Stage::Intended => self.begin().await,
            Stage::Following(status) => self.follow(*status).await,
            Stage::Watching => self.watch(None).await,
        }
    }

    /// Looks before this process sends anything.
    async fn begin(mut self) -> Turned<S> {
        let was_moving = self.change.moved;
        match self.look(None).await? {
            Look::Reached(value) => return Ok(Advanced::Reached(value)),
            Look::Moving(said, percent) if S::REDO != Redo::Ask => {
                return Ok(self.wait(LOOK, said, percent));
            }
            // It went elsewhere. The intent to send becomes durable before the request leaves.
            Look::Away if was_moving => {
                (self.change.stage, self.change.moved) = (Stage::Intended, false);
                return Ok(self.decide(Look::Away, Duration::ZERO, "next", None));
            }
            Look::Moving(..) | Look::Away | Look::Blind => {}
        }
        let started = self.it.request(self.args, &self.change.target).send(self.it.azure(), self.cx).await;
        self.change.moved = false;
        match started {
            Ok(Started::Done(result)) => self.watch(Some(result)).await,
            Ok(Started::Pending(status, wait)) => {
                let said = status.status().to_owned();
                self.change.stage = Stage::Following(status);
                Ok(self.decide(Look::Away, wait, &said, None))
            }
            Err(error) => Err(self.it.explain(self.cx, &self.change.target, error).await),
        }
    }

    /// Asks for Azure's status, and looks whether the resource agrees.
    async fn follow(mut self, status: Lro) -> Turned<S> {
        match self.it.azure().arm.follow(self.cx, status).await {
            Ok(Advance::Done(result)) => self.watch(Some(result)).await,
            Ok(Advance::Wait(status, wait, note)) => {
                self.change.stage = Stage::Following(status);
                // A look that fails costs nothing, and must not make us ask for the status sooner than wanted.
                let look = match self.look(None).await {
                    Err(error) if error.kind().is_retryable() => Look::Blind,
                    look => look?,
                };
                Ok(self.decide(look, wait, &note.status, note.percent))
            }
            Err(error) => match self.look(None).await {
                Ok(Look::Reached(value)) => Ok(Advanced::Reached(value)),
                // The resource knows best why it failed.
                Err(why) if why.kind() == ErrorKind::Rejected => {
                    Err(if why.source().is_some() { why } else { why.because(error) })
                }
                Ok(Look::Moving(said, percent)) if error.kind().is_retryable() => {
                    Ok(self.wait(error.pause().unwrap_or_default().max(LOOK), said, percent))
                }
                _ => Err(self.it.explain(self.cx, &self.change.target, error).await),
            },
        }
    }

    /// Looks when no status is left to ask.
    async fn watch(mut self, result: Option<Value>) -> Turned<S> {
        self.change.stage = Stage::Watching;
        let look = self.look(result).await?;
        Ok(self.decide(look, LOOK, "accepted", None))
    }

    async fn look(&mut self, result: Option<Value>) -> Result<Look<S::Value>> {
        let Change { target, stage, moved } = &self.change;
        let (sent, over) = (*stage != Stage::Unsent, *stage == Stage::Watching);
        let known = Known { sent, moved: *moved, over, result };
        let look = self.it.look(self.cx, self.args, target, known).await?;
        self.change.moved |= matches!(look, Look::Moving(..));
        Ok(look)
    }

    /// Ends, or waits and says how it stands: in the resource's words if it has any, else in those of the status.
    fn decide(
        self,
        look: Look<S::Value>,
        wait: Duration,
        status: &str,
        percent: Option<f64>,
    ) -> Advanced<S::Target, S::Value> {
        match look {
            Look::Reached(value) => Advanced::Reached(value),
            Look::Moving(said, own) => self.wait(wait, said, own.or(percent)),
            Look::Away | Look::Blind => {
                let said = format!("{}: {status}", self.it.doing(&self.change.target));
                self.wait(wait, said, percent)
            }
        }
    }

    fn wait(self, wait: Duration, said: String, percent: Option<f64>) -> Advanced<S::Target, S::Value> {
        Advanced::Wait { change: self.change, wait, said, percent }
    }
}
