//! Takes jobs off queues and sees each of them to an end.
//!
//! [`run`] receives as many messages as it has free slots and hands each to the [`Handler`]. While
//! that works, the message's visibility timeout is extended. What then becomes of the message:
//!
//! | how it ended | the message |
//! | --- | --- |
//! | done, or nothing to do | deleted |
//! | permanent failure, or too long | sent to the dead-letter queue with its reason, then deleted |
//! | failure that may pass, or panic | hidden for a while that grows with every receive |
//! | the timeout could not be extended | left: the queue gives it to somebody else |
//! | the service stops | visible again at once |
//!
//! Nothing else deletes a message. All of it may happen twice, as queues deliver at least once: jobs
//! must bear that.
//!
//! # Which queue
//!
//! The live queue goes first; the backfill queue is asked for what slots are free just after the
//! live queue turned out to be empty, and never waited for. So a live message waits for a slot behind
//! at most one backfill job, and backfill goes on without a pause while the live queue is empty. Once
//! both are empty the live queue is waited for, [`ConsumerSettings::idle_poll`] at a time, so that
//! new backfill is noticed. See `intake.rs`.
//!
//! # Stopping
//!
//! No new receive is begun. One that waits for messages goes on until it ends by itself: SQS may hand
//! out messages to a connection that was dropped, and those would be hidden for a whole visibility
//! timeout. So an idle service stops when its long poll ends, or at once where
//! [`Queue::RECEIVE_OUTLIVES_ITS_CALLER`] says that nothing can get lost. What the receive still
//! brings is given back at once. Jobs and the receive may go on until
//! [`ConsumerSettings::drain_deadline`]; then the receive is dropped, and the jobs are stopped and
//! given back, which takes at most [`GIVE_BACK_TIME`] more.

mod attend;
mod call;
mod drain;
mod intake;
mod lease;
mod settings;
mod settle;

#[cfg(test)]
mod tests;

use soci_text::error_chain;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use soci_queue::{ErrorKind, Message, Operation, Queue, QueueError, Receive};
use tokio::sync::watch as channel;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{error, warn};

pub use drain::{Drained, GIVE_BACK_TIME};
pub use settings::{ConsumerSettings, SettingsError};
pub use soci_retry::Backoff;

use crate::handler::Handler;
use crate::watch::{Lane, Ticket, Watch};
use attend::{End, attend};
use call::call;
use intake::{Intake, Poll};

/// Longest time between two turns of the receive loop, as [`Watch::turn`] is told of them: it turns
/// also while it waits for a message or a slot.
pub const MAX_TURN: Duration = Duration::from_secs(5);

/// The queues of a service.
#[derive(Clone, Debug)]
pub struct Queues<Q> {
    /// What has just been pushed.
    pub live: Q,
    /// What events missed, worked on when there is room.
    pub backfill: Option<Q>,
    /// Where messages are put that can never be worked off. Without it they are given back like
    /// failures that may pass, and left to the queue's own redrive policy.
    pub dead_letters: Option<Q>,
}

/// Why a service stopped by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// It was not begun: the settings do not fit together.
    #[error("the consumer's settings are wrong")]
    Settings(#[from] SettingsError),
    /// The live queue does not exist or may not be used, and that did not change for
    /// [`ConsumerSettings::patience`]. Jobs that ran have been drained.
    #[error("the live queue cannot be used")]
    Queue(#[source] QueueError),
}

impl ConsumerError {
    /// Whether starting again may help without anybody changing something.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Settings(_) => false,
            Self::Queue(error) => error.is_transient(),
        }
    }
}

/// Works off the queues until `shutdown` is done, then drains. Errors of queues are logged, told to
/// `watch` and tried again; [`ConsumerError`] has the exceptions.
///
/// Dropping the future stops everything without giving anything back: the messages come again when
/// their visibility timeouts end.
pub async fn run<Q: Queue, H: Handler>(
    queues: Queues<Q>,
    handler: H,
    watch: Arc<dyn Watch>,
    settings: ConsumerSettings,
    shutdown: impl Future<Output = ()>,
) -> Result<Drained, ConsumerError> {
    settings.check()?;
    let intake = Intake::new(queues.backfill.is_some(), &settings);
    let shared = Arc::new(Shared { queues, handler, watch, settings });
    let mut counting = JoinSet::new();
    counting.spawn(count_backlogs(shared.clone()));
    let (stop, _) = channel::channel(false);
    let consumer =
        Consumer { shared, intake, jobs: JoinSet::new(), receiving: None, stop, tickets: 0 };
    consumer.run(shutdown).await
}

/// What the loop and its jobs share.
struct Shared<Q, H> {
    queues: Queues<Q>,
    handler: H,
    watch: Arc<dyn Watch>,
    settings: ConsumerSettings,
}

