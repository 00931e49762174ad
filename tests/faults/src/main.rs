//! The fault campaign: workers as real processes, beside a registry, an SQS and an ECR in this process
//! that fail in every way that is known, and what becomes of every job.
//!
//! ```text
//! soci-faults PROGRAM FOLDER --part|--whole [--seed N] [--speed N]
//! ```
//!
//! `PROGRAM` is the `soci-index-builder` under test; its logs go to `FOLDER`. The plan follows from the
//! seed, which is printed; when a fault meets a job does not. Prints a table of all faults and what came
//! of them, and exits with 1 if a job was lost, got a wrong index, or did not end, or if a worker fell
//! over. What counts as lost is said in `job.rs`. `tests/faults/run` builds what it needs.

mod aws;
mod images;
mod job;
mod kinds;
mod report;
mod stage;
mod stages;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;
use tokio::time::Instant;

use aws::Aws;
use images::Shapes;
use report::Report;
use stage::{Campaign, Size};
use stages::RegistryStage::{Lasting, Passing, Tokens};
use worker::IndexVersion::{V1, V2};

/// How many times faster waits between tries pass, where nothing else is said.
const SPEED: u32 = 30;

/// What the whole campaign has at least.
const WHOLE_FAULTS: usize = 1000;

/// What every campaign has at least.
const KINDS: usize = 60;

#[derive(Debug)]
struct Arguments {
    program: PathBuf,
    folder: PathBuf,
    size: Size,
    seed: u64,
    speed: u32,
}

fn main() -> ExitCode {
    match Arguments::read(std::env::args().skip(1)).and_then(|arguments| campaign(&arguments)) {
        Ok(report) if report.is_good() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soci-faults: {error:#}");
            ExitCode::from(2)
        }
    }
}

impl Arguments {
    fn read(mut from: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut path = |what| from.next().map(PathBuf::from).context(what);
        let (program, folder) = (path("PROGRAM is missing")?, path("FOLDER is missing")?);
        let seed = fastrand::u64(..1_000_000);
        let mut read = Self { program, folder, size: Size::Part, seed, speed: SPEED };
        while let Some(flag) = from.next() {
            match flag.as_str() {
                "--part" => read.size = Size::Part,
                "--whole" => read.size = Size::Whole,
                "--seed" => read.seed = from.next().context("--seed has a number")?.parse()?,
                "--speed" => read.speed = from.next().context("--speed has a number")?.parse()?,
                other => bail!("{other} is none of --part, --whole, --seed N, --speed N"),
            }
        }
        Ok(read)
    }
}

#[tokio::main]
async fn campaign(arguments: &Arguments) -> anyhow::Result<Report> {
    let Arguments { size, seed, speed, .. } = *arguments;
    println!("seed {seed}, {size:?}, waits {speed} times faster");
    std::fs::create_dir_all(&arguments.folder)?;
    let (lift, deadline) = match size {
        Size::Part => (Duration::from_secs(70), Duration::from_secs(165)),
        Size::Whole => (Duration::from_mins(8), Duration::from_mins(25)),
    };
    let began = Instant::now();
    let mut campaign = Campaign {
        size,
        seed,
        program: arguments.program.clone(),
        folder: arguments.folder.clone(),
        aws: Aws::start(speed).await?,
        shapes: Arc::new(Shapes::make()?),
        lift_at: began + lift,
        deadline: began + deadline,
    };
    stages::undisturbed(&mut campaign).await?;
    println!("the undisturbed run took {:.1} s", began.elapsed().as_secs_f64());
    let mut running = JoinSet::new();
    for which in [Passing(V2), Passing(V1), Lasting(V2), Lasting(V1), Tokens] {
        running.spawn(stages::registry_faults(campaign.clone(), which));
    }
    running.spawn(stages::kills(campaign.clone()));
    running.spawn(stages::pushes(campaign.clone()));
    for share in 0..stages::QUEUE_SHARES {
        running.spawn(stages::queues(campaign.clone(), share));
    }
    running.spawn(stages::credentials(campaign.clone()));
    running.spawn(stages::messages(campaign.clone()));
    running.spawn(stages::http_clients(campaign.clone()));
    if size == Size::Whole {
        running.spawn(stages::soak(campaign.clone()));
    }
    let mut report = Report::default();
    while let Some(stage) = running.join_next().await {
        report.merge(stage??);
    }
    let (faults, kinds) = report.come("fault of the registry");
    if kinds < KINDS || size == Size::Whole && faults < WHOLE_FAULTS {
        report.fail(format!("only {faults} faults of {kinds} kinds came from the registry"));
    }
    println!("{}", report.render());
    println!(
        "{faults} faults of the registry of {kinds} kinds, seed {seed}, {:.0} s: {}",
        began.elapsed().as_secs_f64(),
        if report.is_good() { "nothing lost, nothing wrong" } else { "FAILED" }
    );
    Ok(report)
}
