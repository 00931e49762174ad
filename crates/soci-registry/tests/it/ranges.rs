//! Ranges that are refused or answered oddly: whatever a plain GET gives is read all the same.

use std::time::Duration;

use soci_oci::Digest;
use soci_registry::{Error, RetryPolicy};
use soci_registry_server::testing::{Effect, FakeOptions, FakeRegistry, Quirk, RequestKind};
use soci_tests::FakeRegistryClient;

use crate::support::{NAME, content, download, parts, ranges, read, start, start_with};

/// Habits with which no part can be read.
const WITHOUT_PARTS: [&str; 12] = [
    "range-400",
    "range-403",
    "range-405",
    "range-416",
    "range-501",
    "range-not-stated",
    "range-garbled",
    "range-of-another-unit",
    "range-of-nothing",
    "range-always-first",
    "range-in-parts",
    "range-of-100-bytes",
];

/// Habits with which parts can be read, or the whole is sent in their place.
const ODD: [&str; 3] = ["range-of-unknown-total", "range-of-a-piece", "ranges-ignored"];

/// Where blobs come from.
fn places() -> [(FakeOptions, RequestKind); 2] {
    let storage = FakeOptions { redirect_blobs: true, ..FakeOptions::default() };
    [(FakeOptions::default(), RequestKind::BlobGet), (storage, RequestKind::StorageGet)]
}

async fn start_at(options: FakeOptions, habit: &str) -> FakeRegistry {
    let fake = start_with(options).await;
    fake.behave(habit);
    fake
}

