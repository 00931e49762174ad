//! Letters for people. What is on them has been disarmed; here line feeds become blanks, so that no letter can
//! write a line that looks like one of ours.

use std::fmt::Write as _;
use std::time::SystemTime;

use soci_jobs::reasons::comes_back;
use soci_push::event::Timestamp;
use soci_service::dead_letters::Letter;
use soci_service::words::{ago, count};
use soci_text::Runbook;

use super::told::Found;

/// Most characters of a detail in a list.
const MOST_DETAIL: usize = 300;

/// The letters of a list, the newest first, then how many there are for which reason, and where to read on.
pub(super) fn list(found: &Found, runbook: &Runbook, now: SystemTime) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail, here and below.
    for letter in &found.letters {
        let image = letter.image().unwrap_or_else(|| "no job that is understood".to_owned());
        let _ = writeln!(text, "{}  {}  {image}", failed(letter, now), one_line(&letter.reason));
        let detail = one_line(&letter.detail);
        if !detail.is_empty() {
            let cut = if detail.chars().count() > MOST_DETAIL { "…" } else { "" };
            let detail: String = detail.chars().take(MOST_DETAIL).collect();
            let _ = writeln!(text, "    {detail}{cut}");
        }
        let tries = match letter.attempts {
            0 => String::new(),
            tries => format!(", {} before", count(tries.into(), "failed attempt")),
        };
        let _ = writeln!(text, "    id {}{tries}", letter.id);
    }
    let unlisted = found.matched.saturating_sub(found.letters.len() as u64);
    if unlisted > 0 {
        let _ = writeln!(text, "and {unlisted} more, which --limit lists");
    }
    let others = match found.others {
        0 => String::new(),
        others => format!(", {} not meant", found.looked.count(others, "other letter")),
    };
    let _ = writeln!(text, "{}{others}", found.looked.count(found.matched, "dead letter"));
    if let Some(in_hand) = found.in_hand.filter(|in_hand| *in_hand > 0) {
        let letters = count(in_hand, "letter");
        let _ = writeln!(
            text,
            "  somebody else has {letters} in hand, a worker's page perhaps; look again in a moment"
        );
    }
    for (reason, number) in found.reasons.most_frequent_first() {
        let reason = one_line(reason);
        let _ = writeln!(text, "  {number:>5}  {reason:<22} {}", runbook.section(&reason));
    }
    text
}

/// All that is known of one letter.
pub(super) fn whole(letter: &Letter, runbook: &Runbook, now: SystemTime) -> String {
    let mut text = format!("dead letter {}\n", letter.id);
    let job = letter.job.as_ref();
    let failed_at = Timestamp::from(letter.failed_at);
    let from = letter.queue.as_ref();
    let again = if comes_back(&letter.reason) {
        " (it fails again as long as the image is the same)"
    } else {
        ""
    };
    let rows = [
        ("image", letter.image()),
        ("digest", job.map(|job| job.digest.to_string())),
        ("reason", Some(letter.reason.clone())),
        ("what happened", Some(letter.detail.clone())),
        ("failed", Some(format!("{failed_at}, {}", failed(letter, now)))),
        ("tries before", (letter.attempts > 0).then(|| letter.attempts.to_string())),
        ("first failed", letter.first_failed_at.clone()),
        ("first sent", letter.first_sent_at.clone()),
        ("came from", from.map(|queue| format!("{queue}, message {}", letter.failed_id))),
        ("looked at", Some(count(letter.receive_count.into(), "time"))),
        ("message", Some(letter.body.clone())),
        ("what to do", Some(runbook.section(&letter.reason))),
        ("put it back", Some(command("retry", letter) + again)),
        ("delete it", Some(command("drop", letter))),
    ];
    for (name, value) in rows {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let _ = writeln!(text, "  {name:<14} {}", one_line(&value));
        }
    }
    text
}

fn command(verb: &str, letter: &Letter) -> String {
    format!("soci-index-builder dead-letters {verb} --id {}", letter.id)
}

/// How long ago a letter failed.
fn failed(letter: &Letter, now: SystemTime) -> String {
    ago(letter.age(now).as_secs_f64())
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}
