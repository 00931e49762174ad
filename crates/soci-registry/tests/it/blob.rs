//! Downloads.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use soci_oci::Digest;
use soci_registry::{Error, Observer, RetryPolicy, RetryScheduled, Timeouts, Transfer};
use soci_registry_server::testing::{Effect, FakeOptions, Quirk, RequestKind};
use soci_tests::FakeRegistryClient;

use crate::support::{
    NAME, content, download, parts, ranges, read, resumes_within, start, start_with,
};

const PART: u64 = 64 << 10;

#[tokio::test(start_paused = true)]
async fn a_small_blob_is_one_plain_request() {
    let fake = start().await;
    let bytes = content(1000);
    let digest = fake.put_blob(NAME, bytes.clone());
    assert_eq!(download(&fake, &parts(&fake, 1000, 4), &digest, 1000).await.unwrap(), bytes);
    assert_eq!(ranges(&fake, RequestKind::BlobGet), [""]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_blob_is_verified_without_a_request() {
    let fake = start().await;
    let digest = Digest::sha256_of(b"");
    assert_eq!(download(&fake, &fake.client(), &digest, 0).await.unwrap(), b"");
    assert_eq!(fake.requests(), []);
    let other = Digest::sha256_of(b"x");
    let error = download(&fake, &fake.client(), &other, 0).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn who_hashes_a_blob_verifies_it() {
    let fake = start().await;
    let bytes = content(300_000);
    let digest = fake.put_blob(NAME, bytes.clone());
    let client = parts(&fake, PART, 4);
    let other = Digest::sha256_of(b"other");
    for actual in [digest, other] {
        let mut blob = client.blob(&fake.repository(NAME), &digest, 300_000);
        assert!(blob.leave_hashing());
        let first = blob.next().await.unwrap().unwrap();
        let too_early = blob.hashed(digest).unwrap_err();
        assert!(matches!(too_early, Error::Interrupted { .. }), "{too_early}");
        let rest = read(&mut blob).await.unwrap();
        assert_eq!([&first[..], &rest[..]].concat(), bytes);
        let verified = blob.hashed(actual);
        if actual == digest {
            verified.unwrap();
            assert!(blob.next().await.unwrap().is_none());
        } else {
            let error = verified.unwrap_err();
            assert!(matches!(&error, Error::DigestMismatch { actual, .. } if **actual == other));
            // It stays so.
            assert!(blob.next().await.is_err() && blob.hashed(digest).is_err());
        }
    }
    // It is too late for that once bytes were handed out.
    let mut blob = client.blob(&fake.repository(NAME), &other, 300_000);
    assert!(blob.leave_hashing() && blob.next().await.is_err() && blob.hashed(other).is_err());
    let mut blob = client.blob(&fake.repository(NAME), &digest, 300_000);
    blob.next().await.unwrap();
    assert!(!blob.leave_hashing());
    read(&mut blob).await.unwrap();
    assert!(blob.hashed(digest).is_err(), "there is nothing left to say");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_blob_arrives_in_order_by_parallel_parts_within_the_window() {
    let fake = start().await;
    let bytes = content(1_000_000);
    let digest = fake.put_blob(NAME, bytes.clone());
    // Several threads have no paused clock. The default timeouts are longer than the test may take.
    let transfer = Transfer { part_size: PART, parallel_parts: 4 };
    let builder = fake.client_builder().timeouts(Timeouts::default());
    let client = builder.transfer(transfer).build().unwrap();
    let mut blob = client.blob(&fake.repository(NAME), &digest, 1_000_000);
    let first = blob.next().await.unwrap().unwrap();
    // Without a reader, the parts behind fill up to the window and no further.
    let window = client.transfer().window();
    while blob.peak_buffered() < window - PART {
        tokio::task::yield_now().await;
    }
    let rest = read(&mut blob).await.unwrap();
    assert_eq!([&first[..], &rest[..]].concat(), bytes);
    assert!((window - PART..=window).contains(&blob.peak_buffered()), "{}", blob.peak_buffered());
    let mut asked = ranges(&fake, RequestKind::BlobGet);
    asked.sort();
    let mut expected: Vec<String> = (0..16)
        .map(|part| format!("bytes={}-{}", part * PART, (part * PART + PART).min(1_000_000) - 1))
        .collect();
    expected.sort();
    assert_eq!(asked, expected);
}

#[tokio::test(start_paused = true)]
async fn parts_behind_the_window_are_not_asked_for() {
    let fake = start().await;
    let bytes = content(640_000);
    let digest = fake.put_blob(NAME, bytes.clone());
    // The first part stays incomplete for as long as it stalls.
    fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::Stall(10)).range("bytes=0-63999"));
    let client = parts(&fake, 64_000, 3);
    let mut blob = client.blob(&fake.repository(NAME), &digest, 640_000);
    assert_eq!(blob.next().await.unwrap().unwrap(), bytes[..10]);
    let next = blob.next().await.unwrap().unwrap();
    assert_eq!(next, bytes[10..10 + next.len()]);
    // Until the first part was resumed, only two others were begun.
    let asked = ranges(&fake, RequestKind::BlobGet);
    let resumed = asked.iter().position(|range| range == "bytes=10-63999").unwrap();
    assert_eq!(resumed, 3, "{asked:?}");
    assert_eq!(read(&mut blob).await.unwrap(), bytes[10 + next.len()..]);
}

#[tokio::test(start_paused = true)]
async fn a_part_flows_before_it_is_complete() {
    let fake = start().await;
    let bytes = content(200_000);
    let digest = fake.put_blob(NAME, bytes.clone());
    fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::Stall(5)).always());
    let client = fake.client_builder().transfer(Transfer { part_size: PART, parallel_parts: 2 });
    let mut blob = client.build().unwrap().blob(&fake.repository(NAME), &digest, 200_000);
    assert_eq!(blob.next().await.unwrap().unwrap(), bytes[..5]);
    assert_eq!(ranges(&fake, RequestKind::BlobGet)[0], "bytes=0-65535");
}

