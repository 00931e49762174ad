//! `backfill`: enqueues jobs for the images that events missed.

mod estimate;
mod survey;

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};
use soci_aws::ecr::{ImageEntry, RepositoryEntry};
use soci_aws::{Catalogue, EcrError, sdk};
use soci_oci::Tag;
use soci_push::TagFilter;
use soci_queue::QueueError;
use soci_text::error_chain;

use super::enqueue::{self, CommandOutput, Counts, Enqueuer, Sink, progress};
use super::looked::Looked;
use super::wake::{Waker, Waking};
use crate::cli::BackfillArgs;
use crate::process::told_to_stop;
use crate::report::Column::{Number, Text};
use crate::report::table;
use crate::usage::usage;
use estimate::Estimate;
use survey::{INDEXED, Survey, SurveyRules, survey};

pub(crate) fn backfill(args: &BackfillArgs) -> ExitCode {
    enqueue::run(async {
        let config = sdk::load().await;
        let url = args.queue_url.as_deref().filter(|url| !url.is_empty());
        let url = url.or(args.live_queue_url.as_deref());
        let queue = enqueue::open(&config, url)?;
        let waker = Waker::of(&args.wake, &config)?;
        let waking = queue.as_ref().map(|queue| Waking { queue, waker: &waker });
        let sink = waking.as_ref().filter(|_| !args.dry_run);
        if sink.is_none() && !args.dry_run {
            usage(
                "no queue: give --queue-url, BACKFILL_QUEUE_URL or QUEUE_URL, or --dry-run to enqueue nothing",
            );
        }
        let catalogue = Catalogue::new(&config);
        let mut tally = Tally::default();
        let told = told_to_stop().map_err(|error| format!("signals cannot be handled: {error}"))?;
        tokio::select! {
            () = fill(&catalogue, sink, args, &mut tally) => {}
            _ = told => tally.failures.push("interrupted".to_owned()),
        }
        Ok(tally.finish(args))
    })
}

/// What was found and done.
#[derive(Default)]
struct Tally {
    rows: Vec<Row>,
    /// Repositories whose images could not be listed.
    unlisted: Vec<String>,
    /// The last repository up to which nothing is left to do, in the order of the names.
    resume_after: Option<String>,
    failures: Vec<String>,
    /// Whether repositories are left that nothing was done for.
    stopped: bool,
}

/// What was found and done in one repository.
struct Row {
    repository: String,
    images: u64,
    indexed: u64,
    skipped: Counts,
    /// Jobs that were enqueued, or would have been.
    enqueued: u64,
    /// Bytes of the images that they are for.
    bytes: u64,
    /// Whether no more of them will be enqueued. The last ones before a signal may be on the queue and not counted.
    done: bool,
}

/// Goes through the repositories in the order of their names. A repository that fails is told and
/// passed over; a queue that fails ends it all.
async fn fill<L: Listing, S: Sink>(
    listing: &L,
    sink: Option<&S>,
    args: &BackfillArgs,
    tally: &mut Tally,
) {
    tally.stopped = true;
    let repositories = match listing.repositories().await {
        Ok(repositories) => repositories,
        Err(error) => {
            tally.failures.push(error_chain(&error));
            return;
        }
    };
    let mut unmatched = Unmatched::of(args);
    let repositories = unmatched.leave(repositories, args);
    let pushes = enqueue::push_rules(&args.work, &args.filter);
    let rules =
        SurveyRules { pushes: &pushes, pushed_after: args.pushed_after, recheck: args.recheck };
    for (position, repository) in repositories.iter().enumerate() {
        let name = repository.repository.name();
        let images = match listing.images(repository).await {
            Ok(images) => images,
            Err(error) => {
                tally.failures.push(error_chain(&error));
                tally.unlisted.push(name.to_owned());
                continue;
            }
        };
        unmatched.see(name, &images);
        let Survey { images, mut skipped, jobs, bytes } =
            survey(repository, images, rules, enqueue::now());
        let indexed = skipped.remove(INDEXED);
        let repository = name.to_owned();
        // Before the first job is sent, so that those of a repository in hand count where a signal comes.
        let row = tally.begin(Row {
            repository,
            images,
            indexed,
            skipped,
            enqueued: 0,
            bytes,
            done: false,
        });
        let result = if let Some(sink) = sink {
            enqueue(sink, &jobs, args, &mut row.enqueued).await
        } else {
            row.enqueued = jobs.len() as u64;
            Ok(())
        };
        row.done = true;
        let done = format!("{}/{}", position + 1, repositories.len());
        progress(format_args!("{done} {name}: {images} images, {} jobs", row.enqueued));
        if let Err(error) = result {
            tally.failures.push(error_chain(&error));
            return;
        }
        if tally.failures.is_empty() {
            tally.resume_after = Some(name.to_owned());
        }
    }
    tally.stopped = false;
    tally.failures.extend(unmatched.failures());
}

