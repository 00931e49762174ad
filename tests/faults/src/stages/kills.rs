//! Workers that are killed, stopped and frozen in the midst of jobs.

use std::time::Duration;

use soci_registry_server::testing::{Effect, Quirk, RequestKind};
use tokio::time::{Instant, sleep};

use crate::aws::MAX_RECEIVES;
use crate::images::ShapeName;
use crate::job::{Job, PROCESS_ENDED};
use crate::report::Report;
use crate::stage::{Campaign, Login, Stage};
use crate::worker::IndexVersion;

const SECTION: &str = "fault of the process";
const JOBS: &str = "jobs under all of these";

/// Requests that are slowed down, so that there is a midst of a job.
const SLOW: [RequestKind; 5] = [
    RequestKind::ManifestGet,
    RequestKind::StorageGet,
    RequestKind::UploadPost,
    RequestKind::UploadPut,
    RequestKind::ManifestPut,
];

/// How much slower each is.
const SLOWER: Duration = Duration::from_millis(120);

/// Workers beside each other.
const WORKERS: usize = 3;

/// Longer than a lease, so that the worker's messages belong to others when it goes on.
const LONG_FREEZE: Duration = Duration::from_secs(35);

/// What happens to a worker.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Kill,
    Stop,
    Freeze(Duration),
}

impl Blow {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL",
            Self::Stop => "SIGTERM",
            Self::Freeze(LONG_FREEZE) => "SIGSTOP for longer than a lease",
            Self::Freeze(_) => "SIGSTOP for 2 s",
        }
    }
}

/// Runs the stage.
pub(crate) async fn kills(campaign: Campaign) -> anyhow::Result<Report> {
    let mut random = campaign.random("kills");
    let mut stage = campaign.stage("kills", IndexVersion::V2, Login::Basic, 4).await;
    for kind in SLOW {
        let _ = stage.registry.quirk(Quirk::every("slower", kind, Effect::Late(SLOWER)));
    }
    for _ in 0..WORKERS {
        stage.start_worker()?;
    }
    let mut blows = Vec::new();
    blows.extend(vec![Blow::Kill; campaign.pick(12, 100)]);
    blows.extend(vec![Blow::Stop; campaign.pick(5, 30)]);
    blows.extend(vec![Blow::Freeze(Duration::from_secs(2)); campaign.pick(2, 15)]);
    random.shuffle(&mut blows);
    // They need the longest, so they come first.
    for _ in 0..campaign.pick(1, 6) {
        blows.insert(0, Blow::Freeze(LONG_FREEZE));
    }
    let mut number = 0;
    for blow in blows {
        // Enough for all slots, so that every blow hits some.
        while stage.left() < WORKERS * 4 {
            let shape = if random.u8(..3) == 0 { ShapeName::Index } else { ShapeName::Small };
            let mut job = Job::new("kills", number, shape, JOBS);
            job.prepare(&stage.registry, &campaign.shapes);
            job.send(&campaign.aws, &stage.name, &campaign.shapes)?;
            stage.jobs.push(job);
            number += 1;
        }
        sleep(Duration::from_millis(random.u64(300..2500))).await;
        if Instant::now() > campaign.deadline {
            break;
        }
        strike(&mut stage, blow, random.usize(..WORKERS)).await?;
        stage.report.injected(SECTION, blow.name(), 1);
    }
    stage.drained(campaign.deadline).await;
    for job in &mut stage.jobs {
        // Then it has done as much harm as a message may, for all that a worker can know.
        if campaign.aws.queues().losses(&job.repository) >= MAX_RECEIVES - 1 {
            *job = job.clone().may_also_end(PROCESS_ENDED);
        }
    }
    stage.end(SECTION).await?;
    Ok(stage.report)
}

async fn strike(stage: &mut Stage, blow: Blow, number: usize) -> anyhow::Result<()> {
    match blow {
        Blow::Kill => {
            stage.workers[number].kill().await;
            stage.campaign.aws.holder_died(&stage.workers[number].name);
            stage.workers[number] = stage.plan.start(number)?;
        }
        Blow::Stop => {
            stage.stop_worker(number).await;
            stage.workers[number] = stage.plan.start(number)?;
        }
        Blow::Freeze(time) => {
            stage.workers[number].signal("STOP").await;
            if time == LONG_FREEZE {
                stage.campaign.aws.queues().holder_lost(&stage.workers[number].name);
            }
            sleep(time).await;
            stage.workers[number].signal("CONT").await;
        }
    }
    Ok(())
}
