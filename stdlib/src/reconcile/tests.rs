//! Each arrow of the drawing in [`change`](super::change): the resource says what the test says, the request and its status
//! are the lab's.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use relight_engine::clock::{Clock, SteppedClock};
use relight_engine::event::{Event, Park, RunEnd};
use relight_engine::journal::{MemoryJournal, OwnerId};
use relight_engine::{Driven, Engine, RunId, RunRequest, Secret};
use relight_lab::{Lab, LabConfig};

use super::*;
use crate::Dialer;
use crate::azure::{Arm, Cloud, Credential};
use crate::local::api;

/// One look, as the test wants it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum See {
    Reached,
    Moving,
    Away,
    Blind,
    /// The look fails for the moment.
    Flaps,
    /// The resource says why nothing becomes of it.
    Broken,
}
use See::{Away, Blind, Broken, Flaps, Moving, Reached};

/// A resource that is seen as told; the last look repeats itself.
#[derive(Clone)]
struct Told {
    azure: Azure,
    sees: Arc<Mutex<VecDeque<See>>>,
    /// What was known at each look: sent, moved, over.
    known: Arc<Mutex<Vec<String>>>,
}

impl Told {
    fn see(&self, known: &Known) -> See {
        let words = [(known.sent, "sent"), (known.moved, "moved"), (known.over, "over")];
        let words: Vec<&str> = words.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        let mut sees = self.sees.lock().unwrap();
        let see = if sees.len() > 1 { sees.pop_front() } else { sees.front().copied() };
        let see = see.expect("a look that the test foresaw");
        self.known.lock().unwrap().push(format!("{see:?} {}", words.join(" ")).trim().to_owned());
        see
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Args {
    /// A VM that the request starts.
    vm: String,
}

/// A state of a resource that leaves traces, or none.
struct Wish<const ASKS: bool>(Told);

impl<const ASKS: bool> DesiredState for Wish<ASKS> {
    type Args = Args;
    type Target = String;
    type Value = bool;

    const REDO: Redo = if ASKS { Redo::Ask } else { Redo::Probe };

    fn azure(&self) -> &Azure {
        &self.0.azure
    }

    async fn look(&self, _cx: &Cx, _args: &Args, _vm: &String, known: Known) -> Result<Look<bool>> {
        Ok(match self.0.see(&known) {
            Reached => Look::Reached(known.sent),
            Moving => Look::Moving("it moves".into(), Some(50.0)),
            Away => Look::Away,
            Blind => known.result.map_or(Look::Blind, |_| Look::Reached(true)),
            Flaps => return Err(Error::new(ErrorKind::Transient, "a moment's trouble")),
            Broken => return Err(Error::rejected("it is broken")),
        })
    }

    fn doing(&self, vm: &String) -> String {
        format!("{vm}: start")
    }

    fn request<'a>(&self, _args: &'a Args, vm: &'a String) -> Request<'a> {
        let path = format!("{vm}/providers/{}/default/start", api::INSTANCE);
        Request::new(Method::Post, path, api::POWER)
    }

    async fn explain(&self, _cx: &Cx, _vm: &String, error: Error) -> Error {
        error.hint("explained")
    }
}

impl<const ASKS: bool> ResourceOperation for Wish<ASKS> {
    const NAME: &'static str = if ASKS { "test::ask" } else { "test::wish" };
    const SUMMARY: &'static str = "Is told what to see.";
    const WITHIN: Duration = Duration::from_secs(3600);

    fn examples() -> Vec<Example> {
        Vec::new()
    }

    async fn target(&self, _cx: &Cx, args: &Args) -> Result<String> {
        let group = ResourceId::of_group(self.0.azure.subscription()?, "rg-edge")?;
        Ok(group.resource(api::MACHINE, &args.vm)?.to_string())
    }
}

struct World {
    lab: Lab,
    told: Told,
    clock: SteppedClock,
    journal: Arc<MemoryJournal>,
}

impl World {
    async fn new(faults: &[&str], sees: &[See]) -> Self {
        let clock = SteppedClock::jumping("2026-11-20T10:00:00Z".parse().unwrap());
        let now = clock.clone();
        let mut config = LabConfig::new(Arc::new(move || now.now()));
        config.faults = faults.iter().map(|fault| fault.parse().unwrap()).collect();
        let lab = Lab::start(config).await.unwrap();
        let about = lab.descriptor();
        let mut cloud = Cloud::public().with_ca_bundle(about.ca_pem.into_bytes());
        cloud.arm = about.url.parse().unwrap();
        cloud.login = cloud.arm.clone();
        let credential = Credential::ClientSecret {
            tenant: about.tenant,
            client_id: about.client_id,
            secret: Secret::new(about.client_secret),
        };
        let arm = Arm::builder(cloud, credential).clock(Arc::new(clock.clone())).build().unwrap();
        let azure = Azure {
            arm,
            subscription: Some(about.subscription),
            group: None,
            dial: Dialer::direct(),
            known_hosts: crate::ssh::KnownHosts::in_memory(),
            here: crate::Here::default(),
        };
        let told = Told { azure, sees: Arc::default(), known: Arc::default() };
        told.sees.lock().unwrap().extend(sees);
        World { lab, told, clock, journal: Arc::new(MemoryJournal::new()) }
    }

    /// What one process would have, to whom every other one is gone.
    fn process(&self) -> Engine {
        Engine::builder()
            .operations([
                register(Wish::<false>(self.told.clone())),
                register(Wish::<true>(self.told.clone())),
            ])
            .clock(Arc::new(self.clock.clone()))
            .journal(self.journal.clone())
            .owner(OwnerId::fresh(), Arc::new(|_| true))
            .build()
            .unwrap()
    }

    async fn prepare(&self, script: &str) -> RunId {
        let text = format!("/*---\ntitle = \"test\"\neffects = [\"azure:write\"]\n---*/\n{script}\n");
        self.process().prepare(&RunRequest::new("test").text(text)).await.unwrap()
    }

    async fn drive(&self, run: &RunId) -> Driven {
        self.process().drive(run, Duration::from_secs(1_000_000)).await.unwrap()
    }

    async fn run(&self, script: &str) -> Driven {
        let run = self.prepare(script).await;
        self.drive(&run).await
    }

    /// How many requests were carried out.
    fn sent(&self) -> usize {
        assert_eq!(self.lab.violations(), [""; 0]);
        self.lab.ledger().iter().filter(|entry| entry.effect).count()
    }

    fn known(&self) -> Vec<String> {
        self.told.known.lock().unwrap().clone()
    }
}

const WISH: &str = r#"test::wish("file-01")"#;

fn done(value: bool) -> Driven {
    Driven::Ended(RunEnd::Succeeded { value: json!(value) })
}

/// From the looks and the faults of the site to the value, the requests, and what was known at each look.
#[tokio::test(flavor = "multi_thread")]
async fn each_arrow_of_the_drawing() {
    let none: &[&str] = &[];
    // Its status is far from over at the second look.
    let slow: &[&str] = &["slow"];
    for (what, faults, sees, value, sent, known) in [
        ("nothing to do", none, &[Reached][..], false, 0, "Reached"),
        (
            "it comes to rest as wished",
            none,
            &[Moving, Moving, Reached],
            false,
            0,
            "Moving, Moving moved, Reached moved",
        ),
        (
            "it moves the wrong way, and is sent to once",
            slow,
            &[Moving, Away, Away, Moving, Reached],
            true,
            1,
            "Moving, Away moved, Away sent, Moving sent, Reached sent moved",
        ),
        (
            "on the second look somebody else moves it again",
            slow,
            &[Moving, Away, Moving, Away, Away, Reached],
            true,
            1,
            "Moving, Away moved, Moving sent, Away sent moved, Away sent, Reached sent",
        ),
        (
            "it is there before the status ends",
            slow,
            &[Away, Moving, Reached],
            true,
            1,
            "Away, Moving sent, Reached sent moved",
        ),
        (
            "the status never ends",
            &["never-ends"],
            &[Away, Away, Moving, Reached],
            true,
            1,
            "Away, Away sent, Moving sent, Reached sent moved",
        ),
        (
            "the status ends too early",
            none,
            &[Away, Moving, Moving, Moving, Moving, Reached],
            true,
            1,
            "Away, Moving sent, Moving sent moved over, Moving sent moved over, Moving sent moved over, Reached sent moved over",
        ),
        (
            "looks that fail do not matter while a status is there",
            slow,
            &[Away, Flaps, Flaps, Reached],
            true,
            1,
            "Away, Flaps sent, Flaps sent, Reached sent",
        ),
        ("the answer is all there is", none, &[Blind], true, 1, "Blind, Blind sent, Blind sent over"),
        (
            "the answer is lost, the trace is there",
            &["reply-lost"],
            &[Away, Moving, Reached],
            true,
            1,
            "Away, Moving sent, Reached sent moved",
        ),
        (
            "the answer is lost, and it is done",
            &["reply-lost"],
            &[Away, Reached],
            true,
            1,
            "Away, Reached sent",
        ),
        (
            "the request is lost, there is no trace",
            &["reset-before"],
            &[Away, Away, Away, Reached],
            true,
            1,
            "Away, Away sent, Away, Reached sent",
        ),
        (
            "the request is lost while somebody else moves it the wrong way",
            &["reset-before"],
            &[Away, Moving, Away, Away, Reached],
            true,
            1,
            "Away, Moving sent, Away sent moved, Away sent, Reached sent",
        ),
    ] {
        let world = World::new(faults, sees).await;
        assert_eq!(world.run(WISH).await, done(value), "{what}");
        assert_eq!((world.sent(), world.known().join(", ").as_str()), (sent, known), "{what}");
    }
}

/// A status that nobody knows any more does not end a change, and what is seen of the resource meanwhile is kept: a restart
/// is over when the VM was seen moving and runs again.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_is_gone_does_not_end_a_change() {
    let sees = [&[Away; 10][..], &[Moving; 30], &[Reached]].concat();
    let world = World::new(&["status-gone"], &sees).await;
    assert_eq!(world.run(WISH).await, done(true));
    assert_eq!((world.sent(), world.known().len()), (1, sees.len()));
    assert_eq!(world.known().last().unwrap(), "Reached sent moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_says_why() {
    // The lab's own VM runs on a cluster that is out of touch: the status ends as failed after 25 minutes.
    let failing = r#"test::wish("pos-01")"#;
    for (sees, message, hints) in [
        (&[Away][..], "Timedout", vec!["explained"]),
        (&[Away, Flaps], "Timedout", vec!["explained"]),
        (&[Away, Away, Away, Broken], "it is broken", vec![]),
        (&[Broken], "it is broken", vec![]),
    ] {
        let world = World::new(&[], sees).await;
        match world.run(failing).await {
            Driven::Ended(RunEnd::Failed { failure, .. }) => {
                assert!(failure.message.contains(message), "{sees:?}: {failure:?}");
                assert_eq!(failure.hints, hints, "{sees:?}: {failure:?}");
            }
            other => panic!("{sees:?}: {other:?}"),
        }
    }
    // A status that says `Failed` does not decide against a resource that is as wished.
    let world = World::new(&[], &[Away]).await;
    world.run(failing).await;
    let before = vec![Away; world.known().len() - 1];
    let world = World::new(&[], &[before.as_slice(), &[Reached]].concat()).await;
    assert_eq!(world.run(failing).await, done(true));
    assert_eq!(world.known().last().unwrap(), "Reached sent");
    // What never comes to rest is for a person.
    let world = World::new(&[], &[Moving]).await;
    assert!(matches!(world.run(WISH).await, Driven::Parked(Park::Exhausted { .. }, None)));
    assert_eq!(world.sent(), 0);
}

/// What leaves no trace is never adopted and never sent by a later look.
#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_no_trace_is_sent_from_the_beginning_alone() {
    const ASK: &str = r#"test::ask("file-01")"#;
    let world = World::new(&["slow"], &[Moving, Moving, Reached]).await;
    assert_eq!(world.run(ASK).await, done(true));
    assert_eq!(
        (world.sent(), world.known().join(", ").as_str()),
        (1, "Moving, Moving sent, Reached sent moved")
    );

    for (see, end) in
        [(Reached, done(true)), (Blind, Driven::Ended(RunEnd::Succeeded { value: Value::Null }))]
    {
        let world = World::new(&["reply-lost"], &[Away, see]).await;
        let run = world.prepare(ASK).await;
        assert!(matches!(world.drive(&run).await, Driven::Parked(Park::Undecided { .. }, None)));
        assert_eq!(world.known(), ["Away"], "nobody looks before a person has answered");
        world.process().answer(&run, "done", "ada").await.unwrap();
        assert_eq!(world.drive(&run).await, end);
        assert_eq!(world.sent(), 1);
    }
    // Whoever is told that it was sent waits for its end, however it looks.
    let world = World::new(&["reply-lost"], &[Away, Away, Moving, Reached]).await;
    let run = world.prepare(ASK).await;
    world.drive(&run).await;
    world.process().answer(&run, "done", "ada").await.unwrap();
    assert_eq!(world.drive(&run).await, done(true));
    assert_eq!(
        world.known(),
        ["Away", "Away sent moved", "Moving sent moved over", "Reached sent moved over"]
    );
}

/// A process dies right after its request took effect, whether that left from the beginning or from a later look.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_between_request_and_record_a_look_decides() {
    for (before, after, known) in [
        (&[Away][..], &[Moving, Reached][..], "Moving sent, Reached sent moved"),
        (&[Away], &[Reached], "Reached sent"),
        (&[Moving, Away, Away], &[Moving, Reached], "Moving sent, Reached sent moved"),
        (&[Moving, Away, Away], &[Reached], "Reached sent"),
    ] {
        let world = World::new(&[], before).await;
        let run = world.prepare(WISH).await;
        let (dies, mut died) = tokio::sync::mpsc::unbounded_channel();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Mutex::new(held);
        world.lab.on_write(move |_| {
            // The answer does not leave before the process is gone.
            let _ = dies.send(());
            let _ = held.lock().unwrap().recv();
        });
        let first = world.process();
        tokio::select! {
            biased;
            _ = died.recv() => {}
            driven = first.drive(&run, Duration::from_secs(1_000_000)) => panic!("{driven:?}"),
        }
        first.interrupt();
        drop(first);
        // What the dead one still sees on its way down is its own affair.
        let sees = Arc::new(Mutex::new(after.iter().copied().collect()));
        let told = Told { sees, known: Arc::default(), ..world.told };
        let world = World { told, journal: Arc::new(world.journal.crash()), ..world };
        drop(release);
        assert_eq!(world.drive(&run).await, done(true), "{before:?} {after:?}");
        assert_eq!((world.sent(), world.known().join(", ").as_str()), (1, known), "{before:?} {after:?}");
    }
}

/// The states that are stored, as an upgrade will meet them.
#[tokio::test(flavor = "multi_thread")]
async fn each_stage_is_stored() {
    for (sees, stages) in [
        (&[Moving, Away, Away, Away, Reached][..], &["unsent", "intended", "following"][..]),
        (&[Away, Away, Moving, Moving, Moving, Reached], &["following", "watching"]),
    ] {
        let world = World::new(&[], sees).await;
        let run = world.prepare(WISH).await;
        world.drive(&run).await;
        let records = world.process().journal().records(&run, 0).await.unwrap();
        let mut met: Vec<String> = records
            .iter()
            .filter_map(|record| match record.event().unwrap() {
                Event::StepAccepted { continuation, .. } => Some(continuation["at"]["stage"].clone()),
                _ => None,
            })
            .map(|stage| match stage {
                Value::String(word) => word,
                other => other.as_object().unwrap().keys().next().unwrap().clone(),
            })
            .collect();
        met.dedup();
        assert_eq!(met, stages, "{sees:?}");
    }
}