/// Patterns that were given and have matched nothing so far. Those of the service are for what is pushed later, too.
struct Unmatched<'a> {
    globs: Vec<&'a TagFilter>,
    filters: Vec<&'a TagFilter>,
}

impl<'a> Unmatched<'a> {
    fn of(args: &'a BackfillArgs) -> Self {
        let of_service = args.service_filters.as_ref();
        let given = of_service.is_none_or(|filters| filters.as_slice() != args.filter);
        // Behind a place to go on at, what matched may have been in front.
        let given = given && args.resume_after.is_none();
        Self {
            globs: args.repository.iter().collect(),
            filters: if given { args.filter.iter().collect() } else { Vec::new() },
        }
    }

    /// The repositories that are wanted, in the order of their names.
    fn leave(&mut self, all: Vec<RepositoryEntry>, args: &BackfillArgs) -> Vec<RepositoryEntry> {
        self.globs
            .retain(|glob| !all.iter().any(|entry| glob.matches(entry.repository.name(), None)));
        wanted(all, args)
    }

    fn see(&mut self, repository: &str, images: &[ImageEntry]) {
        let tags: Vec<Option<&Tag>> = images
            .iter()
            .flat_map(|image| match image.tags.as_slice() {
                [] => vec![None],
                tags => tags.iter().map(Some).collect(),
            })
            .collect();
        self.filters.retain(|filter| !tags.iter().any(|tag| filter.matches(repository, *tag)));
    }

    fn failures(&self) -> impl Iterator<Item = String> {
        let globs = self.globs.iter().map(|glob| {
            let glob = glob.to_string();
            let glob = glob.strip_suffix(":*").unwrap_or(&glob);
            format!("--repository {glob}: no repository has such a name")
        });
        let filters =
            self.filters.iter().map(|filter| format!("--filter {filter}: no image matches"));
        globs.chain(filters)
    }
}

/// The repositories that are wanted, in the order of their names.
fn wanted(mut repositories: Vec<RepositoryEntry>, args: &BackfillArgs) -> Vec<RepositoryEntry> {
    repositories.retain(|entry| {
        let (name, globs) = (entry.repository.name(), &args.repository);
        let wanted = globs.is_empty() || globs.iter().any(|glob| glob.matches(name, None));
        // What no filter names may be out of reach: the service's own role lists its images only.
        let filters = &args.filter;
        let named = filters.is_empty() || filters.iter().any(|filter| filter.names(name));
        wanted && named && args.resume_after.as_deref().is_none_or(|done| name > done)
    });
    repositories.sort_by(|a, b| a.repository.name().cmp(b.repository.name()));
    repositories
}

/// What there is.
trait Listing {
    async fn repositories(&self) -> Result<Vec<RepositoryEntry>, EcrError>;

    /// The images of one repository, all at once: whether one is indexed shows in the others.
    async fn images(&self, repository: &RepositoryEntry) -> Result<Vec<ImageEntry>, EcrError>;
}

impl Listing for Catalogue {
    async fn repositories(&self) -> Result<Vec<RepositoryEntry>, EcrError> {
        let (mut listing, mut repositories) = (self.repositories(), Vec::new());
        while let Some(entry) = listing.next().await {
            repositories.push(entry?);
        }
        Ok(repositories)
    }

