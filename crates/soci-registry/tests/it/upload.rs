//! Blobs that do not go by one PUT.

use bytes::Bytes;
use http::StatusCode;
use soci_oci::Digest;
use soci_registry::{Client, Error, PushedBlob};
use soci_registry_server::testing::{
    Condition, Effect, FakeRegistry, LoggedRequest, Quirk, RequestKind,
};
use soci_tests::FakeRegistryClient;

use crate::support::{NAME, content, start, tag};

const MIB: usize = 1 << 20;

async fn push(fake: &FakeRegistry, client: &Client, bytes: &Bytes) -> Result<(), Error> {
    let digest = Digest::sha256_of(bytes);
    let source = bytes.clone().into();
    let pushed = client.push_blob(&fake.repository(NAME), &digest, &source, None).await?;
    assert_eq!(pushed, PushedBlob::Uploaded);
    assert!(fake.blob(NAME, &digest).is_some_and(|there| there == *bytes));
    Ok(())
}

fn sizes(fake: &FakeRegistry, kind: RequestKind) -> Vec<usize> {
    fake.requests_of(kind).iter().map(|request| request.body_size).collect()
}

fn patches(fake: &FakeRegistry) -> Vec<LoggedRequest> {
    fake.requests_of(RequestKind::UploadPatch)
}

