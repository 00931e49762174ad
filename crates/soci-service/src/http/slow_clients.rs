//! Thousands of slow clients against the whole site, over real sockets: neither a check of the container
//! nor one through the port fails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::about::About;
use crate::event::{Event, EventSink as _};
use crate::health_socket::{self, HealthSocket};

/// Ten times the places that there are, if the open files of a process allow it, of which each takes two.
const MOST_CLIENTS: u64 = 640;

/// Files that are left for everything else.
const OTHER_FILES: u64 = 400;

/// Generous: an answer takes milliseconds, and the machine may be busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often is checked, while all the clients are there.
const CHECKS: usize = 12;

/// What a slow client does.
#[derive(Clone, Copy, Debug)]
enum Slowness {
    /// It never ends the head of its request.
    HalfHead,
    /// It has its answer and does not ask again.
    Idle,
    /// It asks and asks, and reads nothing.
    ReadsNothing,
}

async fn connect(site: SocketAddr, from: [u8; 4]) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    timeout(PATIENCE, socket.connect(site)).await?
}

/// A client that holds its connection as long as it may, and comes back once.
async fn be_slow(site: SocketAddr, from: [u8; 4], how: Slowness) {
    for _ in 0..2 {
        let Ok(mut stream) = connect(site, from).await else { return };
        let page = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let said = match how {
            Slowness::HalfHead => b"GET / HTTP/1.1\r\nhost: ".to_vec(),
            Slowness::Idle => page.to_vec(),
            Slowness::ReadsNothing => page.repeat(100),
        };
        let _ = stream.write_all(&said).await;
        match how {
            // Until the site has enough of it.
            Slowness::HalfHead | Slowness::Idle => {
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
            Slowness::ReadsNothing => {
                let _ = stream.ready(tokio::io::Interest::ERROR).await;
            }
        }
    }
}

/// Where the clients come from: half of them from one address, the others from forty.
fn address(client: u64) -> [u8; 4] {
    let spread = u8::try_from(client / 2 % 40).unwrap();
    if client.is_multiple_of(2) { [127, 0, 0, 2] } else { [127, 0, 1, spread] }
}

/// What the port says to somebody who came last, from an address of its own.
async fn livez_through_the_port(site: SocketAddr) -> String {
    let asked = async {
        let mut stream = connect(site, [127, 200, 0, 1]).await?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    timeout(PATIENCE, asked).await.unwrap().unwrap()
}

/// How many files this process may have open.
fn open_files() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
    soft.unwrap_or(1024)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_slow_clients_make_no_check_fail() {
    let clients = MOST_CLIENTS.min(open_files().saturating_sub(OTHER_FILES) / 2);
    assert!(clients >= 100, "too few open files are allowed for this test");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let site = listener.local_addr().unwrap();
    let status_store = Arc::new(StatusStore::new(About::THIS));
    let metrics = Arc::new(Metrics::new(&About::THIS, &status_store));
    let socket = HealthSocket::bind(site).unwrap();
    tokio::spawn(socket.serve(status_store.clone(), std::future::pending()));
    let router = router(Site { status_store: status_store.clone(), metrics });
    tokio::spawn(serve(listener, router, SiteLimits::default(), std::future::pending()));

    let mut slow = JoinSet::new();
    for client in 0..clients {
        let how = [Slowness::HalfHead, Slowness::Idle, Slowness::ReadsNothing];
        slow.spawn(be_slow(site, address(client), how[usize::try_from(client % 3).unwrap()]));
    }
    for _ in 0..CHECKS {
        status_store.event(&Event::Turned);
        let checked = tokio::task::spawn_blocking(move || health_socket::ask(site, PATIENCE));
        checked.await.unwrap().unwrap();
        let answer = livez_through_the_port(site).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("alive\n"), "{answer}");
        // The next ones come in.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
    slow.shutdown().await;
}
