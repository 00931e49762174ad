//! The receive loop: keeps the free slots full, and ends the work in time.
//!
//! It waits for one of five things at once: the order to stop, a job that ends, one that gives up its slot
//! to wait, the answer of the one receive that may be pending, the time for another turn. It turns at least every
//! [`MAX_TURN`], so that a loop that does not is one that hangs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use soci_jobs::{Outcome, Why, reasons};
use soci_queue::{JobHistory, Message, Operation, Queue, QueueError, Receive};
use soci_text::error_chain;
use tokio::sync::{oneshot, watch as channel};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::call::call;
use super::context::ConsumerContext;
use super::intake::{Away, Intake, Poll};
use super::job_task::{Arrival, Entry, SlotLeft, attend};
use super::outage::Allowance;
use crate::event::{Event, QueueKind};
use crate::handler::Handler;
use crate::job_in_hand::JobId;

/// Longest time between two turns of the receive loop, as [`Event::Turned`] tells of them: it turns
/// also while it waits for a message or a slot.
pub const MAX_TURN: Duration = Duration::from_secs(5);

/// How long a message that is to be handled alone waits for the other jobs to end, while nothing is
/// received. After that it goes back to its queue.
pub const ALONE_WITHIN: Duration = Duration::from_mins(5);

/// Longest time to give back what was not finished by the drain deadline.
pub const GIVE_BACK_TIME: Duration = Duration::from_secs(10);

/// What became of the jobs that ran when the service was told to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Jobs that came to an end by themselves.
    pub finished: usize,
    /// Jobs that were stopped, or not begun, and given back.
    pub given_back: usize,
    /// Jobs of which the message could not be given back in time, so that it comes again when its
    /// visibility timeout ends.
    pub cut_off: usize,
}

/// The receive loop of a service.
pub(super) struct ReceiveLoop<Q, H> {
    context: Arc<ConsumerContext<Q, H>>,
    intake: Intake,
    /// A task for each message in hand.
    jobs: JoinSet<(JobId, SlotLeft)>,
    /// The message in hand that is to be handled alone.
    alone: Option<Alone>,
    receiving: Option<Receiving>,
    /// Tells the jobs to stop.
    stop: channel::Sender<bool>,
    /// How many messages were received so far.
    received: u64,
}

/// A message that is to be handled alone.
struct Alone {
    id: JobId,
    /// Lets it begin; dropped, it goes back.
    begin: Option<oneshot::Sender<()>>,
    /// Until when it waits for that.
    until: Instant,
}

/// A receive that has not answered.
struct Receiving {
    poll: Poll,
    asked: Instant,
    answer: Pin<Box<dyn Future<Output = Result<Vec<Message>, QueueError>> + Send>>,
}

/// What a receive brought.
struct Received {
    poll: Poll,
    asked: Instant,
    result: Result<Vec<Message>, QueueError>,
}

impl<Q: Queue, H: Handler> ReceiveLoop<Q, H> {
    pub(super) fn new(context: Arc<ConsumerContext<Q, H>>) -> Self {
        let intake = Intake::new(context.queues.backfill.is_some(), &context.settings);
        let (stop, _) = channel::channel(false);
        let jobs = JoinSet::new();
        Self { context, intake, jobs, alone: None, receiving: None, stop, received: 0 }
    }

