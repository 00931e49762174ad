//! `local` as people run it: a process that images are pushed to.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use soci_oci::{Digest, Repository, TagOrDigest};
use soci_registry::{BlobSource, Client};
use soci_tests::{TestImage, gzip_layer};

/// Longest wait for a line of output.
const PATIENCE: Duration = Duration::from_mins(2);

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_soci-index-builder"));
    command.arg("local");
    command
}

/// A running `local` with free ports, killed if the test fails.
struct Local {
    child: Child,
    lines: mpsc::Receiver<String>,
    registry: String,
    page: String,
}

impl Local {
    fn start(arguments: &[&str]) -> Self {
        let mut child = program()
            .args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--min-layer-size", "10KiB"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines(child.stdout.take().unwrap());
        let address = |beginning| {
            let line = next_line(&lines, beginning);
            line.split("http://").nth(1).unwrap().trim_end_matches('/').to_owned()
        };
        let (registry, page) = (address("registry"), address("status page"));
        Self { child, lines, registry, page }
    }

    fn line(&self, beginning: &str) -> String {
        next_line(&self.lines, beginning)
    }

    fn repository(&self, name: &str) -> Repository {
        Repository::new(&self.registry, name).unwrap()
    }

    fn terminate(mut self) -> ExitStatus {
        signal(&self.child, "-TERM");
        self.child.wait().unwrap()
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
}

/// The lines that a program writes, as they come.
fn lines(out: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

/// The next line that begins so.
fn next_line(lines: &mpsc::Receiver<String>, beginning: &str) -> String {
    loop {
        let line = lines.recv_timeout(PATIENCE).unwrap();
        if line.starts_with(beginning) {
            return line;
        }
    }
}

fn client() -> Client {
    Client::builder().plain_http(true).proxies(false).build().unwrap()
}

fn tag(name: &str) -> TagOrDigest {
    TagOrDigest::Tag(name.parse().unwrap())
}

/// Pushes an image as clients do: blobs, manifests, and the root under its tag.
async fn push(client: &Client, repository: &Repository, image: &TestImage, name: &str) {
    for (digest, bytes) in &image.blobs {
        let source = BlobSource::from(bytes.clone());
        client.push_blob(repository, digest, &source, None).await.unwrap();
    }
    let last = image.manifests.len() - 1;
    for (index, (kind, bytes)) in image.manifests.iter().enumerate() {
        let target =
            if index == last { tag(name) } else { TagOrDigest::Digest(Digest::sha256_of(bytes)) };
        client.put_manifest(repository, &target, kind, bytes.clone()).await.unwrap();
    }
}

async fn tagged(client: &Client, repository: &Repository, name: &str) -> Option<Digest> {
    let head = client.head_manifest(repository, &tag(name)).await.unwrap();
    head.map(|head| head.digest.unwrap())
}

fn image(seed: u64) -> TestImage {
    let layers = [gzip_layer(seed, 1 << 20), gzip_layer(seed + 1, 1000)];
    TestImage::index(&[("linux/amd64", &layers), ("linux/arm64", &layers[..1])])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_is_indexed_and_pushing_it_again_changes_nothing() {
    let local = Local::start(&[]);
    let (client, repository) = (client(), local.repository("team/app"));
    push(&client, &repository, &image(1), "V1").await;
    let line = local.line("indexed");
    assert!(line.contains("team/app:V1 -> V1-soci"), "{line}");
    let first = tagged(&client, &repository, "V1-soci").await.unwrap();
    assert!(line.contains(&first.to_string()), "{line}");

    // A client that finds the manifest there does not push it, so another tag makes the event.
    push(&client, &repository, &image(1), "V2").await;
    local.line("indexed");
    assert_eq!(tagged(&client, &repository, "V2-soci").await, Some(first));

    // Of two pushes of a tag the last one counts, whichever job runs first.
    push(&client, &repository, &image(5), "V1").await;
    push(&client, &repository, &image(1), "V1").await;
    for _ in 0..2 {
        let line = local.lines.recv_timeout(PATIENCE).unwrap();
        // A job that finds its tag moved on looks again later, whatever the later push has done by then.
        let moved_on = line.starts_with("again in") && line.contains("by now");
        assert!(moved_on || ["indexed", "unchanged"].iter().any(|w| line.starts_with(w)), "{line}");
    }
    assert_eq!(tagged(&client, &repository, "V1-soci").await, Some(first));
    assert_eq!(tagged(&client, &repository, "V2-soci").await, Some(first));
    assert_eq!(local.terminate().code(), Some(0));
}

/// What `status` says of the worker at an address: exit code, output, complaint.
fn status(page: &str, flags: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_soci-index-builder"));
    let output = command.args(["status", "--http-address", page]).args(flags).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn status_prints_what_the_service_does_and_says_when_there_is_none() {
    let local = Local::start(&[]);
    let (client, repository) = (client(), local.repository("team/app"));
    push(&client, &repository, &image(1), "v1").await;
    local.line("indexed");
    let (code, text, _) = status(&local.page, &[]);
    assert_eq!(code, Some(0));
    assert!(text.starts_with("idle: waiting for messages; the last one came just now\n"), "{text}");
    assert!(text.contains("team/app:v1") && text.contains("v1-soci sha256:"), "{text}");
    let (code, json, _) = status(&local.page, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["service"]["state"]), (Some(0), &"idle".into()));
    let page = local.page.clone();
    assert_eq!(local.terminate().code(), Some(0));
    let (code, text, complaint) = status(&page, &[]);
    assert_eq!((code, text.as_str()), (Some(1), ""));
    assert!(complaint.contains(&format!("no worker answers on {page}")), "{complaint}");
    assert_eq!(status("nowhere", &[]).0, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_a_filter_matches_is_indexed() {
    let local = Local::start(&["--filter", "team/*:v*", "--filter", "other:*"]);
    let client = client();
    let (wanted, unwanted) = (local.repository("team/app"), local.repository("app"));
    push(&client, &unwanted, &image(1), "v1").await;
    assert!(local.line("skipped").contains("no filter matches app:v1"));
    push(&client, &wanted, &image(1), "v1").await;
    local.line("indexed");
    assert_eq!(tagged(&client, &unwanted, "v1-soci").await, None);
    assert!(tagged(&client, &wanted, "v1-soci").await.is_some());
    assert_eq!(local.terminate().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_keeps_images_and_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let storage = ["--storage", folder.path().to_str().unwrap()];
    let client = client();
    let local = Local::start(&storage);
    push(&client, &local.repository("app"), &image(1), "1").await;
    local.line("indexed");
    let before = tagged(&client, &local.repository("app"), "1-soci").await;
    assert_eq!(local.terminate().code(), Some(0));

    let local = Local::start(&storage);
    assert_eq!(tagged(&client, &local.repository("app"), "1-soci").await, before);
    assert_eq!(local.terminate().code(), Some(0));
}

#[test]
fn an_image_that_cannot_be_indexed_is_told_and_the_process_goes_on() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let local = Local::start(&[]);
    let (client, repository) = (client(), local.repository("app"));
    let broken = TestImage::single(
        "linux/amd64",
        &[(soci_oci::media_type::OCI_LAYER_GZIP, vec![7; 100_000].into())],
    );
    runtime.block_on(push(&client, &repository, &broken, "broken"));
    let line = local.line("failed");
    assert!(line.contains("app:broken") && line.contains("gzip"), "{line}");
    // It says where the dead letter is, and there it is as soon as the page has counted.
    assert!(local.line("  ").contains("a dead letter now, on the status page"));
    let begun = std::time::Instant::now();
    while !status(&local.page, &[]).1.contains("\ndead letters\n  ") {
        assert!(begun.elapsed() < PATIENCE, "{}", status(&local.page, &[]).1);
    }
    runtime.block_on(push(&client, &repository, &image(1), "1"));
    local.line("indexed");
    assert_eq!(local.terminate().code(), Some(0));
}

#[test]
fn the_demonstration_reads_little_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let output = program()
        .args(["--demo", "--demo-size", "24MiB", "--min-layer-size", "1MiB"])
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}{complaints}");
    assert_eq!(complaints, "");
    for words in [
        "demo/app:1.0",
        "2 platforms, 8 layers",
        "as 1.0-soci",
        "6 ztocs",
        "2 layers need none",
        "6 ztocs built again are equal",
        "lazily",
        "done in",
        "What next?",
        "soci-index-builder index REF",
    ] {
        assert!(told.contains(words), "{words:?} is missing in\n{told}");
    }
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn the_demonstration_shows_v1_where_that_is_wanted() {
    let temporary = tempfile::tempdir().unwrap();
    let child = demo(&["--demo-size", "24MiB", "--index-version", "V1"], temporary.path());
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), complaints.as_str()), (Some(0), ""), "{told}");
    for words in [
        "2 SOCI indexes attached to the 2 manifests of sha256:",
        "6 ztocs of ",
        "2 layers need none",
        "6 ztocs built again are equal",
        "lazily",
        "soci-index-builder index REF --index-version v1 --dry-run  say",
    ] {
        assert!(told.contains(words), "{words:?} is missing in\n{told}");
    }
    assert!(!told.contains("image index") && !told.contains("-soci"), "{told}");
}

/// A demonstration with files in this folder.
fn demo(arguments: &[&str], temporary: &std::path::Path) -> Child {
    program()
        .args(["--demo", "--min-layer-size", "1MiB"])
        .args(arguments)
        .env("TMPDIR", temporary)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn an_interrupted_demonstration_says_so_by_its_exit_code_and_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let mut child = demo(&["--demo-size", "2GiB"], temporary.path());
        let out = lines(child.stdout.take().unwrap());
        next_line(&out, "registry http://");
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
    }
}

