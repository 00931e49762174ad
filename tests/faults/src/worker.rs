//! Workers: processes that are started, killed, frozen and measured.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::aws::{Aws, LEASE};

/// Which SOCI indexes a worker makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum IndexVersion {
    V1,
    V2,
}

impl IndexVersion {
    /// As a part of names.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// What all workers of a stage have in common.
#[derive(Clone, Debug)]
pub(crate) struct WorkerPlan {
    pub(crate) program: PathBuf,
    /// Where the logs go.
    pub(crate) folder: PathBuf,
    pub(crate) aws: Aws,
    /// The stage's name, which is that of its queue and the beginning of its workers' names.
    pub(crate) stage: String,
    /// Host and port of the registry.
    pub(crate) registry: String,
    pub(crate) version: IndexVersion,
    /// Most jobs at once.
    pub(crate) jobs: usize,
    /// Whether layers that were indexed for another job are read again. Where they are not, few requests for layers are
    /// left that faults could meet.
    pub(crate) read_again: bool,
}

/// A worker that was started.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its name, which is its access key.
    pub(crate) name: String,
    child: Child,
    /// The port of its site.
    pub(crate) port: u16,
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) resident_kib: u64,
    pub(crate) descriptors: usize,
}

/// How a job ended, as a worker's log tells.
#[derive(Clone, Debug)]
pub(crate) struct LoggedEnd {
    /// The repository without its registry; empty where the message named none.
    pub(crate) repository: String,
    pub(crate) message_id: String,
    pub(crate) outcome: String,
    pub(crate) reason: String,
}

impl WorkerPlan {
    /// Starts the worker of this number.
    pub(crate) fn start(&self, number: usize) -> anyhow::Result<Worker> {
        let name = format!("{}.{number}", self.stage);
        let port = free_port()?;
        let log = self.log()?;
        let mut command = Command::new(&self.program);
        command
            .arg("worker")
            .env_clear()
            .envs(self.environment(&name))
            .env("HTTP_ADDRESS", format!("127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        let child = command.spawn();
        let child = child.with_context(|| format!("{} does not start", self.program.display()))?;
        Ok(Worker { name, child, port })
    }

    fn environment(&self, name: &str) -> Vec<(&'static str, String)> {
        let jobs = self.jobs.to_string();
        let reuse = if self.read_again { "never" } else { "repository" };
        vec![
            ("AWS_ENDPOINT_URL", self.aws.endpoint()),
            ("AWS_REGION", "eu-west-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", name.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "none".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("QUEUE_URL", self.aws.queue_url(&self.stage)),
            ("DEAD_LETTER_QUEUE_URL", self.aws.queue_url(&format!("{}-dead", self.stage))),
            ("REGISTRY_ENDPOINT_URL", format!("http://{}", self.registry)),
            ("SOCI_INDEX_VERSION", format!("{:?}", self.version)),
            ("MIN_LAYER_SIZE", "0".to_owned()),
            ("REUSE", reuse.to_owned()),
            ("PUT_IMAGE_RATE", "1000".to_owned()),
            ("MAX_CONCURRENT_IMAGES", jobs.clone()),
            // A layer that stands still must not keep others from being read.
            ("MAX_CONCURRENT_LAYERS", jobs),
            ("MEMORY_BUDGET", "512MiB".to_owned()),
            ("VISIBILITY_TIMEOUT_SECONDS", LEASE.as_secs().to_string()),
            ("DRAIN_DEADLINE_SECONDS", "3".to_owned()),
            ("LOG_FORMAT", "json".to_owned()),
        ]
    }

    fn log(&self) -> anyhow::Result<File> {
        let path = self.log_path();
        let log = OpenOptions::new().create(true).append(true).open(&path);
        log.with_context(|| path.display().to_string())
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.stage))
    }

    /// How jobs ended so far, and lines that tell of a panic of the program.
    pub(crate) fn logged(&self) -> anyhow::Result<(Vec<LoggedEnd>, Vec<String>)> {
        let text = std::fs::read(self.log_path())?;
        let text = String::from_utf8_lossy(&text);
        let panics = text.lines().filter(|line| line.contains("panicked at"));
        Ok((text.lines().filter_map(ended).collect(), panics.map(str::to_owned).collect()))
    }

    /// Whether the container's health check finds a worker alive.
    pub(crate) async fn is_healthy(&self, worker: &Worker) -> bool {
        let mut command = Command::new(&self.program);
        command
            .arg("healthcheck")
            .env_clear()
            .env("HTTP_ADDRESS", format!("127.0.0.1:{}", worker.port))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().await.is_ok_and(|status| status.success())
    }
}

impl Worker {
    /// Kills the process, as a machine that goes away does.
    pub(crate) async fn kill(&mut self) {
        // It fails where the process has ended by itself.
        let _ = self.child.kill().await;
    }

    /// Tells the process to stop and waits for its end; kills it if there is none in time.
    pub(crate) async fn stop(&mut self, longest: Duration) -> Option<ExitStatus> {
        self.signal("TERM").await;
        if let Ok(status) = timeout(longest, self.child.wait()).await {
            return status.ok();
        }
        self.kill().await;
        None
    }

    /// Sends a signal by name. The shell does it, as this code has no way of its own to.
    pub(crate) async fn signal(&self, name: &str) {
        let Some(id) = self.child.id() else { return };
        let mut shell = Command::new("sh");
        let _ = shell.args(["-c", &format!("kill -{name} {id}")]).status().await;
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub(crate) fn usage(&self) -> Usage {
        let Some(id) = self.child.id() else { return Usage::default() };
        let process = Path::new("/proc").join(id.to_string());
        let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|value| value.split_whitespace().next()?.parse().ok());
        let descriptors = std::fs::read_dir(process.join("fd")).map_or(0, Iterator::count);
        Usage { resident_kib: resident.unwrap_or_default(), descriptors }
    }
}

/// The end of a job that a line of a log tells of.
fn ended(line: &str) -> Option<LoggedEnd> {
    let line: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    line["outcome"].as_str()?;
    let repository = text("repository");
    // Behind the registry, which some odd messages name another one of.
    let repository = match repository.split_once('/') {
        Some((host, path)) if host.contains('.') => path,
        _ => repository.as_str(),
    };
    Some(LoggedEnd {
        repository: repository.to_owned(),
        message_id: text("message_id"),
        outcome: text("outcome"),
        reason: text("reason"),
    })
}

/// A port that is free now.
fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}
