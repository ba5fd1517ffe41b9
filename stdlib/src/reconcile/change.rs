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

use async_trait::async_trait;

use super::turn::{Course, LOOK, Stage, Subject, Turn, Turned};
use super::{DesiredState, Known, Look, Request};
use crate::prelude::*;

/// Where a change of a resource stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Change<T> {
    target: T,
    stage: Stage,
    /// Whether the resource was seen moving, since the request if there was one.
    moved: bool,
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
        let Change { target, stage, moved } = self;
        let mut seen = Seen { it, cx, args, target: &target, value: None };
        let turned = Turn { subject: &mut seen, cx, course: Course { stage, moved } }.advance().await?;
        let value = seen.value;
        Ok(Self::advanced(target, turned, value))
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
        let mut seen = Seen { it, cx, args, target: &target, value: None };
        let course = Course { stage: Stage::Intended, moved: is_told };
        let mut turn = Turn { subject: &mut seen, cx, course };
        let look = turn.look(None).await?;
        if is_told {
            turn.course.stage = Stage::Watching;
        }
        let turned = match look {
            Look::Away if !is_told => return Ok(Probe::Absent),
            Look::Blind => return Ok(Probe::Unclear("the resource does not tell".to_owned())),
            look => turn.decide(look, LOOK, "accepted", None),
        };
        let value = seen.value;
        Ok(Probe::Found(Self::advanced(target, turned, value).outcome(within)?))
    }

    fn advanced<V>(target: T, turned: Turned, value: Option<V>) -> Advanced<T, V> {
        match turned {
            Turned::Wait { course: Course { stage, moved }, wait, said, percent } => {
                Advanced::Wait { change: Change { target, stage, moved }, wait, said, percent }
            }
            Turned::Reached => Advanced::Reached(value.expect("a look that says so leaves the value")),
        }
    }
}

/// A resource as one turn sees it. What it is once it is as wished stays here.
struct Seen<'a, S: DesiredState> {
    it: &'a S,
    cx: &'a Cx,
    args: &'a S::Args,
    target: &'a S::Target,
    value: Option<S::Value>,
}

#[async_trait]
impl<S: DesiredState> Subject for Seen<'_, S> {
    fn redo(&self) -> Redo {
        S::REDO
    }

    fn azure(&self) -> &Azure {
        self.it.azure()
    }

    async fn look(&mut self, known: Known) -> Result<Look<()>> {
        let look = self.it.look(self.cx, self.args, self.target, known).await?;
        Ok(look.map(|value| self.value = Some(value)))
    }

    fn doing(&self) -> String {
        self.it.doing(self.target)
    }

    fn request(&self) -> Request<'_> {
        self.it.request(self.args, self.target)
    }

    async fn explain(&self, error: Error) -> Error {
        self.it.explain(self.cx, self.target, error).await
    }
}
