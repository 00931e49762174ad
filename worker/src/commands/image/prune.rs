//! `prune`: deletes the indexes whose image is gone.
//!
//! Each repository is looked at, what was found is shown, and after a yes it is looked at again: only what both looks have
//! found is deleted. In ECR, the list of images and the deletion are calls of its API, which knows what has no tag and how
//! old everything is; in other registries it is the list of tags and the protocol's DELETE.
//!
//! A repository that cannot be looked at fails the command, and the others are cleaned up all the same. So a failure is the
//! repository's, or the command's where it is not known which repositories are meant.

#[cfg(feature = "aws")]
mod ecr;
mod place;

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use soci_config::budget_of_this_process;
use soci_indexer::{
    Budget, Deleted, Leftover, Leftovers, NotDeleted, Options, PruneSettings, Reason,
    RegistryDeleter, RemoteRepository, RepositoryListing, WhyKept, delete_leftovers,
    find_leftovers,
};
use soci_oci::Repository;
use soci_registry::Client;
use soci_text::size;

use super::ls::repository;
use super::{block_on, client, login_to};
use crate::cli::PruneArgs;
use crate::report::Column::{Number, Text};
use crate::report::{self, Failure, table};
use crate::usage::usage;
use place::Place;

/// What was found and done in a repository.
struct Done {
    repository: Repository,
    /// None if it could not be looked at.
    found: Option<Leftovers>,
    deleted: Option<Deleted>,
    failure: Option<Failure>,
}

impl Done {
    fn leftovers(&self) -> &[Leftover] {
        self.found.as_ref().map_or(&[], |found| &found.leftovers)
    }

    /// What was not deleted, and why.
    fn refused(&self) -> &[(Leftover, NotDeleted)] {
        self.deleted.as_ref().map_or(&[], |deleted| &deleted.failed)
    }
}

pub(crate) fn prune(args: &PruneArgs) -> ExitCode {
    let asks = !args.yes && !args.dry_run;
    if asks && (args.json || !std::io::stdin().is_terminal()) {
        usage(
            "nobody can be asked: --yes deletes without asking, --dry-run only says what would be deleted",
        );
    }
    let repository = args.place.as_deref().map(repository);
    let result = block_on(run(args, repository));
    let done = result.as_deref().unwrap_or_default();
    let printed = if args.json {
        report::line(json(args, result.as_deref()))
    } else {
        report::text(text(args, done))
    };
    let failures = done.iter().filter_map(|done| {
        let failure = done.failure.as_ref()?;
        Some(format!("{}: {}", done.repository, failure.detail))
    });
    let refused = done.iter().flat_map(|done| {
        let failed = done.refused().iter();
        failed.map(move |(leftover, why)| format!("{}@{}: {why}", done.repository, leftover.digest))
    });
    let unfinished = result.as_ref().err().map(|failure| failure.detail.clone());
    let mut failed = false;
    for failure in failures.chain(refused).chain(unfinished) {
        failed = true;
        report::complain(failure);
    }
    if failed { ExitCode::FAILURE } else { report::printed(printed) }
}

async fn run(args: &PruneArgs, repository: Option<Repository>) -> Result<Vec<Done>, Failure> {
    let registry = repository.as_ref().map(Repository::registry);
    let credentials = login_to(&args.connection, &args.login, registry);
    let client = client(&args.connection, credentials)?;
    let settings = PruneSettings {
        suffix: args.tag_suffix.clone(),
        older_than: args.older_than,
        unknown_age: args.unknown_age,
    };
    let options = Options {
        budget: Budget::new(NonZeroUsize::MIN, budget_of_this_process(None)),
        ..Options::default()
    };
    let places = places(args, client, repository).await?;
    let mut done = Vec::with_capacity(places.len());
    for place in &places {
        let found = look(place, &settings, &options).await;
        let (found, failure) = match found {
            Ok(found) => (Some(found), None),
            Err(failure) => (None, Some(failure)),
        };
        done.push(Done { repository: place.repository.clone(), found, deleted: None, failure });
    }
    let any = done.iter().any(|done| !done.leftovers().is_empty());
    if args.dry_run || !any {
        return Ok(done);
    }
    if !args.yes {
        // The terminal is there, as nothing else could be asked.
        report::text(text(args, &done)).map_err(|error| Failure::of_settings(&error))?;
        if !said_yes() {
            let detail = "nothing was deleted".to_owned();
            return Err(Failure::new(Reason::Interrupted.code(), detail));
        }
    }
    for (place, done) in places.iter().zip(&mut done) {
        let Some(first) = done.found.take_if(|found| !found.leftovers.is_empty()) else { continue };
        match look(place, &settings, &options).await {
            Ok(second) => {
                let found = first.agreed(&second);
                done.deleted = Some(delete(place, &found.leftovers).await);
                done.found = Some(found);
            }
            Err(failure) => done.failure = Some(failure),
        }
    }
    Ok(done)
}

