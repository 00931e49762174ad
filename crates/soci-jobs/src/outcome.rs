//! How a job ended: one type from the runner to the message, the metrics, the log and the status page.
//!
//! Three things are kept apart:
//!
//! - [`Outcome`] is what came of the work. Whether a failure may pass, and whether it is believed at once,
//!   is [`Reason`]'s to say; here it only becomes one of the cases.
//! - [`MessageAction`] is what was done with the message then. Whoever has the queue decides that from the
//!   outcome and from what it knows beside: how old the job is, whether it stops, whether a letter was taken.
//! - [`EndKind`] is what people and counters are told, and follows from both ([`JobEnd::kind`]). A failure
//!   that may pass is `retried` if its message comes again and `rejected` if that is a dead letter.
//!
//! What only a registry says and nothing verifies is a doubt ([`Outcome::doubt`]): it ends the job when a
//! second look, at least [`SECOND_LOOK_AFTER`] later, finds the same.

use std::time::Duration;

use soci_indexer::{IndexError, Reason, Report};
use soci_text::{error_chain, truncate};

/// Time between a registry's word that would end a job ([`Outcome::doubt`]) and the second look, at
/// least: a minute is longer than replicas of a registry lag behind each other.
pub const SECOND_LOOK_AFTER: Duration = Duration::from_mins(1);

/// Longest [`Why::detail`] of a failure in bytes: a message may carry it as an attribute.
pub(crate) const MAX_DETAIL: usize = 2 << 10;

/// How a job ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The index was built and pushed.
    Indexed(Box<Report>),
    /// The same index was there.
    AlreadyIndexed(Box<Report>),
    /// There is nothing to do.
    Skipped(Why),
    /// It can never be done: it fails for what it asks for, and would fail again.
    Rejected(Why),
    /// It failed for what is around it, and may be done later.
    Failed(Why),
    /// It was not begun, as it would have had to wait here for too long. Nothing has failed.
    Postponed(Why),
    /// It was stopped before its end, or not begun, because the process stops.
    Stopped,
    /// Its message belongs to nobody or to somebody else now, so it was stopped.
    Lost(Why),
}

/// Why a job was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// Short stable code: lower case, words joined by hyphens.
    pub reason: &'static str,
    /// The same for people, in one line.
    pub detail: String,
    /// What was found out about the image, if that is the reason; nothing where it lies in the message
    /// or in how the job ran.
    pub found: Option<Reason>,
    /// What was asked of the registry that said so, as [`IndexError::asked`] has it; empty if none did.
    pub asked: &'static str,
}

impl Why {
    /// A reason that lies in the message or in how the job ran, and what there is to say about it.
    pub fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), found: None, asked: "" }
    }

    /// A reason that was found at the image or around it.
    pub fn found(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason: reason.code(), detail: detail.into(), found: Some(reason), asked: "" }
    }

    /// What a later look has to find again, if this is doubted: the same reason, said in answer to the same.
    /// One wrong answer about a manifest and another about an upload do not make a right one.
    pub fn doubt(&self) -> String {
        format!("{} {}", self.reason, self.asked).trim_end().to_owned()
    }

    /// Whether the job may end for it as soon as it was seen once.
    pub fn is_believed_at_once(&self) -> bool {
        // What was not found at the image lies in the message or in the run, which no registry can get wrong.
        self.found.is_none_or(Reason::is_believed_at_once)
    }
}

impl Outcome {
    /// The index, if there is one now.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Self::Indexed(report) | Self::AlreadyIndexed(report) => Some(report),
            _ => None,
        }
    }

    /// Why the job was not done; nothing where the outcome says it all.
    pub fn why(&self) -> Option<&Why> {
        match self {
            Self::Skipped(why)
            | Self::Rejected(why)
            | Self::Failed(why)
            | Self::Postponed(why)
            | Self::Lost(why) => Some(why),
            Self::Indexed(_) | Self::AlreadyIndexed(_) | Self::Stopped => None,
        }
    }

    /// Why the job would end here if one look were enough, and it is not: a registry said so, and
    /// nothing that was verified does.
    pub fn doubt(&self) -> Option<&Why> {
        match self {
            Self::Skipped(why) | Self::Rejected(why) if !why.is_believed_at_once() => Some(why),
            _ => None,
        }
    }
}

