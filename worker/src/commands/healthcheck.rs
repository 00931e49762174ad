//! `healthcheck`: asks the worker on this machine whether it lives.
//!
//! It asks on the worker's socket for health checks, where nobody else can be in its way. Only where there
//! is none, as with a worker of before or outside of Linux, it asks `/livez` on the worker's port.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::StatusCode;
use soci_service::health_socket::{self, HealthError};
use soci_text::error_chain;
use tokio::time::timeout;

use super::site;
use crate::cli::HealthcheckArgs;
use crate::report;

/// Most time for it all, below the timeout of a container's health check in ECS, 5 s.
const TIME: Duration = Duration::from_secs(4);

/// Asks. The exit code is 1 if the worker does not live, 64 if the configuration is wrong, 2 if a flag is.
pub(crate) fn healthcheck(args: &HealthcheckArgs) -> ExitCode {
    let address = match site::configured(args) {
        Ok(address) => address,
        Err(code) => return code,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = match runtime {
        Ok(runtime) => {
            let asked = runtime.block_on(ask(address, TIME));
            // A worker that hangs keeps the thread that asks it, and nobody waits for that.
            runtime.shutdown_background();
            asked
        }
        Err(error) => Err(error.into()),
    };
    match asked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::complain(error_chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Whether the worker whose site is configured to be at `site` says that it is alive.
async fn ask(site: SocketAddr, time: Duration) -> anyhow::Result<()> {
    let address = site::reachable(site);
    let asking = async {
        let socket = tokio::task::spawn_blocking(move || health_socket::ask(site, time)).await?;
        match socket {
            Ok(()) => return Ok(StatusCode::OK),
            Err(HealthError::Nobody { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let livez = site::get(address, "/livez").await;
        livez
            .map(|(status, _)| status)
            .with_context(|| format!("the worker on {address} does not answer"))
    };
    let status = match timeout(time, asking).await {
        Ok(status) => status?,
        Err(_) => bail!("the worker on {address} has not answered in {} s", time.as_secs()),
    };
    if status != StatusCode::OK {
        bail!("the worker on {address} says that it is not alive ({status})");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers one request with `answer`, and what a health check says of it.
    async fn check(answer: &'static str) -> Result<(), String> {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let serve = async {
            let (mut stream, _) = server.accept().await.unwrap();
            let mut request = vec![0; 1000];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /livez HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let address = SocketAddr::from(([0, 0, 0, 0], port));
        let (asked, ()) = tokio::join!(ask(address, TIME), serve);
        asked.map_err(|error| error_chain(error.as_ref()))
    }

    #[tokio::test]
    async fn what_the_worker_says_is_the_result() {
        let alive = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nalive\n";
        assert_eq!(check(alive).await, Ok(()));
        let stuck = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        let said = check(stuck).await.unwrap_err();
        assert!(said.contains("not alive (503 Service Unavailable)"), "{said}");
        let said = check("nonsense\r\n\r\n").await.unwrap_err();
        assert!(said.contains("does not answer"), "{said}");
    }

    #[tokio::test]
    async fn nobody_there_is_not_healthy() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        drop(server);
        let said = error_chain(ask(address, TIME).await.unwrap_err().as_ref());
        assert!(said.starts_with(&format!("the worker on {address} does not answer")), "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_hangs_is_not_healthy() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let said = ask(server.local_addr().unwrap(), TIME).await.unwrap_err().to_string();
        assert!(said.ends_with("has not answered in 4 s"), "{said}");
    }
}
