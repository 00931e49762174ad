//! Images that are pushed again under their tag while the older push is being indexed: the later one
//! has to win, whichever worker is slow.

use std::time::Duration;

use soci_registry_server::testing::{Condition, Effect, Quirk, RequestKind};
use tokio::time::{Instant, sleep};

use crate::images::{OUTPUT_TAG, ShapeName, TAG, output};
use crate::job::{JobFate, message};
use crate::report::Report;
use crate::stage::{Campaign, Login, Stage};
use crate::worker::IndexVersion;

const NAME: &str = "pushes";
const SECTION: &str = "fault of order";

/// How long the older push may take to come to what is slow.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What is slow for the older push.
const SLOW: [(&str, RequestKind, bool); 4] = [
    ("pushed again: the older result's PUT is slow", RequestKind::ManifestPut, true),
    ("pushed again: a PUT of the older result is slow", RequestKind::ManifestPut, false),
    ("pushed again: a layer is slow", RequestKind::StorageGet, false),
    ("pushed again: an upload is slow", RequestKind::UploadPut, false),
];

/// Runs the stage.
pub(crate) async fn pushes(campaign: Campaign) -> anyhow::Result<Report> {
    let mut random = campaign.random(NAME);
    let mut stage = campaign.stage(NAME, IndexVersion::V2, Login::Basic, 4).await;
    stage.start_worker()?;
    stage.start_worker()?;
    let mut repositories = Vec::new();
    for round in 0..campaign.pick(8, 40) {
        for (what, kind, of_tag) in SLOW {
            let repository = format!("{NAME}/r{round:03}-{}", repositories.len());
            let slow = Effect::Late(Duration::from_millis(random.u64(300..3000)));
            let quirk = Quirk::on(kind, slow).path(format!("{repository}/"));
            let tag = Condition::PathEnds(format!("/{OUTPUT_TAG}"));
            let order = stage.registry.quirk(if of_tag { quirk.when(tag) } else { quirk });
            push(&stage, &repository, ShapeName::Small)?;
            // While the older one stands still, after all that it looks at before.
            let begun = Instant::now();
            while stage.registry.acted(order) == 0 && begun.elapsed() < LONGEST_WAIT {
                sleep(Duration::from_millis(5)).await;
            }
            sleep(Duration::from_millis(random.u64(..100))).await;
            push(&stage, &repository, ShapeName::Index)?;
            stage.report.injected(SECTION, what, 1);
            repositories.push((repository, what));
        }
    }
    stage.drained(campaign.deadline).await;
    let unfinished = stage.left() > 0;
    stage.end(SECTION).await?;
    let result_of = |name| campaign.shapes.get(name).output();
    let (older, later) = (result_of(ShapeName::Small), result_of(ShapeName::Index));
    for (repository, what) in repositories {
        let fate = match output(&stage.registry, &repository) {
            found if found == later => JobFate::Indexed,
            None if unfinished => JobFate::Unfinished,
            None => JobFate::Lost("the later push has no index".to_owned()),
            found if found == older => JobFate::Wrong("the older push has won".to_owned()),
            Some(other) => JobFate::Wrong(format!("{OUTPUT_TAG} is {other}")),
        };
        stage.report.ended(SECTION, what, &fate, &repository);
    }
    Ok(stage.report)
}

/// Pushes an image and announces it.
fn push(stage: &Stage, repository: &str, name: ShapeName) -> anyhow::Result<()> {
    let image = &stage.campaign.shapes.get(name).image;
    let digest = image.put(&stage.registry, repository, TAG);
    stage.campaign.aws.send(NAME, &message(repository, digest)?)?;
    Ok(())
}
