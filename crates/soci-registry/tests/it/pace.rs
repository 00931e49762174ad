//! Servers that are slower than is put up with.

use std::time::Duration;

use soci_oci::Digest;
use soci_registry::{ClientBuilder, Error, RetryPolicy, Timeouts, Transfer};
use soci_registry_server::testing::{
    Effect, FakeOptions, FakeRegistry, LoggedRequest, Quirk, RequestKind,
};
use soci_tests::FakeRegistryClient;

use crate::support::{NAME, content, download, ranges, resumes_within, start, start_with};

const DRIP: Effect = Effect::Drip(Duration::from_millis(100));

/// Over which the rate is measured.
const PERIOD: Duration = Duration::from_secs(2);

/// A client that puts up with no less than this rate over this period, and tries twice.
fn impatient(fake: &FakeRegistry, min_download_rate: u64, stall: Duration) -> ClientBuilder {
    let timeouts = Timeouts { stall, min_download_rate, ..Timeouts::default() };
    // The time in all is far more than two tries take; it ends a client that counts wrongly.
    let retry = RetryPolicy {
        tries: 2,
        base: Duration::from_millis(1),
        total: Duration::from_mins(1),
        ..RetryPolicy::default()
    };
    fake.client_builder().timeouts(timeouts).retry(retry)
}

#[tokio::test(start_paused = true)]
async fn a_server_that_drips_is_given_up_after_the_tries() {
    for part_size in [30_000, 1 << 20] {
        let fake = start().await;
        let digest = fake.put_blob(NAME, content(100_000));
        fake.quirk(Quirk::on(RequestKind::BlobGet, DRIP).always());
        let transfer = Transfer { part_size, parallel_parts: 1 };
        let client = impatient(&fake, 10_000, PERIOD).transfer(transfer).build().unwrap();
        let error = download(&fake, &client, &digest, 100_000).await.unwrap_err();
        let Error::Exhausted { failures: 2, source, .. } = &error else { panic!("{error}") };
        assert!(matches!(**source, Error::TooSlow { received: 1.., .. }), "{source}");
        assert!(error.is_transient());
        assert_eq!(fake.requests_of(RequestKind::BlobGet).len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_drip_is_resumed_at_the_byte_reached() {
    let fake = start().await;
    let bytes = content(100_000);
    let digest = fake.put_blob(NAME, bytes.clone());
    fake.quirk(Quirk::on(RequestKind::BlobGet, DRIP));
    let client = impatient(&fake, 10_000, PERIOD).build().unwrap();
    assert_eq!(download(&fake, &client, &digest, 100_000).await.unwrap(), bytes);
    let asked = ranges(&fake, RequestKind::BlobGet);
    assert_eq!(asked.len(), 2);
    resumes_within(&asked[1], 99_999, 1000);
}

#[tokio::test(start_paused = true)]
async fn bodies_in_memory_that_drip_are_given_up() {
    let fake = start().await;
    let digest = fake.put_blob(NAME, content(100_000));
    fake.quirk(Quirk::on(RequestKind::BlobGet, DRIP).always());
    let client = impatient(&fake, 10_000, PERIOD).build().unwrap();
    let error = client.blob_bytes(&fake.repository(NAME), &digest, 100_000).await.unwrap_err();
    let Error::Exhausted { failures: 2, source, .. } = &error else { panic!("{error}") };
    assert!(matches!(**source, Error::TooSlow { .. }), "{source}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_caller_is_not_taken_for_a_slow_server() {
    let fake = start_with(FakeOptions { ranges: false, ..FakeOptions::default() }).await;
    let bytes = content(2_000_000);
    let digest = fake.put_blob(NAME, bytes.clone());
    let transfer = Transfer { part_size: 50_000, parallel_parts: 1 };
    let period = PERIOD;
    let client = impatient(&fake, 20_000_000, period).transfer(transfer).build().unwrap();
    let mut blob = client.blob(&fake.repository(NAME), &digest, 2_000_000);
    let first = blob.next().await.unwrap().unwrap();
    tokio::time::sleep(2 * period).await;
    // If the pause counted, 8 MB would have to be there by the first piece behind the window.
    let mut head = first.to_vec();
    while head.len() < 200_000 {
        head.extend_from_slice(&blob.next().await.unwrap().unwrap());
    }
    assert_eq!(head, bytes[..head.len()]);
    assert_eq!(ranges(&fake, RequestKind::BlobGet)[0], "bytes=0-49999");
    let large = |request: &LoggedRequest| request.path.contains(&digest.to_string());
    assert_eq!(fake.requests_of(RequestKind::BlobGet).into_iter().filter(large).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_body_of_an_error_that_drips_is_done_without() {
    let fake = start().await;
    fake.quirk(Quirk::on(RequestKind::BlobGet, DRIP));
    let client = impatient(&fake, 10_000, PERIOD).build().unwrap();
    let error = download(&fake, &client, &Digest::sha256_of(b"x"), 10).await.unwrap_err();
    let Error::NotFound(status) = &error else { panic!("{error}") };
    // Only the beginning of the list of errors had arrived, which has no words for people.
    assert!(status.messages.is_empty(), "{status}");
}
