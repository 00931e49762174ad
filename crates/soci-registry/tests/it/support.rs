//! What the tests share.

use std::time::Duration;

use bytes::Bytes;
use soci_oci::{Digest, TagOrDigest};
use soci_registry::{BlobReader, Client, Error, Timeouts, Transfer};
use soci_registry_server::testing::{FakeOptions, FakeRegistry, RequestKind};
use soci_tests::FakeRegistryClient;

/// The repository that the tests use.
pub(crate) const NAME: &str = "team/app";

/// How far the paused clock moves at once.
const STEP: Duration = Duration::from_millis(100);

/// How long it stands still after that, for what the system has on its way between two sockets.
const REST: Duration = Duration::from_millis(5);

/// A fake with the default options, under a clock that a test can rely on.
pub(crate) async fn start() -> FakeRegistry {
    start_with(FakeOptions::default()).await
}

/// A fake with these options, under a clock that a test can rely on.
///
/// A paused clock jumps to the next timer when nothing is ready. Bytes that were written and have not
/// arrived are not ready, which takes a busy machine a while, and a timeout would come before them. So
/// the clock moves in steps and rests between them: it does while a blocking task runs.
pub(crate) async fn start_with(options: FakeOptions) -> FakeRegistry {
    tokio::spawn(async {
        while tokio::task::spawn_blocking(|| std::thread::sleep(REST)).await.is_ok() {
            tokio::time::sleep(STEP).await;
        }
    });
    FakeRegistry::with(options).await
}

/// Bytes in which no two positions of a part look alike.
pub(crate) fn content(size: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[7]
    };
    (0..size).map(|_| next()).collect()
}

/// Reads a blob to its end.
pub(crate) async fn read(blob: &mut BlobReader) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = blob.next().await? {
        assert!(!chunk.is_empty());
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Reads the blob `digest` of `size` bytes with `client`.
pub(crate) async fn download(
    fake: &FakeRegistry,
    client: &Client,
    digest: &Digest,
    size: usize,
) -> Result<Vec<u8>, Error> {
    read(&mut client.blob(&fake.repository(NAME), digest, size as u64)).await
}

/// A client that splits blobs into parts of this size, and calls two seconds of silence a stall.
pub(crate) fn parts(fake: &FakeRegistry, part_size: u64, parallel_parts: usize) -> Client {
    let silence = Duration::from_secs(2);
    fake.client_builder()
        .transfer(Transfer { part_size, parallel_parts })
        .timeouts(Timeouts { stall: silence, ..Timeouts::default() })
        .build()
        .unwrap()
}

pub(crate) fn tag(text: &str) -> TagOrDigest {
    TagOrDigest::Tag(text.parse().unwrap())
}

/// The ranges of the requests of this kind, empty for none.
pub(crate) fn ranges(fake: &FakeRegistry, kind: RequestKind) -> Vec<String> {
    let ranges = fake.requests_of(kind).into_iter().map(|r| r.range.unwrap_or_default());
    ranges.collect()
}

/// A dropped connection may lose bytes that the server sent: the byte reached is at most `sent`.
pub(crate) fn resumes_within(range: &str, last: u64, sent: u64) {
    let start = range.strip_prefix("bytes=").and_then(|r| r.strip_suffix(&format!("-{last}")));
    let start: u64 = start.unwrap_or_else(|| panic!("{range}")).parse().unwrap();
    assert!(start > 0 && start <= sent, "{range}");
}
