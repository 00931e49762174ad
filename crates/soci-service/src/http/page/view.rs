//! The parts of the page. Elements that come and go carry a `data-key`, by which the script knows
//! them again.

use maud::{Markup, html};

use super::charts::charts;
use super::ended::lately;
use super::filter::Filter;
use super::letters::letters_seen;
use super::parts::{Reader, clock, detail, image, ordinal, origin, short, short_text, with_clocks};
use crate::status_store::{
    DeadLettersStatus, LayerStatus, OutageStatus, QueueAwayStatus, QueueStatus, RunningStatus,
    ServiceState, Status, Totals,
};
use crate::words::{ago, count, duration, grouped, percent, size};

/// What the browser's tab says.
pub(super) fn title(status: &Status) -> String {
    let state = match (status.service.state, status.running.len()) {
        (ServiceState::Working, running) => format!("{running} running"),
        (state, _) => word(state).to_owned(),
    };
    format!("{state} · SOCI index builder")
}

/// Everything that changes.
pub(super) fn page(status: &Status, filter: &Filter) -> Markup {
    let reader = Reader::of(status);
    html! {
        (top(status))
        main {
            @for queue in &status.queues_away { (queue_away(queue)) }
            @if let Some(outage) = &status.outage { (away(outage)) }
            @if status.service.state == ServiceState::Draining {
                p.outage role="status" data-key="draining" { (with_clocks(&sentence(status))) "." }
            }
            (figures(status))
            @if let Some(letters) = status.dead_letters.as_ref().filter(|letters| letters.letters.is_some()) {
                (letters_seen(letters, &reader))
            }
            section aria-labelledby="now" {
                h2 #now { "Now" }
                @if status.running.is_empty() {
                    p.empty data-key="nothing" { (with_clocks(&sentence(status))) "." }
                }
                @for job in &status.running { (running(job)) }
            }
            section aria-labelledby="lately" {
                h2 #lately { "Lately" }
                @if status.ended.is_empty() {
                    p.empty data-key="none" {
                        "No job has ended since this process began, at " (clock(&status.service.started_at))
                        ". What was before is in the logs."
                    }
                } @else {
                    (filter.form(&status.ended))
                    (lately(status, filter, &reader))
                }
            }
            (charts(status))
        }
        (bottom(status, &reader))
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
            "for " (duration(away.since_seconds)) ", since " (clock(&away.since))
            ". No message is taken from it meanwhile, and none is lost: what waits there goes on waiting. "
            (count(away.failures.into(), "call")) " failed so far, the next is made "
            (soon(away.next_try_seconds)) ". "
            bdi.detail { (away.error) }
        }
    }
}

/// That the registry is away, for what and since when.
fn away(outage: &OutageStatus) -> Markup {
    html! {
        p.outage role="status" data-key="outage" {
            strong { "The registry is away " }
            "for " (duration(outage.since_seconds)) ", since " (clock(&outage.since)) ": "
            code.reason { (outage.reason) }
            ". Jobs are tried one at a time until one works. These tries do not count towards giving a job up, and \
             none is lost. "
            (grouped(outage.probes.into())) " failed so far"
            @if let Some(next) = outage.next_probe_seconds {
                ", the next " @if next < 1.0 { "as soon as a job comes" } @else { (soon(next)) }
            }
            ". "
            @if let Some(error) = &outage.error { (detail(error)) }
        }
    }
}

