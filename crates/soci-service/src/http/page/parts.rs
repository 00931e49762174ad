//! Small parts that stand in several places of the page.

use maud::{Markup, html};
use soci_push::event::Timestamp;
use soci_text::Runbook;

use crate::status_store::Status;
use crate::words::ago;

/// Where the page leads its reader.
pub(super) struct Reader {
    pub(super) runbook: Runbook,
}

impl Reader {
    pub(super) fn of(status: &Status) -> Self {
        Self { runbook: status.runbook.parse().unwrap_or_default() }
    }

    /// A reason's code, which leads to its section of the runbook.
    pub(super) fn reason(&self, code: &str) -> Markup {
        html! {
            @if self.runbook.is_url() {
                a.reason href=(self.runbook.section(code)) rel="noreferrer" { code { (code) } }
            } @else {
                code.reason title=(self.runbook.section(code)) { (code) }
            }
        }
    }
}

/// Name and tag of an image; of a message that was not understood, its identifier.
pub(super) fn image(repository: Option<&str>, tag: Option<&str>, message_id: &str) -> Markup {
    html! {
        @if let Some(repository) = repository {
            bdi.name {
                (host_and_name(repository).1)
                @if let Some(tag) = tag { span.tag { ":" (tag) } }
            }
        } @else {
            bdi.name { "message " (message_id) }
        }
    }
}

/// Where an image is, and its digest.
pub(super) fn origin(repository: Option<&str>, digest: Option<&str>) -> Markup {
    html! {
        @if let (Some(repository), Some(digest)) = (repository, digest) {
            bdi { (host_and_name(repository).0) } " · " (short(digest))
        }
    }
}

pub(super) fn host_and_name(repository: &str) -> (&str, &str) {
    repository.split_once('/').unwrap_or(("", repository))
}

/// A point in time. The script writes it as the reader's clock has it.
pub(super) fn clock(at: &str) -> Markup {
    html! { time.clock datetime=(at) title=(at) { (at) } }
}

/// A sentence of the service's in which points in time are written as the reader's clock has them.
pub(super) fn with_clocks(sentence: &str) -> Markup {
    let is_time = |word: &str| word.parse::<Timestamp>().is_ok();
    html! {
        @for (position, word) in sentence.split(' ').enumerate() {
            @if position > 0 { " " }
            @let time = word.trim_end_matches([';', ',', '.']);
            @if is_time(time) { (clock(time)) (word[time.len()..]) } @else { (word) }
        }
    }
}

/// How long ago something was, with the time on demand.
pub(super) fn moment(at: &str, seconds: f64) -> Markup {
    html! { time datetime=(at) title=(at) { (ago(seconds)) } }
}

/// Words of an error, in which digests are short, with all of each on demand.
pub(super) fn detail(text: &str) -> Markup {
    const ALGORITHM: &str = "sha256:";
    const HEX: usize = 64;
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(ALGORITHM) {
        let hex = &rest.as_bytes()[at + ALGORITHM.len()..];
        let digits = hex.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let end = at + ALGORITHM.len() + digits.min(HEX);
        if digits >= HEX {
            parts.push((&rest[..at], Some(&rest[at..end])));
        } else {
            parts.push((&rest[..end], None));
        }
        rest = &rest[end..];
    }
    parts.push((rest, None));
    html! {
        bdi.detail {
            @for (before, digest) in parts { (before) @if let Some(digest) = digest { (short(digest)) } }
        }
    }
}

/// A digest in short, with all of it on demand.
pub(super) fn short(digest: &str) -> Markup {
    html! { code.digest title=(digest) { (short_text(digest)) } }
}

pub(super) fn short_text(digest: &str) -> String {
    digest.split_once(':').map_or(digest, |(_, hex)| hex).chars().take(12).collect()
}

pub(super) fn ordinal(number: u32) -> String {
    let end = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_a_sentence_are_for_the_reader_s_clock_and_the_rest_stays() {
        let sentence = "away since 2026-08-01T12:34:56Z; no message <is> taken";
        let page = with_clocks(sentence).into_string();
        assert!(
            page.starts_with("away since <time class=\"clock\" datetime=\"2026-08-01T12:34:56Z\""),
            "{page}"
        );
        assert!(
            page.ends_with("2026-08-01T12:34:56Z</time>; no message &lt;is&gt; taken"),
            "{page}"
        );
    }
}
