//! Images that were deleted.

use std::sync::Arc;

use serde_json::{Value, json};
use soci_indexer::Options;
use soci_jobs::{RegistryOpener, Remover, Runner};
use soci_manifest::SociIndexSettings;
use soci_oci::{Digest, Repository, Tag};
use soci_queue::Outgoing;
use soci_registry::{OwnApi, OwnApiError, OwnApiFuture};
use soci_tests::FakeRegistryClient;

use crate::support::{REPOSITORY, World, event, message, messages, world};

/// An API that knows one tag and deletes what it is asked to, or fails.
#[derive(Debug)]
struct Api {
    fails: bool,
}

impl OwnApi for Api {
    fn tags_of<'a>(
        &'a self,
        _: &'a Repository,
        digests: &'a [Digest],
    ) -> OwnApiFuture<'a, Vec<(Digest, Vec<Tag>)>> {
        let tags = if digests.len() == 1 { vec!["v1-soci".parse().unwrap()] } else { vec![] };
        let tags = digests.iter().map(|digest| (*digest, tags.clone())).collect();
        Box::pin(async { Ok(tags) })
    }

    fn delete<'a>(
        &'a self,
        repository: &'a Repository,
        _: &'a [(Digest, Vec<Tag>)],
    ) -> OwnApiFuture<'a, Vec<(Digest, String)>> {
        assert!(repository.registry().ends_with("amazonaws.com"), "by the name that ECR knows");
        let what = "it fails".to_owned();
        let answer = if self.fails {
            Err(OwnApiError { what, transient: true, source: None })
        } else {
            Ok(Vec::new())
        };
        Box::pin(async { answer })
    }
}

/// A function that removes results, with an image that is indexed and whose tag was deleted then, and the event of that.
async fn removing(fails: bool) -> (World, Value) {
    let mut world = world().await;
    let digest = world.push("v1", 1);
    world.sentence(&event("v1", digest)).await;
    assert!(world.is_indexed("v1"));
    world.registry.remove_tag(REPOSITORY, "v1");
    let endpoint = format!("http://{}", world.registry.host()).parse().unwrap();
    let opener = RegistryOpener::new(world.registry.client(), Some(endpoint));
    let settings = SociIndexSettings { min_layer_size: 0, ..SociIndexSettings::default() };
    let options = Options { settings, ..Options::default() };
    let remover = Remover::new(opener.clone(), Arc::new(Api { fails }));
    world.handler.worker.runner = Runner::new(opener, options).with_remover(remover);
    world.handler.worker.rules.remove_results = true;
    let mut deletion = event("v1", digest);
    deletion["detail"]["action-type"] = json!("DELETE");
    (world, deletion)
}

fn fresh(event: &Value) -> Outgoing {
    Outgoing { body: event.to_string(), group: None, attributes: Vec::new() }
}

#[tokio::test]
async fn the_result_of_a_deleted_image_is_removed_and_nothing_is_announced_or_left() {
    let (world, deletion) = removing(false).await;
    let sentence = world.sentence(&deletion).await;
    assert!(sentence.starts_with("The image was deleted: "), "{sentence}");
    assert!(world.settle(&fresh(&deletion), 1).await);
    assert!(messages(&world.live).is_empty() && messages(&world.dead).is_empty());
    let last = world.metrics().pop().unwrap();
    assert_eq!((&last["Outcome"], &last["Reason"]), (&json!("skipped"), &json!("result-removed")));
}

#[tokio::test]
async fn a_removal_that_fails_comes_again_as_the_event_that_it_was_and_never_as_a_job() {
    for of_its_own in [true, false] {
        let (world, deletion) = removing(true).await;
        if of_its_own {
            assert!(world.settle(&fresh(&deletion), 1).await, "a copy is in its place");
        } else {
            let sentence = world.sentence(&deletion).await;
            assert!(sentence.starts_with("Handed over to the queue: "), "{sentence}");
        }
        assert_eq!(message(&world.live).body, deletion.to_string());
        assert!(messages(&world.dead).is_empty());
    }
}

#[tokio::test]
async fn without_the_option_the_message_of_another_release_is_settled_and_nothing_is_indexed() {
    let (mut world, deletion) = removing(false).await;
    world.handler.worker.rules.remove_results = false;
    world.registry.clear_requests();
    assert!(world.settle(&fresh(&deletion), 1).await);
    assert!(world.registry.requests().is_empty());
    assert!(messages(&world.live).is_empty() && messages(&world.dead).is_empty());
    let last = world.metrics().pop().unwrap();
    assert_eq!((&last["Outcome"], &last["Reason"]), (&json!("skipped"), &json!("other-event")));
}
