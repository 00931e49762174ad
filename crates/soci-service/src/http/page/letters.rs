//! The dead letters, where the service looks at them.

use maud::{Markup, html};

use super::parts::{Reader, detail, image, moment};
use crate::status_store::DeadLettersStatus;
use crate::words::{ago, count};

/// The dead letters that were looked at.
pub(super) fn letters_seen(letters: &DeadLettersStatus, reader: &Reader) -> Markup {
    let seen = letters.letters.as_deref().unwrap_or_default();
    html! {
        section aria-labelledby="letters" data-key="letters" {
            h2 #letters { "Dead letters" }
            @if seen.is_empty() {
                p.empty {
                    @match letters.all() {
                        0 => "None.",
                        _ if letters.in_flight == 0 => "Not looked at yet.",
                        _ => "They are hidden for a moment, as somebody looks at them.",
                    }
                }
            } @else {
                ul.letters {
                    @for letter in seen {
                        li data-key={ "letter-" (letter.id) } {
                            p {
                                (image(letter.repository.as_deref(), letter.tag.as_deref(), &letter.id))
                                " " (reader.reason(&letter.reason)) " "
                                span.facts {
                                    (moment(&letter.failed_at, letter.age_seconds))
                                    @if letter.attempts > 0 {
                                        ", after " (count(letter.attempts.into(), "failed attempt"))
                                    }
                                }
                            }
                            @if !letter.detail.is_empty() { p.facts { (detail(&letter.detail)) } }
                            p.facts { "id " code { (letter.id) } }
                        }
                    }
                }
                p.facts {
                    @if letters.more_letters { "There are others. " }
                    @if let Some(ago_seconds) = letters.seen_seconds_ago { "Looked at " (ago(ago_seconds)) ". " }
                    code { "soci-index-builder dead-letters" } " lists, shows, puts back and deletes those of a queue in SQS."
                }
            }
        }
    }
}
