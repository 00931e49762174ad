//! Serves the status page of a service that pretends to work, to look at it and to test it.
//!
//! ```text
//! cargo run -p soci-service --example status_page -- [ADDRESS] [SCENE]
//! ```
//!
//! Scenes: `busy`, `idle`, `draining`, `starting`, `queue-unreachable`, `registry-unreachable`, `recovering`,
//! `waiting`, `failures`, `letters`.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use soci_indexer::{ImageEvent, LayerReport, Reason, Report};
use soci_jobs::{JobEnd, MessageAction, Outcome, Why};
use soci_oci::{Digest, Repository};
use soci_push::Job;
use soci_queue::{
    Backlog, ErrorKind, Message, MessageId, Operation, QueueError, Receipt, failure,
    history_attribute,
};
use soci_service::dead_letters::Letter;
use soci_service::event::{Event, EventSink, Events, QueueKind};
use soci_service::http::{Site, SiteLimits, router, serve};
use soci_service::metrics::Metrics;
use soci_service::status_store::StatusStore;
use soci_service::{About, JobId, JobInHand};
use tokio::net::TcpListener;
use tokio::time::{Instant, interval};

const REGISTRY: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";

/// What a hostile registry might answer.
const HOSTILE: &str = "</td></table><script>document.title = 'executed'</script>\
    <img src=x onerror=\"document.title='executed'\"> \
    the registry answered 400: MANIFEST_INVALID \u{202e}gnp.exe";

const WHY_REJECTED: &str = "sha256:6c3c624b58db: the layer's tar archive has a header with a bad \
    checksum at byte 1536, so the reference builder would not index it either. Build the image \
    again with a current tool, then push it once more; the message with this reason is on the \
    dead-letter queue and can be replayed from there.";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let scene = arguments.next().unwrap_or_else(|| "busy".to_owned());
    let runbook = "https://wiki.example/soci".parse()?;
    let status_store = Arc::new(StatusStore::new(About::THIS).with_runbook(runbook));
    let metrics = Arc::new(Metrics::new(&About::THIS, &status_store));
    let sinks: [Arc<dyn EventSink>; 2] = [status_store.clone(), metrics.clone()];
    let site = Site { status_store, metrics };
    let listener = TcpListener::bind(address).await?;
    println!("http://{}/", listener.local_addr()?);
    tokio::spawn(play(Scene { events: Events::to(sinks) }, scene));
    serve(listener, router(site), SiteLimits::default(), std::future::pending()).await;
    Ok(())
}

#[derive(Clone)]
struct Scene {
    events: Events,
}

impl Scene {
    fn receive(&self, id: u64, queue: QueueKind, attempt: u32) -> Arc<JobInHand> {
        let message = Message {
            id: MessageId(format!("5fea7756-0ea4-451a-a703-a558b933{id:04}")),
            receipt: Receipt("AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a".to_owned()),
            body: String::new(),
            receive_count: 1,
            sent_at: SystemTime::now() - Duration::from_secs(3 + id % 7),
            received_at: Instant::now(),
            group: None,
            attributes: match attempt.saturating_sub(1) {
                0 => Vec::new(),
                failed => vec![(history_attribute::ATTEMPTS.to_owned(), failed.to_string())],
            },
        };
        let job = Arc::new(JobInHand::new(JobId(id), queue, &message));
        self.events.tell(&Event::JobReceived { job: &job });
        job
    }

    fn start(&self, job: &Arc<JobInHand>, name: &str, tag: Option<&str>) {
        let Ok(repository) = Repository::new(REGISTRY, name) else { return };
        job.name_image(&Job {
            repository,
            digest: digest(job.id.0),
            tag: tag.and_then(|tag| tag.parse().ok()),
            event_id: None,
            since: None,
        });
        self.events.tell(&Event::JobStarted { job });
    }

    fn image(&self, job: &Arc<JobInHand>, event: ImageEvent<'_>) {
        self.events.tell(&Event::Image { job, event });
    }

    fn end(&self, job: &Arc<JobInHand>, end: &JobEnd, seconds: f64) {
        let elapsed = Duration::from_secs_f64(seconds);
        self.events.tell(&Event::JobEnded { job, end, trouble: None, elapsed });
    }
}

