//! Decides what becomes of a message whose job has ended: the one rule of all that take jobs off a queue, the worker and the
//! index Lambda where nobody else reads the queue. Does nothing itself, and knows no clock.
//!
//! - What is done, or has nothing to do, is deleted. What can never be done is put on the dead-letter
//!   queue with its reason.
//! - Unless only a registry says so. Then the job gets a second look, at least [`SECOND_LOOK_AFTER`]
//!   later: its copy carries the reason, and the same reason found again, in answer to the same, ends it. Because the copy is
//!   sent with that delay, whoever finds the doubt on a message knows that the time has passed, and no
//!   two clocks are compared. During an outage nothing that is doubted is believed, until the job is older
//!   than [`RetryRule::max_age`].
//! - What failed and may pass goes on being tried, with pauses that grow to
//!   [`RetryRule::pauses`]`.max`, until the job is older than [`RetryRule::max_age`] or was tried
//!   [`RetryRule::max_tries`] times. Then it is given up with its last reason. One that waited that long for its
//!   first try, as a backfill may, is tried for a [`LEAST_PART`] of it. What fails during an outage is not counted.
//! - What was not begun goes back as it was.
//!
//! All that goes back does so as a fresh copy, of which the receives count from one. So only receives
//! after which nothing came count against the queue's limit: the process died, or the message was lost.
//! A try that came to an end of its own clears that count, as the job has shown that it kills nobody.
//!
//! Without a dead-letter queue that is known, what can never be done stays on its queue as it
//! is, so that the queue's own limit of receives ends it.

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use soci_queue::{JobHistory, LastFailure, MAX_DELAY};
use soci_retry::Backoff;

use crate::outcome::{MessageAction, Outcome, SECOND_LOOK_AFTER, Why};

/// For which part of the age at which it is given up a job is tried at least: an hour of a day.
const LEAST_PART: u32 = 24;

/// Time after which a job comes again that waits for another one and was put off.
const POSTPONED_FOR: Duration = Duration::from_secs(30);

/// Time after which a job comes again that could not be handled alone: long, as the intake stands still
/// meanwhile.
const NOT_ALONE_FOR: Duration = MAX_DELAY;

/// Reason of a job that is to be handled alone and could not be.
pub const NOT_ALONE: &str = "not-alone";

/// How long a job is tried that fails for what may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryRule {
    /// Pauses between tries, by how often the job has failed; at most [`MAX_DELAY`].
    pub pauses: Backoff,
    /// How old the job becomes at most. One that is older is given up, with its last reason, but not before it has failed
    /// for a 24th of this.
    pub max_age: Duration,
    /// Most tries that fail and count, where not only the age is to end it.
    pub max_tries: Option<NonZeroU32>,
}

/// What is known when a job has ended.
#[derive(Clone, Copy, Debug)]
pub struct JobFacts<'a> {
    /// What its message says; receives after which nothing came are all counted.
    pub history: &'a JobHistory,
    /// How often this message was received.
    pub receive_count: u32,
    /// Whether work was begun on it.
    pub was_handled: bool,
    /// Whether the registry is away, so that what it says is not believed and what fails is not counted.
    pub outage: bool,
    /// Whether there is a dead-letter queue to write to.
    pub has_dead_letters: bool,
    /// The time of day.
    pub now: SystemTime,
    /// A number from 0 to 1.
    pub random: f64,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum NextStep {
    /// Delete the message.
    Delete,
    /// Put it on the dead-letter queue for this reason, then delete it.
    DeadLetter(Why),
    /// Put a copy with this history on the queue, visible after this time, then delete it.
    Copy {
        /// What the copy carries.
        history: JobHistory,
        /// Time until it is visible, at most [`MAX_DELAY`].
        delay: Duration,
        /// What that is, as it is told.
        action: MessageAction,
    },
    /// Hide the message itself for this time.
    Hide {
        /// Time until it is visible.
        delay: Duration,
    },
    /// Nothing.
    Leave,
}

