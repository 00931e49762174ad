//! The process: its logs, its threads, and the signals that end it.

use std::future::Future;
use std::io;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

/// Sets up logs for a command that people run: to standard error, what `RUST_LOG` says or else
/// `default` lets through. Does nothing the second time.
pub(crate) fn log_to_stderr(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let layer = fmt::layer().with_writer(io::stderr).with_filter(filter);
    let _ = soci_logs::install(vec![layer.boxed()]);
}

/// A runtime with a thread for each core.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build().context("the runtime cannot be started")
}

/// Done when the process is told to stop, by SIGTERM (ECS, `kill`) or SIGINT (Ctrl-C). From the call
/// on, neither ends the process by itself. To be called on a runtime.
pub(crate) fn told_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
