use serde_json::{Value, json};

use super::*;

const DIGEST: &str = "sha256:978f5f8049d3d0de30a7fc3892aafdfb323451bf682170d99154230ddefbe91e";

fn sample() -> Value {
    json!({
        "version": "0",
        "id": "13cde686-328b-6117-af20-0e5566167482",
        "detail-type": "ECR Image Action",
        "source": "aws.ecr",
        "account": "123456789012",
        "time": "2019-11-16T01:54:34Z",
        "region": "us-west-2",
        "resources": [],
        "detail": {
            "result": "SUCCESS",
            "repository-name": "team/my-app",
            "image-digest": DIGEST,
            "action-type": "PUSH",
            "image-tag": "Latest"
        }
    })
}

/// As the user guide of ECR has it, with a digest.
fn replication() -> Value {
    json!({
        "version": "0",
        "id": "c8b133b1-6029-ee73-e2a1-4f466b8ba999",
        "detail-type": "ECR Replication Action",
        "source": "aws.ecr",
        "account": "123456789012",
        "time": "2024-05-08T20:44:54Z",
        "region": "us-east-1",
        "resources": ["arn:aws:ecr:us-east-1:123456789012:repository/docker-hub/alpine"],
        "detail": {
            "result": "SUCCESS",
            "repository-name": "docker-hub/alpine",
            "image-digest": DIGEST,
            "source-account": "123456789012",
            "action-type": "REPLICATE",
            "source-region": "us-west-2",
            "image-tag": "3.17.2"
        }
    })
}

/// The same of the pull-through cache.
fn pull_through() -> Value {
    json!({
        "version": "0",
        "id": "85fc3613-e913-7fc4-a80c-a3753e4aa9ae",
        "detail-type": "ECR Pull Through Cache Action",
        "source": "aws.ecr",
        "account": "123456789012",
        "time": "2023-02-28T02:36:48Z",
        "region": "us-west-2",
        "resources": ["arn:aws:ecr:us-west-2:123456789012:repository/docker-hub/alpine"],
        "detail": {
            "rule-version": "1",
            "sync-status": "SUCCESS",
            "ecr-repository-prefix": "docker-hub",
            "repository-name": "docker-hub/alpine",
            "upstream-registry-url": "public.ecr.aws",
            "image-tag": "3.17.2",
            "image-digest": DIGEST
        }
    })
}

fn parse(event: &Value) -> Result<EcrEvent, EventError> {
    EcrEvent::parse(event.to_string().as_bytes(), MAX_EVENT_BYTES)
}

fn push(event: &Value) -> PushEvent {
    match parse(event).unwrap() {
        EcrEvent::Push(push) => *push,
        other => panic!("{other:?}"),
    }
}

