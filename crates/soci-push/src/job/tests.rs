use proptest::prelude::*;
use serde_json::json;

use super::*;

const MESSAGE: &str = r#"{"v":1,"registry":"123456789012.dkr.ecr.eu-west-1.amazonaws.com","repository":"team/app","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","tag":"1.0","event_id":"13cde686-328b-6117-af20-0e5566167482","enqueued_at":"2026-08-01T12:34:56Z"}"#;

fn event() -> Value {
    json!({
        "id": "13cde686-328b-6117-af20-0e5566167482",
        "detail-type": "ECR Image Action",
        "source": "aws.ecr",
        "account": "123456789012",
        "region": "eu-west-1",
        "detail": {
            "result": "SUCCESS",
            "action-type": "PUSH",
            "repository-name": "team/app",
            "image-digest": Digest::sha256_of(b"{}").to_string(),
            "image-tag": "1.0"
        }
    })
}

fn record(payload: &Value, condition: &str) -> Value {
    json!({
        "version": "1.0",
        "timestamp": "2026-08-01T12:34:56.000Z",
        "requestContext": {"condition": condition, "approximateInvokeCount": 3},
        "requestPayload": payload,
        "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": "timed out"}
    })
}

fn parse(text: &str) -> Result<Received, JobError> {
    JobMessage::parse(text.as_bytes(), MessageLimits::DEFAULT)
}

fn job(text: &str) -> JobMessage {
    match parse(text).unwrap() {
        Received { content: MessageContent::Job(job), failed: None } => job,
        other => panic!("{other:?}"),
    }
}