/// Every fault of a body at every kind of place: the blob is whole, and each resumption asks for
/// exactly the byte reached.
#[tokio::test(start_paused = true)]
async fn a_broken_body_is_resumed_at_the_byte_reached() {
    let bytes = content(100_000);
    for effect in [Effect::DropAfter(20_000), Effect::ShortBody(20_000), Effect::Stall(20_000)] {
        // One plain request.
        let fake = start().await;
        let digest = fake.put_blob(NAME, bytes.clone());
        fake.quirk(Quirk::on(RequestKind::BlobGet, effect.clone()));
        let client = parts(&fake, 1 << 20, 4);
        assert_eq!(download(&fake, &client, &digest, 100_000).await.unwrap(), bytes);
        let asked = ranges(&fake, RequestKind::BlobGet);
        assert_eq!(asked.len(), 2, "{effect:?}");
        resumes_within(&asked[1], 99_999, 20_000);

        // Parts, of which the second breaks twice.
        let fake = start().await;
        let digest = fake.put_blob(NAME, bytes.clone());
        let second = Quirk::on(RequestKind::BlobGet, effect.clone()).range("bytes=40000-79999");
        fake.quirk(second);
        fake.quirk(Quirk::on(RequestKind::BlobGet, effect.clone()).range("bytes=60000-79999"));
        let client = parts(&fake, 40_000, 3);
        assert_eq!(download(&fake, &client, &digest, 100_000).await.unwrap(), bytes);
        let asked = ranges(&fake, RequestKind::BlobGet);
        let resumed: Vec<_> = asked
            .iter()
            .filter(|range| range.ends_with("-79999") && *range != "bytes=40000-79999")
            .collect();
        resumes_within(resumed[0], 79_999, 60_000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_body_resumes_at_exactly_its_end() {
    let fake = start().await;
    let bytes = content(1000);
    let digest = fake.put_blob(NAME, bytes.clone());
    fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::ShortBody(300)));
    fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::ShortBody(1)));
    assert_eq!(download(&fake, &fake.client(), &digest, 1000).await.unwrap(), bytes);
    assert_eq!(ranges(&fake, RequestKind::BlobGet), ["", "bytes=300-999", "bytes=301-999"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ignores_the_range_of_a_resumption_gives_no_wrong_bytes() {
    let fake = start_with(FakeOptions { ranges: false, ..FakeOptions::default() }).await;
    let bytes = content(100_000);
    let digest = fake.put_blob(NAME, bytes.clone());
    fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::ShortBody(70_001)));
    fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::ShortBody(300)));
    assert_eq!(download(&fake, &fake.client(), &digest, 100_000).await.unwrap(), bytes);
    let asked = ranges(&fake, RequestKind::BlobGet);
    assert_eq!(asked, ["", "bytes=70001-99999", "bytes=70001-99999"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_without_ranges_is_read_by_one_request_within_the_window() {
    let fake = start_with(FakeOptions { ranges: false, ..FakeOptions::default() }).await;
    let bytes = content(1_000_000);
    let digest = fake.put_blob(NAME, bytes.clone());
    let client = parts(&fake, 50_000, 2);
    let mut blob = client.blob(&fake.repository(NAME), &digest, 1_000_000);
    let first = blob.next().await.unwrap().unwrap();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let rest = read(&mut blob).await.unwrap();
    assert_eq!([&first[..], &rest[..]].concat(), bytes);
    assert_eq!(ranges(&fake, RequestKind::BlobGet), ["bytes=0-49999"]);
    assert!(blob.peak_buffered() <= 100_000, "{}", blob.peak_buffered());
}

#[tokio::test(start_paused = true)]
async fn a_later_part_whose_range_is_ignored_is_cut_out() {
    let fake = start().await;
    let bytes = content(300_000);
    let digest = fake.put_blob(NAME, bytes.clone());
    fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::IgnoreRange).range("bytes=100000-199999"));
    let client = parts(&fake, 100_000, 2);
    assert_eq!(download(&fake, &client, &digest, 300_000).await.unwrap(), bytes);
    assert!(!fake.quirks_left());
}

