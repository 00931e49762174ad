//! Credentials that are refused, missing, malformed or expired. Each trouble meets a worker that has just
//! started, as the token of one that runs is asked for once in hours.

use std::time::Duration;

use tokio::time::Instant;

use crate::aws::{AwsTrouble, PlannedTrouble, Series};
use crate::images::ShapeName;
use crate::job::Job;
use crate::report::Report;
use crate::stage::{Campaign, Login};
use crate::worker::IndexVersion;

const NAME: &str = "credentials";
const SECTION: &str = "fault of ECR's token";

/// "AWS:not-the-password"
const REFUSED: &str = "QVdTOm5vdC10aGUtcGFzc3dvcmQ=";

/// Runs the stage.
pub(crate) async fn credentials(campaign: Campaign) -> anyhow::Result<Report> {
    let mut stage = campaign.stage(NAME, IndexVersion::V2, Login::Basic, 4).await;
    let mut random = campaign.random(NAME);
    let mut troubles = troubles();
    random.shuffle(&mut troubles);
    let rounds = campaign.pick(vec![2], vec![1, 4, 8]);
    let patience = campaign.pick(Duration::from_secs(4), Duration::from_secs(12));
    let mut number = 0;
    stage.start_worker()?;
    for (what, trouble) in &troubles {
        for times in &rounds {
            if Instant::now() > campaign.lift_at {
                break;
            }
            let planned =
                PlannedTrouble { gap: 0, name: (*what).to_owned(), trouble: trouble.clone() };
            campaign.aws.troubles().add(Series {
                caller: NAME.to_owned(),
                operation: "GetAuthorizationToken",
                queue: "",
                list: vec![planned; *times].into(),
            });
            stage.renew_workers().await?;
            for _ in 0..2 {
                let mut job = Job::new(NAME, number, ShapeName::Small, "jobs under all of these");
                job.prepare(&stage.registry, &campaign.shapes);
                job.send(&campaign.aws, NAME, &campaign.shapes)?;
                stage.jobs.push(job);
                number += 1;
            }
            stage.drained(Instant::now() + patience).await;
            campaign.aws.troubles().lift(NAME);
        }
    }
    stage.renew_workers().await?;
    stage.drained(campaign.deadline).await;
    stage.end(SECTION).await?;
    for (what, _) in troubles {
        let come = campaign.aws.troubles().come(what);
        stage.report.injected(SECTION, what, come);
    }
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
