//! A stage: a registry, a queue with its dead-letter queue, workers, and jobs that are to survive what
//! the stage does to them. All stages run beside each other and share nothing but the machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use soci_registry_server::testing::{FakeAuth, FakeOptions, FakeRegistry, TokenUser};
use tokio::time::{Instant, sleep};

use crate::aws::{Aws, PASSWORD, USER};
use crate::images::Shapes;
use crate::job::{Job, Remains};
use crate::report::Report;
use crate::worker::{IndexVersion, LoggedEnd, Worker, WorkerPlan};

/// How often a stage looks whether it is done.
const LOOK: Duration = Duration::from_millis(250);

/// The time that a worker has to stop: longer than its drain deadline and the calls after it.
pub(crate) const STOP: Duration = Duration::from_secs(30);

/// The number of the signal.
const SIGTERM: i32 = 15;

/// How much of the campaign runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Some three minutes.
    Part,
    /// All of it.
    Whole,
}

/// What all stages have in common.
#[derive(Clone, Debug)]
pub(crate) struct Campaign {
    pub(crate) size: Size,
    pub(crate) seed: u64,
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) aws: Aws,
    pub(crate) shapes: Arc<Shapes>,
    /// When faults that last are lifted.
    pub(crate) lift_at: Instant,
    /// When everything has to be done.
    pub(crate) deadline: Instant,
}

/// A stage that runs.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) campaign: Campaign,
    pub(crate) registry: FakeRegistry,
    pub(crate) plan: WorkerPlan,
    pub(crate) workers: Vec<Worker>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) report: Report,
}

/// How a registry of the campaign asks who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    /// As ECR does: user and password with every request.
    Basic,
    /// By a token for each repository.
    Bearer,
}

impl Campaign {
    pub(crate) fn random(&self, stage: &str) -> fastrand::Rng {
        let name = stage.bytes().fold(0u64, |sum, byte| sum * 31 + u64::from(byte));
        fastrand::Rng::with_seed(self.seed ^ name)
    }

    /// One of two numbers, by the size of the campaign.
    pub(crate) fn pick<T>(&self, part: T, whole: T) -> T {
        match self.size {
            Size::Part => part,
            Size::Whole => whole,
        }
    }

    /// A stage without workers and jobs, whose workers do `jobs` at once.
    pub(crate) async fn stage(
        &self,
        name: &str,
        version: IndexVersion,
        login: Login,
        jobs: usize,
    ) -> Stage {
        let registry = registry(login).await;
        self.aws.queues().create(name);
        let plan = WorkerPlan {
            program: self.program.clone(),
            folder: self.folder.clone(),
            aws: self.aws.clone(),
            stage: name.to_owned(),
            registry: registry.host(),
            version,
            jobs,
            read_again: false,
        };
        Stage {
            name: name.to_owned(),
            campaign: self.clone(),
            registry,
            plan,
            workers: Vec::new(),
            jobs: Vec::new(),
            report: Report::default(),
        }
    }
}

/// A registry as ECR is: blobs come from a storage, clients log in.
pub(crate) async fn registry(login: Login) -> FakeRegistry {
    let (username, password) = (USER.to_owned(), PASSWORD.to_owned());
    let auth = match login {
        Login::Basic => FakeAuth::Basic { username, password },
        Login::Bearer => FakeAuth::Bearer {
            user: TokenUser::Basic { username, password },
            lifetime: Duration::from_mins(5),
        },
    };
    let connections = Some(10_000);
    let options = FakeOptions { auth, redirect_blobs: true, connections, ..FakeOptions::default() };
    FakeRegistry::with(options).await
}

impl Stage {
    /// Starts another worker.
    pub(crate) fn start_worker(&mut self) -> anyhow::Result<()> {
        let worker = self.plan.start(self.workers.len())?;
        self.workers.push(worker);
        Ok(())
    }

    /// Pushes all images and orders all faults.
    pub(crate) fn prepare(&mut self) {
        for job in &mut self.jobs {
            job.prepare(&self.registry, &self.campaign.shapes);
        }
    }