/// The repositories that are meant.
async fn places(
    args: &PruneArgs,
    client: Client,
    repository: Option<Repository>,
) -> Result<Vec<Place>, Failure> {
    match repository {
        Some(repository) => Ok(vec![Place {
            store: RemoteRepository::new(client, repository.clone()),
            #[cfg(feature = "aws")]
            ecr: ecr::open(args, &repository).await,
            repository,
        }]),
        #[cfg(feature = "aws")]
        None => ecr::matching(args, &client).await,
        #[cfg(not(feature = "aws"))]
        None => {
            let _ = (args, client);
            let detail = "this program is built without AWS: name a repository".to_owned();
            Err(Failure::new(Reason::Settings.code(), detail))
        }
    }
}

async fn look(
    place: &Place,
    settings: &PruneSettings,
    options: &Options,
) -> Result<Leftovers, Failure> {
    #[cfg(feature = "aws")]
    let listing = match &place.ecr {
        Some(ecr) => ecr::listing(ecr).await?,
        None => of_tags(place).await?,
    };
    #[cfg(not(feature = "aws"))]
    let listing = of_tags(place).await?;
    let found = Box::pin(find_leftovers(&place.store, &listing, settings, options)).await;
    found.map_err(|error| Failure::of_prune(&error))
}

async fn of_tags(place: &Place) -> Result<RepositoryListing, Failure> {
    let listed = RepositoryListing::of_tags(&place.store).await;
    listed.map_err(|error| Failure::of_prune(&error))
}

async fn delete(place: &Place, leftovers: &[Leftover]) -> Deleted {
    #[cfg(feature = "aws")]
    if let Some(ecr) = &place.ecr {
        return delete_leftovers(&ecr::EcrDeleter(ecr), leftovers).await;
    }
    delete_leftovers(&RegistryDeleter(place.store.clone()), leftovers).await
}

/// Asks whoever sits in front of the terminal.
fn said_yes() -> bool {
    use std::io::Write as _;

    let _ = write!(std::io::stderr(), "Delete all of this? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// What became of a leftover.
fn fate(done: &Done, leftover: &Leftover) -> &'static str {
    let Some(deleted) = &done.deleted else { return "found" };
    let is = |other: &Leftover| other.digest == leftover.digest;
    match deleted {
        deleted if deleted.deleted.iter().any(is) => "deleted",
        deleted if deleted.failed.iter().any(|(other, _)| is(other)) => "failed",
        _ => "left",
    }
}

/// How it ended, in one word.
fn outcome(args: &PruneArgs, done: &[Done]) -> &'static str {
    let failed = |done: &Done| done.failure.is_some() || !done.refused().is_empty();
    let nothing = done.iter().all(|done| done.leftovers().is_empty());
    match args.dry_run {
        _ if done.iter().any(failed) => "failed",
        _ if nothing => "nothing-to-delete",
        true => "would-delete",
        false => "deleted",
    }
}