async fn play(scene: Scene, name: String) {
    let turning = scene.clone();
    tokio::spawn(async move {
        let mut turns = interval(Duration::from_secs(1));
        loop {
            turns.tick().await;
            turning.events.tell(&Event::Turned);
        }
    });
    if name == "starting" {
        return;
    }
    scene.events.tell(&Event::Answered { queue: QueueKind::Live, messages: 0 });
    for (queue, visible, in_flight) in [(QueueKind::Live, 18, 3), (QueueKind::Backfill, 12_408, 0)]
    {
        let delayed = u64::from(queue == QueueKind::Live);
        let backlog = Backlog { visible, in_flight, delayed };
        scene.events.tell(&Event::Counted { queue, backlog });
    }
    let letters = if name == "idle" { 0 } else { 3 };
    let backlog = Backlog { visible: letters, in_flight: 0, delayed: 0 };
    scene.events.tell(&Event::DeadLettersCounted { backlog });
    if name == "idle" {
        return;
    }
    the_past(&scene);
    if name == "queue-unreachable" {
        let error = QueueError {
            queue: "soci-index-builder-jobs".to_owned(),
            operation: Operation::Receive,
            kind: ErrorKind::Transient,
            request_id: None,
            source: "dispatch failure: connection refused".into(),
        };
        scene.events.tell(&Event::QueueAway {
            queue: QueueKind::Live,
            since: Instant::now(),
            failures: 7,
            next_try: Instant::now() + Duration::from_secs(30),
            error: &error,
        });
    }
    if name == "registry-unreachable" {
        scene.events.tell(&Event::OutageLasts {
            reason: Reason::RegistryUnavailable,
            since: Instant::now(),
            probes: 4,
            next_probe: Instant::now() + Duration::from_mins(2),
        });
    }
    if name == "recovering" {
        let (reason, since) = (Reason::RegistryUnavailable, Instant::now());
        scene.events.tell(&Event::OutageBegan { reason, since });
        scene.events.tell(&Event::OutageEnded { reason, since });
    }
    if name == "failures" {
        the_same_failure(&scene);
    }
    if name == "letters" {
        scene.events.tell(&Event::LettersSeen { letters: &letters_of_the_past(), more: true });
    }
    if name == "waiting" {
        jobs_that_wait(&scene);
    }
    if name == "draining" {
        let until = Instant::now() + Duration::from_secs(90);
        scene.events.tell(&Event::Draining { until });
    }
    let waiting = scene.receive(20, QueueKind::Live, 1);
    scene.start(&waiting, "platform/base-images/debian-slim", Some("bookworm-20260801"));
    tokio::join!(
        work(&scene, 100, "team/checkout", "2.14.0-rc.1", &[666_000_000, 148_000_000, 31_000_000]),
        work(&scene, 200, "ml/inference-gpu", "cu124", &[2_870_000_000, 1_240_000_000]),
    );
}

/// Jobs that have ended.
fn the_past(scene: &Scene) {
    let done = |outcome| JobEnd { outcome, action: MessageAction::Delete };
    let rejected = |reason, detail: &str| JobEnd {
        outcome: Outcome::Rejected(Why::new(reason, detail)),
        action: MessageAction::DeadLetter,
    };
    let ends = [
        (
            "team/checkout",
            Some("2.13.9"),
            QueueKind::Live,
            1,
            done(Outcome::Indexed(report("2.13.9", 3).into())),
            12.6,
        ),
        (
            "team/checkout",
            Some("2.13.9"),
            QueueKind::Live,
            1,
            done(Outcome::AlreadyIndexed(report("2.13.9", 0).into())),
            0.21,
        ),
        (
            "team/tiny-sidecar",
            Some("1.0"),
            QueueKind::Backfill,
            1,
            done(Outcome::Skipped(Why::new(
                "nothing-to-index",
                "no layer is as large as the minimum of 10.0 MiB",
            ))),
            0.34,
        ),
        (
            "legacy/report-builder",
            Some("7"),
            QueueKind::Live,
            1,
            rejected("layer-unreadable", WHY_REJECTED),
            31.0,
        ),
        (
            "team/search",
            None,
            QueueKind::Live,
            3,
            JobEnd {
                outcome: Outcome::Failed(Why::new(
                    "registry-busy",
                    format!(
                        "PUT https://{REGISTRY}/v2/team/search/manifests/v1-soci: the registry answered 429 Too Many Requests"
                    ),
                )),
                action: MessageAction::Retry { again_in: Duration::from_mins(2) },
            },
            4.0,
        ),
        (
            "evil/very-long-name-without-any-place-to-break-it-which-a-registry-allows-all-the-same",
            Some("x"),
            QueueKind::Live,
            1,
            rejected("registry-refused", HOSTILE),
            0.08,
        ),
    ];
    for (id, (name, tag, queue, receives, end, seconds)) in (1..).zip(ends) {
        let job = scene.receive(id, queue, receives);
        scene.start(&job, name, tag);
        scene.end(&job, &end, seconds);
    }
    let job = scene.receive(7, QueueKind::Live, 1);
    let detail = "the message is not a JSON object: expected value at line 1 column 1";
    scene.end(&job, &rejected("malformed-message", detail), 0.002);
}

/// One image that fails again and again.
fn the_same_failure(scene: &Scene) {
    let digest = digest(77);
    let detail = format!("layer {digest} of 2.0 GiB: the connection broke after 1,234 bytes");
    for id in 30..36 {
        let job = scene.receive(id, QueueKind::Live, 1);
        let Ok(repository) = Repository::new(REGISTRY, "ml/training") else { return };
        let tag = "nightly".parse().ok();
        job.name_image(&Job { repository, digest, tag, event_id: None, since: None });
        let outcome = Outcome::Failed(Why::found(Reason::RegistryUnavailable, detail.clone()));
        let action = MessageAction::Retry { again_in: Duration::from_mins(8) };
        scene.end(&job, &JobEnd { outcome, action }, 12.0);
    }
}

