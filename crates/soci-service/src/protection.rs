//! Keeps ECS from stopping a task that is at work when the service scales in or is deployed.
//!
//! While jobs run, the task is protected for [`ProtectionSettings::lifetime`], renewed at half of
//! that; when none has run for [`ProtectionSettings::linger`], it is released. A task that is never
//! idle would keep a deployment waiting for ever, so after [`ProtectionSettings::longest`] it is
//! released for [`ProtectionSettings::pause`], jobs or not. A process that dies leaves a protection
//! behind that ends by itself. Nothing waits for the protection: without it a job
//! is stopped with the task and comes again.

mod agent;
mod guard;
mod settings;

#[cfg(test)]
mod tests;

use std::future::Future;

use soci_text::error_chain;
use tokio::sync::watch as channel;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

pub use agent::{EcsAgent, ProtectionError};
pub use settings::{Minutes, Protection, ProtectionSettings};

use crate::event::{Event, EventSink};
use guard::Guard;

/// What can protect the task that this process is.
pub trait TaskProtection: Send + Sync {
    /// Why it could not.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Protects the task for this long from now on, or releases it.
    fn set(&self, protection: Protection) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Counts the jobs in hand.
#[derive(Debug)]
pub struct OpenJobs(channel::Sender<usize>);

impl OpenJobs {
    /// A count, and where to follow it.
    pub fn new() -> (Self, channel::Receiver<usize>) {
        let (sender, receiver) = channel::channel(0);
        (Self(sender), receiver)
    }
}

impl EventSink for OpenJobs {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::JobReceived { .. } => self.0.send_modify(|open| *open += 1),
            Event::JobEnded { .. } => self.0.send_modify(|open| *open = open.saturating_sub(1)),
            _ => {}
        }
    }
}

/// Protects the task while there are jobs, until `stop` is done, for which the end of the draining is
/// the right time; then releases it. A failure is logged when it is the first since a success.
pub async fn protect<P: TaskProtection>(
    task: P,
    mut jobs: channel::Receiver<usize>,
    settings: ProtectionSettings,
    stop: impl Future<Output = ()>,
) {
    tokio::pin!(stop);
    let mut guard = Guard::new(settings);
    let mut fails = false;
    loop {
        guard.observe(*jobs.borrow_and_update() > 0, Instant::now());
        let due = guard.due();
        tokio::select! {
            biased;
            () = &mut stop => break,
            changed = jobs.changed() => if changed.is_err() {
                // Nobody counts any more, so no job will ever begin or end.
                (&mut stop).await;
                break;
            },
            () = until(due) => {
                if let Some((_, wanted)) = due {
                    set(&task, &mut guard, wanted, &mut fails).await;
                }
            }
        }
    }
    if guard.is_maybe_protected() {
        set(&task, &mut guard, Protection::Released, &mut fails).await;
    }
}

async fn set<P: TaskProtection>(task: &P, guard: &mut Guard, wanted: Protection, fails: &mut bool) {
    guard.asked(wanted);
    let asked = Instant::now();
    match task.set(wanted).await {
        Ok(()) => {
            if *fails {
                info!(%wanted, "scale-in protection works again");
            }
            *fails = false;
            guard.succeeded(wanted, asked);
        }
        Err(error) => {
            if !*fails {
                warn!(%wanted, reason = error_chain(&error), "scale-in protection does not work");
            }
            *fails = true;
            guard.failed(Instant::now());
        }
    }
}

async fn until(due: Option<(Instant, Protection)>) {
    match due {
        Some((at, _)) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
