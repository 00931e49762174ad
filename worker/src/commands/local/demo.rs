//! The demonstration: an image is made, pushed, indexed, verified, and a file of it read lazily.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use soci_indexer::{RemoteRepository, Report, Verification, verify_image};
use soci_oci::{Digest, Index, Repository, Tag, TagOrDigest, media_type};
use soci_registry::Client;
use soci_sandbox::sample_image::{LAYER_COUNT, PLATFORMS, PROBE};
use soci_text::{error_chain, size};
use tokio::sync::mpsc;

use super::counted::Counted;
use super::job_output::JobSeen;
use super::lazy::{self, LazyFile};
use super::output::say;
use super::running::Running;
use crate::commands::sample_platform::{platform, push_platform};

/// The sample's repository.
const REPOSITORY: &str = "demo/app";

/// Its tag.
const TAG: &str = "1.0";

/// What somebody can do who has seen it.
const NEXT: &str = "
What next?

  soci-index-builder local               the same registry, for images of your own: push, and they are indexed
  soci-index-builder index REF           index an image in a registry, beside it
  soci-index-builder index REF --dry-run say what that would read, and write nothing
  ./deploy                               index what is pushed to ECR (docs/DEPLOY.md)";

/// Longest wait for the index. The sample takes seconds.
const PATIENCE: Duration = Duration::from_mins(10);

/// The image as it was pushed.
#[derive(Debug)]
struct Pushed {
    digest: Digest,
    /// Bytes of all layers.
    size: u64,
    /// Bytes of the layers of the platform that the file is read of.
    platform_size: u64,
    layers: usize,
    files: usize,
    /// Digest of [`PROBE`] in that platform's image.
    probe: Digest,
    elapsed: Duration,
}

/// Runs the demonstration with an image of about `size` bytes and prints its report.
pub(super) async fn run(
    running: &Running,
    size: u64,
    mut seen: mpsc::UnboundedReceiver<JobSeen>,
) -> Result<(), String> {
    let started = Instant::now();
    say(&format!("registry http://{}, status page http://{}/", running.registry, running.page));
    let repository = Repository::new(&running.registry.to_string(), REPOSITORY);
    let repository = repository.map_err(|error| error.to_string())?;
    let tag: Tag = TAG.parse().map_err(|error: soci_oci::ReferenceError| error.to_string())?;

    let pushed = push(&running.client, &repository, &tag, size).await?;
    say(&told_pushed(&repository, &pushed));
    let report = tokio::time::timeout(PATIENCE, indexed(&mut seen, pushed.digest)).await;
    let report = report.map_err(|_| format!("there is no index after {PATIENCE:?}"))??;
    say(&told_indexed(&report));

    let store = RemoteRepository::new(running.client.clone(), repository);
    let target = TagOrDigest::Digest(report.index);
    let bar = bar("verifying", report.layers.iter().map(|layer| layer.size).sum());
    let counted = Counted::new(store.clone(), {
        let bar = bar.clone();
        move |bytes| bar.inc(bytes)
    });
    let verification = verify_image(&counted, &target, &running.budget).await;
    bar.finish_and_clear();
    let verification = verification.map_err(|error| error_chain(&error))?;
    say(&told_verified(&verification));

    let reading = Instant::now();
    let platform = platform(PLATFORMS[0]);
    let target = TagOrDigest::Tag(report.tag.ok_or("the indexed image has no tag")?);
    let file = lazy::read(&store, &target, &platform, PROBE).await;
    let file = file.map_err(|error| error_chain(&error))?;
    if Digest::sha256_of(&file.content) != pushed.probe {
        return Err(format!("/{PROBE} read lazily is not the file that was put into the image"));
    }
    say(&told_read(&file, &pushed, reading.elapsed()));
    say(&format!("done in {}", seconds(started.elapsed())));
    say(NEXT);
    Ok(())
}

