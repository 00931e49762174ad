//! Decides which queue is asked next, and when. Does not ask itself.
//!
//! Without a backfill queue the live queue is waited for, always. With one, the queue's answer decides
//! what comes after it:
//!
//! | asked | after messages | after none |
//! | --- | --- | --- |
//! | live, at once | live, at once | backfill |
//! | backfill, at once | live, at once | live, waiting |
//! | live, waiting | live, at once | backfill |
//!
//! So backfill is asked only right after the live queue had nothing, and nothing is waited for unless
//! both are empty.
//!
//! A queue that fails is left alone for pauses that grow with every failure in a row. During those of
//! the live queue nothing is asked. During those of the backfill queue the live queue is waited for in
//! its place. How long the live queue has failed for good, and in no other way, is told to the receive
//! loop, which ends the service after [`ConsumerSettings::patience`].

use std::time::Duration;

use soci_queue::ErrorKind;
use soci_retry::Backoff;
use tokio::time::Instant;

use super::settings::ConsumerSettings;
use crate::event::QueueKind;

/// Pause after a receive that was to wait and came back at once without messages, which some servers
/// do: without it they would be asked without end.
const EMPTY_HANDED: Duration = Duration::from_secs(1);

/// A receive to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Poll {
    pub(super) queue: QueueKind,
    /// How long to wait for a message.
    pub(super) wait: Duration,
}

/// What is asked next, and how the two queues are doing.
#[derive(Debug)]
pub(super) struct Intake {
    step: Step,
    has_backfill: bool,
    long_poll: Duration,
    idle_poll: Duration,
    backoff: Backoff,
    live: Health,
    backfill: Health,
    /// Nothing is asked before.
    resume_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    LiveAtOnce,
    Backfill,
    LiveWaiting,
}

/// How a queue is doing.
#[derive(Debug, Default)]
struct Health {
    /// Failures since the last success.
    failures: u32,
    /// When it is asked again after a failure.
    resume_at: Option<Instant>,
    /// Since when it has failed for good, and in no other way.
    broken_since: Option<Instant>,
    /// When the first of these failures was asked for.
    failing_since: Option<Instant>,
}

/// A queue that does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Away {
    /// When the first receive was made that failed.
    pub(super) since: Instant,
    /// How many have failed in a row.
    pub(super) failures: u32,
    /// How long it is left alone.
    pub(super) pause: Duration,
}

impl Intake {
    pub(super) fn new(has_backfill: bool, settings: &ConsumerSettings) -> Self {
        Self {
            step: if has_backfill { Step::LiveAtOnce } else { Step::LiveWaiting },
            has_backfill,
            long_poll: settings.long_poll,
            idle_poll: settings.idle_poll,
            backoff: settings.queue_retry,
            live: Health::default(),
            backfill: Health::default(),
            resume_at: Instant::now(),
        }
    }

    /// Before this, nothing is to be asked.
    pub(super) fn resume_at(&self) -> Instant {
        self.resume_at
    }

    /// What to ask now.
    pub(super) fn next(&self, now: Instant) -> Poll {
        let waiting = if self.has_backfill { self.idle_poll } else { self.long_poll };
        match self.step {
            Step::LiveAtOnce => Poll { queue: QueueKind::Live, wait: Duration::ZERO },
            Step::Backfill if self.backfill.resume_at.is_none_or(|at| at <= now) => {
                Poll { queue: QueueKind::Backfill, wait: Duration::ZERO }
            }
            Step::Backfill | Step::LiveWaiting => Poll { queue: QueueKind::Live, wait: waiting },
        }
    }

    /// A receive that was begun at `asked` gave so many messages. Tells since when the queue had been
    /// failing, if it had.
    pub(super) fn received(
        &mut self,
        poll: Poll,
        asked: Instant,
        now: Instant,
        messages: usize,
    ) -> Option<Instant> {
        // One answer is enough: the queue is well, and its pauses begin anew.
        let before = std::mem::take(self.health(poll.queue));
        if messages == 0 && !poll.wait.is_zero() && now - asked < poll.wait / 2 {
            self.resume_at = now + EMPTY_HANDED;
        }
        self.step = match (poll.queue, messages) {
            _ if !self.has_backfill => Step::LiveWaiting,
            (QueueKind::Live, 0) => Step::Backfill,
            (QueueKind::Backfill, 0) => Step::LiveWaiting,
            (_, _) => Step::LiveAtOnce,
        };
        before.failing_since
    }

    /// A receive that was begun at `asked` failed. Without the live queue nothing is asked for a while;
    /// without the backfill queue the live queue goes on.
    pub(super) fn failed(
        &mut self,
        poll: Poll,
        (asked, now): (Instant, Instant),
        kind: ErrorKind,
        random: f64,
    ) -> Away {
        let backoff = self.backoff;
        let health = self.health(poll.queue);
        health.failures = health.failures.saturating_add(1);
        // A failure that may pass breaks the row, as it says nothing against the queue itself.
        let since = health.broken_since.unwrap_or(now);
        health.broken_since = (kind == ErrorKind::Permanent).then_some(since);
        let pause = backoff.delay(health.failures, random);
        health.resume_at = Some(now + pause);
        let since = *health.failing_since.get_or_insert(asked);
        let away = Away { since, failures: health.failures, pause };
        match poll.queue {
            // The step stays as it is: what was asked in vain is asked again.
            QueueKind::Live => self.resume_at = now + pause,
            // The next time that the live queue has nothing leads back to backfill.
            QueueKind::Backfill => self.step = Step::LiveWaiting,
        }
        away
    }

