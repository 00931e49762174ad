//! The parts of the page. Elements that come and go carry a `data-key`, by which the script knows
//! them again.

use maud::{Markup, html};

use super::super::words::{ago, count, duration, grouped, percent, size};
use crate::status_store::{
    DeadLettersStatus, EndedStatus, LayerStatus, MAX_ENDED, OutageStatus, QueueAwayStatus,
    QueueStatus, RunningStatus, ServiceState, Status, Totals,
};

/// Details longer than this are folded, in characters.
const FOLD: usize = 400;

/// What the browser's tab says.
pub(super) fn title(status: &Status) -> String {
    let state = match (status.service.state, status.running.len()) {
        (ServiceState::Working, running) => format!("{running} running"),
        (state, _) => word(state).to_owned(),
    };
    format!("{state} · SOCI index builder")
}

/// Everything that changes.
pub(super) fn page(status: &Status) -> Markup {
    html! {
        (top(status))
        main {
            @for queue in &status.queues_away { (queue_away(queue)) }
            @if let Some(outage) = &status.outage { (away(outage)) }
            @if status.service.state == ServiceState::Draining {
                p.outage role="status" data-key="draining" { (sentence(status)) "." }
            }
            (figures(status))
            section aria-labelledby="now" {
                h2 #now { "Now" }
                @if status.running.is_empty() {
                    p.empty data-key="nothing" { (sentence(status)) "." }
                }
                @for job in &status.running { (running(job)) }
            }
            section aria-labelledby="lately" {
                h2 #lately { "Lately" }
                @if status.ended.is_empty() {
                    p.empty data-key="none" { "No job has ended since the start." }
                } @else {
                    (lately(&status.ended))
                }
            }
        }
        (bottom(status))
    }
}

fn top(status: &Status) -> Markup {
    let service = &status.service;
    html! {
        header.top {
            h1 { "SOCI index builder" }
            p.state.{ "is-" (service.state.word()) } { (word(service.state)) }
            p.about {
                "version " (service.version)
                @if !service.commit.is_empty() {
                    " (" code { (service.commit.chars().take(8).collect::<String>()) } ")"
                }
                ", up for " (duration(service.uptime_seconds))
            }
        }
    }
}

/// That a queue does not answer, since when and why.
fn queue_away(away: &QueueAwayStatus) -> Markup {
    html! {
        p.outage role="status" data-key={ "away-" (away.lane) } {
            strong { "The " (away.lane) " queue does not answer " }
            "for " (duration(away.since_seconds)) ", since "
            time datetime=(away.since) { (away.since) }
            ". No message is taken from it meanwhile, and none is lost: what waits there goes on waiting. "
            (count(away.failures.into(), "receive")) " failed so far, the next is made in "
            (duration(away.next_try_seconds)) ". "
            bdi.detail { (away.error) }
        }
    }
}

/// That the registry is away, for what and since when.
fn away(outage: &OutageStatus) -> Markup {
    html! {
        p.outage role="status" data-key="outage" {
            strong { "The registry is away " }
            "for " (duration(outage.since_seconds)) ", since "
            time datetime=(outage.since) { (outage.since) } ": "
            code.reason { (outage.reason) }
            ". Jobs are tried one at a time until one works, and no try is counted. "
            (grouped(outage.probes.into())) " failed so far"
            @if let Some(next) = outage.next_probe_seconds { ", the next in " (duration(next)) }
            "."
        }
    }
}

fn figures(status: &Status) -> Markup {
    let Totals { indexed, already_indexed, skipped, rejected, retried, .. } = status.totals;
    let queue = |lane| status.queues.iter().find(|queue| queue.lane == lane);
    html! {
        section.figures aria-label="In numbers" {
            dl {
                (waiting("Waiting", queue("live")))
                @if let Some(backfill) = queue("backfill") {
                    (waiting("Backfill", Some(backfill)))
                }
                @if let Some(letters) = &status.dead_letters { (dead_letters(letters)) }
                (figure("Running", &grouped(status.running.len() as u64), &format!(
                    "{} received", grouped(status.totals.received)
                ), ""))
                (figure("Indexed", &grouped(indexed), &format!(
                    "{} already there", grouped(already_indexed)
                ), "good"))
                (figure("Skipped", &grouped(skipped), "nothing to do", ""))
                (figure("Failed", &grouped(rejected), &format!(
                    "{} tried again", grouped(retried)
                ), if rejected > 0 { "bad" } else { "" }))
                (figure("Read", &size(status.totals.bytes_read), &format!(
                    "{} built", count(status.totals.layers_built, "layer")
                ), ""))
            }
        }
    }
}

