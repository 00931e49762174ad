//! What messages ask for.

use serde_json::{Value, json};
use soci_manifest::Version;
use soci_oci::{Digest, media_type};
use soci_push::event::EventKind;
use soci_push::{EventTypes, PushRules, SkippedPush, TagFilters, Task, understand};

/// An event as EventBridge delivers it after a push of an image.
fn event() -> Value {
    json!({
        "version": "0",
        "id": "13cde686-328b-6117-af20-0e5566167482",
        "detail-type": "ECR Image Action",
        "source": "aws.ecr",
        "account": "123456789012",
        "time": "2026-08-01T12:34:50Z",
        "region": "eu-west-1",
        "resources": [],
        "detail": {
            "result": "SUCCESS",
            "repository-name": "team/app",
            "image-digest": Digest::sha256_of(b"{}").to_string(),
            "action-type": "PUSH",
            "image-tag": "1.0",
            "manifest-media-type": media_type::OCI_MANIFEST
        }
    })
}

fn rules(version: Version) -> PushRules {
    PushRules {
        version,
        output_suffix: "-soci".to_owned(),
        filters: "team/*:*".parse().unwrap(),
        event_types: EventTypes::default(),
        remove_results: false,
    }
}

/// What is said of the event with these members of its detail changed.
fn nothing(version: Version, changes: &[(&str, &str)]) -> SkippedPush {
    let mut event = event();
    for (name, value) in changes {
        event["detail"][name] = (*value).into();
    }
    match understand(event.to_string().as_bytes(), &rules(version)).unwrap() {
        Task::Skip { why, .. } => why,
        Task::Index(job) | Task::Remove(job) => panic!("{job:?}"),
    }
}

#[test]
fn a_push_and_its_job_ask_for_the_same() {
    for version in [Version::V1, Version::V2] {
        let rules = rules(version);
        let Task::Index(of_event) = understand(event().to_string().as_bytes(), &rules).unwrap()
        else {
            panic!("no job")
        };
        assert_eq!(
            of_event.repository.to_string(),
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app"
        );
        assert_eq!(of_event.tag.as_ref().unwrap().as_str(), "1.0");
        let message = json!({
            "v": 1,
            "registry": of_event.repository.registry(),
            "repository": "team/app",
            "digest": of_event.digest.to_string(),
            "tag": "1.0",
            "event_id": "13cde686-328b-6117-af20-0e5566167482",
            "enqueued_at": "2026-08-01T12:34:50Z"
        });
        let of_message = understand(message.to_string().as_bytes(), &rules).unwrap();
        assert_eq!(of_message, Task::Index(of_event));
    }
}

#[test]
fn every_push_that_is_no_work_has_its_own_label() {
    let referrers = format!("sha256-{}", Digest::sha256_of(b"{}").hex());
    let of = |changes: &[(&str, &str)]| nothing(Version::V2, changes).label();
    let artifact = "artifact-media-type";
    assert_eq!(of(&[("image-tag", "1.0-soci")]), "output-tag");
    assert_eq!(of(&[(artifact, Version::V2.artifact_type())]), "soci-index");
    assert_eq!(of(&[(artifact, "application/vnd.cncf.notary.signature")]), "signature");
    assert_eq!(of(&[(artifact, "application/spdx+json")]), "sbom");
    assert_eq!(of(&[(artifact, "application/vnd.in-toto+json")]), "attestation");
    assert_eq!(of(&[(artifact, "application/vnd.cncf.helm.config.v1+json")]), "helm-chart");
    assert_eq!(of(&[("image-tag", &referrers)]), "referrers-tag");
    assert_eq!(of(&[("image-tag", "")]), "untagged");
    assert_eq!(of(&[("repository-name", "other/app")]), "no-filter-matches");
    assert_eq!(of(&[("action-type", "DELETE")]), "other-event");
    assert_eq!(of(&[("result", "FAILURE")]), "other-event");
    let words = nothing(Version::V2, &[("repository-name", "other/app")]).to_string();
    assert_eq!(words, "no filter matches other/app:1.0");
    let words = nothing(Version::V1, &[("repository-name", "other/app"), ("image-tag", "")]);
    assert_eq!(words.to_string(), "no filter matches other/app without a tag");
}

/// The event of an image that came without a push.
fn arrival(kind: EventKind) -> Value {
    let mut event = event();
    event["detail-type"] = kind.detail_type().into();
    let detail = event["detail"].as_object_mut().unwrap();
    detail.remove("manifest-media-type");
    match kind {
        EventKind::Push => {}
        EventKind::Replication => {
            detail.insert("action-type".to_owned(), "REPLICATE".into());
            detail.insert("source-region".to_owned(), "eu-central-1".into());
        }
        EventKind::PullThroughCache => {
            detail.retain(|name, _| name != "action-type" && name != "result");
            detail.insert("sync-status".to_owned(), "SUCCESS".into());
        }
    }
    event
}

