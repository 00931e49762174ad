//! The status for a terminal: the facts of the page in lines. `soci-index-builder status` prints it, and so
//! does any client that asks for `/status.txt`.
//!
//! What others named or wrote is on these lines. It has been disarmed where it was taken in (`shown_text`),
//! and here a line feed in it becomes a blank, so that nothing can look like a line of the service's.

use std::fmt::Write as _;

use crate::status_store::{EndedStatus, QueueStatus, RunningStatus, Status};
use crate::words::{ago, count, duration, grouped, percent, size};

/// Most characters of a reason's words.
const MOST_DETAIL: usize = 300;

/// How many of the jobs that ended are listed.
const MOST_ENDED: usize = 20;

/// The text, of which every line ends with a line feed.
pub(super) fn render(status: &Status) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, status);
    text
}

fn write(text: &mut String, status: &Status) -> std::fmt::Result {
    let service = &status.service;
    writeln!(text, "{}: {}", service.state.word(), status.sentence())?;
    for away in &status.queues_away {
        let (failed, next) = (count(away.failures.into(), "call"), away.next_try_seconds);
        let (lane, since, next) = (away.lane, &away.since, duration(next));
        let error = one_line(&away.error);
        writeln!(
            text,
            "  {lane} queue: no answer since {since}, {failed} failed, next in {next}: {error}"
        )?;
    }
    if let Some(outage) = &status.outage {
        let next = outage.next_probe_seconds.filter(|next| *next >= 1.0);
        let next = next
            .map_or("as soon as a job comes".to_owned(), |next| format!("in {}", duration(next)));
        let (reason, since) = (outage.reason, &outage.since);
        let probes = count(outage.probes.into(), "probe");
        writeln!(text, "  registry: {reason} since {since}, {probes} failed, the next {next}")?;
        if let Some(error) = &outage.error {
            writeln!(text, "    {}", detail(error))?;
        }
    }
    let version = match service.commit {
        "" => service.version.to_owned(),
        commit => format!("{} ({})", service.version, first(commit, 8)),
    };
    let up = duration(service.uptime_seconds);
    writeln!(text, "version {version}, up for {up}, as of {}", status.now)?;
    writeln!(text)?;
    for queue in &status.queues {
        writeln!(text, "{:<9} {}", queue.lane, messages(queue))?;
    }
    if let Some(letters) = &status.dead_letters {
        let (all, when) = (count(letters.all(), "dead letter"), ago(letters.counted_seconds_ago));
        let oldest = oldest(letters.oldest_seconds.filter(|_| letters.all() > 0));
        writeln!(text, "{:<9} {all}{oldest}, counted {when}", "dead")?;
    }
    if let Some(pace) = &status.pace {
        let (jobs, over) = (pace.jobs_per_minute, duration(pace.over_seconds));
        write!(text, "{:<9} {jobs} jobs a minute over {over}", "pace")?;
        if let Some(seconds) = pace.backlog_seconds {
            write!(text, "; what waits takes this worker alone {}", duration(seconds))?;
        }
        writeln!(text)?;
    }
    let totals = &status.totals;
    writeln!(
        text,
        "{:<9} {} received, {} indexed, {} already there, {} skipped, {} failed, {} tried again",
        "jobs",
        grouped(totals.received),
        grouped(totals.indexed),
        grouped(totals.already_indexed),
        grouped(totals.skipped),
        grouped(totals.rejected),
        grouped(totals.retried),
    )?;
    let layers = count(totals.layers_built, "layer");
    let reused = grouped(totals.layers_reused);
    let read = size(totals.bytes_read);
    writeln!(text, "{:<9} {read}, {layers} built, {reused} reused", "read")?;
    letters(text, status)?;
    writeln!(text, "\nnow")?;
    if status.running.is_empty() {
        writeln!(text, "  nothing in hand")?;
    }
    for job in &status.running {
        writeln!(
            text,
            "  {}\n    {}",
            image(job.repository.as_deref(), job.tag.as_deref(), &job.message_id),
            doing(job)
        )?;
    }
    writeln!(text, "\nlately")?;
    if status.ended.is_empty() {
        writeln!(text, "  no job has ended since the start")?;
    }
    for job in status.ended.iter().take(MOST_ENDED) {
        let image = image(job.repository.as_deref(), job.tag.as_deref(), &job.message_id);
        let (when, outcome) = (ago(job.ended_seconds_ago), job.outcome);
        writeln!(text, "  {when:<11} {outcome:<15} {image} in {}", duration(job.elapsed_seconds))?;
        if let Some(why) = why(job) {
            writeln!(text, "    {why}")?;
        }
    }
    Ok(())
}