    /// Receives until `shutdown` is done or the live queue has been unusable for too long, then drains.
    pub(super) async fn run(
        mut self,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Drained, QueueError> {
        tokio::pin!(shutdown);
        let broken = loop {
            let now = Instant::now();
            self.context.events.tell(&Event::Turned);
            self.let_alone_begin(now);
            self.context.forget_outage(now);
            let (free, resume_at) = self.free_slots(now);
            if self.receiving.is_none() && free > 0 {
                self.receiving = Some(self.receive(free, now));
            }
            let turn_ends = (now + MAX_TURN).min(resume_at.unwrap_or(now + MAX_TURN));
            tokio::select! {
                biased;
                () = &mut shutdown => break None,
                Some(ended) = self.jobs.join_next(), if !self.jobs.is_empty() => {
                    self.ended(&ended);
                }
                () = self.context.slots.freed() => {}
                received = answer(&mut self.receiving) => {
                    if let Err(error) = self.take(received) {
                        break Some(error);
                    }
                }
                () = sleep_until(turn_ends) => {}
            }
        };
        let drained = self.drain().await;
        broken.map_or(Ok(drained), Err)
    }

    /// How many messages may be received now, and when that may have changed by itself.
    fn free_slots(&self, now: Instant) -> (usize, Option<Instant>) {
        if let Some(alone) = &self.alone {
            return (0, alone.begin.as_ref().map(|_| alone.until));
        }
        if self.intake.resume_at() > now {
            return (0, Some(self.intake.resume_at()));
        }
        let parked = self.context.slots.parked();
        let working = self.jobs.len().saturating_sub(parked);
        let free = self.context.settings.max_jobs.saturating_sub(working);
        match self.context.outage().allowance(now) {
            Allowance::All => (free, None),
            Allowance::Probe => (free.min(1), None),
            Allowance::NoneUntil(until) => (0, Some(until)),
        }
    }

    /// Lets the message begin that is to be handled alone, if it is, or gives it back when that takes
    /// too long.
    fn let_alone_begin(&mut self, now: Instant) {
        let Some(alone) = &mut self.alone else { return };
        if self.jobs.len() > 1 && now < alone.until {
            return;
        }
        if let Some(begin) = alone.begin.take()
            && self.jobs.len() == 1
        {
            // It has been stopped if it does not listen any more.
            let _ = begin.send(());
        }
    }

    /// A job has ended.
    fn ended(&mut self, ended: &Result<(JobId, SlotLeft), JoinError>) {
        match ended {
            Ok((id, _)) => {
                self.alone.take_if(|alone| alone.id == *id);
            }
            Err(panic) => tell_of_panic(panic),
        }
        if self.jobs.is_empty() {
            self.alone = None;
        }
    }

    /// Begins a receive for the free slots.
    fn receive(&self, free: usize, now: Instant) -> Receiving {
        let poll = self.intake.next(now);
        let max = free.min(soci_queue::MAX_RECEIVE);
        let visibility = self.context.settings.visibility;
        let receive = Receive { max, wait: poll.wait, visibility };
        let context = self.context.clone();
        let answer = Box::pin(async move {
            let queue = context.queue(poll.queue);
            // The answer of a long poll comes when its wait is over.
            let limit = poll.wait + context.settings.call_timeout;
            call(&context.events, queue, Operation::Receive, limit, queue.receive(receive)).await
        });
        Receiving { poll, asked: now, answer }
    }

    /// Starts what was received. An error is one that lasts.
    fn take(&mut self, Received { poll, asked, result }: Received) -> Result<(), QueueError> {
        self.context.receives(poll.queue).count(result.is_ok());
        match result {
            Ok(messages) => {
                let answered = Event::Answered { queue: poll.queue, messages: messages.len() };
                self.context.events.tell(&answered);
                let (queue, now) = (poll.queue, Instant::now());
                if let Some(since) = self.intake.received(poll, asked, now, messages.len()) {
                    self.context.events.tell(&Event::QueueBack { queue, since });
                }
                for message in messages {
                    self.start(queue, message, self.stop.subscribe());
                }
                Ok(())
            }
            Err(error) => {
                let now = Instant::now();
                let away = self.intake.failed(poll, (asked, now), error.kind, fastrand::f64());
                let Away { since, failures, pause } = away;
                let (queue, next_try) = (poll.queue, now + pause);
                let told = Event::QueueAway { queue, since, failures, next_try, error: &error };
                self.context.events.tell(&told);
                let patience = self.context.settings.patience;
                let broken = self.intake.broken_for(now).is_some_and(|time| time >= patience);
                if broken { Err(error) } else { Ok(()) }
            }
        }
    }

    fn start(&mut self, queue: QueueKind, message: Message, stop: channel::Receiver<bool>) {
        self.received += 1;
        let id = JobId(self.received);
        let mut history = JobHistory::of(&message);
        history.crashes = history.crashes.saturating_add(message.receive_count.saturating_sub(1));
        let entry = self.entry(id, queue, &history);
        self.context.outage().begun(id, Instant::now());
        let arrival = Arrival { id, queue, message, history, entry };
        self.jobs.spawn(attend(self.context.clone(), arrival, stop));
    }

    /// On what condition a message is handled, from what its earlier receives came to.
    fn entry(&mut self, id: JobId, queue: QueueKind, history: &JobHistory) -> Entry {
        let max = self.context.max_receives(queue);
        if history.crashes == 0 {
            return Entry::Slot;
        }
        if history.crashes.saturating_add(1) >= max && self.context.queues.dead_letters.is_some() {
            return Entry::Refused(Outcome::Rejected(process_ended(history.crashes)));
        }
        if self.alone.is_some() {
            let detail = "another message is handled alone";
            return Entry::Refused(Outcome::Postponed(Why::new(BEHIND_ANOTHER, detail)));
        }
        let (begin, may_begin) = oneshot::channel();
        let until = Instant::now() + ALONE_WITHIN;
        self.alone = Some(Alone { id, begin: Some(begin), until });
        Entry::Alone(may_begin)
    }

    /// Ends the work in time: see "Stopping" in the documentation of [`super`].
    async fn drain(mut self) -> Drained {
        let events = self.context.events.clone();
        let deadline = Instant::now() + self.context.settings.drain_deadline;
        events.tell(&Event::Draining { until: deadline });
        info!(jobs = self.jobs.len(), deadline = ?self.context.settings.drain_deadline, "draining");
        let (_, at_once) = channel::channel(true);
        let mut drained = Drained::default();
        if !Q::RECEIVE_OUTLIVES_ITS_CALLER {
            self.receiving = None;
        }
        while !self.jobs.is_empty() || self.receiving.is_some() {
            events.tell(&Event::Turned);
            let busy = !self.jobs.is_empty();
            let stopped = *self.stop.borrow();
            tokio::select! {
                biased;
                Some(ended) = self.jobs.join_next(), if busy => {
                    self.ended(&ended);
                    self.let_alone_begin(Instant::now());
                    match ended {
                        Ok((_, SlotLeft::Finished)) => drained.finished += 1,
                        Ok((_, SlotLeft::GivenBack)) => drained.given_back += 1,
                        Err(_) => drained.cut_off += 1,
                    }
                }
                received = answer(&mut self.receiving) => {
                    // A failure has been told to those who watch, and nothing is lost by it.
                    for message in received.result.unwrap_or_default() {
                        self.start(received.poll.queue, message, at_once.clone());
                    }
                }
                () = sleep_until(deadline), if !stopped => {
                    self.stop.send_replace(true);
                    self.receiving = None;
                }
                () = sleep_until(deadline + GIVE_BACK_TIME) => {
                    drained.cut_off += self.jobs.len();
                    self.jobs.shutdown().await;
                }
                () = sleep_until(Instant::now() + MAX_TURN) => {}
            }
        }
        let Drained { finished, given_back, cut_off } = drained;
        if cut_off == 0 {
            info!(finished, given_back, cut_off, "drained");
        } else {
            warn!(finished, given_back, cut_off, "not everything could be given back");
        }
        drained
    }
}

/// The answer of the receive that is pending; never, if there is none.
async fn answer(receiving: &mut Option<Receiving>) -> Received {
    let Some(pending) = receiving else { return std::future::pending().await };
    let result = pending.answer.as_mut().await;
    let received = Received { poll: pending.poll, asked: pending.asked, result };
    *receiving = None;
    received
}

/// Reason of a message that came together with one that is handled alone, and would have to be as well.
const BEHIND_ANOTHER: &str = "behind-another";

/// Why a message is given up that was received again and again and never brought to an end.
fn process_ended(crashes: u32) -> Why {
    let detail = format!(
        "it was received {crashes} times and nothing came of it: each time the process ended while it \
         had the message, or lost it, or its queues took neither a copy nor a letter. Look at why tasks \
         stopped and at the log of these times; most often it is memory, and a larger task helps"
    );
    Why::new(reasons::PROCESS_ENDED, detail)
}

/// A panic of a handler is caught where it runs; one beside it must not go unseen.
fn tell_of_panic(panic: &JoinError) {
    error!(reason = error_chain(panic), "the task of a job failed; its message will come again");
}