/// Jobs that wait for what all images share.
fn jobs_that_wait(scene: &Scene) {
    let turn = scene.receive(40, QueueKind::Live, 1);
    scene.start(&turn, "team/waits-for-a-slot", Some("1"));
    scene.image(&turn, ImageEvent::Planned { layers: 3, bytes: 400_000_000 });
    let documents = scene.receive(41, QueueKind::Live, 1);
    scene.start(&documents, "team/waits-for-documents", Some("1"));
    scene.image(&documents, ImageEvent::DocumentsWait);
    let memory = scene.receive(42, QueueKind::Live, 1);
    scene.start(&memory, "team/waits-for-memory", Some("1"));
    scene.image(&memory, ImageEvent::Planned { layers: 1, bytes: 2_000_000_000 });
    scene.image(&memory, ImageEvent::LayerWaits { layer: &digest(43) });
}

/// Letters as a look at the dead-letter queue finds them.
fn letters_of_the_past() -> Vec<Letter> {
    let letter = |id: &str, hours, body: String, told: &[(&str, &str)]| {
        let told = told.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Letter::of(&Message {
            id: MessageId(id.to_owned()),
            receipt: Receipt("AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a".to_owned()),
            body,
            receive_count: 1,
            sent_at: SystemTime::now() - Duration::from_hours(hours),
            received_at: Instant::now(),
            group: None,
            attributes: told.collect(),
        })
    };
    let job = |name: &str, tag: &str| {
        format!(
            r#"{{"v":1,"registry":"{REGISTRY}","repository":"{name}","digest":"{}","tag":"{tag}","enqueued_at":"2026-08-01T12:34:56Z"}}"#,
            digest(5)
        )
    };
    let needs = format!("the ztoc of layer {} needs 5,812 MiB", digest(6));
    vec![
        letter(
            "5fea7756-0ea4-451a-a703-a558b9330001",
            2,
            job("team/checkout", "2.13.8"),
            &[(failure::REASON, "layer-memory"), (failure::MESSAGE, &needs)],
        ),
        letter(
            "5fea7756-0ea4-451a-a703-a558b9330002",
            30,
            job("ml/inference-gpu", "cu121"),
            &[
                (failure::REASON, "unauthorized"),
                (failure::MESSAGE, "the registry refuses access"),
                (failure::ATTEMPTS, "97"),
            ],
        ),
        letter(
            "5fea7756-0ea4-451a-a703-a558b9330003",
            50,
            job("evil/app", "x"),
            &[(failure::MESSAGE, HOSTILE)],
        ),
    ]
}

/// Indexes images of these layers for ever.
async fn work(scene: &Scene, first: u64, name: &str, tag: &str, sizes: &[u64]) {
    let mut tick = interval(Duration::from_millis(100));
    for id in first.. {
        let layers: Vec<(Digest, u64)> =
            sizes.iter().enumerate().map(|(i, size)| (digest(1000 + i as u64), *size)).collect();
        let job = scene.receive(id, QueueKind::Live, 1 + u32::from(first == 200));
        scene.start(&job, name, Some(tag));
        let (count, sum) = (layers.len(), sizes.iter().sum());
        scene.image(&job, ImageEvent::Planned { layers: count, bytes: sum });
        for (layer, size) in &layers {
            scene.image(&job, ImageEvent::LayerStarted { layer, size: *size });
        }
        let mut left: Vec<u64> = sizes.to_vec();
        while left.iter().any(|left| *left > 0) {
            tick.tick().await;
            scene.events.tell(&Event::Turned);
            for ((layer, _), left) in layers.iter().zip(&mut left).filter(|(_, left)| **left > 0) {
                let piece = (*left).min(7_000_000);
                *left -= piece;
                scene.image(&job, ImageEvent::LayerRead { layer, bytes: piece });
                if *left == 0 {
                    scene.image(&job, ImageEvent::LayerDone { layer });
                }
            }
        }
        let outcome = Outcome::Indexed(report(tag, count).into());
        scene.end(&job, &JobEnd { outcome, action: MessageAction::Delete }, 10.0);
    }
}

fn report(tag: &str, layers: usize) -> Report {
    let layer = LayerReport {
        digest: digest(900),
        size: 666_000_000,
        ztoc: digest(901),
        ztoc_size: 12_800_000,
        files: 21_866,
        spans: 375,
        elapsed: Duration::from_secs(9),
    };
    Report {
        already_there: false,
        image: digest(902),
        version: soci_manifest::Version::V2,
        index: digest(903),
        indexes: Vec::new(),
        tag: format!("{tag}-soci").parse().ok(),
        layers: vec![layer; layers],
        reused: Vec::new(),
        skipped: Vec::new(),
        left_out_platforms: Vec::new(),
        prefetch: Vec::new(),
        prefetch_files: Vec::new(),
        warnings: Vec::new(),
        bytes_read: 845_000_000,
        elapsed: Duration::from_secs(12),
    }
}

fn digest(seed: u64) -> Digest {
    Digest::sha256_of(&seed.to_le_bytes())
}