    async fn images(&self, repository: &RepositoryEntry) -> Result<Vec<ImageEntry>, EcrError> {
        let (mut listing, mut images) = (self.images(repository), Vec::new());
        while let Some(image) = listing.next().await {
            images.push(image?);
        }
        Ok(images)
    }
}

/// Enqueues jobs; `sent` is how many are on the queue so far, also after an error.
async fn enqueue<S: Sink>(
    sink: &S,
    jobs: &[soci_push::JobMessage],
    args: &BackfillArgs,
    sent: &mut u64,
) -> Result<(), QueueError> {
    let mut enqueuer = Enqueuer::new(sink, args.rate);
    for job in jobs {
        let added = enqueuer.add(job).await;
        *sent = enqueuer.sent;
        added?;
    }
    let flushed = enqueuer.flush().await;
    *sent = enqueuer.sent;
    flushed
}

impl Tally {
    /// The next repository, of which nothing is enqueued yet.
    fn begin(&mut self, row: Row) -> &mut Row {
        let place = self.rows.len();
        self.rows.push(row);
        &mut self.rows[place]
    }

    fn finish(mut self, args: &BackfillArgs) -> CommandOutput {
        if self.stopped
            && let Some(name) = &self.resume_after
        {
            self.failures.push(format!("not finished; go on with --resume-after {name}"));
        }
        let text = if args.json { format!("{}\n", self.json(args)) } else { self.text(args) };
        CommandOutput { text, failures: self.failures }
    }

    /// How far what there is was looked at.
    fn looked(&self) -> Looked {
        Looked::of(!self.stopped && self.unlisted.is_empty(), !self.rows.is_empty())
    }

    fn total(&self) -> Row {
        let mut total = Row {
            repository: "all".to_owned(),
            images: 0,
            indexed: 0,
            skipped: Counts::default(),
            enqueued: 0,
            bytes: 0,
            done: true,
        };
        for row in &self.rows {
            total.done &= row.done;
            total.images += row.images;
            total.indexed += row.indexed;
            total.skipped.merge(&row.skipped);
            total.enqueued += row.enqueued;
            total.bytes = total.bytes.saturating_add(row.bytes);
        }
        total
    }

    fn text(&self, args: &BackfillArgs) -> String {
        let looked = self.looked();
        let enqueued = if args.dry_run { "to enqueue" } else { "enqueued" };
        let total = self.total();
        let mut rows: Vec<_> = self.rows.iter().map(|row| row.cells(Looked::All)).collect();
        rows.extend(self.unlisted.iter().map(|name| {
            [name.as_str(), "unknown", "unknown", "unknown", "not listed"].map(str::to_owned)
        }));
        rows.sort();
        if looked != Looked::Not {
            rows.push(total.cells(looked));
        }
        let mut text = String::new();
        if !rows.is_empty() {
            let head = [
                Text("repository"),
                Number("images"),
                Number("indexed"),
                Number(enqueued),
                Text("skipped"),
            ];
            text.push_str(&table(head, rows.into_iter()));
        }
        if !looked.is_complete() {
            let _ = writeln!(text, "  not all was looked at");
        }
        if args.dry_run {
            if looked != Looked::Not {
                text.push_str(&total.estimate().text());
            }
            let _ = writeln!(text, "  nothing was enqueued");
        }
        text
    }