/// Makes the image and pushes it, a platform on each core.
async fn push(
    client: &Client,
    repository: &Repository,
    tag: &Tag,
    size: u64,
) -> Result<Pushed, String> {
    let started = Instant::now();
    let bar = bar("making and pushing", size);
    let share = size / PLATFORMS.len() as u64;
    let store = RemoteRepository::new(client.clone(), repository.clone());
    let platforms = (0..PLATFORMS.len())
        .map(|number| push_platform(&store, None, number, share, |bytes| bar.inc(bytes)));
    let platforms = futures_util::future::try_join_all(platforms).await;
    bar.finish_and_clear();
    let platforms = platforms?;

    let entries = platforms.iter().map(|platform| platform.entry.clone());
    let index = Index::new(entries.collect()).encode();
    let digest = Digest::sha256_of(&index);
    let target = TagOrDigest::Tag(tag.clone());
    let pushed =
        client.put_manifest(repository, &target, media_type::OCI_INDEX, index.into()).await;
    pushed.map_err(|error| error_chain(&error))?;
    let first = platforms.first().ok_or("the image has no platform")?;
    Ok(Pushed {
        digest,
        size: platforms.iter().map(|platform| platform.size).sum(),
        platform_size: first.size,
        layers: PLATFORMS.len() * LAYER_COUNT,
        files: platforms.iter().map(|platform| platform.files).sum(),
        probe: first.probe.ok_or("the image has no file to read")?,
        elapsed: started.elapsed(),
    })
}

/// Waits until the image is indexed, showing how far that is.
async fn indexed(
    seen: &mut mpsc::UnboundedReceiver<JobSeen>,
    image: Digest,
) -> Result<Report, String> {
    let bar = bar("indexing", 0);
    while let Some(seen) = seen.recv().await {
        match seen {
            JobSeen::Planned(bytes) => bar.inc_length(bytes),
            JobSeen::Read(bytes) => bar.inc(bytes),
            JobSeen::Ended(digest, end) if digest == image => {
                bar.finish_and_clear();
                return match end.outcome.report() {
                    Some(report) => Ok(report.clone()),
                    None => Err(format!("the image was {}: {}", end.label(), end.detail())),
                };
            }
            JobSeen::Ended(..) => {}
        }
    }
    Err("the worker has ended".to_owned())
}

/// A bar that is drawn only on a terminal.
fn bar(what: &'static str, length: u64) -> ProgressBar {
    let template = "{prefix} {bar:30} {binary_bytes:>11} of {binary_total_bytes}";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    bar.with_style(style).with_prefix(what)
}

fn told_pushed(repository: &Repository, pushed: &Pushed) -> String {
    let Pushed { size: bytes, layers, files, elapsed, .. } = pushed;
    format!(
        "made and pushed {repository}:{TAG} in {}\n  \
         {} platforms, {layers} layers, {files} files, {}",
        seconds(*elapsed),
        PLATFORMS.len(),
        size(*bytes)
    )
}

fn told_indexed(report: &Report) -> String {
    let mut text = format!("indexed in {}", seconds(report.elapsed));
    if let Some(tag) = &report.tag {
        let _ = write!(text, " as {tag}");
    }
    let ztocs = report.layers.iter().map(|layer| layer.ztoc_size).sum();
    let _ = write!(
        text,
        "\n  image index {}\n  {} ztocs of {} together; {} layers need none",
        report.index,
        report.layers.len(),
        size(ztocs),
        report.skipped.len()
    );
    text
}

fn told_verified(verification: &Verification) -> String {
    format!(
        "verified in {}\n  {} SOCI indexes; {} ztocs built again are equal; {} files extracted",
        seconds(verification.elapsed),
        verification.indexes.len(),
        verification.layers.len(),
        verification.layers.iter().map(|layer| layer.extracted).sum::<usize>()
    )
}

fn told_read(file: &LazyFile, pushed: &Pushed, elapsed: Duration) -> String {
    format!(
        "read /{PROBE} ({}) lazily in {}\n  \
         read {} of {}: {} of the layer and {} of manifests and ztocs",
        size(file.content.len() as u64),
        seconds(elapsed),
        size(file.layer_bytes + file.index_bytes),
        size(pushed.platform_size),
        size(file.layer_bytes),
        size(file.index_bytes)
    )
}

/// A time for people.
fn seconds(time: Duration) -> String {
    match time.as_millis() {
        millis @ ..1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}