fn problems(text: &str) -> Vec<String> {
    match EcrEvent::parse(text.as_bytes(), MAX_EVENT_BYTES) {
        Err(EventError::Fields(problems)) => {
            problems.into_iter().map(|problem| problem.path).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_push_is_read_into_its_types() {
    let push = push(&sample());
    assert_eq!(push.id.unwrap().as_str(), "13cde686-328b-6117-af20-0e5566167482");
    assert_eq!(push.time.unwrap().to_string(), "2019-11-16T01:54:34Z");
    assert_eq!((push.account.as_str(), push.region.as_str()), ("123456789012", "us-west-2"));
    assert_eq!(
        push.repository.to_string(),
        "123456789012.dkr.ecr.us-west-2.amazonaws.com/team/my-app"
    );
    assert_eq!(push.digest.to_string(), DIGEST);
    assert_eq!(push.tag.unwrap().as_str(), "Latest");
    assert_eq!((push.manifest_media_type, push.artifact_media_type), (None, None));
}

#[test]
fn images_that_come_without_a_push_are_read_into_the_same() {
    for (event, kind, region) in [
        (replication(), EventKind::Replication, "us-east-1"),
        (pull_through(), EventKind::PullThroughCache, "us-west-2"),
    ] {
        let came = push(&event);
        assert_eq!(came.kind, kind);
        // Where the image is, and not where it comes from.
        assert_eq!(
            came.repository.to_string(),
            format!("123456789012.dkr.ecr.{region}.amazonaws.com/docker-hub/alpine")
        );
        assert_eq!(
            (came.digest.to_string().as_str(), came.tag.unwrap().as_str()),
            (DIGEST, "3.17.2")
        );
        assert_eq!((came.manifest_media_type, came.artifact_media_type), (None, None));
        let mut changed = event.clone();
        for name in ["source-account", "source-region", "rule-version", "upstream-registry-url"] {
            changed["detail"][name] = json!([{"anything": 7}]);
        }
        changed["detail"]["ecr-repository-prefix"] = Value::Null;
        assert_eq!(push(&changed), push(&event), "what nobody reads may be anything");
    }
    assert_eq!(push(&sample()).kind, EventKind::Push);
}

#[test]
fn each_kind_says_in_its_own_words_whether_an_image_has_come() {
    let text = |text: &str| text.to_owned();
    for (event, member, other, expected) in [
        (sample(), "action-type", "REPLICATE", Ignored::Action(text("REPLICATE"))),
        (
            sample(),
            "action-type",
            "UPDATE_STORAGE_CLASS",
            Ignored::Action(text("UPDATE_STORAGE_CLASS")),
        ),
        (replication(), "action-type", "PUSH", Ignored::Replication(text("PUSH"))),
        (replication(), "result", "FAILED", Ignored::Result(text("FAILED"))),
        (pull_through(), "sync-status", "FAILURE", Ignored::Sync(text("FAILURE"))),
        (pull_through(), "sync-status", "success", Ignored::Sync(text("success"))),
    ] {
        let mut event = event;
        event["detail"][member] = json!(other);
        // Whatever else it holds.
        event["detail"]["image-digest"] = json!(7);
        event["account"] = json!(7);
        assert_eq!(parse(&event).unwrap(), EcrEvent::Ignored(expected));
    }
    // What another kind says of itself is nothing here.
    let mut event = pull_through();
    event["detail"]["action-type"] = json!("DELETE");
    event["detail"]["result"] = json!("FAILURE");
    push(&event);
    let mut event = replication();
    event["detail"].as_object_mut().unwrap().remove("action-type");
    push(&event);
}

#[test]
fn what_each_kind_lacks_is_reported_or_no_image() {
    let bare = |event: Value| {
        let mut event = event;
        event["detail"] = json!({});
        event
    };
    let [push, copy] = [sample(), replication()].map(|event| problems(&bare(event).to_string()));
    let of_detail =
        |names: &[&str]| -> Vec<_> { names.iter().map(|name| format!("detail.{name}")).collect() };
    assert_eq!(push, of_detail(&["action-type", "result", "repository-name", "image-digest"]));
    assert_eq!(copy, of_detail(&["result", "repository-name", "image-digest"]));

    for digest in [None, Some(Value::Null)] {
        let mut event = pull_through();
        match &digest {
            None => event["detail"].as_object_mut().unwrap().remove("image-digest"),
            Some(value) => event["detail"]
                .as_object_mut()
                .unwrap()
                .insert("image-digest".to_owned(), value.clone()),
        };
        assert_eq!(parse(&event).unwrap(), EcrEvent::Ignored(Ignored::NoImage));
    }
    let mut event = pull_through();
    event["detail"] = json!({"image-digest": "sha256:12"});
    let found = problems(&event.to_string());
    assert_eq!(found, of_detail(&["sync-status", "repository-name", "image-digest"]));
    event["detail"] = Value::Null;
    assert_eq!(problems(&event.to_string()), ["detail"]);
}

#[test]
fn tag_and_media_types_may_be_missing_null_or_empty() {
    let nothings = [None, Some(Value::Null), Some(json!(""))];
    for (nothing, of) in nothings.into_iter().flat_map(|nothing| {
        [sample(), replication(), pull_through()].map(|event| (nothing.clone(), event))
    }) {
        let mut event = of;
        let detail = event["detail"].as_object_mut().unwrap();
        for name in ["image-tag", "manifest-media-type", "artifact-media-type"] {
            match &nothing {
                None => detail.remove(name),
                Some(value) => detail.insert(name.to_owned(), value.clone()),
            };
        }
        let push = push(&event);
        assert_eq!(push.tag, None);
        assert_eq!((push.manifest_media_type, push.artifact_media_type), (None, None));
    }
}

#[test]
fn what_only_eventbridge_adds_may_be_missing() {
    let mut event = sample();
    for name in ["version", "id", "time", "resources"] {
        event.as_object_mut().unwrap().remove(name);
    }
    assert_eq!((push(&event).id, push(&event).time), (None, None));
}

#[test]
fn media_types_are_kept_and_unknown_fields_ignored() {
    let mut event = sample();
    event["replay-name"] = json!("again");
    event["detail"]["manifest-media-type"] = json!("application/vnd.oci.image.index.v1+json");
    event["detail"]["artifact-media-type"] = json!("a/b; c=d");
    event["detail"]["more"] = json!({"deep": [[[]]]});
    let push = push(&event);
    assert_eq!(
        push.manifest_media_type.as_deref(),
        Some("application/vnd.oci.image.index.v1+json")
    );
    assert_eq!(push.artifact_media_type.as_deref(), Some("a/b; c=d"));
}

#[test]
fn a_deletion_that_succeeded_is_read_and_any_other_is_ignored() {
    let mut event = sample();
    event["detail"]["action-type"] = json!("DELETE");
    let EcrEvent::Deletion(deletion) = parse(&event).unwrap() else { panic!() };
    let push = push(&sample());
    assert_eq!((deletion.id, deletion.time), (push.id, push.time));
    assert_eq!(
        (deletion.repository, deletion.digest, deletion.tag),
        (push.repository, push.digest, push.tag)
    );
    let ignored = EcrEvent::Ignored(Ignored::Action("DELETE".to_owned()));
    for (pointer, other) in [
        ("/detail/result", json!("FAILURE")),
        ("/detail/result", Value::Null),
        ("/detail/image-digest", Value::Null),
        ("/detail/image-tag", json!("-")),
        ("/detail/repository-name", json!("App")),
        ("/account", json!("1")),
    ] {
        let mut event = event.clone();
        *event.pointer_mut(pointer).unwrap() = other;
        assert_eq!(parse(&event).unwrap(), ignored, "{pointer}");
    }
    event["detail"].as_object_mut().unwrap().remove("image-tag");
    let EcrEvent::Deletion(untagged) = parse(&event).unwrap() else { panic!() };
    assert_eq!(untagged.tag, None);
}

#[test]
fn events_of_other_things_are_ignored_with_their_reason() {
    for (pointer, other, expected) in [
        ("/source", "aws.s3", Ignored::Source("aws.s3".to_owned())),
        ("/detail-type", "ECR Image Scan", Ignored::DetailType("ECR Image Scan".to_owned())),
        ("/detail/action-type", "DELETE", Ignored::Action("DELETE".to_owned())),
        ("/detail/result", "FAILURE", Ignored::Result("FAILURE".to_owned())),
    ] {
        let mut event = sample();
        *event.pointer_mut(pointer).unwrap() = json!(other);
        event["detail"]["image-digest"] = json!(7);
        assert_eq!(parse(&event).unwrap(), EcrEvent::Ignored(expected));
    }
}

#[test]
fn all_that_is_missing_is_reported_at_once() {
    assert_eq!(problems("{}"), ["source", "detail-type", "account", "region", "detail"]);
    assert_eq!(
        problems(
            r#"{"source":"aws.ecr","detail-type":"ECR Image Action","region":null,"detail":{}}"#
        ),
        [
            "account",
            "region",
            "detail.action-type",
            "detail.result",
            "detail.repository-name",
            "detail.image-digest"
        ]
    );
}

#[test]
fn a_field_given_twice_is_a_problem_wherever_it_is() {
    let text = sample().to_string();
    let twice = text.replacen("\"account\":", "\"account\":\"210987654321\",\"account\":", 1);
    let twice = twice.replacen("\"result\":", "\"result\":\"SUCCESS\",\"result\":", 1);
    assert_eq!(problems(&twice), ["account", "detail.result"]);
}

#[test]
fn every_malformed_field_is_reported_with_its_path() {
    for (pointer, bad) in [
        ("/version", json!(0)),
        ("/id", json!("with space")),
        ("/id", json!("")),
        ("/id", json!("x".repeat(129))),
        ("/time", json!("yesterday")),
        ("/resources", json!({})),
        ("/account", json!(123_456_789_012_u64)),
        ("/account", json!("1234567890123")),
        ("/account", json!("x123456789012")),
        ("/account", json!("12345678901２")),
        ("/region", json!("us-west-2.evil.example")),
        ("/region", json!("US-WEST-2")),
        ("/detail", json!([])),
        ("/detail/action-type", json!(true)),
        ("/detail/repository-name", json!("team/App")),
        ("/detail/repository-name", json!("team//app")),
        ("/detail/repository-name", json!("../app")),
        ("/detail/repository-name", json!("app:latest")),
        ("/detail/repository-name", json!("a__b")),
        ("/detail/repository-name", json!("a".repeat(256))),
        ("/detail/image-digest", json!("sha256:978f")),
        ("/detail/image-digest", json!(format!("{DIGEST}\n"))),
        ("/detail/image-digest", json!(DIGEST.to_uppercase())),
        ("/detail/image-digest", json!(format!("sha512:{}", "a".repeat(128)))),
        ("/detail/image-tag", json!("-x")),
        ("/detail/image-tag", json!("a b")),
        ("/detail/image-tag", json!("x".repeat(129))),
        ("/detail/manifest-media-type", json!("a\nb")),
        ("/detail/artifact-media-type", json!("x".repeat(256))),
    ] {
        let mut event = sample();
        *event.pointer_mut(pointer).unwrap_or(&mut Value::Null) = bad.clone();
        if let Some(name) = pointer.strip_prefix("/detail/") {
            event["detail"][name] = bad.clone();
        }
        let path = pointer[1..].replace('/', ".");
        assert_eq!(problems(&event.to_string()), [path], "{bad}");
    }
}

#[test]
fn an_error_quotes_little_of_a_hostile_value() {
    let mut event = sample();
    event["region"] = json!("x".repeat(100_000));
    assert!(parse(&event).unwrap_err().to_string().len() < 400);
}

#[test]
fn bytes_that_are_no_object_or_too_many_are_refused() {
    for bytes in [&b""[..], b"[]", b"null", b"{", b"\xff", b"{\"source\":\"\xff\"}"] {
        let error = EcrEvent::parse(bytes, MAX_EVENT_BYTES).unwrap_err();
        assert!(matches!(error, EventError::Json(_)) && error.is_permanent(), "{bytes:?}");
    }
    let error = EcrEvent::parse(b"{}", 1).unwrap_err();
    assert!(matches!(error, EventError::TooLarge { size: 2, limit: 1 }));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(0_u8.., 0..200)) {
        let _ = EcrEvent::parse(&bytes, MAX_EVENT_BYTES);
    }

    #[test]
    fn no_string_in_any_field_makes_the_parser_panic(
        place in 0_usize..16,
        of in 0_usize..3,
        text in ".{0,40}",
    ) {
        let mut event = [sample(), replication(), pull_through()][of].clone();
        let (top, detail) = (FIELDS, DETAIL_FIELDS);
        match top[..8].get(place) {
            Some(name) => event[*name] = json!(text),
            None => event["detail"][detail[place - 8]] = json!(text),
        }
        if let Ok(EcrEvent::Push(push)) = parse(&event) {
            proptest::prop_assert_eq!(push.digest.to_string(), DIGEST);
        }
    }
}
