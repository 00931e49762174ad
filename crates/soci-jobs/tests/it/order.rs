//! The latest push wins: whatever happens between two workers, when the jobs of a tag are done the tag of the
//! result names the result of what the tag names.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// Does everything that a later push and its worker would, after so many requests.
struct LaterPush {
    fake: FakeRegistry,
    image: Digest,
    result: Digest,
    left: AtomicUsize,
}

impl Observer for LaterPush {
    fn request(&self, _: &RequestDone<'_>) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            name(&self.fake, "latest", self.image);
            name(&self.fake, "latest-soci", self.result);
        }
    }
}

/// A registry with two images; `latest` is the first. Digests of both, and of the result of the second, which exists
/// under another tag.
async fn two_images() -> (FakeRegistry, [Digest; 2], Digest) {
    let fake = FakeRegistry::start().await;
    let [old, new] = [image(1).put(&fake, NAME, "latest"), image(2).put(&fake, NAME, "other")];
    let later = runner(&fake, Version::V2);
    let result = indexed(run(&later, &job(&fake, new, "other")).await).index;
    (fake, [old, new], result)
}

#[tokio::test]
async fn a_later_push_at_any_moment_wins() {
    let mut overtaken = 0;
    for known in [false, true] {
        for requests in 1.. {
            let (fake, [old, new], result) = two_images().await;
            let observer = Arc::new(LaterPush {
                fake: fake.clone(),
                image: new,
                result,
                left: AtomicUsize::new(0),
            });
            let client = fake.client_builder().observer(observer.clone()).build().unwrap();
            let opener = RegistryOpener::new(client, None);
            let worker = soci_jobs::Runner::new(opener, options(Version::V2));
            if known {
                name(&fake, "1.0", old);
                indexed(run(&worker, &job(&fake, old, "1.0")).await);
            }
            observer.left.store(requests, Ordering::Relaxed);
            let outcome = run(&worker, &job(&fake, old, "latest")).await;
            let left = observer.left.load(Ordering::Relaxed);
            if (1..=requests).contains(&left) {
                // The push would have come after all requests.
                break;
            }
            assert_eq!(named(&fake, "latest"), Some(new));
            assert_eq!(
                named(&fake, "latest-soci"),
                Some(result),
                "after {requests} requests, known {known}: {outcome:?}"
            );
            overtaken += 1;
        }
    }
    assert!(overtaken > 20, "{overtaken}");
}

#[tokio::test]
async fn what_a_worker_that_died_has_left_is_put_right_by_who_gets_its_message() {
    let (fake, [old, new], result) = two_images().await;
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
    assert_eq!(why.reason, "registry-unavailable", "{}", why.detail);
    assert!(why.detail.contains("latest-soci"), "{}", why.detail);
}