#[tokio::test(start_paused = true)]
async fn a_wrong_content_range_is_not_read_for_the_one_that_was_asked_for() {
    for value in
        ["bytes 1-50000/200000", "bytes 0-49999/200001", "bytes 0-60000/200000", "nonsense"]
    {
        let fake = start().await;
        let bytes = content(200_000);
        let digest = fake.put_blob(NAME, bytes.clone());
        fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::ContentRange(value.to_owned())));
        let client = parts(&fake, 50_000, 2);
        assert_eq!(download(&fake, &client, &digest, 200_000).await.unwrap(), bytes, "{value}");
        assert_eq!(ranges(&fake, RequestKind::BlobGet), ["bytes=0-49999", ""], "{value}");
        fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::ContentRange(value.to_owned())));
        let only = client.blob_range_only(&fake.repository(NAME), &digest, 0..50_000).await;
        match only {
            // What is not known of a blob cannot be wrong.
            Ok(got) => assert!(value.ends_with("200001") && got == bytes[..50_000], "{value}"),
            Err(error) => assert!(
                matches!(&error, Error::ContentRange { value: v, .. } if v == value)
                    && !error.is_transient(),
                "{error}"
            ),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_byte_is_found_wherever_it_is() {
    for (offset, part_size) in [(0, 1 << 20), (99_999, 1 << 20), (50_000, 40_000), (99_999, 40_000)]
    {
        let fake = start().await;
        let digest = fake.put_blob(NAME, content(100_000));
        fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::Corrupt(offset)).always());
        let client = parts(&fake, part_size, 2);
        let mut blob = client.blob(&fake.repository(NAME), &digest, 100_000);
        let error = read(&mut blob).await.unwrap_err();
        assert!(matches!(&error, Error::DigestMismatch { expected, .. } if **expected == digest));
        assert!(blob.next().await.is_err(), "a failed reader never ends well");
    }
}

