//! Keeps calls below a rate.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use soci_registry::{PutLimit, PutLimitFuture};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Lets at most so many calls pass in a second, evenly: after a pause the first one passes at once,
/// and none saves up for later. Whoever asks first passes first. Clones share the rate.
///
/// As the [`PutLimit`] of a registry's client it keeps an account below the registry's quota for
/// manifest PUTs (`PutImage` of ECR).
#[derive(Clone, Debug)]
pub struct RateLimiter {
    interval: Duration,
    /// When the next call may pass. The lock is fair, and held by the one whose turn it is.
    next: Arc<Mutex<Instant>>,
}

impl RateLimiter {
    /// A limit of `rate` calls a second.
    pub fn per_second(rate: NonZeroU32) -> Self {
        let interval = Duration::from_secs(1) / rate.get();
        Self { interval, next: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Ready when one call may go out. Dropping the future gives the turn up.
    pub async fn ready(&self) {
        let mut next = self.next.lock().await;
        sleep_until(*next).await;
        *next = Instant::now() + self.interval;
    }
}

impl PutLimit for RateLimiter {
    fn wait(&self) -> PutLimitFuture<'_> {
        Box::pin(self.ready())
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    fn limiter(rate: u32) -> RateLimiter {
        RateLimiter::per_second(NonZeroU32::new(rate).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn calls_of_all_clones_pass_evenly_and_in_the_order_in_which_they_ask() {
        let limiter = limiter(4);
        let started = Instant::now();
        let mut calls = JoinSet::new();
        for call in 0..6 {
            let limiter = limiter.clone();
            calls.spawn(async move {
                limiter.ready().await;
                (call, started.elapsed().as_millis())
            });
        }
        let mut passed = Vec::new();
        while let Some(call) = calls.join_next().await {
            passed.push(call.unwrap());
        }
        assert_eq!(passed, [(0, 0), (1, 250), (2, 500), (3, 750), (4, 1000), (5, 1250)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_saves_nothing_up() {
        let limiter = limiter(4);
        limiter.ready().await;
        tokio::time::advance(Duration::from_mins(1)).await;
        let started = Instant::now();
        let mut passed = Vec::new();
        for _ in 0..3 {
            limiter.ready().await;
            passed.push(started.elapsed().as_millis());
        }
        assert_eq!(passed, [0, 250, 500]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_given_up_takes_no_turn() {
        let limiter = limiter(1);
        limiter.ready().await;
        let started = Instant::now();
        let first = tokio::time::timeout(Duration::from_millis(100), limiter.ready());
        let (first, ()) = tokio::join!(first, limiter.ready());
        assert!(first.is_err());
        assert_eq!(started.elapsed(), Duration::from_secs(1));
    }
}
