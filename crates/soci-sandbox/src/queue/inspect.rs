//! Faults on demand, and a look inside, for tests.

use std::future::pending;
use std::sync::{MutexGuard, PoisonError};

use soci_queue::{ErrorKind, Message, Operation, QueueError};
use tokio::time::Instant;

use super::MemoryQueue;
use super::faults::{Call, Injected, PlannedFault, PlannedFaults};
use super::presence::Presence;

/// A message that is in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The message with the receipt of its last receive, and its count of receives so far.
    pub message: Message,
    /// Whether it can be received.
    pub presence: Presence,
}

impl MemoryQueue {
    /// Makes the next `times` calls of `operation` fail without effect, after those that are to
    /// fail or hang already.
    pub fn fail_next(&self, operation: Operation, times: usize, kind: ErrorKind) {
        self.plan(operation, times, PlannedFault::Fail(kind));
    }

    /// Makes the next `times` calls of `operation` give no answer, and have no effect.
    pub fn hang_next(&self, operation: Operation, times: usize) {
        self.plan(operation, times, PlannedFault::Hang);
    }

    /// Forgets the failures that have been asked for and not happened.
    pub fn heal(&self) {
        self.faults().planned.clear();
    }

    /// The calls so far and when they came, those that failed or hung included.
    pub fn calls(&self) -> Vec<(Instant, Call)> {
        self.faults().calls.clone()
    }

    /// When calls of `operation` came.
    pub fn calls_of(&self, operation: Operation) -> Vec<Instant> {
        let calls = self.calls();
        calls.iter().filter(|(_, call)| call.operation() == operation).map(|(at, _)| *at).collect()
    }

    /// The messages in the queue, in the order in which they came.
    pub fn messages(&self) -> Vec<Snapshot> {
        let messages = self.store().messages(Instant::now());
        let snapshot = |(message, presence)| Snapshot { message, presence };
        messages.into_iter().map(snapshot).collect()
    }

    /// Notes a call, and does to it what a test has asked for.
    pub(super) async fn fault(&self, call: Call) -> Result<(), QueueError> {
        let operation = call.operation();
        let planned = {
            let mut faults = self.faults();
            faults.calls.push((Instant::now(), call));
            let next = faults.planned.iter().position(|(planned, _)| *planned == operation);
            next.and_then(|next| faults.planned.remove(next))
        };
        match planned {
            Some((_, PlannedFault::Fail(kind))) => Err(QueueError {
                queue: self.core.options.name.clone(),
                operation,
                kind,
                request_id: Some("test".to_owned()),
                source: Box::new(Injected),
            }),
            Some((_, PlannedFault::Hang)) => pending().await,
            None => Ok(()),
        }
    }

    fn plan(&self, operation: Operation, times: usize, fault: PlannedFault) {
        self.faults().planned.extend(std::iter::repeat_n((operation, fault), times));
    }

    fn faults(&self) -> MutexGuard<'_, PlannedFaults> {
        self.core.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
