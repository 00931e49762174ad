//! Serves the status page of a service that pretends to work, to look at it and to test it.
//!
//! ```text
//! cargo run -p soci-service --example status_page -- [ADDRESS] [busy|idle|draining|starting]
//! ```

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use soci_indexer::{LayerReport, Report};
use soci_oci::{Digest, Repository};
use soci_push::Job;
use soci_queue::{Backlog, Message, MessageId, Receipt};
use soci_service::About;
use soci_service::board::Board;
use soci_service::http::{Limits, STUCK_AFTER, Site, router, serve};
use soci_service::metrics::Metrics;
use soci_service::watch::{Ending, Lane, Ticket, Watch};
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
    let board = Arc::new(Board::new(About::THIS));
    let metrics = Arc::new(Metrics::new(&About::THIS));
    let watch = (board.clone(), metrics.clone());
    let site = Site { board, metrics, stuck_after: STUCK_AFTER };
    let listener = TcpListener::bind(address).await?;
    println!("http://{}/", listener.local_addr()?);
    tokio::spawn(play(Scene { board: watch.0, metrics: watch.1 }, scene));
    serve(listener, router(site), Limits::default(), std::future::pending()).await;
    Ok(())
}

#[derive(Clone)]
struct Scene {
    board: Arc<Board>,
    metrics: Arc<Metrics>,
}

impl Scene {
    fn tell(&self, what: impl Fn(&dyn Watch)) {
        what(self.board.as_ref());
        what(self.metrics.as_ref());
    }

    fn receive(&self, ticket: u64, lane: Lane, receive_count: u32) {
        let message = Message {
            id: MessageId(format!("5fea7756-0ea4-451a-a703-a558b933{ticket:04}")),
            receipt: Receipt("AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a".to_owned()),
            body: String::new(),
            receive_count,
            sent_at: SystemTime::now() - Duration::from_secs(3 + ticket % 7),
            received_at: Instant::now(),
            group: None,
            attributes: Vec::new(),
        };
        self.tell(|watch| watch.job_received(Ticket(ticket), lane, &message));
    }

    fn start(&self, ticket: u64, name: &str, tag: Option<&str>) {
        let Ok(repository) = Repository::new(REGISTRY, name) else { return };
        let job = Job {
            repository,
            digest: digest(ticket),
            tag: tag.and_then(|tag| tag.parse().ok()),
            event_id: None,
            since: None,
        };
        self.tell(|watch| watch.job_started(Ticket(ticket), &job));
    }

    fn end(&self, ticket: u64, ending: &Ending, seconds: f64) {
        let elapsed = Duration::from_secs_f64(seconds);
        self.tell(|watch| watch.job_ended(Ticket(ticket), ending, elapsed));
    }
}

async fn play(scene: Scene, name: String) {
    if name == "starting" {
        return;
    }
    scene.tell(|watch| watch.answered(Lane::Live, 0));
    for (lane, visible, in_flight) in [(Lane::Live, 18, 3), (Lane::Backfill, 12_408, 0)] {
        let backlog = Backlog { visible, in_flight, delayed: u64::from(lane == Lane::Live) };
        scene.tell(|watch| watch.backlog(lane, backlog));
    }
    if name == "idle" {
        return;
    }
    the_past(&scene);
    if name == "draining" {
        scene.tell(Watch::draining);
    }
    scene.receive(20, Lane::Live, 1);
    scene.start(20, "platform/base-images/debian-slim", Some("bookworm-20260801"));
    tokio::join!(
        work(&scene, 100, "team/checkout", "2.14.0-rc.1", &[666_000_000, 148_000_000, 31_000_000]),
        work(&scene, 200, "ml/inference-gpu", "cu124", &[2_870_000_000, 1_240_000_000]),
    );
}

