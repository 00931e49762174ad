//! The latest push wins: whatever happens between two workers, when the jobs of a tag are done the tag of the
//! result names the result of what the tag names.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use soci_jobs::RegistryOpener;
use soci_manifest::Version;
use soci_oci::{Digest, TagOrDigest, media_type};
use soci_registry::{Observer, RequestDone};
use soci_registry_server::testing::FakeRegistry;
use soci_tests::FakeRegistryClient;

use crate::support::{NAME, image, indexed, job, options, run, runner};

/// What a tag names.
fn named(fake: &FakeRegistry, tag: &str) -> Option<Digest> {
    fake.tags(NAME).into_iter().find(|(name, _)| name == tag).map(|(_, digest)| digest)
}

/// Makes a tag name a manifest that is there.
fn name(fake: &FakeRegistry, tag: &str, digest: Digest) {
    let (_, bytes) = fake.manifest(NAME, &TagOrDigest::Digest(digest)).unwrap();
    fake.put_manifest(NAME, Some(tag), media_type::OCI_INDEX, bytes);
}

/// Does everything that later pushes and their workers would, each after so many requests more.
struct LaterPushes {
    fake: FakeRegistry,
    /// Images and their results, and how many requests come before each.
    pushes: Mutex<VecDeque<(Digest, Digest, usize)>>,
    /// The image and the result of the last that came.
    last: Mutex<Option<(Digest, Digest)>>,
}

impl Observer for LaterPushes {
    fn request(&self, _: &RequestDone<'_>) {
        let mut pushes = self.pushes.lock().unwrap();
        let Some((image, result, left)) = pushes.front_mut() else { return };
        *left -= 1;
        if *left > 0 {
            return;
        }
        let (image, result) = (*image, *result);
        pushes.pop_front();
        name(&self.fake, "latest", image);
        name(&self.fake, "latest-soci", result);
        *self.last.lock().unwrap() = Some((image, result));
    }
}

/// A registry with three images; `latest` is the first. Its digest, and of the others the digests and those of
/// their results, which exist under other tags.
async fn three_images() -> (FakeRegistry, Digest, [(Digest, Digest); 2]) {
    let fake = FakeRegistry::start().await;
    let old = image(1).put(&fake, NAME, "latest");
    let later = runner(&fake, Version::V2);
    let mut others = [(old, old); 2];
    for (seed, other) in [2, 3].into_iter().zip(&mut others) {
        let digest = image(seed).put(&fake, NAME, "other");
        *other = (digest, indexed(run(&later, &job(&fake, digest, "other")).await).index);
    }
    (fake, old, others)
}

/// Runs the job of the first image while the others are pushed after so many requests; whether any push came.
async fn overtaken(known: bool, requests: usize, more: usize) -> bool {
    let (fake, old, [(second, second_result), (third, third_result)]) = three_images().await;
    let observer = Arc::new(LaterPushes {
        fake: fake.clone(),
        pushes: Mutex::default(),
        last: Mutex::default(),
    });
    let client = fake.client_builder().observer(observer.clone()).build().unwrap();
    let worker = soci_jobs::Runner::new(RegistryOpener::new(client, None), options(Version::V2));
    if known {
        name(&fake, "1.0", old);
        indexed(run(&worker, &job(&fake, old, "1.0")).await);
    }
    *observer.pushes.lock().unwrap() =
        [(second, second_result, requests), (third, third_result, more)].into();
    let outcome = run(&worker, &job(&fake, old, "latest")).await;
    assert!(!matches!(outcome, soci_jobs::Outcome::Failed(_)), "{requests} {more}: {outcome:?}");
    let last = *observer.last.lock().unwrap();
    let Some((image, result)) = last else { return false };
    assert_eq!(named(&fake, "latest"), Some(image));
    let found = named(&fake, "latest-soci");
    assert_eq!(found, Some(result), "{requests} and {more} requests, {known}: {outcome:?}");
    true
}

#[tokio::test]
async fn a_later_push_at_any_moment_wins() {
    for known in [false, true] {
        let mut requests = 1;
        while Box::pin(overtaken(known, requests, usize::MAX)).await {
            requests += 1;
        }
        assert!(requests > 5, "{requests}");
    }
}

#[tokio::test]
async fn two_later_pushes_at_any_moments_win() {
    for known in [false, true] {
        for more in [1, 2, 5] {
            let mut requests = 1;
            while Box::pin(overtaken(known, requests, more)).await {
                requests += 1;
            }
            assert!(requests > 5, "{requests}");
        }
    }
}

#[tokio::test]
async fn what_a_worker_that_died_has_left_is_put_right_by_who_gets_its_message() {
    let (fake, old, [(new, result), _]) = three_images().await;
    // It wrote its result after the later push had been indexed, and did not live to see that.
    let dead = runner(&fake, Version::V2);
    let older = indexed(run(&dead, &job(&fake, old, "latest")).await).index;
    name(&fake, "latest", new);
    assert_eq!(named(&fake, "latest-soci"), Some(older));
    let next = runner(&fake, Version::V2);
    let report = match run(&next, &job(&fake, old, "latest")).await {
        soci_jobs::Outcome::Indexed(report) | soci_jobs::Outcome::AlreadyIndexed(report) => report,
        other => panic!("{other:?}"),
    };
    assert_eq!((report.image, report.index), (new, result));
    assert_eq!(named(&fake, "latest-soci"), Some(result));
}

#[tokio::test]
async fn a_registry_that_stores_nothing_is_noticed() {
    let fake = FakeRegistry::start().await;
    let digest = image(1).put(&fake, NAME, "latest");
    fake.behave("stored-nothing");
    let outcome = run(&runner(&fake, Version::V2), &job(&fake, digest, "latest")).await;
    let soci_jobs::Outcome::Failed(why) = outcome else { panic!("{outcome:?}") };
    assert_eq!(why.reason, "not-stored", "{}", why.detail);
    assert!(why.detail.contains("latest-soci"), "{}", why.detail);
}
