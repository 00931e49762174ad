use std::collections::BTreeSet;

use serde_json::{Value, json};
use soci_indexer::{Reason, Report};
use soci_oci::Digest;
use soci_tests::violations;

use super::*;
use crate::outcome::{MessageAction, Outcome, Why};
use crate::reasons;

const DOCUMENT: &str = include_str!("../../../../docs/ANNOUNCEMENTS.md");

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../../docs/events/image-ended.v1.json")).unwrap()
}

fn digest(of: &str) -> Digest {
    Digest::sha256_of(of.as_bytes())
}

fn report(version: Version) -> Box<Report> {
    Box::new(Report {
        already_there: false,
        image: digest("image"),
        version,
        index: digest("index"),
        indexes: Vec::new(),
        tag: (version == Version::V2).then(|| "1.0-soci".parse().unwrap()),
        layers: Vec::new(),
        reused: Vec::new(),
        skipped: Vec::new(),
        left_out_platforms: Vec::new(),
        prefetch: Vec::new(),
        prefetch_files: Vec::new(),
        warnings: Vec::new(),
        bytes_read: 30,
        elapsed: Duration::from_secs(3),
    })
}

/// What is announced of a job that ended so.
fn told(outcome: Outcome, action: MessageAction) -> Option<Announcement> {
    let digest = digest("image");
    let image = EndedImage {
        registry: "registry.example:5000",
        repository: "team/app",
        digest: &digest,
        tag: Some("1.0"),
        bytes_read: 123,
        elapsed: Duration::from_millis(4_500),
        at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_785_587_696),
    };
    announcement(&image, &JobEnd { outcome, action })
}

/// The same as JSON, which the schema takes.
#[track_caller]
fn json_of(outcome: Outcome, action: MessageAction) -> Value {
    let announcement = told(outcome, action).unwrap();
    let value: Value = serde_json::from_str(&announcement.json()).unwrap();
    let found = violations(&schema(), &value);
    assert!(found.is_empty(), "{found:#?}\n{value:#}");
    assert_eq!(serde_json::from_value::<Announcement>(value.clone()).unwrap(), announcement);
    value
}

#[test]
fn an_index_is_announced_with_what_to_deploy() {
    let mut value = json_of(Outcome::Indexed(report(Version::V2)), MessageAction::Delete);
    let id = value["id"].take();
    assert_ne!(id, json_of(Outcome::Indexed(report(Version::V2)), MessageAction::Delete)["id"]);
    let expected = json!({
        "schema": 1, "id": null, "time": "2026-08-01T12:34:56Z", "status": "indexed",
        "registry": "registry.example:5000", "repository": "team/app", "tag": "1.0",
        "image_digest": digest("image").to_string(), "output_tag": "1.0-soci",
        "index_digest": digest("index").to_string(),
        "deploy": format!("registry.example:5000/team/app@{}", digest("index")),
        "soci_index_version": "V2", "bytes_read": 123, "seconds": 4.5,
    });
    assert_eq!(value, expected);
    let there = json_of(Outcome::AlreadyIndexed(report(Version::V2)), MessageAction::Delete);
    assert_eq!((&there["status"], &there["deploy"]), (&json!("already-indexed"), &value["deploy"]));
}

#[test]
fn with_v1_the_image_itself_is_deployed() {
    let value = json_of(Outcome::Indexed(report(Version::V1)), MessageAction::Delete);
    assert_eq!(value["index_digest"], digest("index").to_string());
    let image = format!("registry.example:5000/team/app@{}", digest("image"));
    assert_eq!((&value["deploy"], &value["soci_index_version"]), (&json!(image), &json!("V1")));
    assert!(value.get("output_tag").is_none());
}

#[test]
fn an_index_is_announced_though_its_message_comes_again() {
    let again = MessageAction::Retry { again_in: Duration::from_secs(9) };
    assert_eq!(json_of(Outcome::Indexed(report(Version::V2)), again)["status"], "indexed");
}

/// The reasons that each status may have.
fn reasons_by_status() -> [(&'static str, BTreeSet<&'static str>); 2] {
    let skipped = |reason: &Reason| reason.is_skip() || *reason == Reason::ImageGone;
    let skips = Reason::ALL.into_iter().filter(skipped).map(Reason::code).collect();
    let letters = reasons::of_letters().into_iter();
    // Those of letters that no job of this release ends with, and those of messages without an image.
    let others = [Reason::ImageGone.code(), reasons::RECEIVED_TOO_OFTEN, reasons::MALFORMED];
    let failures = letters.filter(|code| !others.contains(code)).collect();
    [("skipped", skips), ("failed", failures)]
}

#[test]
fn every_reason_has_an_announcement_that_the_schema_takes() {
    for (status, codes) in reasons_by_status() {
        for code in codes {
            let why = Why::new(code, "in words");
            let value = match status {
                "skipped" => json_of(Outcome::Skipped(why), MessageAction::Delete),
                _ => json_of(Outcome::Rejected(why.clone()), MessageAction::DeadLetter),
            };
            assert_eq!((&value["status"], &value["reason"]), (&json!(status), &json!(code)));
            assert_eq!(value["message"], "in words");
            assert!(value.get("deploy").is_none() && value.get("index_digest").is_none());
        }
    }
    // What was given up for its age is as final as what was refused at once.
    let why = Why::found(Reason::Throttled, "given up");
    let value = json_of(Outcome::Failed(why), MessageAction::DeadLetter);
    assert_eq!((&value["status"], &value["reason"]), (&json!("failed"), &json!("throttled")));
}