impl From<Report> for Outcome {
    fn from(report: Report) -> Self {
        let report = Box::new(report);
        if report.already_there { Self::AlreadyIndexed(report) } else { Self::Indexed(report) }
    }
}

impl From<&IndexError> for Outcome {
    /// What an error means is [`soci_indexer::Reason`]'s to say. The detail is the chain of errors and
    /// what can be done: one line of at most 2 KiB, without credentials, which the errors of the
    /// registry leave out.
    ///
    /// An image that is gone is an ordinary end for a job: somebody deleted what they had pushed.
    fn from(error: &IndexError) -> Self {
        let reason = error.reason();
        let advice = reason.advice().map(|advice| format!(" ({advice})")).unwrap_or_default();
        let mut detail = error_chain(error);
        // The advice stays whole: it is what the reader can act on.
        truncate(&mut detail, MAX_DETAIL - advice.len());
        let why = Why { asked: error.asked(), ..Why::found(reason, detail + &advice) };
        if reason.is_skip() || reason == Reason::ImageGone {
            Self::Skipped(why)
        } else if reason.is_permanent() {
            Self::Rejected(why)
        } else {
            Self::Failed(why)
        }
    }
}

/// What is done with the message of a job that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageAction {
    /// It is deleted: its job is done.
    Delete,
    /// It is on the dead-letter queue with its reason, and deleted.
    DeadLetter,
    /// It is on its queue for another try, and visible after this time.
    Retry {
        /// Time until it is visible.
        again_in: Duration,
    },
    /// It is on its queue for a second look at what would end its job, and visible after this time.
    SecondLook {
        /// Time until it is visible.
        again_in: Duration,
    },
    /// It is on its queue and visible at once, for somebody else.
    GiveBack,
    /// Nothing: it is not ours any more.
    Leave,
}

/// What became of a job, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndKind {
    /// Its index was built and pushed.
    Indexed,
    /// The same index was there.
    AlreadyIndexed,
    /// There was nothing to do.
    Skipped,
    /// It can never be done and is on the dead-letter queue.
    Rejected,
    /// It comes again.
    Retried,
    /// It comes again for a second look at what only a registry says.
    Doubted,
    /// It comes again because it would have waited for another one.
    Postponed,
    /// It was given back because the process stops.
    GivenBack,
    /// Its message was lost.
    Abandoned,
}

impl EndKind {
    /// Short stable name: `indexed`, `already-indexed`, `skipped`, `rejected`, `retried`, `doubted`,
    /// `postponed`, `given-back`, `abandoned`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Indexed => "indexed",
            Self::AlreadyIndexed => "already-indexed",
            Self::Skipped => "skipped",
            Self::Rejected => "rejected",
            Self::Retried => "retried",
            Self::Doubted => "doubted",
            Self::Postponed => "postponed",
            Self::GivenBack => "given-back",
            Self::Abandoned => "abandoned",
        }
    }
}

/// How a job ended and what was done with its message, as counters, logs and the page tell it.
#[derive(Clone, Debug)]
pub struct JobEnd {
    /// How the job ended.
    pub outcome: Outcome,
    /// What was done with its message.
    pub action: MessageAction,
}

impl JobEnd {
    /// What became of the job, with what was done with its message taken into account.
    ///
    /// A job is told as rejected when its message is on the dead-letter queue, also if it failed for
    /// what is around it and was given up for its age: until then it comes again.
    pub fn kind(&self) -> EndKind {
        match (&self.outcome, self.action) {
            // The index is there, even if the message could not be deleted and comes again.
            (Outcome::Indexed(_), _) => EndKind::Indexed,
            (Outcome::AlreadyIndexed(_), _) => EndKind::AlreadyIndexed,
            (Outcome::Rejected(_) | Outcome::Failed(_), MessageAction::DeadLetter) => {
                EndKind::Rejected
            }
            // Before the outcome that is doubted, which is not told until it is believed.
            (_, MessageAction::SecondLook { .. }) => EndKind::Doubted,
            (Outcome::Skipped(_), _) => EndKind::Skipped,
            (Outcome::Rejected(_) | Outcome::Failed(_), _) => EndKind::Retried,
            (Outcome::Postponed(_), _) => EndKind::Postponed,
            (Outcome::Stopped, _) => EndKind::GivenBack,
            (Outcome::Lost(_), _) => EndKind::Abandoned,
        }
    }

