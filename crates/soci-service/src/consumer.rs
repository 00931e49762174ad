//! Takes jobs off queues and sees each of them to an end.
//!
//! [`run`] receives as many messages as it has free slots and hands each to the [`Handler`]. While
//! that works, the message's visibility timeout is extended. What then becomes of the message:
//!
//! | how it ended | the message |
//! | --- | --- |
//! | done, or nothing to do | deleted |
//! | permanent failure, or too long | sent to the dead-letter queue with its reason, then deleted |
//! | failure that may pass, or panic | a copy, visible after a while that grows with every failure |
//! | the same, and the job is too old | sent to the dead-letter queue with its last reason, then deleted |
//! | only a registry says that it has ended | a copy for a second look a minute later |
//! | the timeout could not be extended | left: the queue gives it to somebody else |
//! | the service stops | a copy, visible at once |
//!
//! Nothing else deletes a message, and a copy is sent before its original is deleted (`settle.rs`,
//! and `next_step.rs` of `soci-jobs`). All of it may happen twice, as queues deliver at least once: jobs must bear that.
//!
//! # Crashes
//!
//! A copy counts its receives from one. So a message that is received again is one on which a process
//! died, or which was lost. It is handled alone: only when no other job is in hand, and nothing is
//! received until it has ended, so that a job that kills the process takes no neighbour with it. At most
//! one such message is in hand; others that come with it go back. If other jobs run for longer than
//! [`ALONE_WITHIN`] it goes back, too, for the longest time, as the intake stands still meanwhile. At
//! the last receive that the queue allows it is not tried again but put on the dead-letter queue, which
//! the queue itself would do without a reason.
//!
//! # Outages
//!
//! When images fail alike for what is of the registry, one job at a time goes on, see `outage.rs`.
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

mod call;
mod context;
mod intake;
mod job_task;
mod lease;
mod outage;
mod receive_loop;
mod settings;
mod settle;
mod slots;
mod wall_clock;
mod watching;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;

use soci_queue::{Queue, QueueError};
use tokio::task::JoinSet;

pub use context::Queues;
pub use receive_loop::{ALONE_WITHIN, Drained, GIVE_BACK_TIME, MAX_TURN};
pub use settings::{ConsumerSettings, SettingsError};
pub use soci_retry::Backoff;

use crate::event::Events;
use crate::handler::Handler;
use context::ConsumerContext;
use receive_loop::ReceiveLoop;

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
/// `events` and tried again; [`ConsumerError`] has the exceptions.
///
/// Dropping the future stops everything without giving anything back: the messages come again when
/// their visibility timeouts end.
pub async fn run<Q: Queue, H: Handler>(
    queues: Queues<Q>,
    handler: H,
    events: Events,
    settings: ConsumerSettings,
    shutdown: impl Future<Output = ()>,
) -> Result<Drained, ConsumerError> {
    settings.check()?;
    let context = Arc::new(ConsumerContext::new(queues, handler, events, settings));
    // Ends when it is dropped, which is when this function returns.
    let mut watching = JoinSet::new();
    watching::begin(&mut watching, &context);
    ReceiveLoop::new(context).run(shutdown).await.map_err(ConsumerError::Queue)
}
