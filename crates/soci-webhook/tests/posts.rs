//! Announcements to a server on this machine, and the receiver of the documentation.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use soci_announce::testing::announcement;
use soci_announce::{Announcement, DeliveryError, Destination as _};
use soci_webhook::{Webhook, WebhookSecret};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const ID: &str = "5f1d0c4f5be44d2e8a6f0b7f6f3f8a10";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A server that answers every request with the same bytes, or with none.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn answering(answer: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address =
            format!("http://{}/hooks/hunter2?token=hunter3", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !is_whole(&request) {
                    if stream.read_buf(&mut request).await.unwrap() == 0 {
                        break;
                    }
                }
                seen.lock().unwrap().push(String::from_utf8(request).unwrap());
                match answer {
                    Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                    None => std::future::pending().await,
                }
            }
        });
        Self { address, requests }
    }

    async fn tell(&self) -> Result<(), DeliveryError> {
        let secret = SECRET.parse().unwrap();
        let webhook = Webhook::new(self.address.parse().unwrap(), secret, "soci-test/1").unwrap();
        webhook.deliver(&announcement(ID)).await
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Whether a request is there with all of its body.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = header(head, "content-length").parse::<usize>().unwrap();
    body.len() >= length
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let line = |line: &'a str| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    };
    head.lines().find_map(line).unwrap_or_else(|| panic!("no {name} in {head}"))
}

const TAKEN: &str = "HTTP/1.1 204 No Content\r\n\r\n";

#[tokio::test]
async fn a_post_is_signed_over_what_is_sent() {
    let server = Server::answering(Some(TAKEN)).await;
    server.tell().await.unwrap();
    let [request] = &server.requests()[..] else { panic!("one request") };
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /hooks/hunter2?token=hunter3 HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(head, "content-type"), "application/json");
    assert_eq!(header(head, "user-agent"), "soci-test/1");
    assert_eq!(serde_json::from_str::<Announcement>(body).unwrap(), announcement(ID));
    let id = header(head, "webhook-id");
    assert_eq!(id, announcement(ID).id);
    let seconds = header(head, "webhook-timestamp").parse().unwrap();
    let secret: WebhookSecret = SECRET.parse().unwrap();
    assert_eq!(header(head, "webhook-signature"), secret.sign(id, seconds, body.as_bytes()));
    assert!(!request.contains("whsec_") && !request.contains("MfKQ9r8"), "{request}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::answering(Some(TAKEN)).await;
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let answer = format!(
            "HTTP/1.1 {status}\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
            elsewhere.address
        );
        let server = Server::answering(Some(answer.leak())).await;
        let error = server.tell().await.unwrap_err();
        assert!(!error.transient && error.reason.contains("redirects are not followed"), "{error}");
    }
    assert_eq!(elsewhere.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn refusals_say_nothing_of_the_address_or_the_secret() {
    let no = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 7\r\n\r\nhunter4";
    let later = "HTTP/1.1 503 Busy\r\nretry-after: 30\r\ncontent-length: 0\r\n\r\n";
    let torn = "HTTP/1.1 200";
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/hooks/hunter2", listener.local_addr().unwrap());
        Server { address, requests: Arc::default() }
    };
    for (server, transient, pause) in [
        (Server::answering(Some(no)).await, false, None),
        (Server::answering(Some(later)).await, true, Some(Duration::from_secs(30))),
        (Server::answering(Some(torn)).await, true, None),
        (gone, true, None),
    ] {
        let error = server.tell().await.unwrap_err();
        assert_eq!((error.transient, error.retry_after), (transient, pause), "{error}");
        for secret in ["hunter", "MfKQ9r8", "127.0.0.1"] {
            assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_waited_for_a_quarter_of_a_minute() {
    let server = Server::answering(None).await;
    let begun = tokio::time::Instant::now();
    let error = server.tell().await.unwrap_err();
    assert!(error.transient, "{error}");
    assert!(begun.elapsed() <= Duration::from_secs(16), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_answer_without_an_end_is_not_read() {
    // It says that a gigabyte follows, and sends none of it.
    let server =
        Server::answering(Some("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")).await;
    tokio::time::timeout(Duration::from_secs(10), server.tell()).await.unwrap().unwrap();
}

/// The receiver of the documentation, as it stands there.
fn receiver() -> &'static str {
    let document = include_str!("../../../docs/ANNOUNCEMENTS.md");
    let (_, rest) = document.split_once("```python\n").unwrap();
    rest.split_once("```").unwrap().0
}

/// Whether it takes a POST.
fn takes(secret: &str, id: &str, seconds: u64, signature: &str, body: &str) -> bool {
    let headers = format!(
        "{{'webhook-id': '{id}', 'webhook-timestamp': '{seconds}', 'webhook-signature': '{signature}'}}"
    );
    let program = format!(
        "{}\nprint(is_ours('{secret}', {headers}, bytes.fromhex('{}')))",
        receiver(),
        body.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
    );
    let output = Command::new("python3").args(["-c", &program]).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("python3: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    match said.as_str() {
        "True" => true,
        "False" => false,
        other => panic!("{other}"),
    }
}

#[test]
fn the_receiver_of_the_documentation_takes_what_is_signed_and_nothing_else() {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: there is no python3");
        return;
    }
    let secret: WebhookSecret = SECRET.parse().unwrap();
    let (id, body) = (announcement(ID).id, announcement(ID).json());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let signature = secret.sign(&id, now, body.as_bytes());
    assert!(takes(SECRET, &id, now, &signature, &body));
    // A server that changes its secret is sent both signatures.
    assert!(takes(SECRET, &id, now, &format!("v1,AAAA {signature}"), &body));
    let other = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    assert!(!takes(other, &id, now, &signature, &body), "another secret");
    assert!(!takes(SECRET, "1", now, &signature, &body), "another announcement");
    assert!(!takes(SECRET, &id, now + 1, &signature, &body), "another time");
    assert!(!takes(SECRET, &id, now, &signature, &body.replace("skipped", "indexed")));
    assert!(!takes(SECRET, &id, now, "", &body), "no signature");
    let old = secret.sign(&id, now - 400, body.as_bytes());
    assert!(!takes(SECRET, &id, now - 400, &old, &body), "an old one");
}