    fn json(&self, args: &BackfillArgs) -> Value {
        let row = |row: &Row| {
            json!({
                "repository": row.repository,
                "images": row.images,
                "indexed": row.indexed,
                "skipped": row.skipped.json(),
                "enqueued": row.enqueued,
                "bytes": row.bytes,
            })
        };
        let (total, looked) = (self.total(), self.looked());
        let estimate = total.estimate();
        json!({
            "dry_run": args.dry_run,
            "finished": !self.stopped,
            "complete": looked.is_complete(),
            "resume_after": self.resume_after,
            "repositories": self.rows.iter().map(row).collect::<Vec<_>>(),
            "unlisted": self.unlisted,
            "images": looked.json(total.images),
            "indexed": looked.json(total.indexed),
            "skipped": total.skipped.json(),
            "enqueued": if args.dry_run { looked.json(total.enqueued) } else { total.enqueued.into() },
            "bytes": looked.json(total.bytes),
            "estimate": (looked != Looked::Not).then(|| json!({
                "vcpu_hours": estimate.vcpu_hours(),
                "hours": estimate.hours(),
                "dollars": estimate.dollars(),
                "spot_dollars": estimate.spot_dollars(),
                "ztoc_bytes": estimate.ztoc_bytes(),
                "dollars_a_month": estimate.dollars_a_month(),
            })),
            "failures": self.failures,
        })
    }
}

impl Row {
    /// Its row of the table; `looked` says how far what it counts was looked at.
    fn cells(&self, looked: Looked) -> [String; 5] {
        [
            self.repository.clone(),
            looked.number(self.images),
            looked.number(self.indexed),
            if self.done { looked } else { Looked::InPart }.number(self.enqueued),
            self.skipped.to_string(),
        ]
    }

