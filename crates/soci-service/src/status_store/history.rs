//! The last hour, minute by minute: what was finished, how much was read, how much waited.
//!
//! It begins with the process: what was before is in the logs and in whatever collects the metrics. A minute in
//! which nothing happened is there all the same, so that a gap cannot be taken for a short one.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use soci_jobs::{EndKind, JobEnd};
use tokio::time::Instant;

use super::shown_time::{seconds, time};

/// How many minutes are remembered, the one that has just begun included.
pub const MINUTES: usize = 60;

const MINUTE: Duration = Duration::from_mins(1);

/// Least time over which a pace is told: less says too little.
const LEAST_PACE: Duration = Duration::from_secs(20);

/// Over how many of the last minutes a pace is told.
const PACE_MINUTES: usize = 10;

/// What happened in a minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MinuteStatus {
    /// When it began.
    pub since: String,
    /// Jobs that ended with an index, be it made now or found.
    pub indexed: u64,
    /// Jobs that had nothing to do.
    pub skipped: u64,
    /// Jobs that are on the dead-letter queue.
    pub failed: u64,
    /// Jobs that go on being tried, or get a second look.
    pub retried: u64,
    /// Bytes of layers that were read.
    pub bytes_read: u64,
    /// Messages that waited in the live and the backfill queue when they were last counted; `null` before that.
    pub waiting: Option<u64>,
}

/// How fast jobs are finished.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PaceStatus {
    /// Jobs that this process has finished in a minute, lately.
    pub jobs_per_minute: f64,
    /// Time over which that was so.
    pub over_seconds: f64,
    /// Time that the messages take which wait, if this process does all of them at that pace.
    pub backlog_seconds: Option<f64>,
}

#[derive(Clone, Debug, Default)]
struct Minute {
    indexed: u64,
    skipped: u64,
    failed: u64,
    retried: u64,
    bytes_read: u64,
    waiting: Option<u64>,
}

impl Minute {
    fn is_idle(&self) -> bool {
        let Self { indexed, skipped, failed, retried, bytes_read, .. } = self;
        [indexed, skipped, failed, retried, bytes_read].into_iter().all(|count| *count == 0)
    }
}

/// The last hour.
#[derive(Debug)]
pub(super) struct History {
    /// The oldest first; the last one goes on.
    minutes: VecDeque<Minute>,
    started: Instant,
    /// When the last of them began.
    began: Instant,
    /// Messages that waited in each queue when it was last counted.
    waiting: [Option<u64>; 2],
    /// Bytes that had been read when the last minute began.
    read_before: u64,
}

