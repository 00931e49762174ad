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

fn parse(event: &Value) -> Result<EcrEvent, EventError> {
    EcrEvent::parse(event.to_string().as_bytes(), MAX_EVENT_BYTES)
}

fn push(event: &Value) -> PushEvent {
    match parse(event).unwrap() {
        EcrEvent::Push(push) => *push,
        EcrEvent::Ignored(ignored) => panic!("{ignored}"),
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
fn tag_and_media_types_may_be_missing_null_or_empty() {
    for nothing in [None, Some(Value::Null), Some(json!(""))] {
        let mut event = sample();
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
        place in 0_usize..15,
        text in ".{0,40}",
    ) {
        let mut event = sample();
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
