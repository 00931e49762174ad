//! Messages that are none of ours, or hardly: each has to end with a reason, and keep nobody from his
//! index.

use std::time::Duration;

use serde_json::{Value, json};
use soci_tests::TestImage;

use crate::aws::{ACCOUNT, QueuedMessage};
use crate::images::{ShapeName, TAG};
use crate::job::{Job, JobFate, message};
use crate::report::Report;
use crate::stage::{Campaign, Login, Stage};
use crate::worker::{IndexVersion, LoggedEnd};

const NAME: &str = "messages";
const SECTION: &str = "odd message";

/// A message that has no image to be indexed.
struct OddMessage {
    what: &'static str,
    body: String,
    id: String,
}

/// Runs the stage.
pub(crate) async fn messages(campaign: Campaign) -> anyhow::Result<Report> {
    let mut stage = campaign.stage(NAME, IndexVersion::V2, Login::Basic, 4).await;
    stage.start_worker()?;
    let mut odd = odd_messages(&stage)?;
    for (number, message) in odd.iter_mut().enumerate() {
        message.id = campaign.aws.send(NAME, &message.body)?;
        let mut job = Job::new(NAME, number, ShapeName::Small, "jobs between them");
        job.prepare(&stage.registry, &campaign.shapes);
        job.send(&campaign.aws, NAME, &campaign.shapes)?;
        if number % 4 == 0 {
            // The same image as an event, and the same job again and again.
            campaign.aws.send(NAME, &event(&job, &campaign).to_string())?;
            for _ in 0..4 {
                job.send(&campaign.aws, NAME, &campaign.shapes)?;
            }
            stage.report.injected(SECTION, "the same job six times", 1);
        }
        stage.jobs.push(job);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stage.drained(campaign.deadline).await;
    let ends = stage.end(SECTION).await?;
    let queues = campaign.aws.queues();
    let (live, dead) = (queues.messages(NAME), queues.messages("messages-dead"));
    for message in &odd {
        stage.report.injected(SECTION, message.what, 1);
        let fate = fate(message, live, dead, &ends);
        stage.report.ended(SECTION, message.what, &fate, &message.id);
    }
    Ok(stage.report)
}

fn fate(
    message: &OddMessage,
    live: &[QueuedMessage],
    dead: &[QueuedMessage],
    ends: &[LoggedEnd],
) -> JobFate {
    // A letter of a message that leaves no room for the reason is shorter by as much.
    let own = |other: &&QueuedMessage| {
        let cut = message.body.len().saturating_sub(other.body.len());
        cut < 1000 && message.body.starts_with(&other.body)
    };
    if live.iter().any(|other| own(&other)) {
        return JobFate::Unfinished;
    }
    if let Some(letter) = dead.iter().find(own) {
        let clean = |reason: &str| JobFate::Clean(reason.to_owned());
        return letter.reason().map_or(JobFate::Unexplained, clean);
    }
    let skipped = ends.iter().rfind(|end| end.message_id == message.id || in_it(message, end));
    match skipped.filter(|end| end.outcome == "skipped" && !end.reason.is_empty()) {
        Some(end) => JobFate::Clean(end.reason.clone()),
        None => JobFate::Lost("neither a letter nor a reason".to_owned()),
    }
}

/// Whether a job that ended is that of a message which may have been sent anew.
fn in_it(message: &OddMessage, end: &LoggedEnd) -> bool {
    end.repository.contains('/') && message.body.contains(&end.repository)
}

fn odd_messages(stage: &Stage) -> anyhow::Result<Vec<OddMessage>> {
    let shapes = &stage.campaign.shapes;
    let digest = shapes.get(ShapeName::Small).image.digest();
    let good = |name: &str| message(&format!("{NAME}/{name}"), digest);
    let with = |name: &'static str, member: &str, value: Value| -> anyhow::Result<String> {
        let mut job: Value = serde_json::from_str(&good(name)?)?;
        job[member] = value;
        Ok(job.to_string())
    };
    let artifact = TestImage::artifact("application/vnd.cncf.helm.config.v1+json");
    artifact.put(&stage.registry, "messages/chart", TAG);
    let job = Job::new(NAME, 90_000, ShapeName::Small, "");
    let pushed = event(&job, &stage.campaign);
    let changed = |pointer: &str, value: Value| {
        let mut event = pushed.clone();
        if let Some(member) = event.pointer_mut(pointer) {
            *member = value;
        }
        event
    };
    let record = |condition: &str, payload: &Value| {
        json!({
            "version": "1.0", "requestContext": { "condition": condition }, "requestPayload": payload,
        })
    };
    let deep = (0..4).fold(pushed.clone(), |inner, _| record("RetriesExhausted", &inner));
    let list: Vec<(&'static str, String)> = vec![
        ("not JSON", "no job".to_owned()),
        ("a blank", " ".to_owned()),
        ("an empty object", "{}".to_owned()),
        ("an array", "[1]".to_owned()),
        ("null", "null".to_owned()),
        ("a number of 400 digits", "9".repeat(400)),
        ("JSON cut short", good("cut")?[..60].to_owned()),
        ("a job of another version", with("version", "v", 2.into())?),
        ("a job without a digest", with("digest", "digest", Value::Null)?),
        ("a job with a wrong digest", with("wrong", "digest", "sha256:12".into())?),
        ("a job with a huge tag", with("tag", "tag", "x".repeat(1 << 19).into())?),
        ("a job with a path for a name", with("path", "repository", "../../etc/passwd".into())?),
        ("a job of another region", with("region", "registry", other_region().into())?),
        ("a repository that is not there", good("not-there")?),
        ("an image that is not there", {
            stage.registry.put_blob("messages/empty", "x");
            good("empty")?
        }),
        ("a chart", message("messages/chart", artifact.digest())?),
        ("a mebibyte", "x".repeat(1 << 20)),
        ("a hundred thousand brackets", "[".repeat(100_000)),
        ("escapes of half characters", "{\"v\":\"\\ud800\"}".to_owned()),
        (
            "a test event of S3",
            json!({"Service": "Amazon S3", "Event": "s3:TestEvent"}).to_string(),
        ),
        (
            "a notification of SNS",
            json!({"Type": "Notification", "Message": good("sns")?}).to_string(),
        ),
        ("an event of a deletion", changed("/detail/action-type", "DELETE".into()).to_string()),
        ("an event of a failed push", changed("/detail/result", "FAILURE".into()).to_string()),
        ("an event of another source", changed("/source", "aws.s3".into()).to_string()),
        ("an event of another kind", changed("/detail-type", "ECR Image Scan".into()).to_string()),
        ("an event with a wrong digest", changed("/detail/image-digest", "x".into()).to_string()),
        ("an event without details", changed("/detail", Value::Null).to_string()),
        ("a record of a success", record("Success", &pushed).to_string()),
        ("records in records", deep.to_string()),
    ];
    Ok(list.into_iter().map(|(what, body)| OddMessage { what, body, id: String::new() }).collect())
}

fn other_region() -> String {
    format!("{ACCOUNT}.dkr.ecr.us-west-2.amazonaws.com")
}

/// What EventBridge tells of the push of a job's image.
fn event(job: &Job, campaign: &Campaign) -> Value {
    json!({
        "version": "0", "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718", "source": "aws.ecr",
        "detail-type": "ECR Image Action", "account": ACCOUNT, "region": "eu-west-1",
        "time": "2026-01-01T00:00:00Z", "resources": [],
        "detail": {
            "result": "SUCCESS", "action-type": "PUSH", "repository-name": job.repository,
            "image-digest": campaign.shapes.get(job.shape).image.digest().to_string(),
            "image-tag": TAG,
        },
    })
}