    /// [`EndKind::label`] of its kind.
    pub fn label(&self) -> &'static str {
        self.kind().label()
    }

    /// Why the job was not done, as a short stable code; empty where the label says it all.
    pub fn reason(&self) -> &'static str {
        self.outcome.why().map_or("", |why| why.reason)
    }

    /// The same for people; empty where the label says it all.
    pub fn detail(&self) -> &str {
        self.outcome.why().map_or("", |why| &why.detail)
    }

    /// Time until the message is visible again, if that was decided.
    pub fn again_in(&self) -> Option<Duration> {
        match self.action {
            MessageAction::Retry { again_in } | MessageAction::SecondLook { again_in } => {
                Some(again_in)
            }
            _ => None,
        }
    }

    /// Whether the job is over: its message is deleted or on the dead-letter queue.
    pub fn is_over(&self) -> bool {
        matches!(self.action, MessageAction::Delete | MessageAction::DeadLetter)
    }

    /// Whether the job can never be done and is on no dead-letter queue, which a person has to know.
    pub fn is_stuck(&self) -> bool {
        matches!(self.outcome, Outcome::Rejected(_))
            && !matches!(self.action, MessageAction::DeadLetter | MessageAction::SecondLook { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(outcome: Outcome, action: MessageAction) -> (&'static str, &'static str, bool) {
        let end = JobEnd { outcome, action };
        (end.label(), end.reason(), end.is_stuck())
    }

    #[test]
    fn only_what_is_on_the_dead_letter_queue_is_told_as_rejected() {
        let why = || Why::new("layer-rejected", "not gzip");
        let again = MessageAction::Retry { again_in: Duration::from_secs(1) };
        assert_eq!(
            end(Outcome::Rejected(why()), MessageAction::DeadLetter),
            ("rejected", "layer-rejected", false)
        );
        assert_eq!(
            end(Outcome::Failed(why()), MessageAction::DeadLetter),
            ("rejected", "layer-rejected", false)
        );
        assert_eq!(end(Outcome::Rejected(why()), again), ("retried", "layer-rejected", true));
        assert_eq!(end(Outcome::Failed(why()), again), ("retried", "layer-rejected", false));
        assert_eq!(end(Outcome::Stopped, MessageAction::GiveBack), ("given-back", "", false));
        assert_eq!(end(Outcome::Postponed(why()), again).0, "postponed");
        let lost = Outcome::Lost(Why::new("not-extended", ""));
        assert_eq!(end(lost, MessageAction::Leave), ("abandoned", "not-extended", false));
    }

    #[test]
    fn what_is_looked_at_a_second_time_has_not_ended() {
        let look = MessageAction::SecondLook { again_in: Duration::from_mins(1) };
        for outcome in [
            Outcome::Skipped(Why::found(Reason::TagGone, "")),
            Outcome::Rejected(Why::found(Reason::RegistryRefused, "")),
        ] {
            assert_eq!(outcome.doubt(), outcome.why());
            let (label, _, stuck) = end(outcome, look);
            assert_eq!((label, stuck), ("doubted", false));
        }
    }

    #[test]
    fn one_look_is_enough_for_what_was_verified_and_for_what_may_pass() {
        for outcome in [
            Outcome::Skipped(Why::found(Reason::NothingToIndex, "")),
            Outcome::Skipped(Why::new("unmatched", "")),
            Outcome::Rejected(Why::found(Reason::LayerRejected, "")),
            Outcome::Rejected(Why::new("malformed", "")),
            Outcome::Failed(Why::found(Reason::RegistryUnavailable, "")),
            Outcome::Stopped,
        ] {
            assert_eq!(outcome.doubt(), None, "{outcome:?}");
        }
    }
}
