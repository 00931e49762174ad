//! The jobs that have ended lately, as a table.

use maud::{Markup, html};

use super::filter::Filter;
use super::parts::{Reader, clock, detail, image, moment, ordinal, origin, short};
use crate::status_store::{EndedStatus, MAX_ENDED, Status};
use crate::words::{count, duration, grouped, size};

/// Details longer than this are folded, in characters.
const FOLD: usize = 400;

/// Jobs that ended alike for the same image: one line, of the latest.
struct Alike<'a> {
    latest: &'a EndedStatus,
    /// How many there are.
    jobs: usize,
    first: &'a EndedStatus,
}

/// Puts failures of one image for one reason together, the latest first. What ended well stays alone.
fn alike<'a>(ended: &[&'a EndedStatus]) -> Vec<Alike<'a>> {
    let of = |job: &EndedStatus| {
        (job.repository.clone(), job.digest.clone(), job.tag.clone(), job.outcome, job.reason)
    };
    let mut groups: Vec<Alike<'_>> = Vec::new();
    for &job in ended {
        let repeated = matches!(job.outcome, "rejected" | "retried" | "abandoned" | "postponed");
        let known = repeated && job.repository.is_some();
        match groups.iter_mut().find(|group| known && of(group.latest) == of(job)) {
            Some(group) => {
                group.jobs += 1;
                group.first = job;
            }
            None => groups.push(Alike { latest: job, jobs: 1, first: job }),
        }
    }
    groups
}

pub(super) fn lately(status: &Status, filter: &Filter, reader: &Reader) -> Markup {
    let ended = &status.ended;
    let shown: Vec<_> = ended.iter().filter(|job| filter.shows(job)).collect();
    if shown.is_empty() {
        return html! {
            p.empty data-key="none" { "None of the last " (ended.len()) " jobs is like that." }
        };
    }
    html! {
        // The roles keep it a table where a narrow screen shows the cells below each other.
        table.lately role="table" aria-labelledby="lately" {
            thead role="rowgroup" {
                tr role="row" {
                    th role="columnheader" scope="col" { "Image" }
                    th role="columnheader" scope="col" { "Outcome" }
                    th role="columnheader" scope="col" { "What and why" }
                    th.number role="columnheader" scope="col" { "Took" }
                    th.number role="columnheader" scope="col" { "When" }
                }
            }
            tbody role="rowgroup" { @for group in alike(&shown) { (finished(&group, reader)) } }
        }
        p.facts data-key="more" {
            @if filter.is_on() { (shown.len()) " of " }
            @if ended.len() >= MAX_ENDED {
                "the last " (MAX_ENDED) " jobs, failures longer than others. The logs have them all."
            } @else {
                (count(ended.len() as u64, "job")) " since this process began, at "
                (clock(&status.service.started_at)) ". What was before is in the logs."
            }
        }
    }
}

fn finished(group: &Alike<'_>, reader: &Reader) -> Markup {
    let job = group.latest;
    let (outcome, kind) = outcome(job.outcome);
    html! {
        tr role="row" data-key={ "end-" (job.ticket) } {
            td.image role="cell" {
                (image(job.repository.as_deref(), job.tag.as_deref(), &job.message_id))
                p.facts {
                    (origin(job.repository.as_deref(), job.digest.as_deref()))
                    @if job.lane != "live" { " " span.chip { (job.lane) } }
                    @if job.attempts > 0 {
                        " " span.chip.warn { (ordinal(job.attempts.saturating_add(1))) " try" }
                    }
                    @if job.receive_count > 1 {
                        " " span.chip.warn { (ordinal(job.receive_count)) " receive" }
                    }
                }
            }
            td.outcome role="cell" {
                span.badge.(kind) { (outcome) }
                @if group.jobs > 1 {
                    p.facts data-key="times" {
                        (grouped(group.jobs as u64)) " times, first "
                        (moment(&group.first.ended_at, group.first.ended_seconds_ago))
                    }
                }
            }
            td.why role="cell" { (why(job, reader)) }
            td.number.took role="cell" { (duration(job.elapsed_seconds)) }
            td.number role="cell" {
                (moment(&job.ended_at, job.ended_seconds_ago))
            }
        }
    }
}

fn why(job: &EndedStatus, reader: &Reader) -> Markup {
    html! {
        @if let Some(index) = &job.index {
            p {
                @if let Some(tag) = &job.index_tag { bdi.tag { (tag) } " " }
                (short(index))
            }
            p.facts {
                (made(job))
            }
        }
        @if !job.reason.is_empty() { p { (reader.reason(job.reason)) } }
        @if job.detail.chars().count() > FOLD {
            details {
                summary { (detail(&format!("{}…", job.detail.chars().take(FOLD).collect::<String>()))) }
                (detail(&job.detail))
            }
        } @else if !job.detail.is_empty() {
            p { (detail(&job.detail)) }
        }
        @if let Some(again_in) = job.again_in_seconds {
            p.facts { "Back on the queue; visible again " (duration(again_in)) " after the end." }
        }
        @if job.outcome == "given-back" {
            p { "The service stops; another worker takes it." }
        }
    }
}

/// What it took to make an index.
fn made(job: &EndedStatus) -> String {
    let parts = [
        job.layers_built.filter(|built| *built > 0).map(|n| count(n, "layer") + " built"),
        job.layers_reused.filter(|reused| *reused > 0).map(|n| count(n, "layer") + " reused"),
        job.layers_skipped.filter(|skipped| *skipped > 0).map(|n| count(n, "layer") + " left out"),
        Some(job.bytes_read).filter(|read| *read > 0).map(|n| size(n) + " read"),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// An outcome for people, and how it is coloured.
fn outcome(label: &'static str) -> (&'static str, &'static str) {
    match label {
        "indexed" => ("Indexed", "good"),
        "already-indexed" => ("Already indexed", "good"),
        "skipped" => ("Skipped", ""),
        "rejected" => ("Failed", "bad"),
        "retried" => ("Tried again", "warn"),
        "doubted" => ("Second look", ""),
        "postponed" => ("Put off", ""),
        "given-back" => ("Given back", "warn"),
        "abandoned" => ("Lost", "warn"),
        other => (other, ""),
    }
}