/// Jobs that have ended.
fn the_past(scene: &Scene) {
    let endings = [
        (
            "team/checkout",
            Some("2.13.9"),
            Lane::Live,
            1,
            Ending::Indexed(report("2.13.9", 3).into()),
            12.6,
        ),
        (
            "team/checkout",
            Some("2.13.9"),
            Lane::Live,
            1,
            Ending::AlreadyIndexed(report("2.13.9", 0).into()),
            0.21,
        ),
        (
            "team/tiny-sidecar",
            Some("1.0"),
            Lane::Backfill,
            1,
            Ending::Skipped {
                reason: "nothing-to-index",
                detail: "no layer is as large as the minimum of 10485760 bytes".to_owned(),
            },
            0.34,
        ),
        (
            "legacy/report-builder",
            Some("7"),
            Lane::Live,
            1,
            Ending::Rejected { reason: "layer-unreadable", detail: WHY_REJECTED.to_owned() },
            31.0,
        ),
        (
            "team/search",
            None,
            Lane::Live,
            3,
            Ending::Retried {
                reason: "registry-busy",
                detail: format!(
                    "PUT https://{REGISTRY}/v2/team/search/manifests/v1-soci: the registry answered 429 Too Many Requests"
                ),
                again_in: Duration::from_mins(2),
            },
            4.0,
        ),
        (
            "evil/very-long-name-without-any-place-to-break-it-which-a-registry-allows-all-the-same",
            Some("x"),
            Lane::Live,
            1,
            Ending::Rejected { reason: "registry-refused", detail: HOSTILE.to_owned() },
            0.08,
        ),
    ];
    for (ticket, (name, tag, lane, receives, ending, seconds)) in (1..).zip(endings) {
        scene.receive(ticket, lane, receives);
        scene.start(ticket, name, tag);
        scene.end(ticket, &ending, seconds);
    }
    scene.receive(7, Lane::Live, 1);
    let detail = "the message is not a JSON object: expected value at line 1 column 1".to_owned();
    scene.end(7, &Ending::Rejected { reason: "malformed-message", detail }, 0.002);
}

/// Indexes images of these layers for ever.
async fn work(scene: &Scene, first: u64, name: &str, tag: &str, sizes: &[u64]) {
    let mut tick = interval(Duration::from_millis(100));
    for ticket in first.. {
        let layers: Vec<(Digest, u64)> =
            sizes.iter().enumerate().map(|(i, size)| (digest(1000 + i as u64), *size)).collect();
        scene.receive(ticket, Lane::Live, 1 + u32::from(first == 200));
        scene.start(ticket, name, Some(tag));
        let (count, sum) = (layers.len(), sizes.iter().sum());
        scene.tell(|watch| watch.planned(Ticket(ticket), count, sum));
        for (digest, size) in &layers {
            scene.tell(|watch| watch.layer_started(Ticket(ticket), digest, *size));
        }
        let mut left: Vec<u64> = sizes.to_vec();
        while left.iter().any(|left| *left > 0) {
            tick.tick().await;
            scene.tell(Watch::turn);
            for ((digest, _), left) in layers.iter().zip(&mut left).filter(|(_, left)| **left > 0) {
                let piece = (*left).min(7_000_000);
                *left -= piece;
                scene.tell(|watch| watch.layer_read(Ticket(ticket), digest, piece));
                if *left == 0 {
                    scene.tell(|watch| watch.layer_done(Ticket(ticket), digest));
                }
            }
        }
        scene.end(ticket, &Ending::Indexed(report(tag, count).into()), 10.0);
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
        image: digest(902),
        version: soci_manifest::Version::V2,
        index: digest(903),
        indexes: Vec::new(),
        tag: format!("{tag}-soci").parse().ok(),
        layers: vec![layer; layers],
        skipped: Vec::new(),
        bytes_read: 845_000_000,
        elapsed: Duration::from_secs(12),
    }
}

fn digest(seed: u64) -> Digest {
    Digest::sha256_of(&seed.to_le_bytes())
}
