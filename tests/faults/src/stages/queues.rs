//! A queue that fails: every operation in every way, single calls and several in a row, beside jobs that
//! are done at once, fail some times, take longer than a heartbeat, or belong on the dead-letter queue.

use std::time::Duration;

use fastrand::Rng;

use crate::aws::{AwsTrouble, PlannedTrouble, Series};
use crate::images::ShapeName;
use crate::job::{Extent, Job, PROCESS_ENDED, RECEIVED_TOO_OFTEN};
use crate::kinds::{FaultKind, all};
use crate::report::Report;
use crate::stage::{Campaign, Login};
use crate::worker::IndexVersion;

const SECTION: &str = "fault of SQS";

/// Stages among which the troubles are shared, so that there is time for all.
pub(crate) const SHARES: usize = 3;

/// What the names of the queues begin and end with.
const NAME: &str = "queues";
const LIVE: &str = "live";

/// The operations of a worker, and what their queue's name ends with.
const OPERATIONS: [(&str, &str, &str); 6] = [
    ("ReceiveMessage", LIVE, "ReceiveMessage"),
    ("DeleteMessage", LIVE, "DeleteMessage"),
    ("ChangeMessageVisibility", LIVE, "ChangeMessageVisibility"),
    ("SendMessage", LIVE, "SendMessage"),
    ("SendMessage", "-dead", "SendMessage to the dead-letter queue"),
    ("GetQueueAttributes", "", "GetQueueAttributes"),
];

/// Calls in a row that fail so that the SDK's own tries are used up.
const IN_A_ROW: usize = 4;

/// Runs the stage with this share of the troubles.
pub(crate) async fn queues(campaign: Campaign, share: usize) -> anyhow::Result<Report> {
    let name = format!("{NAME}{share}-{LIVE}");
    let mut random = campaign.random(&name);
    let mut stage = campaign.stage(&name, IndexVersion::V2, Login::Basic, 6).await;
    let rounds = campaign.pick(1, 4);
    let mut names = Vec::new();
    for (operation, queue, title) in OPERATIONS {
        let mut list: Vec<PlannedTrouble> = Vec::new();
        let mut troubles = share_of(share, troubles(operation));
        for _ in 0..rounds {
            random.shuffle(&mut troubles);
            for (what, trouble) in &troubles {
                let name = format!("{title}: {what}");
                let row = if *trouble == AwsTrouble::Silence { 1 } else { IN_A_ROW };
                // A single one, which the SDK sees to, and several in a row.
                for count in campaign.pick(vec![row], vec![1, row]) {
                    for nth in 0..count {
                        let (gap, trouble) = (usize::from(nth == 0), trouble.clone());
                        list.push(PlannedTrouble { gap, name: name.clone(), trouble });
                    }
                }
                names.push(name);
            }
        }
        let caller = name.clone();
        campaign.aws.troubles().add(Series { caller, operation, queue, list: list.into() });
    }
    names.sort();
    names.dedup();
    stage.jobs = jobs(&name, &mut random, campaign.pick(100, 600));
    stage.prepare();
    stage.start_worker()?;
    stage.start_worker()?;
    stage.send(Duration::from_millis(campaign.pick(500, 700))).await?;
    stage.drained(campaign.lift_at).await;
    campaign.aws.troubles().lift(&name);
    stage.drained(campaign.deadline).await;
    stage.end(SECTION).await?;
    // The other shares have other troubles.
    for name in names {
        let come = campaign.aws.troubles().come(&name);
        stage.report.injected(SECTION, &name, come);
    }
    Ok(stage.report)
}

fn share_of<T>(share: usize, all: Vec<T>) -> Vec<T> {
    let numbered = all.into_iter().enumerate();
    numbered.filter(|(number, _)| number % SHARES == share).map(|(_, one)| one).collect()
}

/// What may become of a call.
fn troubles(operation: &str) -> Vec<(&'static str, AwsTrouble)> {
    use AwsTrouble::{
        AnswerLost, Forgotten, HangUp, Late, LeasesForgotten, Page, Refused, Said, Silence, Twice,
    };
    let mut troubles = vec![
        ("500", Refused(500, "InternalFailure")),
        ("503", Refused(503, "ServiceUnavailable")),
        ("throttled", Refused(400, "ThrottlingException")),
        ("throttled, 403", Refused(403, "RequestThrottled")),
        ("KMS throttles", Refused(400, "KmsThrottled")),
        ("KMS refuses", Refused(400, "KmsAccessDenied")),
        ("access denied", Refused(403, "AccessDeniedException")),
        ("credentials have expired", Refused(403, "ExpiredTokenException")),
        ("the clock is skewed", Refused(403, "SignatureDoesNotMatch")),
        ("the queue is said to be missing", Refused(400, "QueueDoesNotExist")),
        ("a proxy's page, 502", Page(502)),
        ("a proxy's page, 200", Page(200)),
        ("half of JSON", Said("{\"Mess")),
        ("no answer", Silence),
        ("closed without an answer", HangUp),
        ("carried out, the answer is lost", AnswerLost),
        ("an answer after 4 s", Late(Duration::from_secs(4))),
    ];
    match operation {
        "ReceiveMessage" => troubles.extend([
            ("delivered twice", Twice),
            ("all leases end", LeasesForgotten),
            ("an empty answer", Said("{}")),
            ("too many in flight", Refused(403, "OverLimit")),
        ]),
        "DeleteMessage" | "ChangeMessageVisibility" => troubles.extend([
            ("the receipt is invalid", Refused(400, "ReceiptHandleIsInvalid")),
            ("the message is not in flight", Refused(400, "MessageNotInflight")),
            ("the receipt has expired", Refused(400, "InvalidParameterValue")),
            ("answered and forgotten", Forgotten),
        ]),
        "SendMessage" => troubles.extend([
            ("an answer without an identifier", Said("{}")),
            ("invalid characters", Refused(400, "InvalidMessageContents")),
            ("not supported", Refused(400, "UnsupportedOperation")),
        ]),
        _ => {}
    }
    troubles
}

fn jobs(name: &str, random: &mut Rng, count: usize) -> Vec<Job> {
    let kinds = all();
    let named = |name: &str| -> Option<FaultKind> {
        kinds.iter().find(|kind| kind.name() == name).cloned()
    };
    let fails = named("GET manifest by digest: 400");
    let slow = named("GET layer: an answer after 20 s");
    let jobs = (0..count).map(|number| {
        let plain = |shape| Job::new(name, number, shape, "jobs under all of these");
        let (job, fault) = match random.u8(..8) {
            0..3 => (plain(ShapeName::Small), fails.clone().map(|kind| (kind, Extent::Once))),
            3 => (plain(ShapeName::Small), slow.clone().map(|kind| (kind, Extent::Once))),
            4 | 5 => (plain(ShapeName::Broken), None),
            _ => (plain(ShapeName::Index), None),
        };
        // Where again and again neither a letter nor a copy is taken, a message ends at the queue's limit.
        let job = job.may_also_end(PROCESS_ENDED).may_also_end(RECEIVED_TOO_OFTEN);
        fault.into_iter().fold(job, |job, (kind, extent)| job.with(kind, extent))
    });
    jobs.collect()
}
