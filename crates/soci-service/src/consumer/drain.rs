//! Ends the work in time.

use std::time::Duration;

use soci_queue::Queue;
use tokio::sync::watch as channel;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::{Consumer, End, MAX_TURN, answer, slot_freed};
use crate::handler::Handler;

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

impl<Q: Queue, H: Handler> Consumer<Q, H> {
    pub(super) async fn drain(mut self) -> Drained {
        let watch = self.shared.watch.clone();
        watch.draining();
        let began = Instant::now();
        let deadline = began + self.shared.settings.drain_deadline;
        info!(jobs = self.jobs.len(), deadline = ?self.shared.settings.drain_deadline, "draining");
        let (_, at_once) = channel::channel(true);
        let mut drained = Drained::default();
        if !Q::RECEIVE_OUTLIVES_ITS_CALLER {
            self.receiving = None;
        }
        while !self.jobs.is_empty() || self.receiving.is_some() {
            watch.turn();
            let busy = !self.jobs.is_empty();
            let stopped = *self.stop.borrow();
            tokio::select! {
                biased;
                Some(ended) = self.jobs.join_next(), if busy => {
                    slot_freed(&ended);
                    match ended {
                        Ok(End::Finished) => drained.finished += 1,
                        Ok(End::GivenBack) => drained.given_back += 1,
                        Err(_) => drained.cut_off += 1,
                    }
                }
                received = answer(&mut self.receiving) => {
                    // A failure has been told to those who watch, and nothing is lost by it.
                    for message in received.result.unwrap_or_default() {
                        self.start(received.poll.lane, message, at_once.clone());
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