fn waiting(name: &str, queue: Option<&QueueStatus>) -> Markup {
    let Some(queue) = queue else { return figure(name, "–", "not counted yet", "") };
    let mut note = format!("{} in flight", grouped(queue.in_flight));
    if queue.delayed > 0 {
        note = format!("{note}, {} delayed", grouped(queue.delayed));
    }
    let note = format!("{note}; counted {}", ago(queue.counted_seconds_ago));
    figure(name, &grouped(queue.visible), &note, "")
}

fn dead_letters(letters: &DeadLettersStatus) -> Markup {
    let kind = if letters.visible > 0 { "bad" } else { "" };
    let note = format!("counted {}", ago(letters.counted_seconds_ago));
    figure("Dead letters", &grouped(letters.visible), &note, kind)
}

fn figure(name: &str, value: &str, note: &str, kind: &str) -> Markup {
    html! {
        div.figure data-key=(name) {
            dt { (name) }
            dd.value.(kind) { (value) }
            dd.note { (note) }
        }
    }
}

/// The state in a sentence with a capital.
fn sentence(status: &Status) -> String {
    let sentence = status.sentence();
    let rest = sentence.chars().skip(1);
    sentence.chars().take(1).flat_map(char::to_uppercase).chain(rest).collect()
}

fn running(job: &RunningStatus) -> Markup {
    let done: Vec<&LayerStatus> = job.layers.iter().filter(|layer| layer.done).collect();
    html! {
        article.job data-key={ "job-" (job.ticket) } {
            h3 { (image(job.repository.as_deref(), job.tag.as_deref(), &job.message_id)) }
            p.facts {
                (origin(job.repository.as_deref(), job.digest.as_deref()))
                @if job.repository.is_some() { " · " }
                "for " (duration(job.elapsed_seconds))
                ", after " (duration(job.queued_seconds)) " in the queue"
                @if job.lane != "live" { " · " span.chip { (job.lane) } }
                @if job.attempts > 0 {
                    " · " span.chip.warn { (ordinal(job.attempts.saturating_add(1))) " try" }
                }
                @if job.receive_count > 1 {
                    " · " span.chip.warn { (ordinal(job.receive_count)) " receive" }
                }
            }
            @if let Some(waits_for) = job.waits_for {
                p.facts data-key="waiting" { (waiting_for(waits_for)) }
            } @else if let (Some(layers), Some(bytes)) = (job.planned_layers, job.planned_bytes) {
                (whole(job, layers, bytes))
                ul.layers {
                    @for layer in job.layers.iter().filter(|layer| !layer.done) {
                        (one_layer(layer))
                    }
                }
                @if !done.is_empty() {
                    details.done {
                        summary {
                            (count(job.layers_done, "layer")) " of " (layers) " done"
                        }
                        ul.layers { @for layer in done { (one_layer(layer)) } }
                    }
                }
            } @else if job.repository.is_some() {
                p.facts data-key="planning" { "Reading manifests…" }
            }
        }
    }
}

/// What a job waits for, in words.
fn waiting_for(label: &str) -> &'static str {
    match label {
        "same-tag" => "Waits for another job for the same tag…",
        "same-image" => "Waits for another job for the same image…",
        _ => {
            "Waits until no other job runs: a process ended while it had this message, so it is \
             handled alone…"
        }
    }
}

