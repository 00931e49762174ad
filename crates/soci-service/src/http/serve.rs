//! Serves connections within limits, so that nobody who reaches the port can hold up the service or
//! anybody else who does.
//!
//! Every connection is accepted at once; who keeps one is for [`Places`] to say. Each wait for a client
//! is bounded: for a head to arrive, for the answer to be taken and the next request to begin, and in all.
//! The health check of a container does not come here at all ([`HealthSocket`]).
//!
//! [`HealthSocket`]: crate::health_socket::HealthSocket

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::places::{PlaceId, Places};

/// Limits of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteLimits {
    /// Most connections at once. A further one takes the place of one that is idle.
    pub connections: usize,
    /// Most connections of one peer at once, likewise.
    pub peer_connections: usize,
    /// Most bytes of a request's head, at least 8 KiB.
    pub head_bytes: usize,
    /// Longest time for the head of a request to arrive, the wait for the next one on the same
    /// connection included.
    pub head_timeout: Duration,
    /// Longest time from the head of a request to the end of the next one's: to take the answer, which
    /// bounds slow readers, and to ask again.
    pub request_timeout: Duration,
    /// Longest time that a connection is kept.
    pub connection_lifetime: Duration,
    /// Longest time that open connections get when the server stops.
    pub stop_timeout: Duration,
}

impl Default for SiteLimits {
    fn default() -> Self {
        Self {
            connections: 64,
            peer_connections: 16,
            head_bytes: 16 << 10,
            head_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(15),
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
    limits: SiteLimits,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    let places = Places::new(limits.connections, limits.peer_connections);
    let places = Arc::new(Mutex::new(places));
    let graceful = GracefulShutdown::new();
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes.max(MIN_HEAD_BYTES));
    loop {
        let (stream, address) = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = &mut stop => break,
        };
        let (place, goes) = Held::take(&places, address.ip());
        let router = TowerToHyperService::new(router.clone());
        let heard = place.clone();
        let service = service_fn(move |request| {
            heard.heard();
            router.call(request)
        });
        let connection = graceful.watch(server.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // What goes wrong on a connection is the client's matter.
            tokio::select! {
                _ = connection => {}
                _ = goes => {}
                () = place.silent_for(limits.request_timeout) => {}
                () = sleep(limits.connection_lifetime) => {}
            }
        });
        // However many come at once, those who are here have their turn in between.
        yield_now().await;
    }
    drop(listener);
    let _ = timeout(limits.stop_timeout, graceful.shutdown()).await;
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection to the status page was not accepted");
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// A place that is given back when the last clone is dropped.
#[derive(Clone, Debug)]
struct Held(Arc<HeldPlace>);

#[derive(Debug)]
struct HeldPlace {
    places: Arc<Mutex<Places>>,
    id: PlaceId,
}

impl Held {
    /// A place, and what ends when it has to be given up.
    fn take(places: &Arc<Mutex<Places>>, peer: IpAddr) -> (Self, oneshot::Receiver<()>) {
        let (id, goes) = lock(places).take(peer, Instant::now());
        (Self(Arc::new(HeldPlace { places: places.clone(), id })), goes)
    }

    fn heard(&self) {
        lock(&self.0.places).heard(self.0.id, Instant::now());
    }

    /// Done when the connection has not been heard for so long.
    async fn silent_for(&self, longest: Duration) {
        loop {
            let heard = lock(&self.0.places).last_heard(self.0.id);
            let Some(until) = heard.map(|heard| heard + longest) else { return };
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        lock(&self.places).leave(self.id);
    }
}

fn lock(places: &Mutex<Places>) -> MutexGuard<'_, Places> {
    // No code panics while it holds the lock.
    places.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    struct Served {
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        server: tokio::task::JoinHandle<()>,
    }

    async fn start(limits: SiteLimits) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let large = "x".repeat(32 << 20);
        let router = Router::new()
            .route("/", axum::routing::get(|| async { "here" }))
            .route("/large", axum::routing::get(|| async { large }));
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
    const NEVER: Duration = Duration::from_hours(1);

    /// Nothing but what a test is about ends a connection.
    fn patient() -> SiteLimits {
        SiteLimits {
            head_timeout: NEVER,
            request_timeout: NEVER,
            connection_lifetime: NEVER,
            ..SiteLimits::default()
        }
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let served = start(SiteLimits::default()).await;
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(20 << 10));
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = answer(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_gives_way_to_the_next_at_once() {
        let served = start(SiteLimits { connections: 1, ..patient() }).await;
        let mut silent = TcpStream::connect(served.address).await.unwrap();
        silent.write_all(b"GET / HT").await.unwrap();
        let mut next = TcpStream::connect(served.address).await.unwrap();
        next.write_all(REQUEST).await.unwrap();
        assert!(answer(&mut next).await.ends_with("here"));
        assert!(!answer(&mut silent).await.contains("here"));
    }

    /// Each limit alone ends the connection of a client that begins so and then does nothing. The time
    /// is paused, so it passes as soon as everybody waits.
    async fn ends(limits: SiteLimits, begins: &[u8]) {
        let served = start(limits).await;
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(begins).await.unwrap();
        let started = Instant::now();
        answer(&mut stream).await;
        assert!(started.elapsed() < NEVER, "{limits:?}");
    }

    const SHORT: Duration = Duration::from_secs(5);
    const KEEP: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_is_given_up() {
        for begins in [&b"GET / HT"[..], b"", KEEP] {
            ends(SiteLimits { head_timeout: SHORT, ..patient() }, begins).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_ask_again_is_given_up() {
        for begins in [b"GET / HT", KEEP] {
            ends(SiteLimits { request_timeout: SHORT, ..patient() }, begins).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_its_answer_is_given_up() {
        let served = start(SiteLimits { request_timeout: SHORT, ..patient() }).await;
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        tokio::time::sleep(SHORT * 2).await;
        // What the sockets hold is there, and not all of it.
        let mut taken = Vec::new();
        let _ = stream.read_to_end(&mut taken).await;
        assert!(taken.len() < 32 << 20, "{}", taken.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_when_its_time_is_over() {
        ends(SiteLimits { connection_lifetime: SHORT, ..patient() }, KEEP).await;
    }

    #[tokio::test]
    async fn it_stops_when_told_and_does_not_wait_for_idle_clients() {
        let served = start(SiteLimits::default()).await;
        let mut idle = TcpStream::connect(served.address).await.unwrap();
        idle.write_all(KEEP).await.unwrap();
        let mut first = [0; 1];
        idle.read_exact(&mut first).await.unwrap();
        served.stop.send(()).unwrap();
        served.server.await.unwrap();
        assert!(TcpStream::connect(served.address).await.is_err());
    }
}