#[tokio::test(start_paused = true)]
async fn more_bytes_than_the_descriptor_says_are_an_error() {
    for (effect, part_size) in [(Effect::LongBody(1), 1 << 20), (Effect::Chunked, 1 << 20)] {
        let fake = start().await;
        let digest = fake.put_blob(NAME, content(100_000));
        fake.quirk(Quirk::on(RequestKind::BlobGet, effect.clone()).always());
        // With Chunked the descriptor is what is wrong: one byte short.
        let size = if effect == Effect::Chunked { 99_999 } else { 100_000 };
        let error = download(&fake, &parts(&fake, part_size, 2), &digest, size).await.unwrap_err();
        assert!(matches!(error, Error::LongBody { .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_is_shorter_than_its_descriptor_is_an_error() {
    let fake = start().await;
    let digest = fake.put_blob(NAME, content(1000));
    let error = download(&fake, &fake.client(), &digest, 1001).await.unwrap_err();
    assert_eq!(error.status().map(|status| status.status.as_u16()), Some(416), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test(start_paused = true)]
async fn chunked_bodies_without_a_length_are_read() {
    let fake = start().await;
    let bytes = content(100_000);
    let digest = fake.put_blob(NAME, bytes.clone());
    fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::Chunked).always());
    assert_eq!(download(&fake, &parts(&fake, 30_000, 2), &digest, 100_000).await.unwrap(), bytes);
    assert_eq!(download(&fake, &fake.client(), &digest, 100_000).await.unwrap(), bytes);
}

/// Keeps the waits of all retries.
#[derive(Default)]
struct Waits(Mutex<Vec<Duration>>);

impl Observer for Waits {
    fn retry(&self, retry: &RetryScheduled<'_>) {
        self.0.lock().unwrap().push(retry.wait);
    }
}

#[tokio::test(start_paused = true)]
async fn throttling_and_server_errors_are_waited_out_as_the_server_asks() {
    let fake = start().await;
    let bytes = content(100_000);
    let digest = fake.put_blob(NAME, bytes.clone());
    fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::status_with(429, "retry-after", "3")));
    fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::status(503)));
    let waits = Arc::new(Waits::default());
    let retry = RetryPolicy {
        base: Duration::from_millis(1),
        retry_after_cap: Duration::from_millis(30),
        ..RetryPolicy::default()
    };
    let client = fake.client_builder().retry(retry).observer(waits.clone()).build().unwrap();
    assert_eq!(download(&fake, &client, &digest, 100_000).await.unwrap(), bytes);
    let waits = waits.0.lock().unwrap();
    assert!(waits[0] >= Duration::from_millis(30), "{waits:?}");
    assert!(waits[1] <= Duration::from_millis(2), "{waits:?}");
    assert_eq!(waits.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_down_is_given_up_after_the_tries() {
    let fake = start().await;
    let digest = fake.put_blob(NAME, content(10));
    fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::status(500)).always());
    let retry = RetryPolicy { tries: 3, base: Duration::from_millis(1), ..RetryPolicy::default() };
    let client = fake.client_builder().retry(retry).build().unwrap();
    let error = download(&fake, &client, &digest, 10).await.unwrap_err();
    assert!(matches!(error, Error::Exhausted { failures: 3, .. }), "{error}");
    assert!(error.is_transient());
    assert_eq!(fake.requests_of(RequestKind::BlobGet).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn progress_gives_new_tries() {
    let fake = start().await;
    let bytes = content(100);
    let digest = fake.put_blob(NAME, bytes.clone());
    fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::ShortBody(1)).times(20));
    let retry = RetryPolicy { tries: 2, base: Duration::from_millis(1), ..RetryPolicy::default() };
    let client = fake.client_builder().retry(retry).build().unwrap();
    assert_eq!(download(&fake, &client, &digest, 100).await.unwrap(), bytes);
    assert_eq!(fake.requests_of(RequestKind::BlobGet).len(), 21);
}