/// Refuses bodies of more than `size` bytes, as a proxy does.
fn limit(fake: &FakeRegistry, size: u64) {
    for kind in [RequestKind::UploadPut, RequestKind::UploadPatch, RequestKind::ManifestPut] {
        let effect = Effect::status(413);
        fake.quirk(Quirk::on(kind, effect).when(Condition::BodyOver(size)).always());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_for_a_proxy_goes_in_parts_that_fit_and_later_blobs_at_once() {
    let fake = start().await;
    fake.behave("bodies-limited");
    let client = fake.client();
    push(&fake, &client, &content(3 * MIB + 17)).await.unwrap();
    assert_eq!(sizes(&fake, RequestKind::UploadPut), [3 * MIB + 17, 0]);
    assert_eq!(sizes(&fake, RequestKind::UploadPatch), [MIB, MIB, MIB, 17]);
    let ranges: Vec<String> =
        patches(&fake).into_iter().filter_map(|patch| patch.content_range).collect();
    assert_eq!(ranges, ["0-1048575", "1048576-2097151", "2097152-3145727", "3145728-3145744"]);
    fake.clear_requests();
    push(&fake, &client, &content(2 * MIB)).await.unwrap();
    assert_eq!(sizes(&fake, RequestKind::UploadPut), [0], "it is known by now");
    fake.clear_requests();
    push(&fake, &client, &content(MIB)).await.unwrap();
    assert_eq!(sizes(&fake, RequestKind::UploadPut), [MIB], "what fits goes by one PUT");
}

#[tokio::test(start_paused = true)]
async fn parts_get_smaller_until_they_fit() {
    let fake = start().await;
    limit(&fake, 100_000);
    push(&fake, &fake.client(), &content(MIB + 1)).await.unwrap();
    let sent = sizes(&fake, RequestKind::UploadPatch);
    assert_eq!(sent[..3], [MIB, 256 << 10, 64 << 10]);
    assert_eq!((sent.len(), sent[sent.len() - 1]), (2 + 17, 1));
}

#[tokio::test(start_paused = true)]
async fn what_no_size_helps_is_said_with_what_does() {
    for size in [5000, 100_000, 2 * MIB] {
        let fake = start().await;
        limit(&fake, 1000);
        let error = push(&fake, &fake.client(), &content(size)).await.unwrap_err();
        assert!(matches!(error, Error::BodyRefused { .. }) && !error.is_transient(), "{error}");
        assert!(error.to_string().contains("client_max_body_size"), "{error}");
        assert_eq!(fake.requests_of(RequestKind::UploadPut).len(), 1);
    }
    let fake = start().await;
    limit(&fake, 10);
    let manifest = Bytes::from(vec![b' '; 100]);
    let repository = fake.repository(NAME);
    let put = fake.client().put_manifest(&repository, &tag("1"), "x/y", manifest).await;
    let error = put.unwrap_err();
    assert!(matches!(error, Error::BodyRefused { .. }) && !error.is_transient(), "{error}");
    assert_eq!(fake.requests_of(RequestKind::ManifestPut).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_takes_no_blob_by_put_gets_it_by_one_patch() {
    let listed = |code| Effect::error(StatusCode::BAD_REQUEST, code, "");
    for (refusal, puts) in [
        (Effect::status(400), 1),
        (Effect::status(405), 1),
        (Effect::status(411), 1),
        (Effect::status(415), 1),
        (Effect::status(501), 1),
        (listed("UNSUPPORTED"), 1),
        (listed("UNKNOWN"), 1),
        // These may mean that this upload was lost.
        (Effect::status(404), 2),
        (Effect::status(416), 2),
        (listed("BLOB_UPLOAD_INVALID"), 2),
    ] {
        let fake = start().await;
        let always = Quirk::on(RequestKind::UploadPut, refusal.clone()).always();
        fake.quirk(always.when(Condition::BodyOver(0)));
        let client = fake.client();
        push(&fake, &client, &content(50_000)).await.unwrap();
        let sent = sizes(&fake, RequestKind::UploadPut);
        assert_eq!((sent.len(), sent[puts]), (puts + 1, 0), "{refusal:?}");
        let patches = patches(&fake);
        assert_eq!((patches.len(), patches[0].body_size), (1, 50_000));
        assert_eq!(patches[0].content_range, None, "as docker sends it");
        fake.clear_requests();
        push(&fake, &client, &content(50_001)).await.unwrap();
        assert_eq!(sizes(&fake, RequestKind::UploadPut), [0], "it is known by now");
    }
}

#[tokio::test(start_paused = true)]
async fn a_denial_is_no_reason_to_send_parts() {
    for (status, code) in [(403, "DENIED"), (400, "NAME_INVALID"), (409, ""), (400, "DENIED")] {
        let fake = start().await;
        let effect = Effect::error(StatusCode::from_u16(status).unwrap(), code, "no");
        fake.quirk(Quirk::on(RequestKind::UploadPut, effect).always());
        push(&fake, &fake.client(), &content(50_000)).await.unwrap_err();
        assert!(patches(&fake).is_empty(), "{status} {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_under_large_bodies_gets_smaller_ones() {
    let fake = start().await;
    let breaks = Quirk::on(RequestKind::UploadPut, Effect::HangUp).always();
    let breaks = fake.quirk(breaks.when(Condition::BodyOver(MIB as u64)));
    let client = fake.client();
    push(&fake, &client, &content(2 * MIB)).await.unwrap();
    assert_eq!(sizes(&fake, RequestKind::UploadPatch), [MIB, MIB]);
    fake.lift(breaks);
    fake.clear_requests();
    push(&fake, &client, &content(2 * MIB + 1)).await.unwrap();
    assert_eq!(sizes(&fake, RequestKind::UploadPut), [2 * MIB + 1], "it may just have been broken");
}

#[tokio::test(start_paused = true)]
async fn where_no_parts_are_taken_the_refusal_of_the_whole_stands() {
    let fake = start().await;
    fake.behave("bodies-limited");
    fake.behave("no-parts");
    let error = push(&fake, &fake.client(), &content(2 * MIB)).await.unwrap_err();
    let Error::BodyRefused { status } = &error else { panic!("{error}") };
    assert_eq!(status.request.method, "PUT");
}

#[tokio::test(start_paused = true)]
async fn a_part_that_fails_in_passing_is_resumed_where_the_registry_is() {
    let lost = Effect::error(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "");
    // What happens to the second part, and how many parts and uploads there are in the end.
    for (effect, parts, uploads) in [
        (Effect::status(503), 4, 2),
        (Effect::status(429), 4, 2),
        (Effect::LoseAnswer(502), 3, 2),
        // Those are begun anew, as a whole at first.
        (lost, 5, 4),
        (Effect::status(416), 5, 4),
    ] {
        let fake = start().await;
        fake.behave("bodies-limited");
        fake.quirk(Quirk::on(RequestKind::UploadPatch, effect.clone()).after(1));
        push(&fake, &fake.client(), &content(3 * MIB)).await.unwrap();
        assert_eq!(patches(&fake).len(), parts, "{effect:?}");
        assert_eq!(fake.requests_of(RequestKind::UploadPost).len(), uploads, "{effect:?}");
    }
    for effect in [Effect::HangUp, Effect::HangUpAfter] {
        let fake = start().await;
        fake.behave("bodies-limited");
        fake.quirk(Quirk::on(RequestKind::UploadPatch, effect).after(1));
        push(&fake, &fake.client(), &content(3 * MIB)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_answer_to_a_part_says_is_believed_where_it_can_be() {
    let range = |value: &str| Effect::SetHeader("range", value.to_owned());
    for effects in [
        // Of the part before, as ECR says it.
        vec![range("0-0")],
        vec![range("0-1048575")],
        vec![range("0-99999999999")],
        vec![range("bytes=0-1048575")],
        vec![range("nonsense")],
        vec![Effect::DropHeader("range")],
        vec![Effect::DropHeader("location")],
        vec![Effect::LocationAtRegistry],
        vec![Effect::LocationAtStorage],
        vec![Effect::Status(201)],
        vec![Effect::Status(204)],
    ] {
        for status_known in [true, false] {
            let fake = start().await;
            fake.behave("bodies-limited");
            for effect in effects.clone() {
                fake.quirk(Quirk::on(RequestKind::UploadPatch, effect).always());
            }
            if !status_known {
                fake.quirk(Quirk::on(RequestKind::UploadGet, Effect::status(404)).always());
            }
            push(&fake, &fake.client(), &content(3 * MIB)).await.unwrap();
            assert_eq!(patches(&fake).len(), 3, "{effects:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_part_is_smaller_than_the_registry_takes() {
    let fake = start().await;
    let least = Effect::SetHeader("oci-chunk-min-length", "300000".to_owned());
    fake.quirk(Quirk::on(RequestKind::UploadPost, least).always());
    limit(&fake, 400_000);
    let error = push(&fake, &fake.client(), &content(MIB + 1)).await.unwrap_err();
    assert!(matches!(error, Error::BodyRefused { .. }), "{error}");
    assert!(sizes(&fake, RequestKind::UploadPatch).iter().all(|size| *size >= 300_000));
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_forgets_what_it_had_is_not_sent_it_for_ever() {
    let fake = start().await;
    limit(&fake, 1 << 20);
    let had = |range| Effect::status_with(202, "range", range);
    for _ in 0..40 {
        fake.quirk(Quirk::on(RequestKind::UploadPatch, had("0-1048575")).times(1));
        fake.quirk(Quirk::on(RequestKind::UploadPatch, had("0-17")).times(1));
    }
    fake.quirk(
        Quirk::on(RequestKind::UploadGet, Effect::status_with(204, "range", "0-0")).always(),
    );
    let error = push(&fake, &fake.client(), &content(3 * MIB)).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    assert!(patches(&fake).len() < 12, "{} parts", patches(&fake).len());
}

#[tokio::test(start_paused = true)]
async fn two_failures_of_different_kinds_say_nothing_of_the_way() {
    let fake = start().await;
    let invalid = Effect::error(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", "");
    fake.quirk(Quirk::on(RequestKind::UploadPut, Effect::status(502)).times(1));
    fake.quirk(Quirk::on(RequestKind::UploadPut, invalid).times(1));
    push(&fake, &fake.client(), &content(2 * MIB)).await.unwrap();
    assert_eq!(sizes(&fake, RequestKind::UploadPut), [2 * MIB; 3]);
    assert!(patches(&fake).is_empty());
}
