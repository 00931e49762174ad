//! `healthcheck`: asks the worker on this machine whether it lives.
//!
//! It asks on the worker's socket for health checks, where nobody else can be in its way. Only where there
//! is none, as with a worker of before or outside of Linux, it asks `/livez` on the worker's port.

use soci_text::error_chain;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::{Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use soci_config::{Program, Reader, Source, name};
use soci_service::health_socket::{self, HealthError};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cli::HealthcheckArgs;
use crate::report;

/// Most time for it all, below the timeout of a container's health check in ECS, 5 s.
const TIME: Duration = Duration::from_secs(4);

/// Asks. The exit code is 1 if the worker does not live, 64 if the configuration is wrong.
pub(crate) fn healthcheck(args: &HealthcheckArgs) -> ExitCode {
    let mut reader = Reader::new(Program::Worker, args as &dyn Source);
    let address = reader.from_str::<SocketAddr>(name::HTTP_ADDRESS);
    let address = match reader.finish(address) {
        Ok(address) => address,
        Err(problems) => {
            report::complain(problems.to_string());
            return ExitCode::from(soci_config::EXIT_CODE);
        }
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
    let address = SocketAddr::new(reachable(site.ip()), site.port());
    let asking = async {
        let socket = tokio::task::spawn_blocking(move || health_socket::ask(site, time)).await?;
        match socket {
            Ok(()) => return Ok(StatusCode::OK),
            Err(HealthError::Nobody { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        livez(address).await.with_context(|| format!("the worker on {address} does not answer"))
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

async fn livez(address: SocketAddr) -> anyhow::Result<StatusCode> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/livez")
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "close")
        .body(String::new())?;
    let (mut response, connection) = (pin!(sender.send_request(request)), pin!(connection));
    let response = tokio::select! {
        response = &mut response => response,
        // Its end has told the request how it went.
        _ = connection => response.await,
    };
    Ok(response?.status())
}

/// The address under which this machine reaches a server that listens on `address`.
fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
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

    #[test]
    fn a_server_on_all_addresses_is_asked_on_loopback() {
        let reached = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!((reached("0.0.0.0"), reached("::")), ("127.0.0.1".into(), "::1".into()));
        assert_eq!(reached("10.0.0.1"), "10.0.0.1");
    }
}
