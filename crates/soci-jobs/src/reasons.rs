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

/// The result of an image that was deleted was removed, or some of it.
pub const RESULT_REMOVED: &str = "result-removed";

/// The result of an image that was deleted stays, as something needs it or it cannot be told.
pub const RESULT_KEPT: &str = "result-kept";

/// The image that was deleted had no result.
pub const NO_RESULT: &str = "no-result";

/// The tag or the digest that was deleted names an image again.
pub const IMAGE_BACK: &str = "image-back";

/// All codes that a dead letter can have, in order.
pub fn of_letters() -> Vec<&'static str> {
    let others = [MALFORMED, TOO_LONG, PANIC, PROCESS_ENDED, RECEIVED_TOO_OFTEN];
    // An image that is gone is skipped; letters of releases before that was so may still be there.
    let found = Reason::ALL.into_iter().filter(|reason| !reason.is_skip());
    let mut codes: Vec<_> = found.map(Reason::code).chain(others).collect();
    codes.sort_unstable();
    codes
}

/// Whether a letter is bound to fail again when it is put back, as the same image would.
pub fn comes_back(code: &str) -> bool {
    let of_the_image =
        [Reason::ImageMalformed, Reason::ImageLimit, Reason::LayerRejected, Reason::LayerLimit];
    code == MALFORMED || of_the_image.into_iter().any(|reason| reason.code() == code)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use soci_text::Runbook;

    use super::*;

    /// The anchors of a document's headings, as GitHub makes them.
    fn anchors(document: &str) -> HashSet<String> {
        let headings = document.lines().filter_map(|line| {
            let text = line.trim_start_matches('#');
            (text.len() < line.len()).then(|| text.trim().to_lowercase())
        });
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
        headings
            .map(|text| text.chars().filter(kept).collect::<String>().replace(' ', "-"))
            .collect()
    }

    #[test]
    fn each_code_is_there_once_and_its_section_is_in_the_runbook() {
        let document = include_str!("../../../docs/RUNBOOK.md");
        let anchors = anchors(document);
        let mut seen = HashSet::new();
        let letters = of_letters();
        assert!(letters.is_sorted_by(|one, other| one < other), "each once: {letters:?}");
        seen.extend(letters);
        seen.extend(Reason::ALL.map(Reason::code));
        for code in seen {
            let url = Runbook::default().section(code);
            let (_, anchor) = url.split_once('#').unwrap();
            assert!(anchors.contains(anchor), "docs/RUNBOOK.md has no section {anchor}");
            // What it is and what to do is said there, not only that it exists.
            let heading = format!("\n### {code}\n");
            let at = document.find(&heading).unwrap_or_else(|| panic!("no heading {code}"));
            let section = &document[at + heading.len()..];
            let section = section.split("\n#").next().unwrap();
            assert!(section.len() > 60, "the section of {code} says little: {section}");
        }
        for state in [
            "draining",
            "stuck",
            "queue-unreachable",
            "starting",
            "registry-unreachable",
            "working",
            "idle",
        ] {
            assert!(anchors.contains(state), "docs/RUNBOOK.md has no section {state}");
        }
    }
}
