//! What goes wrong with calls of AWS, planned ahead.
//!
//! A series hits the calls of one operation by certain callers: it leaves some alone, then takes the
//! next trouble of its list, and so on until the list is empty. So every trouble of a plan gets its
//! turn, however many calls there are.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AwsTrouble {
    /// It is refused with this status and code.
    Refused(u16, &'static str),
    /// It is not carried out; something that is not the service answers.
    Page(u16),
    /// It is not carried out; the answer is 200 and has this body.
    Said(&'static str),
    /// It is not carried out, and nothing is ever answered.
    Silence,
    /// It is not carried out, and the connection is closed.
    HangUp,
    /// It is carried out, and the connection is closed.
    AnswerLost,
    /// It is carried out, and the answer comes so late.
    Late(Duration),
    /// It is answered as if it were carried out, and is not.
    Forgotten,
    /// What is received stays visible, so that somebody else receives it too.
    Twice,
    /// All leases of the queue end at once.
    LeasesForgotten,
    /// The authorization token is this text.
    Token(&'static str),
    /// The authorization token has expired already.
    TokenExpired,
    /// There is no authorization token in the answer.
    NoToken,
}

/// A trouble that is still to come.
#[derive(Clone, Debug)]
pub(crate) struct PlannedTrouble {
    /// Calls that are left alone before it.
    pub(crate) gap: usize,
    /// What it is counted as.
    pub(crate) name: String,
    pub(crate) trouble: AwsTrouble,
}

/// Troubles for the calls of one operation, one after the other.
#[derive(Debug)]
pub(crate) struct Series {
    /// What the callers' names begin with.
    pub(crate) caller: String,
    /// The operation, as `ReceiveMessage`.
    pub(crate) operation: &'static str,
    /// What the queue's name ends with; empty for any.
    pub(crate) queue: &'static str,
    pub(crate) list: VecDeque<PlannedTrouble>,
}

/// All series, and how often each trouble has come.
#[derive(Debug, Default)]
pub(crate) struct TroublePlan {
    series: Vec<(Series, usize)>,
    come: BTreeMap<String, usize>,
}

impl TroublePlan {
    pub(crate) fn add(&mut self, series: Series) {
        self.series.push((series, 0));
    }

    /// Ends all series for callers of this name.
    pub(crate) fn lift(&mut self, caller: &str) {
        self.series.retain(|(series, _)| series.caller != caller);
    }

    /// How often the troubles with this name have come.
    pub(crate) fn come(&self, name: &str) -> usize {
        self.come.get(name).copied().unwrap_or_default()
    }

    /// The trouble that a call has, which counts it.
    pub(crate) fn next(
        &mut self,
        caller: &str,
        operation: &str,
        queue: &str,
    ) -> Option<AwsTrouble> {
        let (series, seen) = self.series.iter_mut().find(|(series, _)| {
            series.operation == operation
                && caller.starts_with(&series.caller)
                && queue.ends_with(series.queue)
        })?;
        if *seen < series.list.front()?.gap {
            *seen += 1;
            return None;
        }
        *seen = 0;
        let PlannedTrouble { name, trouble, .. } = series.list.pop_front()?;
        *self.come.entry(name).or_default() += 1;
        Some(trouble)
    }
}
