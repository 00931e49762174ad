//! The same work twice at once.

use std::sync::{Arc, Mutex};

use soci_indexer::OnImageEvent;
use soci_jobs::{JobSlot, Outcome, SlotFuture, WaitsFor};
use soci_manifest::Version;
use soci_registry_server::testing::{FakeRegistry, RequestKind};
use tokio::task::JoinSet;

use crate::support::{
    NAME, already_indexed, image, indexed, job, layer_reads, meanwhile, run, runner, skipped, tags,
    writes,
};

#[tokio::test]
async fn of_duplicates_at_once_one_builds_and_uploads_and_the_others_find_it_there() {
    for version in [Version::V1, Version::V2] {
        let alone = FakeRegistry::start().await;
        let first = job(&alone, image(1).put(&alone, NAME, "1"), "1");
        let expected = indexed(run(&runner(&alone, version), &first).await).index;

        let fake = FakeRegistry::start().await;
        let job = job(&fake, image(1).put(&fake, NAME, "1"), "1");
        let runner = runner(&fake, version);
        let mut jobs = JoinSet::new();
        for _ in 0..8 {
            let (runner, job) = (runner.clone(), job.clone());
            jobs.spawn(async move { run(&runner, &job).await });
        }
        let (mut built, mut found) = (0, 0);
        while let Some(done) = jobs.join_next().await {
            match done.unwrap() {
                Outcome::Indexed(report) => {
                    built += 1;
                    assert_eq!(report.index, expected);
                }
                Outcome::AlreadyIndexed(report) => {
                    found += 1;
                    assert_eq!(report.index, expected);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((built, found), (1, 7));
        assert_eq!(layer_reads(&fake, &image(1)), 2);
        for kind in [RequestKind::UploadPost, RequestKind::UploadPut, RequestKind::ManifestPut] {
            assert_eq!(fake.requests_of(kind).len(), alone.requests_of(kind).len(), "{kind:?}");
        }
    }
}

/// A slot that tells what became of it.
#[derive(Default)]
struct Told {
    may_wait: bool,
    steps: Mutex<Vec<Option<WaitsFor>>>,
}

impl JobSlot for Told {
    fn leave(&self, waits_for: WaitsFor) -> bool {
        self.steps.lock().unwrap().push(Some(waits_for));
        self.may_wait
    }

    fn take_again(&self) -> SlotFuture<'_> {
        self.steps.lock().unwrap().push(None);
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test]
async fn a_job_that_waits_leaves_its_slot_and_takes_one_again() {
    for (tags, waits_for) in [(["1", "1"], WaitsFor::SameTag), (["1", "2"], WaitsFor::SameImage)] {
        for may_wait in [true, false] {
            let fake = FakeRegistry::start().await;
            let digest = image(1).put(&fake, NAME, "1");
            image(1).put(&fake, NAME, "2");
            let runner = runner(&fake, Version::V2);
            let jobs = tags.map(|tag| job(&fake, digest, tag));
            let slots = [Told::default(), Told { may_wait, ..Told::default() }];
            let nothing: OnImageEvent = Arc::new(|_| {});
            let (first, second) = tokio::join!(
                runner.run_in(&slots[0], &jobs[0], nothing.clone()),
                runner.run_in(&slots[1], &jobs[1], nothing.clone()),
            );
            indexed(first);
            let [first, second_steps] = slots.map(|slot| slot.steps.into_inner().unwrap());
            assert_eq!(first, [], "nobody was there before it");
            if may_wait {
                assert_eq!(second_steps, [Some(waits_for), None]);
                assert!(second.report().is_some(), "{second:?}");
            } else {
                assert_eq!(second_steps, [Some(waits_for)]);
                let Outcome::Postponed(why) = second else { panic!("{second:?}") };
                assert_eq!(why.reason, waits_for.label());
            }
        }
    }
}

#[tokio::test]
async fn two_tags_of_one_image_at_once_are_one_build() {
    let fake = FakeRegistry::start().await;
    let digest = image(1).put(&fake, NAME, "1.2.3");
    image(1).put(&fake, NAME, "latest");
    let runner = runner(&fake, Version::V2);
    let (exact, latest) = (job(&fake, digest, "1.2.3"), job(&fake, digest, "latest"));
    let (exact, latest) = tokio::join!(run(&runner, &exact), run(&runner, &latest));
    let (exact, latest) = (indexed(exact), indexed(latest));
    assert_eq!(exact.index, latest.index);
    assert_eq!(exact.layers.len() + latest.layers.len(), 2);
    assert_eq!(tags(&fake), ["1.2.3", "1.2.3-soci", "latest", "latest-soci"]);
}

#[tokio::test]
async fn an_older_and_a_later_push_of_a_tag_at_once_leave_the_later_ones_result() {
    let fake = FakeRegistry::start().await;
    let old = job(&fake, image(1).put(&fake, NAME, "1"), "1");
    let new = job(&fake, image(2).digest(), "1");
    let runner = runner(&fake, Version::V2);
    // Pushed once the older job has begun to build.
    let pushed = {
        let fake = fake.clone();
        meanwhile(move || {
            image(2).put(&fake, NAME, "1");
        })
    };
    let (first, second) = tokio::join!(runner.run(&old, pushed), run(&runner, &new));
    assert_eq!(skipped(first, ""), "superseded");
    let result = indexed(second).index;
    assert!(fake.tags(NAME).contains(&("1-soci".to_owned(), result)));
}

#[tokio::test]
async fn a_result_that_another_process_wrote_in_the_meantime_is_not_counted_as_ours() {
    for version in [Version::V1, Version::V2] {
        let other = FakeRegistry::start().await;
        let first = job(&other, image(1).put(&other, NAME, "1"), "1");
        let expected = indexed(run(&runner(&other, version), &first).await);

        let fake = FakeRegistry::start().await;
        let job = job(&fake, image(1).put(&fake, NAME, "1"), "1");
        let copy = {
            let fake = fake.clone();
            meanwhile(move || copy(&other, &fake))
        };
        let done = runner(&fake, version).run(&job, copy).await;
        let report = already_indexed(done);
        assert_eq!((report.index, report.layers.len()), (expected.index, 2));
        assert_eq!(writes(&fake), 0);
    }
}

/// All of a repository, as if somebody else had pushed it.
fn copy(from: &FakeRegistry, to: &FakeRegistry) {
    for blob in from.blobs(NAME) {
        to.put_blob(NAME, from.blob(NAME, &blob).unwrap());
    }
    for manifest in from.manifests(NAME) {
        let (kind, bytes) = from.manifest(NAME, &manifest.into()).unwrap();
        to.put_manifest(NAME, None, &kind, bytes);
    }
    for (tag, digest) in from.tags(NAME) {
        let (kind, bytes) = from.manifest(NAME, &digest.into()).unwrap();
        to.put_manifest(NAME, Some(&tag), &kind, bytes);
    }
}