#[test]
fn an_event_is_work_where_its_kind_is_wanted() {
    let lists = EventKind::ALL.map(|kind| kind.detail_type().parse().unwrap());
    for event_types in [lists.to_vec(), vec![EventTypes::default(), EventTypes::all()]].concat() {
        let rules = PushRules { event_types, ..rules(Version::V2) };
        for kind in EventKind::ALL {
            let task = understand(arrival(kind).to_string().as_bytes(), &rules).unwrap();
            if rules.event_types.has(kind) {
                let Task::Index(job) = task else { panic!("{task:?}") };
                let Task::Index(of_push) =
                    understand(event().to_string().as_bytes(), &every()).unwrap()
                else {
                    panic!("no job")
                };
                assert_eq!(job, of_push, "however an image comes, the job is the same");
            } else {
                let Task::Skip { why, pushed } = task else { panic!("{task:?}") };
                assert_eq!(why.label(), "other-event");
                assert!(why.to_string().contains(kind.detail_type()), "{why}");
                assert_eq!(pushed.unwrap().repository.name(), "team/app");
            }
        }
    }
}

fn every() -> PushRules {
    PushRules { event_types: EventTypes::all(), ..rules(Version::V2) }
}

/// A result that is replicated must not be taken for an image: two regions that replicate to each other would go on
/// without an end.
#[test]
fn results_that_are_replicated_are_no_work() {
    let referrers = format!("sha256-{}", Digest::sha256_of(b"{}").hex());
    for kind in EventKind::ALL {
        for (tag, label) in
            [("1.0-soci", "output-tag"), (referrers.as_str(), "referrers-tag"), ("", "untagged")]
        {
            let mut event = arrival(kind);
            event["detail"]["image-tag"] = tag.into();
            match understand(event.to_string().as_bytes(), &every()).unwrap() {
                Task::Skip { why, .. } => assert_eq!(why.label(), label),
                Task::Index(job) | Task::Remove(job) => panic!("{job:?}"),
            }
        }
        let mut event = arrival(kind);
        event["detail"]["repository-name"] = "other/app".into();
        let task = understand(event.to_string().as_bytes(), &every()).unwrap();
        assert!(matches!(task, Task::Skip { why: SkippedPush::Unmatched { .. }, .. }), "{task:?}");
    }
}

#[test]
fn a_push_that_is_no_work_is_named_all_the_same() {
    let named = |name: &str, value: &str| {
        let mut event = event();
        event["detail"][name] = value.into();
        match understand(event.to_string().as_bytes(), &rules(Version::V2)).unwrap() {
            Task::Skip { pushed, .. } => {
                pushed.map(|job| (job.repository.name().to_owned(), job.tag))
            }
            Task::Index(job) | Task::Remove(job) => panic!("{job:?}"),
        }
    };
    assert_eq!(named("image-tag", ""), Some(("team/app".to_owned(), None)));
    let tag = Some("1.0".parse().unwrap());
    assert_eq!(named("repository-name", "other/app"), Some(("other/app".to_owned(), tag)));
    assert_eq!(named("action-type", "DELETE"), None);
}

#[test]
fn a_job_has_been_filtered_by_whoever_wrote_it() {
    let message = json!({
        "v": 1,
        "registry": "r.example",
        "repository": "other/app",
        "digest": Digest::sha256_of(b"{}").to_string(),
        "tag": "1.0-soci",
        "enqueued_at": "2026-08-01T12:34:50Z"
    });
    let task = understand(message.to_string().as_bytes(), &rules(Version::V2)).unwrap();
    assert!(matches!(task, Task::Index(_)), "{task:?}");
}

#[test]
fn without_filters_every_image_is_wanted() {
    let mut event = event();
    event["detail"]["repository-name"] = "other/app".into();
    let rules = PushRules { filters: TagFilters::or_all(Vec::new()), ..rules(Version::V2) };
    let task = understand(event.to_string().as_bytes(), &rules).unwrap();
    assert!(matches!(task, Task::Index(_)), "{task:?}");
}

#[test]
fn what_is_not_understood_is_a_permanent_error() {
    for bytes in [&b""[..], b"{}", b"\xff", br#"{"v":2}"#] {
        assert!(understand(bytes, &rules(Version::V2)).unwrap_err().is_permanent());
    }
}

#[test]
fn a_deletion_is_work_only_where_results_are_removed_and_of_what_has_one() {
    let told = |rules: &PushRules, tag: Option<&str>| {
        let mut event = event();
        event["detail"]["action-type"] = "DELETE".into();
        event["detail"]["image-tag"] = tag.into();
        understand(event.to_string().as_bytes(), rules).unwrap()
    };
    let label = |task: Task| match task {
        Task::Skip { why, .. } => why.label(),
        Task::Remove(_) => "removal",
        Task::Index(job) => panic!("nothing is indexed: {job:?}"),
    };
    for version in [Version::V1, Version::V2] {
        let off = rules(version);
        let on = PushRules { remove_results: true, ..off.clone() };
        let Task::Remove(job) = told(&on, Some("1.0")) else { panic!() };
        let Task::Index(pushed) = understand(event().to_string().as_bytes(), &off).unwrap() else {
            panic!()
        };
        assert_eq!(job, pushed, "the same image");
        assert_eq!(label(told(&off, Some("1.0"))), "other-event");
        assert_eq!(label(told(&on, Some("1.0-soci"))), "output-tag");
        let hex = "0123456789abcdef".repeat(4);
        assert_eq!(label(told(&on, Some(&format!("sha256-{hex}.sig")))), "referrers-tag");
        let untagged = if version == Version::V2 { "untagged" } else { "removal" };
        assert_eq!(label(told(&on, None)), untagged);
        let other = PushRules { filters: "other:*".parse().unwrap(), ..on };
        assert_eq!(label(told(&other, Some("1.0"))), "no-filter-matches");
    }
}
