//! From a push to a job, and from a job to a line for people.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde_json::json;
use soci_indexer::{ImageEvent, Report};
use soci_jobs::{JobEnd, MessageAction, Outcome};
use soci_oci::{Digest, Repository};
use soci_push::event::{EcrEvent, EventError, MAX_EVENT_BYTES, SOURCE, Timestamp};
use soci_push::{JobMessage, PushRules, Skip, SkippedPush};
use soci_queue::{Group, Outgoing, Queue};
use soci_registry_server::Push;
use soci_service::JobImage;
use soci_service::event::{Event, EventSink};
use soci_text::{error_chain, size};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::output::say;

/// Account in the events about this registry, which belongs to none.
const ACCOUNT: &str = "000000000000";

/// Region in them, which has to look like one.
const REGION: &str = "local-machine-1";

/// Judges every push as the filter judges ECR's events, and puts the jobs on a queue.
pub(super) async fn forward<Q: Queue>(
    mut pushes: mpsc::Receiver<Push>,
    registry: SocketAddr,
    rules: PushRules,
    queue: Q,
) {
    let mut number = 0u64;
    while let Some(push) = pushes.recv().await {
        number += 1;
        let now = Timestamp::from(SystemTime::now());
        let event = event(&push, number, now);
        let name = push.tag.as_ref().map_or_else(
            || format!("{}@{}", push.repository, push.digest.short()),
            |tag| format!("{}:{tag}", push.repository),
        );
        match job(&event, registry, &rules, now) {
            Ok(Ok(job)) => {
                let group = Some(Group::of_repository(job.repository.name()));
                let message = Outgoing { body: job.encode(), group, attributes: Vec::new() };
                if let Err(error) = queue.send(&message).await {
                    say(&format!("failed     {name}: {}", error_chain(&error)));
                }
            }
            // What every image index and every result brings along is not worth a line.
            Ok(Err(SkippedPush::Skip(
                Skip::Untagged | Skip::OutputTag { .. } | Skip::SociIndex { .. },
            ))) => {
                tracing::debug!(image = name, "nothing to do for a push");
            }
            Ok(Err(nothing)) => say(&format!("skipped    {name}: {nothing}")),
            Err(error) => say(&format!("skipped    {name}: ECR has no such push: {error}")),
        }
    }
}

/// The job that an event leads to, at the registry on this machine, or why there is none.
fn job(
    event: &str,
    registry: SocketAddr,
    rules: &PushRules,
    now: Timestamp,
) -> Result<Result<JobMessage, SkippedPush>, EventError> {
    let push = match EcrEvent::parse(event.as_bytes(), MAX_EVENT_BYTES)? {
        EcrEvent::Push(push) => push,
        EcrEvent::Deletion(_) => return Ok(Err(SkippedPush::deletion())),
        EcrEvent::Ignored(ignored) => return Ok(Err(SkippedPush::Ignored(ignored))),
    };
    if let Err(why) = rules.judge(&push) {
        return Ok(Err(why));
    }
    let mut job = JobMessage::from_push(&push, now);
    // An address with a port is always a host, and the name has just been parsed.
    if let Ok(here) = Repository::new(&registry.to_string(), job.repository.name()) {
        job.repository = here;
    }
    Ok(Ok(job))
}

/// The event that ECR would send.
fn event(push: &Push, number: u64, now: Timestamp) -> String {
    let event = json!({
        "version": "0",
        "id": format!("local-{number}"),
        "detail-type": soci_push::event::DETAIL_TYPE,
        "source": SOURCE,
        "account": ACCOUNT,
        "time": now.to_string(),
        "region": REGION,
        "resources": [],
        "detail": {
            "action-type": soci_push::event::ACTION,
            "result": soci_push::event::RESULT,
            "repository-name": push.repository,
            "image-digest": push.digest.to_string(),
            "image-tag": push.tag.as_ref().map_or("", |tag| tag.as_str()),
            "manifest-media-type": push.manifest_media_type,
            "artifact-media-type": push.artifact_media_type.as_deref().unwrap_or_default(),
        },
    });
    event.to_string()
}

/// Prints a line for every outcome, and hands on what is seen of jobs.
#[derive(Debug)]
pub(super) struct JobLines {
    print: bool,
    seen: mpsc::UnboundedSender<JobSeen>,
}

/// Something that was seen of a job.
#[derive(Debug)]
pub(super) enum JobSeen {
    /// This many bytes of layers will be read.
    Planned(u64),
    /// More of them was read.
    Read(u64),
    /// The job of this image has ended, that began at this instant.
    Ended(Digest, Instant, JobEnd),
}

impl JobLines {
    /// The lines, printed if `print`, and what else is seen. If nobody receives that, it is dropped.
    pub(super) fn new(print: bool) -> (Self, mpsc::UnboundedReceiver<JobSeen>) {
        let (seen, receiver) = mpsc::unbounded_channel();
        (Self { print, seen }, receiver)
    }
}

