//! Tags that name something else by the time their job is run.

use soci_indexer::{Options, OutputTag};
use soci_manifest::Version;
use soci_oci::TagOrDigest;
use soci_registry_server::testing::{FakeRegistry, RequestKind};

use crate::support::{
    NAME, already_indexed, image, indexed, job, layer_reads, meanwhile, options, run, runner,
    runner_with, skipped, tags, writes,
};

#[tokio::test]
async fn a_tag_that_has_moved_on_is_left_to_the_later_push() {
    let fake = FakeRegistry::start().await;
    let (old, new) = (image(1).put(&fake, NAME, "1"), image(2).put(&fake, NAME, "1"));
    let runner = runner(&fake, Version::V2);
    let done = run(&runner, &job(&fake, old, "1")).await;
    assert_eq!(skipped(done, &new.to_string()), "superseded");
    assert_eq!((writes(&fake), layer_reads(&fake, &image(1))), (0, 0));
    let later = indexed(run(&runner, &job(&fake, new, "1")).await);
    // The older one comes last.
    let done = run(&runner, &job(&fake, old, "1")).await;
    assert_eq!(skipped(done, ""), "superseded");
    let soci: TagOrDigest = "1-soci".parse::<soci_oci::Tag>().unwrap().into();
    let (_, bytes) = fake.manifest(NAME, &soci).unwrap();
    assert_eq!(soci_oci::Digest::sha256_of(&bytes), later.index);
}

#[tokio::test]
async fn a_tag_that_moves_during_the_build_keeps_its_result_from_being_written() {
    let fake = FakeRegistry::start().await;
    let old = job(&fake, image(1).put(&fake, NAME, "1"), "1");
    let push = {
        let fake = fake.clone();
        meanwhile(move || {
            image(2).put(&fake, NAME, "1");
        })
    };
    let done = runner(&fake, Version::V2).run(&old, push).await;
    assert_eq!(skipped(done, "tag 1 names"), "superseded");
    assert!(layer_reads(&fake, &image(1)) > 0);
    assert_eq!(fake.requests_of(RequestKind::ManifestPut).len(), 0);
    assert_eq!(tags(&fake), ["1"]);
}

#[tokio::test]
async fn a_tag_that_was_deleted_has_no_use_for_a_result() {
    let fake = FakeRegistry::start().await;
    let digest = image(1).put(&fake, NAME, "1");
    fake.remove_tag(NAME, "1");
    let done = run(&runner(&fake, Version::V2), &job(&fake, digest, "1")).await;
    assert_eq!(skipped(done, "does not exist any more"), "tag-gone");
    assert_eq!(writes(&fake), 0);
}

#[tokio::test]
async fn version_1_belongs_to_the_digest_whatever_the_tag_is() {
    let fake = FakeRegistry::start().await;
    let old = image(1).put(&fake, NAME, "1");
    image(2).put(&fake, NAME, "1");
    let runner = runner(&fake, Version::V1);
    assert_eq!(indexed(run(&runner, &job(&fake, old, "1")).await).image, old);
    already_indexed(run(&runner, &job(&fake, old, "gone")).await);
}

#[tokio::test]
async fn a_result_in_the_place_of_its_image_is_found_there_and_not_taken_for_a_later_push() {
    let fake = FakeRegistry::start().await;
    let old = job(&fake, image(1).put(&fake, NAME, "1"), "1");
    let output = OutputTag::Suffix(String::new());
    let options = Options { output, ..options(Version::V2) };
    let first = indexed(run(&runner_with(&fake, options.clone()), &old).await);
    assert_eq!(fake.tags(NAME), [("1".to_owned(), first.index)]);
    let runner = runner_with(&fake, options);
    assert_eq!(already_indexed(run(&runner, &old).await).index, first.index);
    // The event of the result's own push.
    already_indexed(run(&runner, &job(&fake, first.index, "1")).await);

    let new = image(2).put(&fake, NAME, "1");
    fake.clear_requests();
    assert_eq!(skipped(run(&runner, &old).await, &new.to_string()), "superseded");
    assert_eq!(fake.tags(NAME), [("1".to_owned(), new)]);
}