fn whole(job: &RunningStatus, layers: u64, bytes: u64) -> Markup {
    let read = job.bytes_read.min(bytes);
    let part = percent(read, bytes);
    html! {
        div.whole data-key="whole" {
            progress max=(bytes.max(1)) value=(read) aria-label="All layers" { (part) " %" }
            span.percent { (part) " %" }
            p.facts {
                (size(read)) " of " (size(bytes)) " in " (count(layers, "layer"))
                @if let Some(rate) = job.bytes_per_second { " · " (per_second(rate)) }
                @if read >= bytes {
                    " · finishing"
                } @else if let Some(remaining) = job.remaining_seconds {
                    " · " (duration(remaining)) " left"
                }
            }
        }
    }
}

fn one_layer(layer: &LayerStatus) -> Markup {
    let part = percent(layer.read, layer.size);
    html! {
        li.layer data-key=(layer.digest) {
            (short(&layer.digest))
            progress max=(layer.size.max(1)) value=(layer.read)
                aria-label={ "Layer " (short_text(&layer.digest)) } { (part) " %" }
            span.percent {
                @if layer.done { "done" } @else if part == 100 { "storing" } @else { (part) " %" }
            }
            span.size { (size(layer.size)) }
        }
    }
}

fn lately(ended: &[EndedStatus]) -> Markup {
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
            tbody role="rowgroup" { @for job in ended { (finished(job)) } }
        }
        @if ended.len() >= MAX_ENDED {
            p.facts data-key="more" { "The last " (MAX_ENDED) " jobs. The logs have them all." }
        }
    }
}

fn finished(job: &EndedStatus) -> Markup {
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
            td.outcome role="cell" { span.badge.(kind) { (outcome) } }
            td.why role="cell" { (why(job)) }
            td.number.took role="cell" { (duration(job.elapsed_seconds)) }
            td.number role="cell" {
                time datetime=(job.ended_at) title=(job.ended_at) { (ago(job.ended_seconds_ago)) }
            }
        }
    }
}

fn why(job: &EndedStatus) -> Markup {
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
        @if !job.reason.is_empty() { p { code.reason { (job.reason) } } }
        @if job.detail.chars().count() > FOLD {
            details {
                summary { bdi.detail { (job.detail.chars().take(FOLD).collect::<String>()) "…" } }
                bdi.detail { (job.detail) }
            }
        } @else if !job.detail.is_empty() {
            p { bdi.detail { (job.detail) } }
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
        job.layers_skipped.filter(|skipped| *skipped > 0).map(|n| count(n, "layer") + " left out"),
        Some(job.bytes_read).filter(|read| *read > 0).map(|n| size(n) + " read"),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

fn bottom(status: &Status) -> Markup {
    html! {
        footer {
            p {
                "As of " time datetime=(status.now) { (status.now) } ". Also: "
                a href="status" { "JSON" } ", " a href="metrics" { "metrics" } ", "
                a href="livez" { "alive?" } ", " a href="readyz" { "ready?" }
            }
        }
    }
}

/// Name and tag of an image; of a message that was not understood, its identifier.
fn image(repository: Option<&str>, tag: Option<&str>, message_id: &str) -> Markup {
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
fn origin(repository: Option<&str>, digest: Option<&str>) -> Markup {
    html! {
        @if let (Some(repository), Some(digest)) = (repository, digest) {
            bdi { (host_and_name(repository).0) } " · " (short(digest))
        }
    }
}

fn host_and_name(repository: &str) -> (&str, &str) {
    repository.split_once('/').unwrap_or(("", repository))
}

/// A digest in short, with all of it on demand.
fn short(digest: &str) -> Markup {
    html! { code.digest title=(digest) { (short_text(digest)) } }
}

fn short_text(digest: &str) -> String {
    digest.split_once(':').map_or(digest, |(_, hex)| hex).chars().take(12).collect()
}

fn word(state: ServiceState) -> &'static str {
    match state {
        ServiceState::QueueUnreachable => "queue unreachable",
        ServiceState::RegistryUnreachable => "registry unreachable",
        other => other.word(),
    }
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

fn ordinal(number: u32) -> String {
    let end = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{end}")
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is shown with three digits"
)]
fn per_second(rate: f64) -> String {
    format!("{}/s", size(rate as u64))
}