impl NextStep {
    /// What the outcome of a job asks for.
    pub fn of(outcome: &Outcome, facts: &JobFacts<'_>, rule: &RetryRule) -> Self {
        if let Some(why) = outcome.doubt()
            && !Self::is_believed(why, facts, rule)
        {
            let doubt = Some(why.doubt());
            let history = JobHistory { doubt, crashes: 0, ..facts.history.clone() };
            let action = MessageAction::SecondLook { again_in: SECOND_LOOK_AFTER };
            return Self::Copy { history, delay: SECOND_LOOK_AFTER, action };
        }
        match outcome {
            Outcome::Lost(_) => Self::Leave,
            Outcome::Stopped => Self::back(facts, Duration::ZERO, MessageAction::GiveBack),
            Outcome::Postponed(why) => {
                let delay = if why.reason == NOT_ALONE { NOT_ALONE_FOR } else { POSTPONED_FOR };
                Self::back(facts, delay, MessageAction::Retry { again_in: delay })
            }
            Outcome::Indexed(_) | Outcome::AlreadyIndexed(_) | Outcome::Skipped(_) => Self::Delete,
            Outcome::Rejected(why) if facts.has_dead_letters => Self::DeadLetter(why.clone()),
            Outcome::Rejected(_) => Self::hide(facts, rule),
            Outcome::Failed(why) => Self::after_failure(why, facts, rule),
        }
    }

    /// Whether what only a registry says ends the job: it was said before. During an outage that is not
    /// enough, until the job is so old that one that fails would be given up.
    fn is_believed(why: &Why, facts: &JobFacts<'_>, rule: &RetryRule) -> bool {
        let age = facts.now.duration_since(facts.history.first_sent_at).unwrap_or_default();
        facts.history.doubt.as_ref() == Some(&why.doubt()) && (!facts.outage || age >= rule.max_age)
    }

    /// The next try of a job that failed, or whose dead letter is not taken.
    pub fn again(why: &Why, facts: &JobFacts<'_>, rule: &RetryRule) -> Self {
        let crashes = if facts.was_handled { 0 } else { facts.history.crashes };
        let history = JobHistory { crashes, ..facts.history.clone() };
        let history = if facts.outage {
            let first_failed_at = history.first_failed_at.or(Some(facts.now));
            let (reason, detail) = (why.reason.to_owned(), why.detail.clone());
            JobHistory { first_failed_at, last: Some(LastFailure { reason, detail }), ..history }
        } else {
            history.failed(why.reason, &why.detail, facts.now)
        };
        let delay = rule.pauses.delay(history.attempts.max(1), facts.random).min(MAX_DELAY);
        Self::Copy { history, delay, action: MessageAction::Retry { again_in: delay } }
    }

    fn after_failure(why: &Why, facts: &JobFacts<'_>, rule: &RetryRule) -> Self {
        let history = facts.history;
        let since = |then| facts.now.duration_since(then).unwrap_or_default();
        let age = since(history.first_sent_at);
        let failing = history.first_failed_at.map(since).unwrap_or_default();
        let tries = history.attempts.saturating_add(1);
        let tried_enough = rule.max_tries.is_some_and(|most| tries >= most.get());
        let young = age < rule.max_age || failing < rule.max_age / LEAST_PART;
        if young && !tried_enough {
            return Self::again(why, facts, rule);
        }
        if !facts.has_dead_letters {
            return Self::hide(facts, rule);
        }
        let hours = age.as_secs() / 3600;
        let detail =
            format!("given up after {hours} h and {tries} tries; the last: {}", why.detail);
        Self::DeadLetter(Why { detail, ..why.clone() })
    }

    /// Back to the queue as it was.
    fn back(facts: &JobFacts<'_>, delay: Duration, action: MessageAction) -> Self {
        Self::Copy { history: facts.history.clone(), delay, action }
    }

    fn hide(facts: &JobFacts<'_>, rule: &RetryRule) -> Self {
        Self::Hide { delay: rule.pauses.delay(facts.receive_count, facts.random) }
    }
}

#[cfg(test)]
mod tests {
    use soci_indexer::Reason;

    use super::*;

    const HOUR: u64 = 3600;