#[test]
fn what_comes_again_is_not_announced() {
    let why = || Why::found(Reason::RegistryRefused, "");
    let again = MessageAction::Retry { again_in: Duration::from_secs(1) };
    let look = MessageAction::SecondLook { again_in: Duration::from_secs(1) };
    for (outcome, action) in [
        (Outcome::Failed(why()), again),
        (Outcome::Rejected(why()), again),
        (Outcome::Failed(why()), MessageAction::Leave),
        (Outcome::Rejected(why()), look),
        (Outcome::Skipped(why()), look),
        (Outcome::Postponed(why()), again),
        (Outcome::Stopped, MessageAction::GiveBack),
        (Outcome::Lost(why()), MessageAction::Leave),
    ] {
        assert_eq!(told(outcome.clone(), action), None, "{outcome:?} {action:?}");
    }
}

#[test]
fn messages_keep_no_secrets_stay_in_a_line_and_have_an_end() {
    let detail =
        "PUT https://me:hunter2@host/u/1?X-Amz-Signature=5ec2e7&token=abc: 403\nno\u{202e}";
    let why = Why::new("unauthorized", detail.to_owned() + &"x".repeat(9_000));
    let value = json_of(Outcome::Failed(why), MessageAction::DeadLetter);
    let message = value["message"].as_str().unwrap();
    assert!(message.starts_with("PUT https://host/u/1?[...] 403 no x"), "{message}");
    for secret in ["hunter2", "5ec2e7", "abc"] {
        assert!(!message.contains(secret), "{message}");
    }
    assert!(message.len() <= MAX_MESSAGE);
}

#[test]
fn the_schema_refuses_what_is_not_announced() {
    let good = json_of(Outcome::Indexed(report(Version::V2)), MessageAction::Delete);
    for (member, value) in [
        ("schema", json!(2)),
        ("status", json!("retried")),
        ("image_digest", json!("sha256:0")),
        ("tag", json!("a b")),
        ("bytes_read", json!(-1)),
        ("seconds", json!("1")),
    ] {
        let mut bad = good.clone();
        bad[member] = value;
        let found = violations(&schema(), &bad);
        assert!(found.iter().any(|line| line.starts_with(&format!("$.{member}: "))), "{found:?}");
    }
    for member in ["status", "deploy", "output_tag", "id"] {
        let mut bad = good.clone();
        bad.as_object_mut().unwrap().remove(member);
        assert_eq!(violations(&schema(), &bad).len(), 1, "{member}");
    }
}

/// What stands between two lines in the document.
fn part(begin: &str, end: &str) -> &'static str {
    let (_, rest) = DOCUMENT.split_once(begin).unwrap_or_else(|| panic!("no {begin}"));
    rest.split_once(end).unwrap_or_else(|| panic!("no {end}")).0
}

#[test]
fn the_document_shows_announcements_that_the_schema_takes() {
    let examples: Vec<Value> = DOCUMENT
        .split("```json\n")
        .skip(1)
        .map(|rest| serde_json::from_str(rest.split("\n```").next().unwrap()).unwrap())
        .collect();
    let details: Vec<&Value> = examples
        .iter()
        .filter_map(|example| match example {
            // As EventBridge sends it.
            Value::Object(event) if event.contains_key("detail-type") => {
                event.get("detail").filter(|detail| detail["schema"].is_number())
            }
            body => Some(body).filter(|body| body["schema"].is_number()),
        })
        .collect();
    let statuses: Vec<&str> = details.iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["indexed", "failed"]);
    for detail in details {
        assert_eq!(violations(&schema(), detail), Vec::<String>::new(), "{detail:#}");
        serde_json::from_value::<Announcement>(detail.clone()).unwrap();
    }
    let event = examples.iter().find(|example| example["source"].is_string()).unwrap();
    assert_eq!(event["source"], soci_announce::SOURCE);
    assert_eq!(event["detail-type"], soci_announce::DETAIL_TYPE);
    // The rule chooses by members that there are.
    let rule = examples.iter().find(|example| example["source"].is_array()).unwrap();
    assert_eq!(rule["source"], json!([soci_announce::SOURCE]));
    assert_eq!(rule["detail-type"], json!([soci_announce::DETAIL_TYPE]));
    for member in rule["detail"].as_object().unwrap().keys() {
        assert!(schema()["properties"].get(member).is_some(), "{member}");
    }
}

#[test]
fn the_document_has_every_member_and_every_reason_once() {
    let first_cells = |table: &str| -> Vec<String> {
        let rows = table.lines().filter_map(|line| line.strip_prefix("| "));
        let cells = rows.filter_map(|row| row.split(" | ").next());
        let codes = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
        codes.map(str::to_owned).collect()
    };
    let members = first_cells(part("<!-- members -->", "<!-- end of members -->"));
    let known: Vec<String> = schema()["properties"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, known);
    for (status, codes) in reasons_by_status() {
        let begin = format!("<!-- reasons of {status} -->");
        let mut listed = first_cells(part(&begin, "<!-- end of reasons -->"));
        listed.sort_unstable();
        assert_eq!(listed, codes.into_iter().map(str::to_owned).collect::<Vec<_>>(), "{status}");
    }
}