impl<Q: Queue, H> Shared<Q, H> {
    /// The queue of a lane. Without a backfill queue nothing comes from there.
    fn queue(&self, lane: Lane) -> &Q {
        match lane {
            Lane::Live => &self.queues.live,
            Lane::Backfill => self.queues.backfill.as_ref().unwrap_or(&self.queues.live),
        }
    }
}

/// The receive loop.
struct Consumer<Q, H> {
    shared: Arc<Shared<Q, H>>,
    intake: Intake,
    /// A task for each message, which is a taken slot.
    jobs: JoinSet<End>,
    receiving: Option<Receiving>,
    /// Tells the jobs to stop.
    stop: channel::Sender<bool>,
    tickets: u64,
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

impl<Q: Queue, H: Handler> Consumer<Q, H> {
    async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<Drained, ConsumerError> {
        tokio::pin!(shutdown);
        let broken = loop {
            let now = Instant::now();
            self.shared.watch.turn();
            let free = self.shared.settings.max_jobs.saturating_sub(self.jobs.len());
            if self.receiving.is_none() && free > 0 && self.intake.resume_at() <= now {
                self.receiving = Some(self.receive(free, now));
            }
            let resume_at = Some(self.intake.resume_at()).filter(|resume_at| *resume_at > now);
            let turn_ends = (now + MAX_TURN).min(resume_at.unwrap_or(now + MAX_TURN));
            tokio::select! {
                biased;
                () = &mut shutdown => break None,
                Some(ended) = self.jobs.join_next(), if !self.jobs.is_empty() => {
                    slot_freed(&ended);
                }
                received = answer(&mut self.receiving) => {
                    if let Err(error) = self.take(received) {
                        break Some(error);
                    }
                }
                () = sleep_until(turn_ends) => {}
            }
        };
        let drained = self.drain().await;
        broken.map_or(Ok(drained), |error| Err(ConsumerError::Queue(error)))
    }

    /// Begins a receive for the free slots.
    fn receive(&self, free: usize, now: Instant) -> Receiving {
        let poll = self.intake.next(now);
        let max = free.min(soci_queue::MAX_RECEIVE);
        let visibility = self.shared.settings.visibility;
        let receive = Receive { max, wait: poll.wait, visibility };
        let shared = self.shared.clone();
        let answer = Box::pin(async move {
            let queue = shared.queue(poll.lane);
            // The answer of a long poll comes when its wait is over.
            let limit = poll.wait + shared.settings.call_timeout;
            call(&*shared.watch, queue, Operation::Receive, limit, queue.receive(receive)).await
        });
        Receiving { poll, asked: now, answer }
    }

    /// Starts what was received. An error is one that lasts.
    fn take(&mut self, Received { poll, asked, result }: Received) -> Result<(), QueueError> {
        match result {
            Ok(messages) => {
                self.shared.watch.answered(poll.lane, messages.len());
                self.intake.received(poll, asked, Instant::now(), messages.len());
                for message in messages {
                    self.start(poll.lane, message, self.stop.subscribe());
                }
                Ok(())
            }
            Err(error) => {
                let now = Instant::now();
                let pause = self.intake.failed(poll, now, error.kind, fastrand::f64());
                let queue = self.shared.queue(poll.lane).name();
                let lane = poll.lane.label();
                let (reason, seconds) = (error_chain(&error), pause.as_secs_f64());
                let patience = self.shared.settings.patience;
                let broken = self.intake.broken_for(now).is_some_and(|time| time >= patience);
                if error.kind == ErrorKind::Permanent {
                    error!(queue, lane, reason, again_in = seconds, "the queue cannot be used");
                } else {
                    warn!(queue, lane, reason, again_in = seconds, "no messages received");
                }
                if broken { Err(error) } else { Ok(()) }
            }
        }
    }

    fn start(&mut self, lane: Lane, message: Message, stop: channel::Receiver<bool>) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.jobs.spawn(attend(self.shared.clone(), lane, ticket, message, stop));
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

/// A panic of a handler is caught where it runs; one beside it must not go unseen.
fn slot_freed(ended: &Result<End, JoinError>) {
    if let Err(panic) = ended {
        error!(
            reason = error_chain(panic),
            "the task of a job failed; its message will come again"
        );
    }
}

/// Counts the messages of the queues again and again.
async fn count_backlogs<Q: Queue, H: Handler>(shared: Arc<Shared<Q, H>>) {
    let Shared { queues, watch, settings, .. } = &*shared;
    let mut interval = tokio::time::interval(settings.backlog_interval);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let lanes = [(Lane::Live, Some(&queues.live)), (Lane::Backfill, queues.backfill.as_ref())];
    loop {
        interval.tick().await;
        for (lane, queue) in lanes {
            let Some(queue) = queue else { continue };
            let limit = settings.call_timeout;
            match call(&**watch, queue, Operation::Backlog, limit, queue.backlog()).await {
                Ok(backlog) => watch.backlog(lane, backlog),
                Err(error) => {
                    warn!(
                        queue = queue.name(),
                        reason = error_chain(&error),
                        "messages not counted"
                    );
                }
            }
        }
    }
}