    /// That of a worker.
    const RULE: RetryRule = RetryRule {
        pauses: Backoff { first: Duration::from_secs(30), max: Duration::from_mins(15) },
        max_age: Duration::from_hours(24),
        max_tries: None,
    };

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn facts(history: &JobHistory) -> JobFacts<'_> {
        JobFacts {
            history,
            receive_count: 1,
            was_handled: true,
            outage: false,
            has_dead_letters: true,
            now: at(HOUR),
            random: 0.0,
        }
    }

    fn step(outcome: &Outcome, facts: &JobFacts<'_>) -> NextStep {
        NextStep::of(outcome, facts, &RULE)
    }

    fn copied(step: NextStep) -> (JobHistory, u64) {
        match step {
            NextStep::Copy { history, delay, .. } => (history, delay.as_secs()),
            other => panic!("{other:?}"),
        }
    }

    fn failed() -> Outcome {
        Outcome::Failed(Why::found(Reason::Throttled, "too much"))
    }

    fn doubted(reason: Reason) -> [Outcome; 2] {
        [Outcome::Skipped(Why::found(reason, "")), Outcome::Rejected(Why::found(reason, ""))]
    }

    #[test]
    fn pauses_grow_to_a_quarter_of_an_hour_and_the_tries_go_on_for_a_day() {
        let mut history = JobHistory::since(at(0));
        let (mut now, mut pauses) = (0, Vec::new());
        let why = loop {
            let facts = JobFacts { now: at(now), ..facts(&history) };
            match step(&failed(), &facts) {
                NextStep::Copy { history: next, delay, .. } => {
                    pauses.push(delay.as_secs());
                    now += delay.as_secs();
                    history = next;
                }
                NextStep::DeadLetter(why) => break why,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(pauses[..7], [30, 60, 120, 240, 480, 900, 900]);
        assert!((24 * HOUR..24 * HOUR + 900).contains(&now), "{now}");
        assert_eq!(history.first_failed_at, Some(at(0)));
        assert_eq!(why.reason, "throttled");
        let tries = pauses.len() + 1;
        let expected = format!("given up after 24 h and {tries} tries; the last: too much");
        assert_eq!(why.detail, expected);
    }

    #[test]
    fn a_job_that_was_old_at_its_first_try_is_tried_for_an_hour() {
        let mut history = JobHistory::since(at(0));
        let (mut now, mut tries) = (100 * HOUR, 0);
        while let NextStep::Copy { history: next, delay, .. } =
            step(&failed(), &JobFacts { now: at(now), ..facts(&history) })
        {
            (history, now, tries) = (next, now + delay.as_secs(), tries + 1);
        }
        assert!((101 * HOUR..101 * HOUR + 900).contains(&now), "{now}");
        assert!(tries > 5, "{tries}");
    }

    #[test]
    fn where_tries_are_counted_the_last_one_ends_it_however_young_it_is() {
        let rule = RetryRule { max_tries: NonZeroU32::new(3), ..RULE };
        let mut history = JobHistory::since(at(HOUR));
        for tries in 1..=3 {
            match NextStep::of(&failed(), &facts(&history), &rule) {
                NextStep::Copy { history: next, .. } if tries < 3 => history = next,
                NextStep::DeadLetter(why) if tries == 3 => {
                    assert_eq!(why.detail, "given up after 0 h and 3 tries; the last: too much");
                }
                other => panic!("{tries}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_fails_in_an_outage_is_not_counted_and_is_told_nevertheless() {
        let history = JobHistory::since(at(0));
        let facts = JobFacts { outage: true, ..facts(&history) };
        let (copy, delay) = copied(step(&failed(), &facts));
        assert_eq!((copy.attempts, delay), (0, 30));
        assert_eq!(copy.first_failed_at, Some(at(HOUR)));
        assert_eq!(copy.last.unwrap().reason, "throttled");
    }

    #[test]
    fn what_is_given_back_or_postponed_counts_nothing_and_keeps_what_it_carries() {
        let mut history = JobHistory::since(at(0)).failed("throttled", "", at(1));
        (history.crashes, history.doubt) = (2, Some("tag-gone".to_owned()));
        for (outcome, expected) in [
            (Outcome::Stopped, 0),
            (Outcome::Postponed(Why::new("same-tag", "")), 30),
            (Outcome::Postponed(Why::new(NOT_ALONE, "")), 900),
        ] {
            let (copy, delay) = copied(step(&outcome, &facts(&history)));
            assert_eq!((copy, delay), (history.clone(), expected), "{outcome:?}");
        }
    }

    #[test]
    fn a_try_that_came_to_an_end_clears_the_count_of_crashes() {
        let history = JobHistory { crashes: 3, ..JobHistory::since(at(0)) };
        for outcome in [failed(), doubted(Reason::TagGone)[0].clone()] {
            assert_eq!(copied(step(&outcome, &facts(&history))).0.crashes, 0, "{outcome:?}");
        }
        let unhandled = JobFacts { was_handled: false, ..facts(&history) };
        let why = Why::new("process-ended", "");
        let again = NextStep::again(&why, &unhandled, &RULE);
        assert_eq!(copied(again).0.crashes, 3);
    }

    #[test]
    fn only_the_same_word_said_again_is_believed() {
        for reason in Reason::ALL.into_iter().filter(|reason| !reason.is_believed_at_once()) {
            for outcome in doubted(reason) {
                let history = JobHistory::since(at(0)).failed("throttled", "", at(1));
                let (doubting, delay) = copied(step(&outcome, &facts(&history)));
                assert_eq!((doubting.doubt.as_deref(), delay), (Some(reason.code()), 60));
                assert_eq!(doubting.attempts, 1, "a doubt is no failure");
                let believed = step(&outcome, &facts(&doubting));
                let ended = matches!(believed, NextStep::Delete | NextStep::DeadLetter(_));
                assert!(ended, "{believed:?}");
                let other = JobHistory { doubt: Some("other".to_owned()), ..history };
                let (doubting, _) = copied(step(&outcome, &facts(&other)));
                assert_eq!(doubting.doubt.as_deref(), Some(reason.code()));
            }
        }
    }

    #[test]
    fn two_wrong_answers_about_different_things_do_not_agree() {
        let refused =
            |asked| Outcome::Rejected(Why { asked, ..Why::found(Reason::RegistryRefused, "") });
        let history = JobHistory::since(at(0));
        let (doubting, _) = copied(step(&refused("put-manifest"), &facts(&history)));
        let (other, _) = copied(step(&refused("begin-upload"), &facts(&doubting)));
        assert_eq!(other.doubt.as_deref(), Some("registry-refused begin-upload"));
        let believed = step(&refused("begin-upload"), &facts(&other));
        assert!(matches!(believed, NextStep::DeadLetter(_)), "{believed:?}");
    }

    #[test]
    fn a_doubt_outlasts_a_failure_and_is_not_believed_in_an_outage() {
        let doubt = Some("image-gone".to_owned());
        let doubting = JobHistory { doubt: doubt.clone(), ..JobHistory::since(at(0)) };
        assert_eq!(copied(step(&failed(), &facts(&doubting))).0.doubt, doubt);
        let [outcome, _] = doubted(Reason::ImageGone);
        let outage = JobFacts { outage: true, ..facts(&doubting) };
        assert_eq!(copied(step(&outcome, &outage)).0.doubt, doubt);
        assert_eq!(step(&outcome, &facts(&doubting)), NextStep::Delete);
        // Whatever lasts, a job has an end.
        let old = JobFacts { now: at(24 * HOUR), ..outage };
        assert_eq!(step(&outcome, &old), NextStep::Delete);
        let first = JobHistory::since(at(0));
        let old = JobFacts { outage: true, now: at(100 * HOUR), ..facts(&first) };
        assert_eq!(copied(step(&outcome, &old)).0.doubt, doubt, "one word is never enough");
    }

    #[test]
    fn what_was_verified_ends_at_once() {
        let history = JobHistory::since(at(0));
        let facts = facts(&history);
        let nothing = Outcome::Skipped(Why::found(Reason::NothingToIndex, ""));
        assert_eq!(step(&nothing, &facts), NextStep::Delete);
        let rejected = Why::found(Reason::LayerRejected, "");
        let letter = NextStep::DeadLetter(rejected.clone());
        assert_eq!(step(&Outcome::Rejected(rejected), &facts), letter);
    }

    #[test]
    fn without_a_dead_letter_queue_the_queue_s_own_limit_ends_what_never_works() {
        let history = JobHistory::since(at(0));
        let failing = JobHistory { first_failed_at: Some(at(0)), ..history };
        let facts = |now| JobFacts { has_dead_letters: false, now: at(now), ..facts(&failing) };
        let rejected = Outcome::Rejected(Why::new("malformed", ""));
        let hidden = NextStep::Hide { delay: Duration::from_secs(30) };
        assert_eq!(step(&rejected, &facts(0)), hidden);
        assert_eq!(step(&failed(), &facts(25 * HOUR)), hidden);
        assert!(matches!(step(&failed(), &facts(HOUR)), NextStep::Copy { .. }));
    }
}
