//! The demonstration: an image is made, pushed, indexed, verified, and a file of it read lazily.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use soci_indexer::{LayerReport, RemoteRepository, Report, Verification, verify_image};
use soci_manifest::Version;
use soci_oci::{Digest, Index, Repository, Tag, TagOrDigest, media_type};
use soci_registry::Client;
use soci_sandbox::sample_image::{LAYER_COUNT, PLATFORMS, PROBE};
use soci_text::{error_chain, size};
use tokio::sync::mpsc;
use tokio::time::Instant;

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

/// What somebody can do who has seen it: with V1 by the flag that they gave.
fn next(version: Version) -> String {
    let (flag, index) = match version {
        Version::V1 => (" --index-version v1", "attached to it"),
        Version::V2 => ("", "beside it"),
    };
    let steps = [
        (
            format!("soci-index-builder local{flag}"),
            "the same registry, for images of your own: push, and they are indexed".to_owned(),
        ),
        (
            format!("soci-index-builder index REF{flag}"),
            format!("index an image in a registry, {index}"),
        ),
        (
            format!("soci-index-builder index REF{flag} --dry-run"),
            "say what that would read, and write nothing".to_owned(),
        ),
        ("./deploy".to_owned(), "index what is pushed to ECR (docs/DEPLOY.md)".to_owned()),
    ];
    let width = steps.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
    let mut text = "\nWhat next?\n".to_owned();
    for (command, what) in steps {
        let _ = write!(text, "\n  {command:<width$}  {what}");
    }
    text
}

/// Longest wait for the index. The sample takes seconds.
const PATIENCE: Duration = Duration::from_mins(10);

/// The image as it was pushed.
#[derive(Debug)]
struct Pushed {
    digest: Digest,
    /// Its manifests, one for each platform.
    manifests: Vec<Digest>,
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
    version: Version,
    mut seen: mpsc::UnboundedReceiver<JobSeen>,
) -> Result<(), String> {
    let started = Instant::now();
    say(&format!("registry http://{}, status page http://{}/", running.registry, running.page));
    let repository = Repository::new(&running.registry.to_string(), REPOSITORY);
    let repository = repository.map_err(|error| error.to_string())?;
    let tag: Tag = TAG.parse().map_err(|error: soci_oci::ReferenceError| error.to_string())?;

    let pushed = push(&running.client, &repository, &tag, size).await?;
    say(&told_pushed(&repository, &pushed));
    let indexed = tokio::time::timeout(PATIENCE, indexed(&mut seen, &pushed, version)).await;
    let indexed = indexed.map_err(|_| format!("there is no index after {PATIENCE:?}"))??;
    say(&told_indexed(&indexed));
    let report = indexed.report;

    let store = RemoteRepository::new(running.client.clone(), repository);
    // A V1 index is attached to the image, which stays what it is.
    let (target, tag) = match report.version {
        Version::V1 => (TagOrDigest::Digest(report.image), Some(tag)),
        Version::V2 => (TagOrDigest::Digest(report.index), report.tag),
    };
    let bar = bar("verifying", indexed.layers.values().map(|layer| layer.size).sum());
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
    let target = TagOrDigest::Tag(tag.ok_or("the indexed image has no tag")?);
    let file = lazy::read(&store, &target, &platform, report.version, PROBE).await;
    let file = file.map_err(|error| error_chain(&error))?;
    if Digest::sha256_of(&file.content) != pushed.probe {
        return Err(format!("/{PROBE} read lazily is not the file that was put into the image"));
    }
    say(&told_read(&file, &pushed, reading.elapsed()));
    say(&format!("done in {}", seconds(started.elapsed())));
    say(&next(report.version));
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
        manifests: platforms.iter().map(|platform| platform.entry.digest).collect(),
        size: platforms.iter().map(|platform| platform.size).sum(),
        platform_size: first.size,
        layers: PLATFORMS.len() * LAYER_COUNT,
        files: platforms.iter().map(|platform| platform.files).sum(),
        probe: first.probe.ok_or("the image has no file to read")?,
        elapsed: started.elapsed(),
    })
}

/// The image as it was indexed.
#[derive(Debug)]
struct Indexed {
    report: Report,
    /// From the end of the push, or the beginning of the first job if that was earlier, to the end of the last, as several
    /// run side by side.
    elapsed: Duration,
    /// The layers that have a ztoc, each once.
    layers: HashMap<Digest, LayerReport>,
    /// Those that need none.
    skipped: HashSet<Digest>,
}