fn problems(text: &str) -> String {
    let error = parse(text).unwrap_err();
    assert!(error.is_permanent());
    match error {
        JobError::Fields(problems) => {
            problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>().join(" ")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_push_becomes_these_very_bytes() {
    let MessageContent::Push(push) = parse(&event().to_string()).unwrap().content else { panic!() };
    let now = "2026-08-01T12:34:56Z".parse().unwrap();
    let job = JobMessage::from_push(&push, now);
    assert_eq!(job.encode(), MESSAGE);
    assert_eq!(self::job(MESSAGE), job);
}

#[test]
fn a_job_without_tag_and_event_leaves_their_members_out() {
    let bare = JobMessage { tag: None, event_id: None, ..job(MESSAGE) };
    let text = bare.encode();
    assert!(!text.contains("tag") && !text.contains("event_id"));
    assert_eq!(job(&text), bare);
}

#[test]
fn the_largest_job_stays_below_its_bound() {
    let host = format!("{}:65535", vec!["a".repeat(49); 5].join("."));
    let largest = JobMessage {
        repository: Repository::new(&host, &"a".repeat(255)).unwrap(),
        digest: format!("sha512:{}", "a".repeat(128)).parse().unwrap(),
        tag: Some("t".repeat(128).parse().unwrap()),
        event_id: Some("i".repeat(128).parse().unwrap()),
        enqueued_at: Timestamp::from_unix_seconds(u64::MAX),
    };
    assert_eq!(job(&largest.encode()), largest);
    assert!((1_000..1_100).contains(&largest.encode().len()));
}

#[test]
fn unknown_members_are_ignored() {
    let more = MESSAGE.replacen("{\"v\":1", "{\"new\":{\"v\":[2]},\"v\":1", 1);
    assert_eq!(job(&more), job(MESSAGE));
}

#[test]
fn another_version_is_refused_before_anything_else_is_looked_at() {
    for version in ["2", "0", "-1", "1.5", "99999999999999999999"] {
        let error = parse(&format!("{{\"v\":{version},\"digest\":7}}")).unwrap_err();
        assert!(error.is_permanent());
        assert!(matches!(error, JobError::Version { found } if found == version));
    }
}

#[test]
fn every_malformed_member_of_a_job_is_reported() {
    assert_eq!(problems(r#"{"v":1}"#), "registry repository digest enqueued_at");
    assert_eq!(problems(r#"{"v":"1"}"#), "v registry repository digest enqueued_at");
    assert_eq!(
        problems(
            r#"{"v":1,"registry":"a/b","repository":"A","digest":"sha256:","tag":"","event_id":"\n","enqueued_at":0}"#
        ),
        "registry repository digest tag event_id enqueued_at"
    );
    assert_eq!(problems(&MESSAGE.replacen("\"v\":1", "\"v\":1,\"v\":1", 1)), "v");
    assert_eq!(problems(&MESSAGE.replacen("\"v\":1", "\"v\":1,\"tag\":\"x\"", 1)), "tag");
}

#[test]
fn a_record_of_a_failed_invocation_gives_what_is_inside() {
    for condition in ["RetriesExhausted", "EventAgeExceeded", "SomethingNew"] {
        let received = parse(&record(&event(), condition).to_string()).unwrap();
        assert_eq!(received.failed.unwrap().condition, condition);
        assert!(matches!(received.content, MessageContent::Push(_)));
    }
    let inside: Value = serde_json::from_str(MESSAGE).unwrap();
    let received = parse(&record(&inside, "RetriesExhausted").to_string()).unwrap();
    assert_eq!(received.content, MessageContent::Job(job(MESSAGE)));
}

#[test]
fn records_nest_to_the_limit_and_the_outermost_failure_counts() {
    let inner = record(&event(), "EventAgeExceeded");
    let twice = record(&inner, "RetriesExhausted");
    let received = parse(&twice.to_string()).unwrap();
    assert_eq!(received.failed.unwrap().condition, "RetriesExhausted");
    let error = parse(&record(&twice, "RetriesExhausted").to_string()).unwrap_err();
    assert!(matches!(error, JobError::Nested { limit: 2 }) && error.is_permanent());
    let none = MessageLimits { max_envelopes: 0, ..MessageLimits::DEFAULT };
    let error = JobMessage::parse(inner.to_string().as_bytes(), none).unwrap_err();
    assert!(matches!(error, JobError::Nested { limit: 0 }));
}

#[test]
fn a_record_of_a_success_is_no_work() {
    let error = parse(&record(&event(), "Success").to_string()).unwrap_err();
    assert!(matches!(error, JobError::Succeeded) && error.is_permanent());
}

#[test]
fn a_malformed_record_is_reported_with_all_its_problems() {
    assert_eq!(problems(r#"{"requestPayload":null}"#), "requestPayload requestContext");
    assert_eq!(
        problems(r#"{"requestPayload":"{}","requestContext":{}}"#),
        "requestPayload requestContext.condition"
    );
}

#[test]
fn an_event_of_something_else_is_ignored_and_a_malformed_one_an_error() {
    let scan = r#"{"source":"aws.ecr","detail-type":"ECR Image Scan"}"#;
    let content = parse(scan).unwrap().content;
    assert_eq!(content, MessageContent::Ignored(Ignored::DetailType("ECR Image Scan".to_owned())));
    let error = parse(r#"{"detail-type":"ECR Image Action"}"#).unwrap_err();
    assert!(error.is_permanent());
    assert!(matches!(error, JobError::Event(EventError::Fields(_))));
}

#[test]
fn what_is_none_of_these_is_refused() {
    for text in ["", "[]", "\"x\"", "{\"v\":1", "nonsense"] {
        assert!(matches!(parse(text), Err(JobError::Json(_))), "{text}");
    }
    for text in ["{}", r#"{"Type":"Notification","Message":"{}"}"#] {
        assert!(matches!(parse(text), Err(JobError::Unknown)), "{text}");
    }
    let small = MessageLimits { max_bytes: 1, ..MessageLimits::DEFAULT };
    let error = JobMessage::parse(b"{}", small).unwrap_err();
    assert!(matches!(error, JobError::TooLarge { size: 2, limit: 1 }));
}

#[test]
fn nesting_in_the_place_of_a_payload_costs_no_stack() {
    let deep = r#"{"requestPayload":"#.repeat(50_000);
    assert!(matches!(parse(&deep), Err(JobError::Json(_))));
    let closed = format!("{deep}0{}", "}".repeat(50_000));
    let error = JobMessage::parse(
        closed.as_bytes(),
        MessageLimits { max_bytes: 2 << 20, max_envelopes: 2 },
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "the message is malformed: requestContext is missing"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(0_u8.., 0..200)) {
        let _ = JobMessage::parse(&bytes, MessageLimits::DEFAULT);
    }

    #[test]
    fn a_job_is_read_as_it_was_written(
        registry in "[a-z]{1,8}(\\.[a-z0-9]{1,8}){0,3}(:[1-9][0-9]{0,3})?",
        name in "[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,3}",
        content in ".{0,9}",
        tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
        id in proptest::option::of("[A-Za-z0-9:._-]{1,40}"),
        seconds in 0..253_402_300_800_u64,
    ) {
        let job = JobMessage {
            repository: Repository::new(&registry, &name).unwrap(),
            digest: Digest::sha256_of(content.as_bytes()),
            tag: tag.map(|tag| tag.parse().unwrap()),
            event_id: id.map(|id| id.parse().unwrap()),
            enqueued_at: Timestamp::from_unix_seconds(seconds),
        };
        prop_assert_eq!(self::job(&job.encode()), job);
    }
}
