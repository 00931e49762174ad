//! Credentials that are refused, missing, malformed or expired. Each trouble meets a worker that has just
//! started, as the token of one that runs is asked for once in hours.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::aws::{AwsTrouble, PlannedTrouble, Series};
use crate::images::ShapeName;
use crate::job::Job;
use crate::report::Report;
use crate::stage::{Campaign, Login};
use crate::worker::IndexVersion;

const SECTION: &str = "fault of ECR's token";

/// Where the jobs are counted.
const ROW: &str = "jobs under all of these";

/// How long a worker is left with its trouble.
const PATIENCE: Duration = Duration::from_secs(15);

/// Workers that meet their trouble at the same time.
const AT_ONCE: usize = 6;

/// "AWS:not-the-password"
const REFUSED: &str = "QVdTOm5vdC10aGUtcGFzc3dvcmQ=";

/// Runs the stage.
pub(crate) async fn credentials(campaign: Campaign) -> anyhow::Result<Report> {
    let mut planned = Vec::new();
    for times in campaign.pick(vec![4], vec![1, 4, 10]) {
        planned.extend(troubles().into_iter().map(|(what, trouble)| (what, trouble, times)));
    }
    campaign.random("credentials").shuffle(&mut planned);
    let mut report = Report::default();
    let mut running = JoinSet::new();
    for (number, (what, trouble, times)) in planned.into_iter().enumerate() {
        if running.len() >= AT_ONCE
            && let Some(ended) = running.join_next().await
        {
            report.merge(ended??);
        }
        let planned = PlannedTrouble { gap: 0, name: what.to_owned(), trouble };
        running.spawn(meet(campaign.clone(), number, planned, times));
    }
    while let Some(ended) = running.join_next().await {
        report.merge(ended??);
    }
    for (what, _) in troubles() {
        report.injected(SECTION, what, campaign.aws.troubles().come(what));
    }
    Ok(report)
}

/// A worker that gets no good token so many times, and after a while one that does.
async fn meet(
    campaign: Campaign,
    number: usize,
    planned: PlannedTrouble,
    times: usize,
) -> anyhow::Result<Report> {
    let name = format!("credentials{number:03}");
    let mut stage = campaign.stage(&name, IndexVersion::V2, Login::Basic, 4).await;
    campaign.aws.troubles().add(Series {
        caller: name.clone(),
        operation: "GetAuthorizationToken",
        queue: "",
        list: vec![planned; times].into(),
    });
    let jobs = (0..3).map(|number| Job::new(&name, number, ShapeName::Small, ROW));
    stage.jobs = jobs.collect();
    stage.prepare();
    stage.start_worker()?;
    stage.send(Duration::ZERO).await?;
    stage.drained(Instant::now() + PATIENCE).await;
    campaign.aws.troubles().lift(&name);
    if stage.left() > 0 {
        // A token that was refused may be held for minutes.
        stage.renew_workers().await?;
    }
    stage.drained(campaign.deadline).await;
    stage.end(SECTION).await?;
    Ok(stage.report)
}

fn troubles() -> Vec<(&'static str, AwsTrouble)> {
    use AwsTrouble::{
        AnswerLost, HangUp, Late, NoToken, Page, Refused, Said, Silence, Token, TokenExpired,
    };
    vec![
        ("the registry refuses the token", Token(REFUSED)),
        ("a token that is not base64", Token("%%%")),
        ("a token without a user", Token("c2VjcmV0")),
        ("no token in the answer", NoToken),
        ("a token that has expired", TokenExpired),
        ("token: 500", Refused(500, "ServerException")),
        ("token: throttled", Refused(400, "ThrottlingException")),
        ("token: access denied", Refused(400, "AccessDeniedException")),
        ("token: credentials have expired", Refused(400, "ExpiredTokenException")),
        ("token: credentials are unknown", Refused(400, "UnrecognizedClientException")),
        ("token: the signature is wrong", Refused(403, "InvalidSignatureException")),
        ("token: a proxy's page, 502", Page(502)),
        ("token: a proxy's page, 200", Page(200)),
        ("token: half of JSON", Said("{\"authorizationData\":[{")),
        ("token: no answer", Silence),
        ("token: closed without an answer", HangUp),
        ("token: the answer is lost", AnswerLost),
        ("token: an answer after 4 s", Late(Duration::from_secs(4))),
    ]
}