fn json(args: &PruneArgs, result: Result<&[Done], &Failure>) -> Value {
    let done = result.ok();
    // Of several repositories the first that failed speaks for all; each says its own below.
    let of_one = || done.into_iter().flatten().find_map(|done| done.failure.as_ref());
    let failure = result.err().or_else(of_one);
    let age = |age: Option<Duration>| age.map(|age| age.as_secs());
    let leftover = |done: &Done, leftover: &Leftover| {
        json!({
            "digest": leftover.digest.to_string(),
            "tags": leftover.tags.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "kind": leftover.kind.to_string(),
            "why": leftover.why.to_string(),
            "bytes": leftover.bytes,
            "age_seconds": age(leftover.age),
            "outcome": fate(done, leftover),
        })
    };
    json!({
        "dry_run": args.dry_run,
        "outcome": done.map_or("failed", |done| outcome(args, done)),
        "reason": failure.map(|failure| failure.code),
        "detail": failure.map(|failure| failure.detail.as_str()),
        "repositories": done.map(|done| done.iter().map(|done| json!({
            "repository": done.repository.to_string(),
            "reason": done.failure.as_ref().map(|failure| failure.code),
            "detail": done.failure.as_ref().map(|failure| failure.detail.as_str()),
            "manifests": done.found.as_ref().map(|found| found.looked_at),
            "leftovers": done.found.as_ref().map(|found| {
                found.leftovers.iter().map(|found| leftover(done, found)).collect::<Vec<_>>()
            }),
            "bytes": done.found.as_ref().map(Leftovers::bytes),
            "kept": done.found.iter().flat_map(|found| &found.kept).map(|kept| json!({
                "digest": kept.digest.to_string(),
                "tags": kept.tags.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "why": kept.why.to_string(),
            })).collect::<Vec<_>>(),
            "failures": done.refused().iter().map(|(leftover, why)| json!({
                "digest": leftover.digest.to_string(),
                "detail": why.to_string(),
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>()),
    })
}

fn text(args: &PruneArgs, done: &[Done]) -> String {
    let mut text = String::new();
    for done in done {
        let Some(found) = &done.found else {
            let _ = writeln!(text, "{}: it is not known what is of no use", done.repository);
            continue;
        };
        let (count, bytes) = (found.leftovers.len(), size(found.bytes()));
        let stay = match found.kept.len() {
            0 => String::new(),
            stay => format!("; {stay} more stay, as said below"),
        };
        let _ = writeln!(
            text,
            "{}: {count} of no use, {bytes}, of {} manifests{stay}",
            done.repository, found.looked_at
        );
        if count > 0 {
            let rows = found.leftovers.iter().map(|leftover| {
                let tags: Vec<&str> = leftover.tags.iter().map(soci_oci::Tag::as_str).collect();
                [
                    leftover.digest.short(),
                    leftover.kind.to_string(),
                    tags.join(", "),
                    size(leftover.bytes),
                    leftover.age.map_or_else(|| "unknown".to_owned(), age),
                    leftover.why.to_string(),
                    match fate(done, leftover) {
                        "found" => String::new(),
                        fate => fate.to_owned(),
                    },
                ]
            });
            let head = [
                Text("digest"),
                Text("what"),
                Text("tags"),
                Number("size"),
                Number("age"),
                Text("why"),
                Text(""),
            ];
            text.push_str(&table(head, rows));
        }
        for kept in &found.kept {
            let tags: Vec<&str> = kept.tags.iter().map(soci_oci::Tag::as_str).collect();
            let _ = writeln!(text, "  {} stays: {}", tags.join(", "), kept.why);
        }
        if found.kept.iter().any(|kept| kept.why == WhyKept::UnknownAge) {
            text.push_str(
                "  this registry does not tell ages: --unknown-age takes these as well, when no image is being indexed\n",
            );
        }
    }
    if args.dry_run {
        text.push_str("nothing was deleted\n");
    }
    text
}

/// An age in days or hours.
fn age(age: Duration) -> String {
    match age.as_secs() / 3_600 {
        hours @ 0..48 => format!("{hours} h"),
        hours => format!("{} d", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let shown = |hours: u64| age(Duration::from_hours(hours));
        assert_eq!([0, 25, 47, 48, 100].map(shown), ["0 h", "25 h", "47 h", "2 d", "4 d"]);
    }
}