#[tokio::test(start_paused = true)]
async fn a_missing_blob_is_not_found_at_once() {
    let fake = start().await;
    for part_size in [5, 100] {
        let client = parts(&fake, part_size, 2);
        let error = download(&fake, &client, &Digest::sha256_of(b"x"), 10).await.unwrap_err();
        assert!(matches!(&error, Error::NotFound(status) if status.has_code("BLOB_UNKNOWN")));
        assert!(!error.is_transient());
    }
    assert_eq!(fake.requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_asked_for_once_and_never_sees_the_password() {
    let auth = soci_registry_server::testing::FakeAuth::Basic {
        username: "u".into(),
        password: "p".into(),
    };
    let options = FakeOptions { redirect_blobs: true, auth, ..FakeOptions::default() };
    let fake = start_with(options).await;
    let bytes = content(500_000);
    let digest = fake.put_blob(NAME, bytes.clone());
    let credentials = soci_registry::StaticCredentials::new(
        fake.host(),
        soci_registry::Credentials::Basic {
            username: "u".to_owned(),
            password: soci_registry::Secret::new("p"),
        },
    );
    let client = fake
        .client_builder()
        .credentials(Arc::new(credentials))
        .transfer(Transfer { part_size: 50_000, parallel_parts: 3 })
        .build()
        .unwrap();
    assert_eq!(download(&fake, &client, &digest, 500_000).await.unwrap(), bytes);
    let asked = fake.requests_of(RequestKind::BlobGet);
    assert_eq!(asked.iter().map(|r| r.status).collect::<Vec<_>>(), [401, 307]);
    let stored = fake.requests_of(RequestKind::StorageGet);
    assert_eq!(stored.len(), 10);
    assert!(stored.iter().all(|r| r.authorization.is_none() && r.status == 206));
}

#[tokio::test(start_paused = true)]
async fn an_expired_redirect_is_asked_for_again() {
    let options = FakeOptions { redirect_blobs: true, url_uses: Some(2), ..FakeOptions::default() };
    let fake = start_with(options).await;
    let bytes = content(200_000);
    let digest = fake.put_blob(NAME, bytes.clone());
    fake.quirk(Quirk::on(RequestKind::StorageGet, Effect::ShortBody(7)).after(1));
    let client = parts(&fake, 20_000, 1);
    assert_eq!(download(&fake, &client, &digest, 200_000).await.unwrap(), bytes);
    // Ten parts and one resumption, two per URL.
    let served = fake.requests_of(RequestKind::StorageGet);
    assert_eq!(served.iter().filter(|r| r.status == 206).count(), 11);
    assert_eq!(served.iter().filter(|r| r.status == 403).count(), 5);
    assert_eq!(fake.requests_of(RequestKind::BlobGet).len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_refuses_fresh_urls_is_given_up_as_passing() {
    let options = FakeOptions { redirect_blobs: true, ..FakeOptions::default() };
    let fake = start_with(options).await;
    let digest = fake.put_blob(NAME, content(10));
    fake.quirk(Quirk::on(RequestKind::StorageGet, Effect::status(403)).always());
    let error = download(&fake, &fake.client(), &digest, 10).await.unwrap_err();
    assert!(error.is_transient());
    assert!(!format!("{error:?}").contains("X-Signature"), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn redirects_are_bounded_and_lead_to_http_only() {
    let fake = start().await;
    let digest = fake.put_blob(NAME, content(10));
    let around = format!("/v2/{NAME}/blobs/{digest}");
    for (location, requests) in
        [(around.as_str(), 10), ("http://", 1), ("ftp://x/", 1), ("file:///x", 1)]
    {
        fake.clear_requests();
        fake.quirk(
            Quirk::on(RequestKind::BlobGet, Effect::status_with(307, "location", location))
                .times(requests),
        );
        let error = download(&fake, &fake.client(), &digest, 10).await.unwrap_err();
        assert!(matches!(error, Error::Redirect { .. } | Error::TargetRefused { .. }), "{error}");
        assert_eq!(fake.requests().len(), requests);
    }
}

#[tokio::test(start_paused = true)]
async fn a_range_is_exact_with_and_without_range_support() {
    for ranges in [true, false] {
        let fake = start_with(FakeOptions { ranges, ..FakeOptions::default() }).await;
        let bytes = content(100_000);
        let digest = fake.put_blob(NAME, bytes.clone());
        let (client, repository) = (fake.client(), fake.repository(NAME));
        for (start, end) in [(0, 1), (10, 90_000), (99_999, 100_000), (0, 100_000), (5, 5)] {
            let got = client.blob_range(&repository, &digest, start as u64..end as u64).await;
            assert_eq!(got.unwrap(), bytes[start..end], "{start}..{end} ranges: {ranges}");
            let only = start as u64..end as u64;
            let got = client.blob_range_only(&repository, &digest, only).await;
            match got {
                Ok(got) => assert_eq!(got, bytes[start..end]),
                Err(error) => {
                    assert!(!ranges && matches!(error, Error::ContentRange { .. }), "{error}");
                    assert!(!error.is_transient());
                }
            }
        }
        fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::DropAfter(20_000)));
        let got = client.blob_range(&repository, &digest, 10_000..90_000).await.unwrap();
        assert_eq!(got, bytes[10_000..90_000]);
        assert!(client.blob_range(&repository, &digest, 99_999..100_001).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn whole_blobs_in_memory_are_verified_and_limited() {
    let fake = start().await;
    let bytes = content(1000);
    let digest = fake.put_blob(NAME, bytes.clone());
    let (client, repository) = (fake.client(), fake.repository(NAME));
    assert_eq!(client.blob_bytes(&repository, &digest, 1000).await.unwrap(), bytes);
    fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::Chunked));
    let error = client.blob_bytes(&repository, &digest, 999).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 999, .. }), "{error}");
    fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::Corrupt(3)));
    let error = client.blob_bytes(&repository, &digest, 1000).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::DropAfter(3)));
    assert_eq!(client.blob_bytes(&repository, &digest, 1000).await.unwrap(), bytes);
}

