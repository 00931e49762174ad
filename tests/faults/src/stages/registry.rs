//! A registry that fails: every kind of fault, once, some times in a row, and until it is lifted.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep_until};

use crate::images::ShapeName;
use crate::job::{Extent, Job};
use crate::kinds::{FaultKind, RequestClass, all};
use crate::report::Report;
use crate::stage::{Campaign, Login, Size, Stage};
use crate::worker::IndexVersion;

/// The section of the report.
const SECTION: &str = "fault of the registry";

/// Which faults a stage has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegistryStage {
    /// Those that pass by themselves.
    Passing(IndexVersion),
    /// Those that last until they are lifted, and a deployment after that.
    Lasting(IndexVersion),
    /// Those of the token endpoint.
    Tokens,
}

/// Runs a stage.
pub(crate) async fn registry_faults(
    campaign: Campaign,
    which: RegistryStage,
) -> anyhow::Result<Report> {
    let (name, version, login) = match which {
        RegistryStage::Passing(version) => {
            (format!("passing-{}", version.name()), version, Login::Basic)
        }
        RegistryStage::Lasting(version) => {
            (format!("lasting-{}", version.name()), version, Login::Basic)
        }
        RegistryStage::Tokens => ("tokens".to_owned(), IndexVersion::V2, Login::Bearer),
    };
    let mut random = campaign.random(&name);
    let jobs = plan(&name, campaign.size, which, &mut random);
    // All at once, so that none waits behind those that stand still.
    let mut stage = campaign.stage(&name, version, login, jobs.len().clamp(8, 1000)).await;
    stage.jobs = jobs;
    stage.plan.read_again = matches!(which, RegistryStage::Passing(_));
    stage.prepare();
    stage.start_worker()?;
    stage.send(Duration::ZERO).await?;
    if matches!(which, RegistryStage::Lasting(_) | RegistryStage::Tokens) {
        while stage.left() > 0 && Instant::now() < campaign.lift_at {
            let soon = Instant::now() + Duration::from_secs(1);
            sleep_until(soon.min(campaign.lift_at)).await;
        }
        stage.lift();
        stage.renew_workers().await?;
    }
    stage.drained(campaign.deadline).await;
    unmet(&mut stage);
    stage.end(SECTION).await?;
    Ok(stage.report)
}

/// Says which faults no request met. Of several, one may end the job before the next.
fn unmet(stage: &mut Stage) {
    let mut unmet: Vec<String> = Vec::new();
    for job in stage.jobs.iter().filter(|job| job.faults.len() == 1) {
        let never = job.acted(&stage.registry).filter(|(_, acted)| *acted == 0);
        unmet.extend(never.map(|(fault, _)| fault.kind.name()));
    }
    unmet.sort();
    unmet.dedup();
    if !unmet.is_empty() {
        stage.report.note(format!("{}: no request met {}", stage.name, unmet.join("; ")));
    }
}

fn plan(name: &str, size: Size, which: RegistryStage, random: &mut Rng) -> Vec<Job> {
    let whole = size == Size::Whole;
    let kinds = all().into_iter().filter(|kind| match which {
        RegistryStage::Tokens => kind.class == RequestClass::Token,
        RegistryStage::Passing(version) | RegistryStage::Lasting(version) => {
            kind.class != RequestClass::Token && kind.class.is_sent(version)
        }
    });
    let mut kinds: Vec<FaultKind> = kinds.collect();
    random.shuffle(&mut kinds);
    let mut planned: Vec<(Vec<FaultKind>, Extent)> = Vec::new();
    match which {
        RegistryStage::Passing(version) => {
            let first = version == IndexVersion::V2 || whole;
            for (number, kind) in kinds.iter().enumerate() {
                let own = kind.class == RequestClass::Referrers;
                if first || own || number % 3 == 0 {
                    planned.push((vec![kind.clone()], Extent::Once));
                }
                if whole || number % 4 == 0 && !kind.slow {
                    planned.push((vec![kind.clone()], Extent::Times(random.usize(2..5))));
                }
            }
            for _ in 0..if whole { 120 } else { 10 } {
                let several = random.choose_multiple(kinds.iter(), 3);
                planned.push((several.into_iter().cloned().collect(), Extent::Once));
            }
        }
        RegistryStage::Lasting(version) => {
            let some = if version == IndexVersion::V2 { 60 } else { 20 };
            // A worker would sit through minutes of a single try.
            let quick = kinds.into_iter().filter(|kind| !kind.slow);
            let taken = quick.take(if whole { usize::MAX } else { some });
            planned.extend(taken.map(|kind| (vec![kind], Extent::UntilLifted)));
        }
        RegistryStage::Tokens => {
            for kind in kinds {
                if !kind.slow && whole {
                    planned.push((vec![kind.clone()], Extent::UntilLifted));
                }
                planned.push((vec![kind.clone()], Extent::Once));
                if whole {
                    planned.push((vec![kind], Extent::Times(3)));
                }
            }
        }
    }
    random.shuffle(&mut planned);
    let jobs = planned.into_iter().enumerate();
    jobs.map(|(number, (kinds, extent))| job(name, number, kinds, extent, random)).collect()
}

fn job(name: &str, number: usize, kinds: Vec<FaultKind>, extent: Extent, random: &mut Rng) -> Job {
    let wanted = kinds.iter().find_map(|kind| kind.class.shape());
    let small = if random.u8(..4) == 0 { ShapeName::Index } else { ShapeName::Small };
    let row = match kinds.as_slice() {
        [kind] => kind.name(),
        _ => "several of them at once".to_owned(),
    };
    let job = Job::new(name, number, wanted.unwrap_or(small), &row);
    kinds.into_iter().fold(job, |job, kind| job.with(kind, extent))
}
