//! From an event to a job, as the service goes through the crate.

use soci_manifest::Version;
use soci_push::event::{MAX_EVENT_BYTES, Timestamp};
use soci_push::job::{MessageContent, MessageLimits, Received};
use soci_push::{EcrEvent, JobMessage, PushEvent, TagFilters, why_not};

fn pushed(repository: &str, tag: &str) -> PushEvent {
    let event = serde_json::json!({
        "version": "0",
        "id": "13cde686-328b-6117-af20-0e5566167482",
        "detail-type": "ECR Image Action",
        "source": "aws.ecr",
        "account": "123456789012",
        "time": "2026-08-01T12:34:50Z",
        "region": "cn-north-1",
        "resources": [],
        "detail": {
            "result": "SUCCESS",
            "repository-name": repository,
            "image-digest": format!("sha256:{}", "a".repeat(64)),
            "action-type": "PUSH",
            "image-tag": tag
        }
    });
    match EcrEvent::parse(event.to_string().as_bytes(), MAX_EVENT_BYTES).unwrap() {
        EcrEvent::Push(push) => *push,
        other => panic!("{other:?}"),
    }
}

/// What the filter makes of a push: a job's bytes, or nothing.
fn enqueued(push: &PushEvent, filters: &TagFilters) -> Option<String> {
    if why_not(push, Version::V2, "-soci").is_some() {
        return None;
    }
    filters.matching(push.repository.name(), push.tag.as_ref())?;
    Some(JobMessage::from_push(push, Timestamp::from_unix_seconds(1_785_587_696)).encode())
}

#[test]
fn a_wanted_push_arrives_at_the_worker_as_its_job() {
    let filters = "other:*, team/*:v*".parse().unwrap();
    let push = pushed("team/app", "v1");
    let bytes = enqueued(&push, &filters).unwrap();
    let Received { content: MessageContent::Job(job), failed: None } =
        JobMessage::parse(bytes.as_bytes(), MessageLimits::DEFAULT).unwrap()
    else {
        panic!("{bytes}")
    };
    assert_eq!(
        job.repository.to_string(),
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/team/app"
    );
    assert_eq!((job.digest, job.tag, job.event_id), (push.digest, push.tag, push.id));
    assert_eq!(job.enqueued_at.to_string(), "2026-08-01T12:34:56Z");
}

#[test]
fn pushes_that_no_filter_wants_and_the_indexers_own_become_no_job() {
    let filters = "*:*".parse().unwrap();
    for (tag, job) in [("v1", true), ("v1-soci", false), ("", false)] {
        assert_eq!(enqueued(&pushed("team/app", tag), &filters).is_some(), job, "{tag}");
    }
    let filters = "team/app:latest".parse().unwrap();
    assert_eq!(enqueued(&pushed("team/app", "v1"), &filters), None);
}
