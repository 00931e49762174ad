//! How fast bytes have come of late: what an estimate of the time that is left goes by.
//!
//! An average since the start says little of a job that has stood still for a while, or that reads one layer now
//! where it read four before.

use std::time::Duration;

use tokio::time::Instant;

/// Length of a part of the time that is remembered.
const PART: Duration = Duration::from_secs(3);

/// How many parts are remembered, the one that goes on included.
const PARTS: usize = 10;

/// Least time over which a rate is told.
const LEAST: Duration = Duration::from_secs(1);

/// Counts bytes by the time at which they came. It does not grow.
#[derive(Debug)]
pub(crate) struct RecentRate {
    since: Instant,
    /// Number of the part that goes on, counted from `since`.
    part: u64,
    bytes: [u64; PARTS],
    begun: bool,
}

impl Default for RecentRate {
    fn default() -> Self {
        Self { since: Instant::now(), part: 0, bytes: [0; PARTS], begun: false }
    }
}

impl RecentRate {
    /// So many bytes have come just now.
    pub(crate) fn add(&mut self, bytes: u64) {
        if !self.begun {
            // What was before the first byte says nothing of how fast they come.
            *self = Self { begun: true, ..Self::default() };
        }
        self.turn();
        self.bytes[slot(self.part)] += bytes;
    }

    /// Bytes in a second; `None` before the first ones, and while there is too little to tell.
    pub(crate) fn per_second(&mut self) -> Option<f64> {
        self.turn();
        let elapsed = self.since.elapsed();
        let remembered = PART * u32::try_from(PARTS - 1).unwrap_or(1);
        let begun = PART * u32::try_from(self.part).unwrap_or(u32::MAX);
        let into_part = elapsed.saturating_sub(begun);
        let over = elapsed.min(remembered + into_part);
        if !self.begun || over < LEAST {
            return None;
        }
        let bytes: u64 = self.bytes.iter().sum();
        Some(approximate(bytes) / over.as_secs_f64())
    }

    /// Forgets the parts that are over for too long.
    fn turn(&mut self) {
        let now = self.since.elapsed().as_secs() / PART.as_secs();
        for part in (self.part + 1..=now).rev().take(PARTS) {
            self.bytes[slot(part)] = 0;
        }
        self.part = now;
    }
}

/// Where a part is counted.
fn slot(part: u64) -> usize {
    usize::try_from(part).unwrap_or(0) % PARTS
}

#[expect(clippy::cast_precision_loss, reason = "rates are shown with a few digits")]
fn approximate(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    async fn read(rate: &mut RecentRate, seconds: u32, bytes: u64) {
        for _ in 0..seconds {
            rate.add(bytes);
            advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_that_of_the_last_half_minute() {
        let mut rate = RecentRate::default();
        assert_eq!(rate.per_second(), None);
        advance(Duration::from_hours(1)).await;
        read(&mut rate, 5, 100).await;
        assert_eq!(
            rate.per_second().map(f64::round),
            Some(100.0),
            "the hour before does not count"
        );
        read(&mut rate, 300, 1000).await;
        let now = rate.per_second().unwrap();
        assert!((999.0..=1001.0).contains(&now), "{now}");
        advance(Duration::from_mins(2)).await;
        assert_eq!(rate.per_second(), Some(0.0), "nothing has come for two minutes");
        read(&mut rate, 60, 10).await;
        let now = rate.per_second().unwrap();
        assert!((9.0..=11.0).contains(&now), "{now}");
    }
}