impl History {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let minutes = VecDeque::from([Minute::default()]);
        Self { minutes, started: now, began: now, waiting: [None; 2], read_before: 0 }
    }

    /// Begins the minutes that have passed since; `read` is how many bytes have been read so far.
    pub(super) fn turn(&mut self, read: u64) {
        self.finish(read);
        let passed = self.began.elapsed().as_secs() / MINUTE.as_secs();
        if passed == 0 {
            return;
        }
        self.read_before = read;
        // More than there is room for are all empty.
        let fresh = usize::try_from(passed).unwrap_or(MINUTES).min(MINUTES);
        self.minutes.extend((0..fresh).map(|_| Minute::default()));
        let excess = self.minutes.len().saturating_sub(MINUTES);
        self.minutes.drain(..excess);
        self.began += MINUTE * u32::try_from(passed).unwrap_or(u32::MAX);
    }

    /// What was read belongs to the minute that goes on.
    fn finish(&mut self, read: u64) {
        let bytes = read.saturating_sub(self.read_before);
        if let Some(minute) = self.minutes.back_mut() {
            minute.bytes_read = bytes;
        }
    }

    pub(super) fn ended(&mut self, end: &JobEnd) {
        let Some(minute) = self.minutes.back_mut() else { return };
        match end.kind() {
            EndKind::Indexed | EndKind::AlreadyIndexed => minute.indexed += 1,
            EndKind::Skipped => minute.skipped += 1,
            EndKind::Rejected => minute.failed += 1,
            EndKind::Retried | EndKind::Doubted => minute.retried += 1,
            EndKind::Postponed | EndKind::GivenBack | EndKind::Abandoned => {}
        }
    }

    pub(super) fn counted(&mut self, queue: usize, visible: u64) {
        self.waiting[queue] = Some(visible);
        let waiting = self.all_waiting();
        if let Some(minute) = self.minutes.back_mut() {
            minute.waiting = waiting;
        }
    }

    fn all_waiting(&self) -> Option<u64> {
        let counted = self.waiting.iter().flatten();
        counted.copied().reduce(u64::saturating_add)
    }

    /// The minutes, the oldest first.
    pub(super) fn status(&self) -> Vec<MinuteStatus> {
        let now = SystemTime::now() - self.began.elapsed();
        let last = self.minutes.len().saturating_sub(1);
        let minutes = self.minutes.iter().enumerate();
        minutes
            .map(|(position, minute)| {
                let ago = MINUTE * u32::try_from(last - position).unwrap_or(0);
                let Minute { indexed, skipped, failed, retried, bytes_read, waiting } = *minute;
                let since = time(now.checked_sub(ago).unwrap_or(now));
                MinuteStatus { since, indexed, skipped, failed, retried, bytes_read, waiting }
            })
            .collect()
    }

    /// How fast jobs are finished, once something can be said of that.
    pub(super) fn pace(&self) -> Option<PaceStatus> {
        let lately = self.minutes.iter().rev().take(PACE_MINUTES);
        let (mut jobs, mut over) = (0, Duration::ZERO);
        for (ago, minute) in lately.enumerate() {
            // A minute in which nothing was done says nothing of how fast it is done.
            if minute.is_idle() {
                continue;
            }
            jobs += minute.indexed + minute.skipped + minute.failed;
            over += if ago == 0 { self.began.elapsed() } else { MINUTE };
        }
        let over = over.min(self.started.elapsed());
        if jobs == 0 || over < LEAST_PACE {
            return None;
        }
        let per_second = approximate(jobs) / over.as_secs_f64();
        let waiting = self.all_waiting().filter(|waiting| *waiting > 0);
        Some(PaceStatus {
            jobs_per_minute: (per_second * 600.0).round() / 10.0,
            over_seconds: seconds(over),
            backlog_seconds: waiting.map(|waiting| (approximate(waiting) / per_second).round()),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a pace is shown with a few digits")]
fn approximate(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use soci_jobs::{MessageAction, Outcome, Why};
    use tokio::time::advance;

    use super::*;

    fn skipped() -> JobEnd {
        let outcome = Outcome::Skipped(Why::new("artifact", ""));
        JobEnd { outcome, action: MessageAction::Delete }
    }

    fn rejected() -> JobEnd {
        let outcome = Outcome::Rejected(Why::new("layer-rejected", ""));
        JobEnd { outcome, action: MessageAction::DeadLetter }
    }

    #[tokio::test(start_paused = true)]
    async fn every_minute_is_there_and_knows_what_happened_in_it() {
        let mut history = History::new();
        history.ended(&skipped());
        history.counted(0, 7);
        history.counted(1, 3);
        advance(Duration::from_secs(61)).await;
        history.turn(500);
        advance(Duration::from_mins(3)).await;
        history.turn(800);
        history.ended(&rejected());
        history.turn(900);
        let minutes = history.status();
        let seen: Vec<_> = minutes.iter().map(|m| (m.skipped, m.failed, m.bytes_read)).collect();
        assert_eq!(seen, [(1, 0, 500), (0, 0, 300), (0, 0, 0), (0, 0, 0), (0, 1, 100)]);
        let waiting: Vec<_> = minutes.iter().map(|minute| minute.waiting).collect();
        assert_eq!(waiting, [Some(10), None, None, None, None], "only what was counted is told");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_an_hour_is_remembered() {
        let mut history = History::new();
        for _ in 0..70 {
            history.ended(&skipped());
            advance(MINUTE).await;
            history.turn(0);
        }
        assert_eq!(history.status().len(), MINUTES);
        assert_eq!(history.status().iter().map(|minute| minute.skipped).sum::<u64>(), 59);
        advance(Duration::from_hours(100)).await;
        history.turn(0);
        assert_eq!((history.status().len(), history.pace()), (MINUTES, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pace_is_told_from_what_was_finished_lately() {
        let mut history = History::new();
        history.counted(0, 120);
        for _ in 0..10 {
            history.ended(&skipped());
        }
        advance(Duration::from_secs(10)).await;
        assert_eq!(history.pace(), None, "too early");
        advance(Duration::from_secs(20)).await;
        let pace = history.pace().unwrap();
        assert_eq!((pace.jobs_per_minute, pace.backlog_seconds), (20.0, Some(360.0)));
        history.counted(0, 0);
        assert_eq!(history.pace().unwrap().backlog_seconds, None);
        advance(Duration::from_mins(5)).await;
        history.turn(0);
        history.ended(&skipped());
        let pace = history.pace().unwrap();
        assert!(pace.jobs_per_minute > 7.0, "five idle minutes do not make it slow: {pace:?}");
        advance(Duration::from_mins(30)).await;
        history.turn(0);
        assert_eq!(history.pace(), None, "what was half an hour ago says nothing");
    }
}
