//! The process: its logs, its threads, and the signals that end it.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::OnceLock;

use anyhow::Context as _;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::{EnvFilter, Layer as _};

/// Exit code for a mistake on the command line, as clap has it.
pub(crate) const MISTAKE: u8 = 2;

/// Sets up logs for a command that people run: to standard error, what `RUST_LOG` says or else
/// `default` lets through. Does nothing the second time.
pub(crate) fn log_to_stderr(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let layer = layer.with_ansi(soci_logs::stderr_colours()).with_filter(filter);
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

/// What told the process to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopSignal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM: ECS, a runner of pipelines, `kill`.
    Terminate,
}

impl StopSignal {
    /// The exit code of what was ended by it, as shells have it: 128 and the signal's number.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// The first signal that told the process to stop.
static STOPPED_BY: OnceLock<StopSignal> = OnceLock::new();

/// What has told the process to stop, if anything has and somebody was waiting for it.
#[cfg(feature = "aws")]
pub(crate) fn stopped_by() -> Option<StopSignal> {
    STOPPED_BY.get().copied()
}

/// Done when the process is told to stop. From the call on, neither signal ends the process by itself, but for a Ctrl-C
/// after that: whoever presses it again waits for nothing. SIGTERM may come again while a service finishes its work. To
/// be called on a runtime.
pub(crate) fn told_to_stop() -> io::Result<impl Future<Output = StopSignal>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let first = tokio::select! {
            _ = terminate.recv() => StopSignal::Terminate,
            _ = interrupt.recv() => StopSignal::Interrupt,
        };
        let _ = STOPPED_BY.set(first);
        // Nobody may be listening any more.
        let _ = tell.send(first);
        interrupt.recv().await;
        soci_registry_server::remove_temporary_storage();
        std::process::exit(StopSignal::Interrupt.exit_code().into());
    });
    Ok(async move {
        match told.await {
            Ok(signal) => signal,
            // The runtime ends, and this with it.
            Err(_) => std::future::pending().await,
        }
    })
}

/// What comes of `work`, unless the process is told to stop before. Then it is dropped where it is.
pub(crate) async fn unless_stopped<T>(work: impl Future<Output = T>) -> Result<T, StopSignal> {
    // Else a signal ends the process by itself.
    let Ok(told) = told_to_stop() else { return Ok(work.await) };
    tokio::select! {
        biased;
        ended = work => Ok(ended),
        signal = told => Err(signal),
    }
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