    fn estimate(&self) -> Estimate {
        Estimate { images: self.enqueued, bytes: self.bytes }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use clap::Parser as _;
    use soci_oci::{Digest, Repository};
    use soci_queue::{ErrorKind, Operation, Outgoing, Queue as _};
    use soci_sandbox::MemoryQueue;
    use tokio::sync::Notify;

    use super::*;
    use crate::cli::{Cli, Command};

    const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

    fn refused(call: &'static str, repository: Option<&str>) -> EcrError {
        let repository = repository.map(str::to_owned);
        EcrError { call, repository, transient: false, request_id: None, source: "no".into() }
    }

    /// Repositories and the tags in them; `None` where listing fails.
    struct Fake(BTreeMap<&'static str, Option<Vec<&'static str>>>);

    impl Listing for Fake {
        async fn repositories(&self) -> Result<Vec<RepositoryEntry>, EcrError> {
            let entry = |name: &&str| RepositoryEntry {
                repository: Repository::new(HOST, name).unwrap(),
                account: "123456789012".parse().unwrap(),
                region: "eu-west-1".parse().unwrap(),
            };
            Ok(self.0.keys().rev().map(entry).collect())
        }

        async fn images(&self, repository: &RepositoryEntry) -> Result<Vec<ImageEntry>, EcrError> {
            let name = repository.repository.name();
            let tags =
                self.0[name].as_ref().ok_or_else(|| refused("list the images", Some(name)))?;
            let image = |tag: &&str| ImageEntry {
                digest: Digest::sha256_of(tag.as_bytes()),
                tags: vec![tag.parse().unwrap()],
                pushed_at: None,
                size: 1,
                manifest_media_type: None,
                artifact_media_type: None,
                subject: None,
            };
            Ok(tags.iter().map(image).collect())
        }
    }

    async fn run(
        fake: &impl Listing,
        queue: &MemoryQueue,
        flags: &[&str],
    ) -> (Tally, BackfillArgs) {
        let line = ["soci-index-builder", "backfill"].iter().chain(flags);
        let Command::Backfill(args) = Cli::parse_from(line).command else { panic!() };
        let args = args.resolved();
        let mut tally = Tally::default();
        fill(fake, Some(queue).filter(|_| !args.dry_run), &args, &mut tally).await;
        (tally, args)
    }

    fn three() -> Fake {
        Fake(BTreeMap::from([
            ("a", Some(vec!["1", "2", "2-soci"])),
            ("b", Some(vec!["3"])),
            ("c", Some(vec!["4"])),
        ]))
    }

    async fn visible(queue: &MemoryQueue) -> u64 {
        queue.backlog().await.unwrap().visible
    }

    fn names(tally: &Tally) -> Vec<&str> {
        tally.rows.iter().map(|row| row.repository.as_str()).collect()
    }

    #[tokio::test]
    async fn what_is_left_is_enqueued_and_the_table_accounts_for_every_image() {
        let queue = MemoryQueue::named("jobs");
        let (tally, args) = run(&three(), &queue, &[]).await;
        assert_eq!((names(&tally), visible(&queue).await), (vec!["a", "b", "c"], 3));
        let json = tally.json(&args);
        assert_eq!(
            (&json["images"], &json["indexed"], &json["enqueued"]),
            (&json!(5), &json!(1), &json!(3))
        );
        assert_eq!(
            (&json["skipped"], &json["finished"]),
            (&json!({"output-tag": 1}), &json!(true))
        );
        let outcome = tally.finish(&args);
        assert!(outcome.failures.is_empty());
        assert!(outcome.text.lines().nth(1).unwrap().ends_with("1 output-tag"), "{}", outcome.text);
    }

    /// A queue that answers once, and then no more.
    struct Stuck {
        queue: MemoryQueue,
        puts: AtomicUsize,
        reached: Notify,
    }

    impl Sink for Stuck {
        async fn put(&self, messages: &[Outgoing]) -> Result<(), QueueError> {
            if self.puts.fetch_add(1, Ordering::Relaxed) > 0 {
                self.reached.notify_one();
                std::future::pending::<()>().await;
            }
            self.queue.put(messages).await
        }
    }

    #[tokio::test]
    async fn jobs_of_a_repository_in_hand_count_where_a_signal_comes() {
        let tags = "a b c d e f g h i j k l m".split(' ').collect();
        let fake = Fake(BTreeMap::from([("a", Some(tags)), ("b", Some(vec!["1"]))]));
        let queue = MemoryQueue::named("jobs");
        let sink = Stuck { queue, puts: AtomicUsize::new(0), reached: Notify::new() };
        let Command::Backfill(args) = Cli::parse_from(["soci-index-builder", "backfill"]).command
        else {
            panic!()
        };
        let args = args.resolved();
        let mut tally = Tally::default();
        tokio::select! {
            () = fill(&fake, Some(&sink), &args, &mut tally) => panic!("it was over"),
            () = sink.reached.notified() => {}
        }
        assert_eq!(visible(&sink.queue).await, 10);
        let json = tally.json(&args);
        assert_eq!((&json["enqueued"], &json["complete"]), (&json!(10), &json!(false)));
        assert_eq!((&json["images"], &json["resume_after"]), (&json!(13), &Value::Null));
        let text = tally.text(&args);
        assert_eq!(text.matches("at least 10").count(), 2, "{text}");
    }

    #[tokio::test]
    async fn repositories_that_no_filter_names_are_not_listed() {
        let mut repositories = three();
        repositories.0.insert("secret", None);
        for (flags, jobs) in [
            (&["--filter", "a:*", "--filter", "b:3"][..], 2),
            (&["--service-filters", "a:*,b:9"], 1),
        ] {
            let queue = MemoryQueue::named("jobs");
            let (tally, _) = run(&repositories, &queue, flags).await;
            assert!(tally.failures.is_empty(), "{:?}", tally.failures);
            assert_eq!((names(&tally), visible(&queue).await), (vec!["a", "b"], jobs));
        }
    }

    #[tokio::test]
    async fn a_dry_run_counts_the_same_and_enqueues_nothing() {
        let queue = MemoryQueue::named("jobs");
        let (tally, args) = run(&three(), &queue, &["--dry-run"]).await;
        assert_eq!((tally.total().enqueued, visible(&queue).await), (3, 0));
        let json = tally.json(&args);
        assert_eq!(json["bytes"], 3);
        assert!(json["estimate"]["vcpu_hours"].as_f64().unwrap() > 0.0);
        let text = tally.finish(&args).text;
        assert!(text.contains("about 3 images with 3 B of layers: less than a minute"), "{text}");
        assert!(text.contains("nothing was enqueued"));
    }

    #[tokio::test]
    async fn a_pattern_that_matches_nothing_is_a_failure_and_the_others_are_done() {
        let failures = async |flags: &[&str]| {
            let queue = MemoryQueue::named("jobs");
            let (tally, args) = run(&three(), &queue, flags).await;
            (tally.total().enqueued, tally.finish(&args).failures)
        };
        let (enqueued, failed) = failures(&["--repository", "a", "--repository", "z*"]).await;
        assert_eq!(
            (enqueued, failed),
            (1, vec!["--repository z*: no repository has such a name".to_owned()])
        );
        let (enqueued, failed) = failures(&["--filter", "b:*", "--filter", "a:9"]).await;
        assert_eq!((enqueued, failed), (1, vec!["--filter a:9: no image matches".to_owned()]));
        assert_eq!(failures(&["--filter", "z:*", "--dry-run"]).await.1.len(), 1);
        // What the service waits for may come.
        assert!(failures(&["--service-filters", "a:*,z:*"]).await.1.is_empty());
        assert!(failures(&["--filter", "a:*", "--resume-after", "a"]).await.1.is_empty());
    }

    #[tokio::test]
    async fn globs_and_the_place_to_resume_choose_repositories() {
        let queue = MemoryQueue::named("jobs");
        let (tally, _) = run(&three(), &queue, &["--resume-after", "a"]).await;
        assert_eq!(names(&tally), ["b", "c"]);
        let globs = ["--repository", "a*", "--repository", "c"];
        let (tally, _) = run(&three(), &queue, &globs).await;
        assert_eq!(names(&tally), ["a", "c"]);
    }

    #[tokio::test]
    async fn a_repository_that_fails_is_told_and_the_others_are_done() {
        let mut fake = three();
        fake.0.insert("b", None);
        let queue = MemoryQueue::named("jobs");
        let (tally, args) = run(&fake, &queue, &[]).await;
        assert_eq!((names(&tally), visible(&queue).await), (vec!["a", "c"], 2));
        assert_eq!(tally.resume_after.as_deref(), Some("a"));
        let json = tally.json(&args);
        assert_eq!((&json["complete"], &json["unlisted"]), (&json!(false), &json!(["b"])));
        let told = tally.finish(&args);
        assert_eq!(told.failures, ["ECR did not list the images of repository b: no"]);
        let rows: Vec<_> =
            told.text.lines().map(str::split_whitespace).map(Vec::from_iter).collect();
        assert_eq!(rows[2][..2], ["b", "unknown"], "{}", told.text);
        assert_eq!(rows[4][..4], ["all", "at", "least", "4"], "{}", told.text);
    }

    /// No repository can be listed.
    struct Refused;

    impl Listing for Refused {
        async fn repositories(&self) -> Result<Vec<RepositoryEntry>, EcrError> {
            Err(refused("list the repositories", None))
        }

        async fn images(&self, _: &RepositoryEntry) -> Result<Vec<ImageEntry>, EcrError> {
            panic!("no repository is known")
        }
    }

    #[tokio::test]
    async fn where_nothing_can_be_listed_nothing_is_counted() {
        let queue = MemoryQueue::named("jobs");
        let (tally, args) = run(&Refused, &queue, &["--dry-run"]).await;
        let json = tally.json(&args);
        for count in ["images", "indexed", "enqueued", "bytes", "estimate"] {
            assert!(json[count].is_null(), "{count}: {json}");
        }
        let told = tally.finish(&args);
        assert_eq!(told.text, "  not all was looked at\n  nothing was enqueued\n");
        assert_eq!(told.failures, ["ECR did not list the repositories: no"]);
    }

    #[tokio::test]
    async fn a_queue_that_fails_ends_it_and_says_where_to_go_on() {
        let mut fake = three();
        // The first repository has nothing to send, so that the second one is the first to fail.
        fake.0.insert("a", Some(vec!["2-soci"]));
        let queue = MemoryQueue::named("jobs");
        queue.fail_next(Operation::Send, 1, ErrorKind::Permanent);
        let (tally, args) = run(&fake, &queue, &[]).await;
        assert_eq!((names(&tally), visible(&queue).await), (vec!["a", "b"], 0));
        let failures = tally.finish(&args).failures;
        assert!(failures[0].starts_with("queue jobs did not send a message"), "{failures:?}");
        assert_eq!(failures[1], "not finished; go on with --resume-after a");
    }
}
