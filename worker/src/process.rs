//! The process: its logs, its threads, and the signals that end it.

use std::future::Future;
use std::io;

use anyhow::Context as _;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

/// Sets up logs for a command that people run: to standard error, what `RUST_LOG` says or else
/// `default` lets through. Does nothing the second time.
pub(crate) fn log_to_stderr(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let layer = fmt::layer().with_writer(io::stderr).with_filter(filter);
    let _ = soci_logs::install(vec![layer.boxed()]);
}

/// Runs `work` to its end, on a runtime with a thread for each core, and waits for nothing else.
///
/// A runtime that is dropped waits for the threads that it lent, without a limit: one that looks up
/// a host name cannot be stopped, and a failed build may leave one that waits for bytes that will
/// not come. Whatever has to be finished is awaited by `work`; the process ends the others.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("the runtime cannot be started")?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(result)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The test hangs where the rule is broken.
    #[test]
    fn a_thread_that_never_ends_keeps_no_program() {
        let begun = block_on(async {
            let (sender, begun) = tokio::sync::oneshot::channel();
            tokio::task::spawn_blocking(move || {
                let _ = sender.send(());
                loop {
                    std::thread::park();
                }
            });
            begun.await
        });
        assert!(begun.unwrap().is_ok());
    }
}