    /// Sends all jobs, so far apart.
    pub(crate) async fn send(&self, apart: Duration) -> anyhow::Result<()> {
        for job in &self.jobs {
            job.send(&self.campaign.aws, &self.name, &self.campaign.shapes)?;
            if !apart.is_zero() {
                sleep(apart).await;
            }
        }
        Ok(())
    }

    /// Ends the faults of all jobs.
    pub(crate) fn lift(&self) {
        for job in &self.jobs {
            job.lift(&self.registry);
        }
    }

    /// Replaces every worker by a new one, as a deployment does.
    pub(crate) async fn renew_workers(&mut self) -> anyhow::Result<()> {
        for number in 0..self.workers.len() {
            self.stop_worker(number).await;
            self.workers[number] = self.plan.start(number)?;
        }
        Ok(())
    }

    /// Stops a worker; one that does not stop, or not well, is a failure.
    pub(crate) async fn stop_worker(&mut self, number: usize) {
        let status = self.workers[number].stop(STOP).await;
        self.campaign.aws.holder_died(&self.workers[number].name);
        // One that has only just begun to start knows no signals yet, and holds nothing.
        let ended = |status: ExitStatus| status.success() || status.signal() == Some(SIGTERM);
        if !status.is_some_and(ended) {
            let how = status.map_or("did not end in time".to_owned(), |status| status.to_string());
            self.report.fail(format!("{}: a worker that was told to stop: {how}", self.name));
        }
    }

    /// Messages that are still on the queue.
    pub(crate) fn left(&self) -> usize {
        self.campaign.aws.queues().messages(&self.name).len()
    }

    /// Waits until the queue is empty, or until this time.
    pub(crate) async fn drained(&mut self, until: Instant) {
        while self.left() > 0 && Instant::now() < until {
            self.revive();
            sleep(LOOK).await;
        }
    }

    /// A worker that has ended by itself is a failure, and is started again, as ECS would.
    fn revive(&mut self) {
        for number in 0..self.workers.len() {
            let Some(status) = self.workers[number].ended() else { continue };
            self.report.fail(format!("{}: a worker ended by itself: {status}", self.name));
            self.campaign.aws.holder_died(&self.workers[number].name);
            match self.plan.start(number) {
                Ok(worker) => self.workers[number] = worker,
                Err(error) => self.report.fail(format!("{}: {error:#}", self.name)),
            }
        }
    }

    /// Stops the workers, judges all jobs, and gives the report. The second value is how jobs ended by
    /// the logs.
    pub(crate) async fn end(&mut self, section: &'static str) -> anyhow::Result<Vec<LoggedEnd>> {
        // What is deleted last may be told after that.
        sleep(LOOK).await;
        for number in 0..self.workers.len() {
            self.stop_worker(number).await;
        }
        let (ends, panics) = self.plan.logged()?;
        for line in panics {
            self.report.fail(format!("{}: {line}", self.name));
        }
        let mut by_repository: BTreeMap<String, Vec<LoggedEnd>> = BTreeMap::new();
        for end in &ends {
            by_repository.entry(end.repository.clone()).or_default().push(end.clone());
        }
        let (live, letters) = {
            let queues = self.campaign.aws.queues();
            let letters = queues.messages(&format!("{}-dead", self.name)).to_vec();
            (queues.messages(&self.name).to_vec(), letters)
        };
        let remains = Remains {
            registry: &self.registry,
            shapes: &self.campaign.shapes,
            version: self.plan.version,
            live: &live,
            letters: &letters,
            ends: &by_repository,
        };
        for job in &self.jobs {
            let mut of = job.repository.clone();
            for (fault, acted) in job.acted(&self.registry) {
                if acted > 0 {
                    self.report.injected(section, &job.row, 1);
                }
                // Writing to a string cannot fail.
                let _ = write!(of, ", {} {:?} came {acted}x", fault.kind.name(), fault.extent);
            }
            self.report.ended(section, &job.row, &job.fate(&remains), &of);
        }
        Ok(ends)
    }
}
