//! A service whose jobs do what their messages say, and what was seen of it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use soci_announce::Outboxes;
use soci_indexer::{Reason, Report};
use soci_jobs::{JobSlot, Outcome, WaitsFor, Why};
use soci_oci::{Digest, Repository};
use soci_push::Job;
use soci_queue::{
    Backlog, MAX_WAIT, Message, MessageId, Operation, Outgoing, Queue, QueueError, Receipt, Receive,
};
use soci_sandbox::{MemoryQueue, MemoryQueueOptions, Presence, Redrive};
use soci_text::Runbook;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::about::About;
use crate::announcer::Announcer;
use crate::consumer::{Backoff, ConsumerError, ConsumerSettings, Drained, Queues, run};
use crate::event::{Event, EventSink, Events, QueueKind};
use crate::handler::Handler;
use crate::job_in_hand::{JobId, JobInHand};
use crate::job_log::JobLog;
use crate::status_store::StatusStore;

/// A service that runs.
pub(super) struct Service {
    pub(super) live: MemoryQueue,
    pub(super) backfill: MemoryQueue,
    pub(super) dead: MemoryQueue,
    pub(super) seen: Arc<Seen>,
    pub(super) status_store: Arc<StatusStore>,
    pub(super) started: Instant,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<Drained, ConsumerError>>,
}

/// What a service has; all but the live queue may be left out.
pub(super) struct Setup {
    pub(super) live: MemoryQueue,
    pub(super) dead: MemoryQueue,
    pub(super) backfill: bool,
    pub(super) dead_letters: bool,
    pub(super) settings: ConsumerSettings,
    /// Where ends of images are announced.
    pub(super) outboxes: Outboxes,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            live: MemoryQueue::named("live"),
            dead: MemoryQueue::named("dead"),
            backfill: true,
            dead_letters: true,
            settings: settings(),
            outboxes: Outboxes::default(),
        }
    }
}

/// One job at once, and little waiting for the next try.
pub(super) fn settings() -> ConsumerSettings {
    let retry = Backoff { first: Duration::from_secs(30), max: Duration::from_mins(15) };
    ConsumerSettings { max_jobs: 1, retry, ..ConsumerSettings::default() }
}

impl Setup {
    /// A service with so many slots.
    pub(super) fn slots(max_jobs: usize) -> Self {
        Self { settings: ConsumerSettings { max_jobs, ..settings() }, ..Self::default() }
    }

    /// A service with so many slots, on a live queue that moves messages after five receives, as the
    /// one of the template does, and without a backfill queue.
    pub(super) fn as_deployed(max_jobs: usize) -> Self {
        let dead = MemoryQueue::named("dead");
        let redrive = Redrive { dead_letters: dead.clone(), max_receives: 5 };
        let live = MemoryQueue::new(MemoryQueueOptions {
            name: "live".to_owned(),
            redrive: Some(redrive),
            ..MemoryQueueOptions::default()
        });
        Self { live, dead, backfill: false, ..Self::slots(max_jobs) }
    }

    /// The same on the same queues, as a service that starts after this one has.
    pub(super) fn again(&self) -> Self {
        let (live, dead) = (self.live.clone(), self.dead.clone());
        Self { live, dead, outboxes: self.outboxes.clone(), ..*self }
    }

    /// The service runs on queues that behave like those of a server.
    pub(super) fn start(self) -> Service {
        self.start_on(Remote)
    }

    /// The service runs on the queues in memory as they are.
    pub(super) fn start_in_process(self) -> Service {
        self.start_on(|queue| queue)
    }