#[tokio::test(start_paused = true)]
async fn a_blob_of_any_size_is_read_within_the_window() {
    let bytes = content(1_000_000);
    for habit in WITHOUT_PARTS.into_iter().chain(ODD) {
        for (options, kind) in places() {
            let fake = start_at(options, habit).await;
            let digest = fake.put_blob(NAME, bytes.clone());
            for size in [1, 99, 100_000, 500_000] {
                let bytes = content(size);
                fake.put_blob(NAME, bytes);
            }
            let client = parts(&fake, 200_000, 2);
            let mut blob = client.blob(&fake.repository(NAME), &digest, 1_000_000);
            assert_eq!(read(&mut blob).await.unwrap(), bytes, "{habit} {kind:?}");
            assert!(blob.peak_buffered() <= 400_000, "{habit} {}", blob.peak_buffered());
            if WITHOUT_PARTS.contains(&habit) {
                assert_eq!(ranges(&fake, kind), ["bytes=0-199999", ""], "{habit} {kind:?}");
            }
            for size in [1, 99, 100_000, 500_000] {
                let bytes = content(size);
                let digest = Digest::sha256_of(&bytes);
                let got = download(&fake, &client, &digest, size).await.unwrap();
                assert_eq!(got, bytes, "{habit} {kind:?} {size}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_refuses_ranges_is_remembered_until_then_it_is_asked() {
    for habit in WITHOUT_PARTS {
        for (options, kind) in places() {
            let fake = start_at(options, habit).await;
            let bytes = content(300_000);
            let digest = fake.put_blob(NAME, bytes.clone());
            let client = parts(&fake, 100_000, 2);
            for blob in 0..4 {
                fake.clear_requests();
                let got = download(&fake, &client, &digest, 300_000).await.unwrap();
                assert_eq!(got, bytes, "{habit} {kind:?}");
                let asked = ranges(&fake, kind).len();
                assert_eq!(asked, if blob < 2 { 2 } else { 1 }, "{habit} {kind:?} {blob}");
            }
        }
    }
    // One refusal among ranges that are given is not believed.
    let fake = start().await;
    let bytes = content(300_000);
    let digest = fake.put_blob(NAME, bytes.clone());
    let client = parts(&fake, 100_000, 2);
    for _ in 0..4 {
        fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::status(400)));
        assert_eq!(download(&fake, &client, &digest, 300_000).await.unwrap(), bytes);
        fake.clear_requests();
        assert_eq!(download(&fake, &client, &digest, 300_000).await.unwrap(), bytes);
        assert_eq!(ranges(&fake, RequestKind::BlobGet).len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_break_goes_on_by_a_plain_request_that_skips_what_was_read() {
    let bytes = content(300_000);
    for habit in WITHOUT_PARTS {
        // One plain request from the start, and one that takes the place of parts.
        for part_size in [100_000, 1 << 20] {
            for (options, kind) in places() {
                let fake = start_at(options, habit).await;
                let digest = fake.put_blob(NAME, bytes.clone());
                let client = parts(&fake, part_size, 2);
                let whole = usize::from(part_size == 100_000);
                let broken = Effect::ShortBody(150_000);
                fake.quirk(Quirk::on(kind, broken).after(whole));
                let got = download(&fake, &client, &digest, 300_000).await.unwrap();
                assert_eq!(got, bytes, "{habit} {kind:?} {part_size}");
                assert!(ranges(&fake, kind).len() <= 4, "{habit} {:?}", ranges(&fake, kind));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_range_is_read_and_one_that_must_cost_no_more_fails_for_good() {
    let bytes = content(300_000);
    for habit in WITHOUT_PARTS {
        for (options, kind) in places() {
            let fake = start_at(options, habit).await;
            let digest = fake.put_blob(NAME, bytes.clone());
            let (client, repository) = (fake.client(), fake.repository(NAME));
            for turn in 0..3 {
                let got = client.blob_range(&repository, &digest, 1_000..250_000).await;
                assert_eq!(got.unwrap(), bytes[1_000..250_000], "{habit} {kind:?}");
                fake.clear_requests();
                let got = client.blob_range_only(&repository, &digest, 1_000..250_000).await;
                let error = got.unwrap_err();
                assert!(!error.is_transient(), "{habit} {kind:?} {error}");
                let asked = ranges(&fake, kind).len();
                assert_eq!(asked, if turn == 0 { 2 } else { 0 }, "{habit} {kind:?} {turn}");
            }
        }
    }
    for habit in ["range-of-unknown-total", "range-of-a-piece"] {
        let fake = start_at(FakeOptions::default(), habit).await;
        let digest = fake.put_blob(NAME, bytes.clone());
        let got = fake.client().blob_range_only(&fake.repository(NAME), &digest, 10..290_000).await;
        assert_eq!(got.unwrap(), bytes[10..290_000], "{habit}");
    }
}

#[tokio::test(start_paused = true)]
async fn pieces_of_a_range_are_asked_for_without_a_pause() {
    let fake = start_at(FakeOptions::default(), "range-of-a-piece").await;
    let bytes = content(1_000_000);
    let digest = fake.put_blob(NAME, bytes.clone());
    let retry = RetryPolicy { tries: 1, ..RetryPolicy::default() };
    let builder = fake.client_builder().retry(retry);
    let transfer = soci_registry::Transfer { part_size: 500_000, parallel_parts: 1 };
    let client = builder.transfer(transfer).build().unwrap();
    assert_eq!(download(&fake, &client, &digest, 1_000_000).await.unwrap(), bytes);
    let asked = ranges(&fake, RequestKind::BlobGet);
    let starts: Vec<_> = (0..10).map(|piece| piece * 100_000).collect();
    let expected: Vec<_> = starts
        .into_iter()
        .map(|start| format!("bytes={start}-{}", if start < 500_000 { 499_999 } else { 999_999 }))
        .collect();
    assert_eq!(asked, expected);
}

#[tokio::test(start_paused = true)]
async fn ranges_that_end_in_the_middle_of_a_blob_cost_each_part_under_way_once() {
    let bytes = content(2_000_000);
    for effect in [Effect::status(400), Effect::IgnoreRange, Effect::Multipart] {
        let fake = start().await;
        let digest = fake.put_blob(NAME, bytes.clone());
        let refused = Quirk::on(RequestKind::BlobGet, effect.clone()).always();
        let ranged = soci_registry_server::testing::Condition::Ranged;
        fake.quirk(refused.when(ranged).after(4));
        let client = parts(&fake, 50_000, 3);
        let mut blob = client.blob(&fake.repository(NAME), &digest, 2_000_000);
        assert_eq!(read(&mut blob).await.unwrap(), bytes, "{effect:?}");
        assert!(blob.peak_buffered() <= 150_000, "{}", blob.peak_buffered());
        let asked = ranges(&fake, RequestKind::BlobGet);
        assert!(asked.len() <= 12, "{effect:?} {asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_plain_request_is_refused_is_said() {
    for (options, kind) in places() {
        let redirect = options.redirect_blobs;
        let fake = start_with(options).await;
        let digest = fake.put_blob(NAME, content(300_000));
        let denied = Effect::error(http::StatusCode::FORBIDDEN, "DENIED", "no pull");
        fake.quirk(Quirk::on(kind, denied).always());
        let error = download(&fake, &parts(&fake, 100_000, 2), &digest, 300_000).await.unwrap_err();
        assert!(error.status().is_some_and(|status| status.has_code("DENIED")), "{error}");
        assert_eq!(error.is_transient(), redirect, "a storage's refusal may pass: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_is_not_as_long_as_it_should_be_is_an_error_soon() {
    for habit in ["range-400", "range-416", "range-not-stated", "ranges-ignored", ""] {
        for (size, part_size) in
            [(299_999, 100_000), (300_001, 100_000), (299_999, 1 << 20), (300_001, 1 << 20)]
        {
            let fake = start().await;
            if !habit.is_empty() {
                fake.behave(habit);
            }
            let digest = fake.put_blob(NAME, content(300_000));
            let client = parts(&fake, part_size, 2);
            let error = download(&fake, &client, &digest, size).await.unwrap_err();
            let asked = ranges(&fake, RequestKind::BlobGet).len();
            assert!(asked <= 20, "{habit} {size} {part_size} {asked} {error}");
            if habit.is_empty() || size < 300_000 {
                assert!(!error.is_transient() && asked <= 3, "{habit} {size} {asked} {error}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_url_that_expires_in_the_middle_is_renewed_as_often_as_new_ones_work() {
    let bytes = content(1_000_000);
    for status in [400, 401, 403, 404, 410] {
        for (part_size, parallel) in [(50_000, 1), (50_000, 3), (1 << 20, 1)] {
            let options = FakeOptions { redirect_blobs: true, ..FakeOptions::default() };
            let fake = start_with(options).await;
            let digest = fake.put_blob(NAME, bytes.clone());
            // Each second answer breaks, and the URL has ended by then.
            for turn in 0..6 {
                fake.quirk(
                    Quirk::on(RequestKind::StorageGet, Effect::ShortBody(40_000)).after(turn),
                );
                fake.quirk(Quirk::on(RequestKind::StorageGet, Effect::status(status)).after(turn));
            }
            let client = parts(&fake, part_size, parallel);
            let result = download(&fake, &client, &digest, 1_000_000).await;
            match result {
                Ok(got) => assert_eq!(got, bytes, "{status}"),
                // A new URL that names nothing is final.
                Err(error) => {
                    assert!(matches!(status, 404 | 410) && parallel > 1, "{status} {error}");
                }
            }
        }
    }
    // A new URL each time, which serves one request.
    let options = FakeOptions { redirect_blobs: true, url_uses: Some(1), ..FakeOptions::default() };
    let fake = start_with(options).await;
    let digest = fake.put_blob(NAME, bytes.clone());
    let client = fake
        .client_builder()
        .retry(RetryPolicy { tries: 2, total: Duration::from_secs(1), ..RetryPolicy::default() })
        .transfer(soci_registry::Transfer { part_size: 10_000, parallel_parts: 1 })
        .build()
        .unwrap();
    assert_eq!(download(&fake, &client, &digest, 1_000_000).await.unwrap(), bytes);
    assert_eq!(fake.requests_of(RequestKind::BlobGet).len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_refuses_is_given_up_after_the_tries() {
    let options = FakeOptions { redirect_blobs: true, ..FakeOptions::default() };
    let fake = start_with(options).await;
    let digest = fake.put_blob(NAME, content(300_000));
    fake.quirk(Quirk::on(RequestKind::StorageGet, Effect::status(403)).always());
    let retry = RetryPolicy { tries: 3, base: Duration::from_millis(1), ..RetryPolicy::default() };
    let client = fake.client_builder().retry(retry).build().unwrap();
    let repository = fake.repository(NAME);
    for only in [true, false] {
        fake.clear_requests();
        let got = if only {
            client.blob_range_only(&repository, &digest, 10..20).await
        } else {
            client.blob_range(&repository, &digest, 10..20).await
        };
        let error = got.unwrap_err();
        assert!(matches!(&error, Error::Exhausted { failures: 3, .. }), "{error}");
        // With a range and without one.
        assert_eq!(fake.requests_of(RequestKind::StorageGet).len(), 6);
    }
    fake.clear_requests();
    let error = client.blob_bytes(&repository, &digest, 300_000).await.unwrap_err();
    assert!(matches!(&error, Error::Exhausted { failures: 3, .. }), "{error}");
}