#[tokio::test(start_paused = true)]
async fn the_size_of_a_blob_is_known_without_reading_it() {
    let fake = start().await;
    let digest = fake.put_blob(NAME, content(1000));
    let (client, repository) = (fake.client(), fake.repository(NAME));
    fake.quirk(Quirk::on(RequestKind::BlobHead, Effect::status(502)));
    assert_eq!(client.has_blob(&repository, &digest).await.unwrap(), Some(1000));
    assert_eq!(client.has_blob(&repository, &Digest::sha256_of(b"x")).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_reader_stops_its_requests() {
    let fake = start().await;
    let failing = fake.put_blob(NAME, content(1000));
    let small = fake.put_blob(NAME, content(10));
    fake.quirk(
        Quirk::on(RequestKind::BlobGet, Effect::status(500)).path(failing.to_string()).always(),
    );
    let retry = RetryPolicy {
        tries: u32::MAX,
        base: Duration::from_micros(100),
        cap: Duration::from_micros(100),
        ..RetryPolicy::default()
    };
    let client = fake.client_builder().retry(retry).build().unwrap();
    let asked = || {
        let requests = fake.requests_of(RequestKind::BlobGet).into_iter();
        requests.filter(|request| request.path.contains(&failing.to_string())).count()
    };
    let mut blob = client.blob(&fake.repository(NAME), &failing, 1000);
    let next = tokio::time::timeout(Duration::from_millis(50), blob.next()).await;
    assert!(next.is_err(), "the reader tries on");
    assert!(asked() > 1);
    drop(blob);
    // The request that was under way may still arrive.
    download(&fake, &client, &small, 10).await.unwrap();
    let before = asked();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(asked(), before);
}

#[tokio::test(start_paused = true)]
async fn a_reader_may_have_a_window_of_its_own() {
    let fake = start().await;
    let bytes = content(100_000);
    let digest = fake.put_blob(NAME, bytes.clone());
    let transfer = Transfer { part_size: 40_000, parallel_parts: 1 };
    let client = fake.client();
    let mut blob = client.blob_with(&fake.repository(NAME), &digest, 100_000, transfer);
    assert_eq!(read(&mut blob).await.unwrap(), bytes);
    let asked = ranges(&fake, RequestKind::BlobGet);
    assert_eq!(asked, ["bytes=0-39999", "bytes=40000-79999", "bytes=80000-99999"]);
    assert!(blob.peak_buffered() <= 40_000);
}
