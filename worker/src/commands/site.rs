//! The site of the worker on this machine, for those commands that ask it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::process::ExitCode;

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use soci_config::{Program, VariableReader, name};
use tokio::net::TcpStream;

use crate::cli::HealthcheckArgs;
use crate::usage::misconfigured;

/// Most bytes of an answer. The status of a worker that is full of jobs with the longest names has two
/// megabytes.
const MOST_BYTES: usize = 16 << 20;

/// Where the worker's site is configured to be. Where that is wrong it says so, and gives the exit code.
pub(super) fn configured(source: &HealthcheckArgs) -> Result<SocketAddr, ExitCode> {
    let mut reader = VariableReader::new(Program::Worker, source);
    let address = reader.from_str::<SocketAddr>(name::HTTP_ADDRESS);
    reader
        .finish(address)
        .map_err(|problems| misconfigured(&problems, |_| source.http_address.is_some()))
}

/// Asks for a path. Waits for as long as the server likes.
pub(super) async fn get(address: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, String)> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "close")
        .body(String::new())?;
    let answered = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    let (mut answered, connection) = (pin!(answered), pin!(connection));
    tokio::select! {
        answer = &mut answered => answer,
        // Its end has told the request how it went.
        _ = connection => answered.await,
    }
}

/// The address under which this machine reaches a server that listens on `site`.
pub(super) fn reachable(site: SocketAddr) -> SocketAddr {
    let address = match site.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(address, site.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_all_addresses_is_asked_on_loopback() {
        let reached = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(
            (reached("0.0.0.0:1"), reached("[::]:1")),
            ("127.0.0.1:1".into(), "[::1]:1".into())
        );
        assert_eq!(reached("10.0.0.1:1"), "10.0.0.1:1");
    }
}
