//! Serves connections within limits, so that nobody who reaches the port can hold up the service or
//! its health checks for long.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Limits of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most connections at once; further ones wait to be accepted.
    pub connections: usize,
    /// Most bytes of a request's head, at least 8 KiB.
    pub head_bytes: usize,
    /// Longest time for the head of a request to arrive, the wait for the next one on the same
    /// connection included.
    pub head_timeout: Duration,
    /// Longest time that a connection is kept. It bounds slow readers as well.
    pub connection_lifetime: Duration,
    /// Longest time that open connections get when the server stops.
    pub stop_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            head_bytes: 16 << 10,
            head_timeout: Duration::from_secs(10),
            connection_lifetime: Duration::from_mins(1),
            stop_timeout: Duration::from_secs(2),
        }
    }
}

/// Smallest buffer that hyper takes.
const MIN_HEAD_BYTES: usize = 8 << 10;

/// Wait after a failed accept: most often the process has too many open files, which passes.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Serves until `stop` resolves, then lets answers that are under way be finished.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes.max(MIN_HEAD_BYTES));
    loop {
        let accepted = async {
            let slot = slots.clone().acquire_owned().await;
            (accept(&listener).await, slot)
        };
        let (stream, slot) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = server.serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // What goes wrong on a connection is the client's matter.
            let _ = timeout(limits.connection_lifetime, connection).await;
            drop(slot);
        });
    }
    drop(listener);
    let _ = timeout(limits.stop_timeout, graceful.shutdown()).await;
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::debug!(%error, "a connection to the status page was not accepted");
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;

    use super::*;

    struct Served {
        address: std::net::SocketAddr,
        stop: oneshot::Sender<()>,
        server: tokio::task::JoinHandle<()>,
    }

    async fn start(limits: Limits) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(listener, router, limits, async move {
            let _ = stopped.await;
        }));
        Served { address, stop, server }
    }

    async fn answer(stream: &mut TcpStream) -> String {
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text).await;
        String::from_utf8(text).unwrap()
    }

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let served = start(Limits::default()).await;
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(20 << 10));
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = answer(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_gives_way_to_the_next() {
        let head_timeout = Duration::from_millis(50);
        let limits = Limits { connections: 1, head_timeout, ..Limits::default() };
        let served = start(limits).await;
        let mut silent = TcpStream::connect(served.address).await.unwrap();
        silent.write_all(b"GET / HT").await.unwrap();
        let mut next = TcpStream::connect(served.address).await.unwrap();
        next.write_all(REQUEST).await.unwrap();
        assert!(answer(&mut next).await.ends_with("here"));
        assert!(!answer(&mut silent).await.contains("here"));
    }

    #[tokio::test]
    async fn a_connection_ends_when_its_time_is_over() {
        let connection_lifetime = Duration::from_millis(50);
        let served = start(Limits { connection_lifetime, ..Limits::default() }).await;
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert!(answer(&mut stream).await.ends_with("here"));
    }

    #[tokio::test]
    async fn it_stops_when_told_and_does_not_wait_for_idle_clients() {
        let served = start(Limits::default()).await;
        let mut idle = TcpStream::connect(served.address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut first = [0; 1];
        idle.read_exact(&mut first).await.unwrap();
        served.stop.send(()).unwrap();
        served.server.await.unwrap();
        assert!(TcpStream::connect(served.address).await.is_err());
    }
}