    fn start_on<Q: Queue>(self, reach: impl Fn(MemoryQueue) -> Q) -> Service {
        let seen = Arc::new(Seen::new());
        let (backfill, dead) = (MemoryQueue::named("backfill"), self.dead.clone());
        let queues = Queues {
            live: reach(self.live.clone()),
            backfill: self.backfill.then(|| reach(backfill.clone())),
            dead_letters: self.dead_letters.then(|| reach(dead.clone())),
            runbook: Runbook::default(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let (handler, sink): (_, Arc<dyn EventSink>) = (Script(seen.clone()), seen.clone());
        let status_store = Arc::new(StatusStore::new(About::THIS));
        let events = Events::to([
            sink,
            status_store.clone(),
            Arc::new(JobLog),
            Arc::new(Announcer::new(self.outboxes)),
        ]);
        let running = tokio::spawn(run(queues, handler, events, self.settings, async move {
            stopped.await.unwrap_or_default();
        }));
        let (live, started) = (self.live, seen.started);
        Service { live, backfill, dead, seen, status_store, started, stop, running }
    }
}

/// A queue of which receives go on when they are dropped, as a server does that has not noticed that
/// its client hung up. What such a receive takes is hidden from everybody.
#[derive(Clone, Debug)]
struct Remote(MemoryQueue);

impl Queue for Remote {
    fn name(&self) -> &str {
        self.0.name()
    }

    async fn receive(&self, receive: Receive) -> Result<Vec<Message>, QueueError> {
        let queue = self.0.clone();
        let answer = tokio::spawn(async move { queue.receive(receive).await });
        answer.await.expect("the queue does not panic")
    }

    async fn set_visibility(&self, receipt: &Receipt, time: Duration) -> Result<(), QueueError> {
        self.0.set_visibility(receipt, time).await
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), QueueError> {
        self.0.delete(receipt).await
    }

    async fn send_after(
        &self,
        message: &Outgoing,
        delay: Duration,
    ) -> Result<MessageId, QueueError> {
        self.0.send_after(message, delay).await
    }

    async fn backlog(&self) -> Result<Backlog, QueueError> {
        self.0.backlog().await
    }

    async fn max_receives(&self) -> Result<Option<u32>, QueueError> {
        self.0.max_receives().await
    }
}

impl Service {
    /// Lets so many seconds pass.
    pub(super) async fn pass(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    /// Lets time pass until so many seconds after the start.
    pub(super) async fn until(&self, seconds: u64) {
        tokio::time::sleep_until(self.started + Duration::from_secs(seconds)).await;
    }

    /// Tells the service to stop, and how it ended.
    pub(super) async fn end(self) -> Drained {
        self.stop.send(()).expect("the service runs");
        self.running.await.expect("the service does not panic").expect("the queues work")
    }

    /// The process dies: nothing is given back, and calls that are under way have no effect any more.
    /// Only what a receive may still take is lost until its timeout ends.
    pub(super) async fn kill(self) {
        self.running.abort();
        let _ = self.running.await;
        sleep(MAX_WAIT).await;
        self.live.heal();
        self.dead.heal();
    }

    /// How the service ended by itself.
    pub(super) async fn ended(self) -> Result<Drained, ConsumerError> {
        self.running.await.expect("the service does not panic")
    }
}

pub(super) async fn send(queue: &MemoryQueue, bodies: &[&str]) {
    for body in bodies {
        let message = Outgoing { body: (*body).to_owned(), group: None, attributes: Vec::new() };
        queue.send(&message).await.expect("the queue works");
    }
}

/// How many messages of a queue are visible.
pub(super) fn visible(queue: &MemoryQueue) -> usize {
    queue.messages().iter().filter(|found| found.presence == Presence::Visible).count()
}

/// What a service was seen to do. Times are whole seconds since the start.
pub(super) struct Seen {
    pub(super) started: Instant,
    running: AtomicUsize,
    most: AtomicUsize,
    /// Whether the registry is away.
    pub(super) away: AtomicBool,
    /// Told when a job has begun that kills the process.
    pub(super) poisoned: Notify,
    events: Mutex<Vec<(u64, Told)>>,
    starts: Mutex<Vec<(u64, String)>>,
    stops: Mutex<Vec<(u64, String)>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told {
    Turn,
    Answered(QueueKind, usize),
    Received(JobId, QueueKind),
    Ended(JobId, &'static str, &'static str, Duration),
    Detail(String),
    Heartbeat(bool),
    Failed(String, Operation),
    Counted(QueueKind, Backlog),
    Waits(JobId),
    GoesOn(JobId),
    Outage(&'static str, Reason),
    Draining,
}

impl Seen {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            away: AtomicBool::new(false),
            poisoned: Notify::new(),
            events: Mutex::default(),
            starts: Mutex::default(),
            stops: Mutex::default(),
        }
    }

    /// Bodies of the messages whose handling began, and when.
    pub(super) fn starts(&self) -> Vec<(u64, String)> {
        self.starts.lock().unwrap().clone()
    }

    /// Those whose handling was broken off.
    pub(super) fn stops(&self) -> Vec<(u64, String)> {
        self.stops.lock().unwrap().clone()
    }

    /// Most jobs that ran at once.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    pub(super) fn events(&self) -> Vec<(u64, Told)> {
        self.events.lock().unwrap().clone()
    }

    /// When what was told for which `pick` is true.
    pub(super) fn times(&self, pick: impl Fn(&Told) -> bool) -> Vec<u64> {
        self.events().iter().filter(|(_, event)| pick(event)).map(|(at, _)| *at).collect()
    }

    /// The outcomes with their reasons, and when they were.
    pub(super) fn outcomes(&self) -> Vec<(u64, &'static str, &'static str)> {
        let outcome = |(at, event): &(u64, Told)| match event {
            Told::Ended(_, label, reason, _) => Some((*at, *label, *reason)),
            _ => None,
        };
        self.events().iter().filter_map(outcome).collect()
    }

    /// What the last outcome says to people.
    pub(super) fn last_detail(&self) -> String {
        let detail = |(_, event): &(u64, Told)| match event {
            Told::Detail(detail) => Some(detail.clone()),
            _ => None,
        };
        self.events().iter().rev().find_map(detail).expect("a job has ended")
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    fn note(&self, told: Told) {
        self.events.lock().unwrap().push((self.now(), told));
    }
}

impl EventSink for Seen {
    fn event(&self, event: &Event<'_>) {
        match *event {
            Event::Turned => self.note(Told::Turn),
            Event::Answered { queue, messages } => self.note(Told::Answered(queue, messages)),
            Event::JobReceived { job } => self.note(Told::Received(job.id, job.queue)),
            Event::JobEnded { job, end, elapsed, .. } => {
                self.note(Told::Ended(job.id, end.label(), end.reason(), elapsed));
                self.note(Told::Detail(end.detail().to_owned()));
            }
            Event::Heartbeat { ok } => self.note(Told::Heartbeat(ok)),
            Event::QueueFailed { queue, operation } => {
                self.note(Told::Failed(queue.to_owned(), operation));
            }
            Event::Counted { queue, backlog } => self.note(Told::Counted(queue, backlog)),
            Event::JobWaits { job } => self.note(Told::Waits(job.id)),
            Event::JobGoesOn { job } => self.note(Told::GoesOn(job.id)),
            Event::OutageBegan { reason, .. } => self.note(Told::Outage("began", reason)),
            Event::OutageLasts { reason, .. } => self.note(Told::Outage("lasts", reason)),
            Event::OutageEnded { reason, .. } => self.note(Told::Outage("ended", reason)),
            Event::OutageForgotten { reason, .. } => self.note(Told::Outage("forgotten", reason)),
            Event::Draining { .. } => self.note(Told::Draining),
            _ => {}
        }
    }
}

/// Does what a message says: works for some seconds, then ends so. `done 10` has nothing to do after
/// ten seconds, `built` and `there` have an index then. The others are `reject`, `fail` and `panic`; `index`, which needs the registry;
/// `gone` and `refused`, which it says of an image, and `gone-once`, which it says the first time;
/// `wait`, which waits for another job before it works; and `poison`, which kills the process.
struct Script(Arc<Seen>);

impl Handler for Script {
    fn name_image(&self, job: &JobInHand, message: &Message) {
        job.name_image(&Job {
            repository: Repository::new("r.example", "app").unwrap(),
            digest: Digest::sha256_of(message.body.as_bytes()),
            tag: None,
            event_id: None,
            since: None,
        });
    }

    async fn handle(
        &self,
        job: &Arc<JobInHand>,
        message: &Message,
        _: &Events,
        slot: &dyn JobSlot,
    ) -> Outcome {
        self.name_image(job, message);
        let before = self.0.starts().iter().filter(|(_, body)| *body == message.body).count();
        let at = self.0.now();
        self.0.starts.lock().unwrap().push((at, message.body.clone()));
        let running = self.0.running.fetch_add(1, Ordering::Relaxed) + 1;
        self.0.most.fetch_max(running, Ordering::Relaxed);
        let mut guard = StopGuard { seen: &self.0, body: &message.body, is_done: false };
        let mut words = message.body.split(' ');
        let what = words.next().unwrap_or_default();
        let seconds = words.next().map_or(0, |seconds| seconds.parse().unwrap());
        if what == "poison" {
            self.0.poisoned.notify_one();
            std::future::pending::<()>().await;
        }
        if what == "wait" {
            if !slot.leave(WaitsFor::SameImage) {
                guard.is_done = true;
                return Outcome::Postponed(Why::new("same-image", "too many wait"));
            }
            sleep(Duration::from_secs(seconds)).await;
            slot.take_again().await;
        } else {
            sleep(Duration::from_secs(seconds)).await;
        }
        guard.is_done = true;
        let detail = format!("{what} after {seconds} s");
        match what {
            "built" => report(false).into(),
            "there" => report(true).into(),
            "reject" => Outcome::Rejected(Why::new("bad", detail)),
            "fail" => Outcome::Failed(Why::new("weak", detail)),
            "panic" => panic!("{detail}"),
            "index" if self.0.away.load(Ordering::Relaxed) => {
                Outcome::Failed(Why::found(Reason::RegistryUnavailable, detail))
            }
            "index" => Outcome::Skipped(Why::found(Reason::NothingToIndex, detail)),
            "gone" => Outcome::Skipped(Why::found(Reason::ImageGone, detail)),
            "gone-once" if before == 0 => Outcome::Skipped(Why::found(Reason::TagGone, detail)),
            "refused" => Outcome::Rejected(Why::found(Reason::RegistryRefused, detail)),
            _ => Outcome::Skipped(Why::new("no-work", detail)),
        }
    }
}

/// What is said of an index.
fn report(already_there: bool) -> Report {
    Report {
        already_there,
        image: Digest::sha256_of(b"image"),
        version: soci_manifest::Version::V2,
        index: Digest::sha256_of(b"index"),
        indexes: Vec::new(),
        tag: Some("1-soci".parse().unwrap()),
        layers: Vec::new(),
        reused: Vec::new(),
        skipped: Vec::new(),
        left_out_platforms: Vec::new(),
        prefetch: Vec::new(),
        prefetch_files: Vec::new(),
        warnings: Vec::new(),
        bytes_read: 30,
        elapsed: Duration::from_secs(3),
    }
}

/// Notices that handling ends, and whether it was broken off.
struct StopGuard<'a> {
    seen: &'a Seen,
    body: &'a str,
    is_done: bool,
}

impl Drop for StopGuard<'_> {
    fn drop(&mut self) {
        self.seen.running.fetch_sub(1, Ordering::Relaxed);
        if !self.is_done {
            self.seen.stops.lock().unwrap().push((self.seen.now(), self.body.to_owned()));
        }
    }
}
