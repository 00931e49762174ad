//! The way in of the container's health check, apart from the port that everybody reaches.
//!
//! A check that goes through the port can be made to fail by whoever fills it, and three failed checks end
//! the task with all its jobs. So the check has a way of its own: a Unix socket in Linux's abstract
//! namespace, named after the address of the site. It can be reached from inside the container only
//! (strictly, from its network namespace), needs no folder that can be written to and leaves nothing behind.
//!
//! There is nothing to wait for and nobody to queue behind. The service reads nothing: it accepts, writes one
//! short line, which any socket's buffer takes at once, and closes. So it keeps no connection open and needs
//! no limit of them, and a client can be as slow as it likes.
//!
//! The port has `/livez` as well, with the same answer, for whoever asks from outside. What counts as alive is
//! one rule for both, in `service_state.rs`.

use std::future::Future;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::time::sleep;

use crate::status_store::{STUCK_AFTER, StatusStore};

/// What a service that lives says.
const ALIVE: &str = "alive\n";

/// Most bytes that are read of an answer. None is longer than the buffer of a socket.
const MAX_ANSWER: u64 = 512;

/// Wait after a failed accept.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A socket for health checks that nobody serves yet.
#[derive(Debug)]
pub struct HealthSocket(UnixListener);

/// Why a service is not known to live.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HealthError {
    /// No service at this address has a socket for health checks.
    #[error("no service on {site} has a socket for health checks")]
    Nobody {
        /// The address of the site.
        site: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// It does not answer.
    #[error("the service on {site} does not answer health checks")]
    Silent {
        /// The address of the site.
        site: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// It says that it is not alive.
    #[error("the service on {site} says that it is not alive: {answer}")]
    NotAlive {
        /// The address of the site.
        site: SocketAddr,
        /// What it says.
        answer: String,
    },
}

impl HealthSocket {
    /// The socket of the service whose site is configured to be at `site`. To be called on a runtime.
    pub fn bind(site: SocketAddr) -> io::Result<Self> {
        let listener = std::os::unix::net::UnixListener::bind_addr(&address(site)?)?;
        listener.set_nonblocking(true)?;
        Ok(Self(UnixListener::from_std(listener)?))
    }

    /// Answers until `stop` resolves.
    pub async fn serve(self, status_store: Arc<StatusStore>, stop: impl Future<Output = ()>) {
        let answering = async {
            loop {
                let Ok((stream, _)) = self.0.accept().await else {
                    sleep(ACCEPT_AGAIN).await;
                    continue;
                };
                // A client that has gone is none of our concern, and a new socket has room for a line.
                let answer = answer(&status_store);
                let _ = stream.writable().await.and_then(|()| stream.try_write(answer.as_bytes()));
            }
        };
        tokio::select! {
            () = answering => {}
            () = stop => {}
        }
    }
}

/// Asks the service whose site is configured to be at `site` whether it lives, for at most about `time`.
/// Blocks.
pub fn ask(site: SocketAddr, time: Duration) -> Result<(), HealthError> {
    let connected = address(site).and_then(|address| UnixStream::connect_addr(&address));
    let stream = connected.map_err(|source| HealthError::Nobody { site, source })?;
    let mut answer = String::new();
    let read = stream
        .set_read_timeout(Some(time))
        .and_then(|()| stream.take(MAX_ANSWER).read_to_string(&mut answer));
    match read {
        Ok(0) => {
            let source = io::ErrorKind::UnexpectedEof.into();
            Err(HealthError::Silent { site, source })
        }
        Ok(_) if answer == ALIVE => Ok(()),
        Ok(_) => Err(HealthError::NotAlive { site, answer: answer.trim_end().to_owned() }),
        Err(source) => Err(HealthError::Silent { site, source }),
    }
}

/// What a service says to who asks whether it lives.
pub(crate) fn answer(status_store: &StatusStore) -> String {
    if status_store.state().is_live() {
        ALIVE.to_owned()
    } else {
        format!("the receive loop has not turned for {STUCK_AFTER:?}\n")
    }
}

/// The address of the socket. It has the site's port in it, so that services that can run side by side
/// have sockets side by side.
#[cfg(target_os = "linux")]
fn address(site: SocketAddr) -> io::Result<UnixAddress> {
    use std::os::linux::net::SocketAddrExt as _;

    UnixAddress::from_abstract_name(format!("soci-index-builder/health/{site}"))
}

/// Other systems have no abstract names. There the port alone answers.
#[cfg(not(target_os = "linux"))]
fn address(_: SocketAddr) -> io::Result<UnixAddress> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::os::linux::net::SocketAddrExt as _;

    use tokio::net::TcpListener;
    use tokio::sync::oneshot;
    use tokio::task::spawn_blocking;
    use tokio::time::advance;

    use super::*;
    use crate::about::About;

    const TIME: Duration = Duration::from_secs(20);

    /// An address that nobody else has while the listener lives.
    async fn site() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let site = listener.local_addr().unwrap();
        (listener, site)
    }

    async fn asked(site: SocketAddr) -> Result<(), HealthError> {
        spawn_blocking(move || ask(site, TIME)).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn it_says_what_livez_says_until_it_is_told_to_stop() {
        let (_listener, site) = site().await;
        assert!(matches!(asked(site).await, Err(HealthError::Nobody { .. })));
        let store = Arc::new(StatusStore::new(About::THIS));
        let (stop, stopped) = oneshot::channel::<()>();
        let socket = HealthSocket::bind(site).unwrap();
        let served = tokio::spawn(socket.serve(store, async {
            let _ = stopped.await;
        }));
        asked(site).await.unwrap();
        advance(STUCK_AFTER * 2).await;
        let said = asked(site).await.unwrap_err();
        assert!(said.to_string().ends_with("has not turned for 60s"), "{said}");
        drop(stop);
        served.await.unwrap();
        assert!(matches!(asked(site).await, Err(HealthError::Nobody { .. })));
    }

    #[tokio::test]
    async fn clients_that_take_nothing_hold_up_nobody() {
        let (_listener, site) = site().await;
        let store = Arc::new(StatusStore::new(About::THIS));
        let socket = HealthSocket::bind(site).unwrap();
        tokio::spawn(socket.serve(store, std::future::pending()));
        let mut idle = Vec::new();
        for _ in 0..64 {
            idle.push(UnixStream::connect_addr(&address(site).unwrap()).unwrap());
            asked(site).await.unwrap();
        }
    }

    #[test]
    fn sites_side_by_side_have_sockets_side_by_side() {
        let name = |site: &str| {
            let address = address(site.parse().unwrap()).unwrap();
            String::from_utf8(address.as_abstract_name().unwrap().to_vec()).unwrap()
        };
        assert_eq!(name("0.0.0.0:8080"), "soci-index-builder/health/0.0.0.0:8080");
        assert_ne!(name("0.0.0.0:8080"), name("0.0.0.0:8081"));
    }
}
