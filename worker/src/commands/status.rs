//! `status`: prints what the worker on this machine is doing. The image has no shell and no client, so this is
//! how a person looks at a worker through ECS Exec.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::StatusCode;
use soci_text::error_chain;
use tokio::time::{sleep, timeout};

use super::site;
use crate::cli::StatusArgs;
use crate::report;

/// Most time for an answer.
const TIME: Duration = Duration::from_secs(10);

/// Time between two answers.
const PERIOD: Duration = Duration::from_secs(2);

/// Puts the cursor in the first place and clears what is there (ECMA-48: CUP, ED).
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Prints. The exit code is 1 if there is no worker that answers, 64 if the configuration is wrong, 2 if a flag is.
pub(crate) fn status(args: &StatusArgs) -> ExitCode {
    let address = match site::configured(&args.site) {
        Ok(address) => site::reachable(address),
        Err(code) => return code,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let printed = match runtime {
        Ok(runtime) => runtime.block_on(print(address, args)),
        Err(error) => Err(error.into()),
    };
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::complain(error_chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn print(address: SocketAddr, args: &StatusArgs) -> anyhow::Result<()> {
    let path = if args.json { "/status" } else { "/status.txt" };
    let mut output = std::io::stdout();
    if !args.watch {
        let text = ask(address, path).await?;
        return Ok(writeln!(output, "{}", text.trim_end())?);
    }
    loop {
        // A worker that is replaced is waited for.
        let text = match ask(address, path).await {
            Ok(text) => text,
            Err(error) => format!("{}\n", error_chain(error.as_ref())),
        };
        write!(output, "{CLEAR}{text}")?;
        output.flush()?;
        sleep(PERIOD).await;
    }
}

async fn ask(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let Ok(answer) = timeout(TIME, site::get(address, path)).await else {
        bail!("the worker on {address} has not answered in {} s", TIME.as_secs());
    };
    let (status, text) = answer.with_context(|| format!("no worker answers on {address}"))?;
    if status != StatusCode::OK {
        bail!("the worker on {address} answered {path} with {status}");
    }
    Ok(text)
}