/// Waits until the image is indexed, showing how far that is. With V1 each of its manifests is an image whose push is a job
/// of its own, and all of them are waited for.
async fn indexed(
    seen: &mut mpsc::UnboundedReceiver<JobSeen>,
    pushed: &Pushed,
    version: Version,
) -> Result<Indexed, String> {
    let bar = bar("indexing", 0);
    let mut wanted = HashSet::from([pushed.digest]);
    if version == Version::V1 {
        wanted.extend(&pushed.manifests);
    }
    // Jobs of an image's manifests may begin while the rest of it is pushed.
    let (mut image, mut first) = (None, Instant::now());
    let (mut layers, mut skipped) = (HashMap::new(), HashSet::new());
    while let Some(seen) = seen.recv().await {
        match seen {
            JobSeen::Planned(bytes) => bar.inc_length(bytes),
            JobSeen::Read(bytes) => bar.inc(bytes),
            JobSeen::Ended(digest, began, end) if wanted.remove(&digest) => {
                first = first.min(began);
                match end.outcome.report() {
                    Some(report) => {
                        let built = report.layers.iter().map(|layer| (layer.digest, layer.clone()));
                        layers.extend(built);
                        skipped.extend(report.skipped.iter().map(|layer| layer.digest));
                        if digest == pushed.digest {
                            image = Some(report.clone());
                        }
                    }
                    None if digest == pushed.digest => {
                        bar.finish_and_clear();
                        return Err(format!("the image was {}: {}", end.label(), end.detail()));
                    }
                    None => {}
                }
                if let Some(report) = image.take_if(|_| wanted.is_empty()) {
                    bar.finish_and_clear();
                    return Ok(Indexed { report, elapsed: first.elapsed(), layers, skipped });
                }
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

fn told_indexed(indexed: &Indexed) -> String {
    let report = &indexed.report;
    let mut text = format!("indexed in {}", seconds(indexed.elapsed));
    let _ = match (report.version, &report.tag) {
        (Version::V1, _) => {
            let count = report.indexes.len();
            write!(
                text,
                "\n  {count} SOCI indexes attached to the {count} manifests of {}",
                report.image
            )
        }
        (Version::V2, Some(tag)) => write!(text, " as {tag}\n  image index {}", report.index),
        (Version::V2, None) => write!(text, "\n  image index {}", report.index),
    };
    let ztocs = indexed.layers.values().map(|layer| layer.ztoc_size).sum();
    let _ = write!(
        text,
        "\n  {} ztocs of {} together; {} layers need none",
        indexed.layers.len(),
        size(ztocs),
        indexed.skipped.len()
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

#[cfg(test)]
mod tests {
    use soci_jobs::{JobEnd, MessageAction, Outcome};
    use tokio::time::advance;

    use super::*;

    fn report(image: Digest) -> Report {
        Report {
            already_there: false,
            image,
            version: Version::V1,
            index: image,
            indexes: Vec::new(),
            tag: None,
            layers: Vec::new(),
            reused: Vec::new(),
            skipped: Vec::new(),
            left_out_platforms: Vec::new(),
            prefetch: Vec::new(),
            prefetch_files: Vec::new(),
            warnings: Vec::new(),
            bytes_read: 0,
            elapsed: Duration::from_secs(3),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn jobs_side_by_side_take_no_longer_than_they_took_together() {
        let [image, one, other] = [b"0", b"1", b"2"].map(|bytes| Digest::sha256_of(bytes));
        let pushed = Pushed {
            digest: image,
            manifests: vec![one, other],
            size: 0,
            platform_size: 0,
            layers: 0,
            files: 0,
            probe: image,
            elapsed: Duration::ZERO,
        };
        let (seen, mut jobs) = mpsc::unbounded_channel();
        // The first begins while the image is pushed.
        let began = Instant::now();
        advance(Duration::from_secs(1)).await;
        let ended = async {
            advance(Duration::from_secs(3)).await;
            for (digest, began) in [(one, began), (other, Instant::now()), (image, Instant::now())]
            {
                let outcome = Outcome::Indexed(Box::new(report(digest)));
                let end = JobEnd { outcome, action: MessageAction::Delete };
                seen.send(JobSeen::Ended(digest, began, end)).unwrap();
            }
        };
        let (indexed, ()) = tokio::join!(indexed(&mut jobs, &pushed, Version::V1), ended);
        assert_eq!(indexed.unwrap().elapsed, Duration::from_secs(4));
    }
}
