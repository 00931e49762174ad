//! Servers between the client and the fake registry: one that ends TLS, and proxies. They hand on bytes as they are.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use soci_registry_server::testing::FakeRegistry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

/// A file of `tests/tls`.
pub(crate) fn pem(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

/// Whether a server asks for client certificates, signed by `plain-ca.crt`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clients {
    Unasked,
    MayShow,
    MustShow,
}

/// Something that listens on a port of 127.0.0.1, and what it has seen.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    listening: AbortHandle,
}

impl Front {
    /// What it has seen, in order.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Takes no further connections.
    pub(crate) async fn stop(&self) {
        self.listening.abort();
        while TcpStream::connect(self.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    /// A server of `serve`, which may note what it sees.
    pub(crate) async fn start<F>(
        serve: impl Fn(TcpStream, Arc<Mutex<Vec<String>>>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::default();
        let noted = Arc::clone(&seen);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&noted)));
            }
        });
        Self { address, seen, listening: listening.abort_handle() }
    }
}

/// The fake's address.
pub(crate) fn address_of(fake: &FakeRegistry) -> SocketAddr {
    fake.host().parse().unwrap()
}

/// Speaks TLS with the certificate `name` and hands on to `target`. Notes of each connection whether a client
/// certificate was shown, or that the handshake failed.
pub(crate) async fn tls(target: SocketAddr, name: &str, clients: Clients) -> Front {
    let provider = Arc::new(crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_file(pem(&format!("{name}.crt"))).unwrap();
    let key = name.strip_suffix("-true").or_else(|| name.strip_suffix("-false")).unwrap_or(name);
    let key = PrivateKeyDer::from_pem_file(pem(&format!("{key}.key"))).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = if clients == Clients::Unasked {
        config.with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(pem("plain-ca.crt")).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        let verifier = match clients {
            Clients::MustShow => verifier,
            _ => verifier.allow_unauthenticated(),
        };
        config.with_client_cert_verifier(verifier.build().unwrap())
    };
    let config = config.with_single_cert(vec![certificate], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Front::start(move |stream, seen| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return seen.lock().unwrap().push("failed".to_owned());
            };
            let shown = stream.get_ref().1.peer_certificates().is_some();
            let note = if shown { "certificate" } else { "none" };
            seen.lock().unwrap().push(note.to_owned());
            let mut target = TcpStream::connect(target).await.unwrap();
            // Whoever goes first ends it.
            let _ = copy_bidirectional(&mut stream, &mut target).await;
        }
    })
    .await
}

/// Writes `answer` to whoever connects, once something was sent, and hangs up.
pub(crate) async fn answers(answer: &'static [u8]) -> Front {
    Front::start(move |mut stream, seen| async move {
        let head = head(&mut stream).await;
        seen.lock().unwrap().push(head);
        let _ = stream.write_all(answer).await;
        let _ = stream.shutdown().await;
        // What is still to be read would turn the end into a reset, and the answer could be lost.
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    })
    .await
}

/// An HTTP proxy: connects everybody to `target`, whatever they ask for, and notes the head of each request.
pub(crate) async fn proxy(target: SocketAddr) -> Front {
    Front::start(move |mut stream, seen| async move {
        let head = head(&mut stream).await;
        let tunnel = head.starts_with("CONNECT ");
        seen.lock().unwrap().push(head.clone());
        let mut target = TcpStream::connect(target).await.unwrap();
        if tunnel {
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
        } else {
            target.write_all(head.as_bytes()).await.unwrap();
        }
        let _ = copy_bidirectional(&mut stream, &mut target).await;
    })
    .await
}

/// A SOCKS 5 proxy (RFC 1928), which wants `login` if there is one (RFC 1929). Connects everybody to `target`, and
/// notes where they want to go.
pub(crate) async fn socks(
    target: SocketAddr,
    login: Option<(&'static str, &'static str)>,
) -> Front {
    Front::start(move |mut stream, seen| async move {
        let offered = bytes(&mut stream, 2).await;
        let methods = bytes(&mut stream, offered[1].into()).await;
        let wanted = if login.is_some() { 2 } else { 0 };
        if !methods.contains(&wanted) {
            let _ = stream.write_all(&[5, 0xff]).await;
            return;
        }
        stream.write_all(&[5, wanted]).await.unwrap();
        if let Some((name, password)) = login {
            let length = bytes(&mut stream, 2).await[1];
            let given_name = bytes(&mut stream, length.into()).await;
            let length = bytes(&mut stream, 1).await[0];
            let given_password = bytes(&mut stream, length.into()).await;
            let right = given_name == name.as_bytes() && given_password == password.as_bytes();
            stream.write_all(&[1, u8::from(!right)]).await.unwrap();
            if !right {
                return;
            }
        }
        let kind = bytes(&mut stream, 4).await[3];
        let place = match kind {
            1 => format!("{:?}", bytes(&mut stream, 4).await),
            3 => {
                let length = bytes(&mut stream, 1).await[0];
                String::from_utf8(bytes(&mut stream, length.into()).await).unwrap()
            }
            _ => format!("{:?}", bytes(&mut stream, 16).await),
        };
        let port = bytes(&mut stream, 2).await;
        let port = u16::from_be_bytes([port[0], port[1]]);
        seen.lock().unwrap().push(format!("{place}:{port}"));
        stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
        let mut target = TcpStream::connect(target).await.unwrap();
        let _ = copy_bidirectional(&mut stream, &mut target).await;
    })
    .await
}

async fn bytes(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    // A client that hangs up shows in what it then says.
    let _ = stream.read_exact(&mut bytes).await;
    bytes
}

/// What is sent up to an empty line, or in the first piece if that is no text.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece).await {
            Ok(read) if read > 0 => head.extend_from_slice(&piece[..read]),
            _ => break,
        }
        if !head[0].is_ascii_alphabetic() {
            break;
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}