impl EventSink for JobLines {
    fn event(&self, event: &Event<'_>) {
        let seen = match *event {
            Event::Image { event: ImageEvent::Planned { bytes, .. }, .. } => {
                JobSeen::Planned(bytes)
            }
            Event::Image { event: ImageEvent::LayerRead { bytes, .. }, .. } => JobSeen::Read(bytes),
            Event::JobEnded { job, end, elapsed, .. } => {
                let Some(image) = job.image() else { return };
                if self.print {
                    say(&line(image, end, elapsed));
                }
                let now = Instant::now();
                let began = now.checked_sub(elapsed).unwrap_or(now);
                JobSeen::Ended(image.digest, began, end.clone())
            }
            _ => return,
        };
        // Nobody may be interested.
        let _ = self.seen.send(seen);
    }
}

/// One outcome in one line.
fn line(image: &JobImage, end: &JobEnd, elapsed: Duration) -> String {
    let name = match &image.tag {
        Some(tag) => format!("{}:{tag}", image.repository),
        None => format!("{}@{}", image.repository, image.digest),
    };
    let result = |report: &Report| match &report.tag {
        Some(tag) => format!("{name} -> {tag} {}", report.index),
        None => format!("{name} {}", report.index),
    };
    let detail = end.detail();
    match (&end.outcome, end.action) {
        (Outcome::Indexed(report), _) => format!(
            "indexed    {}, read {} in {:.1} s",
            result(report),
            size(report.bytes_read),
            elapsed.as_secs_f64()
        ),
        (Outcome::AlreadyIndexed(report), _) => format!("unchanged  {}", result(report)),
        (_, MessageAction::Retry { again_in } | MessageAction::SecondLook { again_in }) => {
            format!("again in {:.0} s {name}: {detail}", again_in.as_secs_f64())
        }
        (Outcome::Skipped(_), _) => format!("skipped    {name}: {detail}"),
        (Outcome::Rejected(_) | Outcome::Failed(_), MessageAction::DeadLetter) => format!(
            "failed     {name}: {detail}\n           it is a dead letter now, on the status page; push it again to have it tried again"
        ),
        (Outcome::Rejected(_) | Outcome::Failed(_), _) => format!("failed     {name}: {detail}"),
        (Outcome::Postponed(_), _) => format!("put off    {name}: {detail}"),
        (Outcome::Stopped, _) => format!("stopped    {name}"),
        (Outcome::Lost(_), _) => format!("abandoned  {name}: {detail}"),
    }
}

#[cfg(test)]
mod tests {
    use soci_manifest::Version;
    use soci_oci::media_type;

    use super::*;

    fn rules(filters: Option<&str>) -> PushRules {
        PushRules {
            version: Version::V2,
            output_suffix: "-soci".to_owned(),
            filters: filters.unwrap_or("*:*").parse().unwrap(),
            event_types: soci_push::EventTypes::default(),
            remove_results: false,
        }
    }

    fn push(repository: &str, tag: Option<&str>) -> Push {
        Push {
            repository: repository.to_owned(),
            digest: Digest::sha256_of(b"{}"),
            tag: tag.map(|tag| tag.parse().unwrap()),
            manifest_media_type: media_type::OCI_INDEX.to_owned(),
            artifact_media_type: None,
        }
    }

    fn judged(
        push: &Push,
        filters: Option<&str>,
    ) -> Result<Result<JobMessage, SkippedPush>, EventError> {
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        job(&event(push, 7, now), "127.0.0.1:5000".parse().unwrap(), &rules(filters), now)
    }

    #[test]
    fn a_push_becomes_a_job_at_this_registry() {
        let job = judged(&push("team/app", Some("V1")), Some("team/*:V*")).unwrap().unwrap();
        assert_eq!(job.repository.to_string(), "127.0.0.1:5000/team/app");
        assert_eq!(job.digest, Digest::sha256_of(b"{}"));
        assert_eq!(job.tag.unwrap().as_str(), "V1");
        assert_eq!(job.event_id.unwrap().as_str(), "local-7");
    }

    #[test]
    fn the_rules_decide_what_is_no_job() {
        let artifact = Some("application/vnd.cncf.helm.config.v1+json".to_owned());
        let chart = Push { artifact_media_type: artifact, ..push("app", Some("1")) };
        for (push, filters, label) in [
            (push("app", None), None, "untagged"),
            (push("app", Some("1-soci")), None, "output-tag"),
            (push("app", Some("1")), Some("app:2"), "no-filter-matches"),
            (chart, None, "helm-chart"),
        ] {
            let nothing = judged(&push, filters).unwrap().unwrap_err();
            assert_eq!(nothing.label(), label);
        }
    }

    #[test]
    fn what_ecr_would_not_take_is_told() {
        let error = judged(&push("a__b", Some("1")), None).unwrap_err();
        assert!(error.to_string().contains("repository-name"), "{error}");
    }
}
