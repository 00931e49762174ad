//! The codes of reasons that are not found while an image is indexed, and with those of [`Reason`] all that
//! a dead letter can have. `docs/RUNBOOK.md` says what to do about each.

use soci_indexer::Reason;

/// The message is no job and no event.
pub const MALFORMED: &str = "malformed";

/// The job took longer than it may.
pub const TOO_LONG: &str = "too-long";

/// A fault of ours ended the job's task.
pub const PANIC: &str = "panic";

/// The message was received as often as its queue allows, and nothing came of it.
pub const PROCESS_ENDED: &str = "process-ended";

/// The queue itself has moved the message, and nothing on it says why.
pub const RECEIVED_TOO_OFTEN: &str = "received-too-often";

/// All codes that a dead letter can have.
pub fn of_letters() -> impl Iterator<Item = &'static str> {
    let others = [MALFORMED, TOO_LONG, PANIC, PROCESS_ENDED, RECEIVED_TOO_OFTEN];
    Reason::ALL.into_iter().map(Reason::code).chain(others)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_code_is_there_once_and_in_the_runbook() {
        let runbook = include_str!("../../../docs/RUNBOOK.md");
        let mut seen = HashSet::new();
        for code in of_letters() {
            assert!(seen.insert(code), "{code}");
            assert!(runbook.contains(&format!("`{code}`")), "docs/RUNBOOK.md: {code}");
        }
    }
}