fn messages(queue: &QueueStatus) -> String {
    format!(
        "{} waiting, {} in flight, {} delayed{}, counted {}",
        grouped(queue.visible),
        grouped(queue.in_flight),
        grouped(queue.delayed),
        oldest(queue.oldest_seconds),
        ago(queue.counted_seconds_ago),
    )
}

fn oldest(age: Option<f64>) -> String {
    age.map_or(String::new(), |age| format!(", oldest {}", duration(age)))
}

/// The dead letters, if they are looked at.
fn letters(text: &mut String, status: &Status) -> std::fmt::Result {
    let Some(letters) = &status.dead_letters else { return Ok(()) };
    let Some(seen) = letters.letters.as_deref().filter(|seen| !seen.is_empty()) else {
        return Ok(());
    };
    writeln!(text, "\ndead letters")?;
    for letter in seen.iter().take(MOST_ENDED) {
        let image = image(letter.repository.as_deref(), letter.tag.as_deref(), &letter.id);
        let reason = one_line(&letter.reason);
        writeln!(text, "  {:<11} {reason:<15} {image}", ago(letter.age_seconds))?;
        let detail = detail(&letter.detail);
        if !detail.is_empty() {
            writeln!(text, "    {detail}")?;
        }
    }
    if letters.more_letters || seen.len() > MOST_ENDED {
        writeln!(
            text,
            "  and others; `soci-index-builder dead-letters list` has those of a queue in SQS"
        )?;
    }
    Ok(())
}

/// A reason's words in one line, with a mark where there are more of them.
fn detail(words: &str) -> String {
    let line = one_line(words);
    let part = first(&line, MOST_DETAIL);
    if part == line { part } else { format!("{part} […]") }
}

fn doing(job: &RunningStatus) -> String {
    let progress = match (job.waits_for, job.planned_layers, job.planned_bytes) {
        (Some(waits_for), ..) => format!("waits ({waits_for})"),
        (None, Some(layers), Some(bytes)) => {
            let mut progress = format!(
                "{} % of {} in {}",
                percent(job.bytes_read, bytes),
                size(bytes),
                count(layers, "layer")
            );
            if let Some(left) = job.remaining_seconds {
                // Writing to a string cannot fail.
                let _ = write!(progress, ", {} left", duration(left));
            }
            progress
        }
        _ if job.repository.is_some() => "reading manifests".to_owned(),
        _ => "just received".to_owned(),
    };
    let mut doing = format!("{progress}, for {}", duration(job.elapsed_seconds));
    if job.attempts > 0 {
        let _ = write!(doing, ", {} failed before", count(job.attempts.into(), "attempt"));
    }
    if job.receive_count > 1 {
        let _ = write!(doing, ", received {} times", job.receive_count);
    }
    doing
}

fn why(job: &EndedStatus) -> Option<String> {
    if let Some(index) = &job.index {
        let tag = job.index_tag.as_deref().unwrap_or("without a tag");
        return Some(format!("{tag} {index}"));
    }
    let detail = detail(&job.detail);
    let again =
        job.again_in_seconds.map(|again| format!("; tried again {} after that", duration(again)));
    match (job.reason, detail.as_str()) {
        ("", "") => None,
        (reason, "") => Some(format!("{reason}{}", again.unwrap_or_default())),
        (reason, detail) => Some(format!("{reason}: {detail}{}", again.unwrap_or_default())),
    }
}

fn image(repository: Option<&str>, tag: Option<&str>, message_id: &str) -> String {
    match (repository, tag) {
        (Some(repository), Some(tag)) => format!("{repository}:{tag}"),
        (Some(repository), None) => repository.to_owned(),
        (None, _) => format!("message {message_id}"),
    }
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

fn first(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_cut_short_say_so() {
        assert_eq!(detail("one\ntwo"), one_line("one\ntwo"));
        let (whole, more) = ("é".repeat(MOST_DETAIL), "é".repeat(MOST_DETAIL + 1));
        assert_eq!(detail(&whole), whole);
        assert_eq!(detail(&more), format!("{whole} […]"));
    }
}