    /// For how long the live queue has been failing for good.
    pub(super) fn broken_for(&self, now: Instant) -> Option<Duration> {
        self.live.broken_since.map(|since| now - since)
    }

    fn health(&mut self, queue: QueueKind) -> &mut Health {
        match queue {
            QueueKind::Live => &mut self.live,
            QueueKind::Backfill => &mut self.backfill,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: Poll = Poll { queue: QueueKind::Live, wait: Duration::ZERO };
    const BACKFILL: Poll = Poll { queue: QueueKind::Backfill, wait: Duration::ZERO };
    const WAITING: Poll = Poll { queue: QueueKind::Live, wait: Duration::from_secs(5) };

    fn intake(has_backfill: bool) -> (Intake, Instant) {
        (Intake::new(has_backfill, &ConsumerSettings::default()), Instant::now())
    }

    /// Answers polls, each after its wait, and returns them.
    fn polls(intake: &mut Intake, start: Instant, answers: &[usize]) -> Vec<Poll> {
        let mut now = start;
        let mut answer = |messages: &usize| {
            let (asked, poll) = (now, intake.next(now));
            now += poll.wait;
            intake.received(poll, asked, now, *messages);
            poll
        };
        answers.iter().map(&mut answer).collect()
    }

    #[test]
    fn the_live_queue_alone_is_waited_for() {
        let (mut intake, now) = intake(false);
        let long = Poll { queue: QueueKind::Live, wait: Duration::from_secs(20) };
        assert_eq!(polls(&mut intake, now, &[0, 3, 0, 0]), [long; 4]);
    }

    #[test]
    fn backfill_is_asked_only_after_the_live_queue_had_nothing() {
        let (mut intake, now) = intake(true);
        let found = polls(&mut intake, now, &[1, 2, 0, 1, 0, 4, 1, 0]);
        assert_eq!(found, [LIVE, LIVE, LIVE, BACKFILL, LIVE, BACKFILL, LIVE, LIVE]);
    }

    #[test]
    fn only_two_empty_queues_are_waited_for() {
        let (mut intake, now) = intake(true);
        let found = polls(&mut intake, now, &[0, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(found, [LIVE, BACKFILL, WAITING, BACKFILL, WAITING, LIVE, BACKFILL, WAITING]);
    }

    #[test]
    fn a_live_queue_that_fails_stops_everything_for_longer_and_longer() {
        let (mut intake, now) = intake(true);
        let fail = |intake: &mut Intake| intake.failed(LIVE, (now, now), ErrorKind::Transient, 0.0);
        let pauses: Vec<_> = (0..7).map(|_| fail(&mut intake).pause.as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(intake.resume_at(), now + Duration::from_secs(30));
        intake.received(LIVE, now, now, 1);
        assert_eq!(fail(&mut intake).pause.as_secs(), 1);
    }

    #[test]
    fn a_backfill_queue_that_fails_is_left_alone_and_the_live_queue_goes_on() {
        let (mut intake, now) = intake(true);
        polls(&mut intake, now, &[0]);
        for _ in 0..4 {
            assert_eq!(intake.next(now), BACKFILL);
            let kind = ErrorKind::Permanent;
            intake.failed(BACKFILL, (now, now), kind, 0.0);
            intake.step = Step::Backfill;
            intake.backfill.resume_at = None;
        }
        let away = intake.failed(BACKFILL, (now, now), ErrorKind::Transient, 0.0);
        assert_eq!((away.pause.as_secs(), intake.resume_at() <= now), (16, true));
        // The live queue is waited for three times before backfill is asked again.
        assert_eq!(polls(&mut intake, now, &[0, 0, 0]), [WAITING; 3]);
        assert_eq!(intake.next(now + Duration::from_secs(15)), WAITING);
        assert_eq!(intake.next(now + Duration::from_secs(16)), BACKFILL);
        assert_eq!(intake.broken_for(now), None);
    }

    #[test]
    fn the_live_queue_is_broken_as_long_as_it_fails_in_no_other_way() {
        let (mut intake, now) = intake(false);
        let later = now + Duration::from_secs(70);
        for at in [now, later] {
            intake.failed(LIVE, (at, at), ErrorKind::Permanent, 0.0);
        }
        assert_eq!(intake.broken_for(later), Some(Duration::from_secs(70)));
        intake.failed(LIVE, (later, later), ErrorKind::Transient, 0.0);
        assert_eq!(intake.broken_for(later), None);
        intake.failed(LIVE, (later, later), ErrorKind::Permanent, 0.0);
        assert_eq!(intake.broken_for(later), Some(Duration::ZERO));
    }

    #[test]
    fn a_queue_is_away_from_the_first_receive_that_failed_until_one_is_answered() {
        let (mut intake, start) = intake(false);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(intake.received(LIVE, start, start, 0), None);
        for failures in 1..=3 {
            let times = (at(failures * 10), at(failures * 10 + 5));
            let away = intake.failed(LIVE, times, ErrorKind::Transient, 0.0);
            assert_eq!((away.since, u64::from(away.failures)), (at(10), failures));
        }
        assert_eq!(intake.received(LIVE, at(50), at(50), 1), Some(at(10)));
        assert_eq!(intake.received(LIVE, at(51), at(51), 1), None);
    }

    #[test]
    fn a_server_that_does_not_wait_is_not_asked_without_end() {
        let (mut intake, now) = intake(false);
        let poll = intake.next(now);
        intake.received(poll, now, now + Duration::from_millis(3), 0);
        assert!(intake.resume_at() > now + Duration::from_millis(900));
    }
}