fn figures(status: &Status) -> Markup {
    let Totals { indexed, already_indexed, skipped, rejected, retried, .. } = status.totals;
    let waiting_jobs = status.running.iter().filter(|job| job.waits_for.is_some()).count();
    let at_work = status.running.len() - waiting_jobs;
    let queue = |lane| status.queues.iter().find(|queue| queue.lane == lane);
    html! {
        section.figures aria-label="In numbers" {
            dl {
                (waiting("Waiting", queue("live")))
                @if let Some(backfill) = queue("backfill") {
                    (waiting("Backfill", Some(backfill)))
                }
                @if let Some(seconds) = status.pace.as_ref().and_then(|pace| pace.backlog_seconds) {
                    (figure("Until all is done", &duration(seconds), "if this worker does it alone", ""))
                }
                @if let Some(letters) = &status.dead_letters { (dead_letters(letters)) }
                (figure("Running", &grouped(at_work as u64), &running_note(
                    waiting_jobs, status.totals.received
                ), ""))
                (figure("Indexed", &grouped(indexed), &format!(
                    "{} already there", grouped(already_indexed)
                ), "good"))
                (figure("Skipped", &grouped(skipped), "nothing to do", ""))
                (figure("Failed", &grouped(rejected), &format!(
                    "{} tried again", grouped(retried)
                ), if rejected > 0 { "bad" } else { "" }))
                (figure("Read", &size(status.totals.bytes_read), &format!(
                    "{} built, {} reused",
                    count(status.totals.layers_built, "layer"),
                    grouped(status.totals.layers_reused)
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
    let oldest = oldest(queue.oldest_seconds);
    let note = format!("{note}{oldest}; counted {}", ago(queue.counted_seconds_ago));
    figure(name, &grouped(queue.visible), &note, "")
}

fn dead_letters(letters: &DeadLettersStatus) -> Markup {
    let kind = if letters.all() > 0 { "bad" } else { "" };
    let oldest = letters.oldest_seconds.filter(|_| letters.all() > 0);
    let oldest = oldest.map_or(String::new(), |age| format!("oldest {}, ", duration(age)));
    let note = format!("{oldest}counted {}", ago(letters.counted_seconds_ago));
    figure("Dead letters", &grouped(letters.all()), &note, kind)
}

fn oldest(age: Option<f64>) -> String {
    age.map_or(String::new(), |age| format!(", oldest {}", duration(age)))
}

fn running_note(waiting: usize, received: u64) -> String {
    let received = format!("{} received", grouped(received));
    if waiting == 0 { received } else { format!("{waiting} waiting, {received}") }
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

/// When something is to happen.
fn soon(seconds: f64) -> String {
    if seconds < 1.0 { "now".to_owned() } else { format!("in {}", duration(seconds)) }
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
            }
            @if let (Some(layers), Some(bytes)) = (job.planned_layers, job.planned_bytes) {
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
            } @else if job.repository.is_some() && job.waits_for.is_none() {
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
        "layer-slot" => {
            "Waits for the turn of its layers: as many as may be are being built, of other images…"
        }
        "document-memory" => "Waits for memory for its manifests…",
        "layer-memory" => "Waits for memory for its layers…",
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

fn bottom(status: &Status, reader: &Reader) -> Markup {
    html! {
        footer {
            p {
                "As of " (clock(&status.now)) ". Also: "
                @if reader.runbook.is_url() {
                    a href=(reader.runbook.section(section(status))) rel="noreferrer" { "runbook" } ", "
                }
                a href="status" { "JSON" } ", " a href="metrics" { "metrics" } ", "
                a href="livez" { "alive?" } ", " a href="readyz" { "ready?" }
            }
        }
    }
}

/// The section of the runbook that says what to do now.
fn section(status: &Status) -> &'static str {
    let letters = status.dead_letters.as_ref().is_some_and(|letters| letters.all() > 0);
    match status.service.state {
        ServiceState::Idle | ServiceState::Working if letters => "deadletteralarm",
        state => state.word(),
    }
}

fn word(state: ServiceState) -> &'static str {
    match state {
        ServiceState::QueueUnreachable => "queue unreachable",
        ServiceState::RegistryUnreachable => "registry unreachable",
        other => other.word(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is shown with three digits"
)]
fn per_second(rate: f64) -> String {
    format!("{}/s", size(rate as u64))
}