/// Whenever the second Ctrl-C comes: right behind the first, or while all is finished and removed.
#[test]
fn a_demonstration_that_is_interrupted_twice_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    for (begun, stopping) in [
        ("registry http://", ""),
        ("registry http://", "stopping; "),
        ("made and pushed", ""),
        ("made and pushed", "stopping; "),
    ] {
        for _ in 0..3 {
            let mut child = demo(&["--demo-size", "32MiB"], temporary.path());
            let out = lines(child.stdout.take().unwrap());
            let errors = lines(child.stderr.take().unwrap());
            next_line(&out, begun);
            signal(&child, "-INT");
            if !stopping.is_empty() {
                next_line(&errors, stopping);
            }
            signal(&child, "-INT");
            assert_eq!(child.wait().unwrap().code(), Some(130), "{begun:?} {stopping:?}");
            let left: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().collect();
            assert!(left.is_empty(), "{begun:?} {stopping:?}: {left:?}");
        }
    }
}

#[test]
fn a_demonstration_that_is_kept_serves_its_page_until_ctrl_c() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = demo(&["--demo-size", "8MiB", "--keep"], temporary.path());
    let out = lines(child.stdout.take().unwrap());
    next_line(&out, "done in");
    let line = next_line(&out, "The registry http://");
    let page = line.split("status page http://").nth(1).unwrap().split('/').next().unwrap();
    assert_eq!(status(page, &[]).0, Some(0));
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn a_second_ctrl_c_waits_for_nothing() {
    use std::io::Write as _;

    let mut child = program()
        .args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (out, errors) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
    let line = next_line(&out, "registry");
    let registry = line.split("http://").nth(1).unwrap();
    // A request whose body does not come, which the registry gives some time.
    let mut stream = std::net::TcpStream::connect(registry).unwrap();
    let head = "PUT /v2/app/manifests/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    next_line(&out, "Ctrl-C stops.");
    signal(&child, "-INT");
    next_line(&errors, "stopping; Ctrl-C again");
    signal(&child, "-INT");
    // With time for all that is to be finished it is 0.
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_and_other_suffixes_are_made() {
    let client = client();
    let local = Local::start(&["--index-version", "V1"]);
    let repository = local.repository("app");
    push(&client, &repository, &image(1), "1").await;
    local.line("indexed");
    assert_eq!(tagged(&client, &repository, "1-soci").await, None);
    assert_eq!(local.terminate().code(), Some(0));

    let local = Local::start(&["--tag-suffix=-lazy"]);
    let repository = local.repository("app");
    push(&client, &repository, &image(1), "1").await;
    local.line("indexed");
    assert!(tagged(&client, &repository, "1-lazy").await.is_some());
    assert_eq!(local.terminate().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn index_works_on_it_without_flags_about_the_connection() {
    let local = Local::start(&["--filter", "nothing:*"]);
    let repository = local.repository("app");
    push(&client(), &repository, &image(1), "1").await;
    let output = Command::new(env!("CARGO_BIN_EXE_soci-index-builder"))
        .args(["index", &format!("{repository}:1"), "--min-layer-size", "10KiB"])
        .env("DOCKER_CONFIG", "/nonexistent")
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), told.starts_with("indexed ")), (Some(0), true), "{told}");
    assert_eq!(output.stderr, b"");
    assert_eq!(local.terminate().code(), Some(0));
}

#[test]
fn a_port_that_is_taken_is_told_with_the_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, other) in [("--listen", "--http"), ("--http", "--listen")] {
        let output = program().args([flag, &address, other, "127.0.0.1:0"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(&address) && told.contains(flag), "{told}");
    }
}

#[test]
fn the_status_page_is_served() {
    use std::io::{Read as _, Write as _};

    let local = Local::start(&[]);
    let mut stream = std::net::TcpStream::connect(&local.page).unwrap();
    stream.write_all(b"GET /status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(local.terminate().code(), Some(0));
}
