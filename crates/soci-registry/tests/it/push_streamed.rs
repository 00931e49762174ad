//! Uploads of blobs that are not held in memory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use soci_oci::Digest;
use soci_registry::{BlobPieces, BlobSource, Error, PushedBlob, StreamedBlob};
use soci_registry_server::testing::{
    Effect, FakeAuth, FakeOptions, FakeRegistry, Quirk, RequestKind, TokenUser,
};
use soci_tests::FakeRegistryClient;

use crate::support::{NAME, content, start, start_with};

/// A blob in pieces, whose first readings fail.
#[derive(Debug)]
struct Pieces {
    bytes: Bytes,
    failing: usize,
    /// Whether that is for good.
    lost: bool,
    begun: AtomicUsize,
}

impl Pieces {
    fn new(bytes: &Bytes, failing: usize, lost: bool) -> Arc<Self> {
        Arc::new(Self { bytes: bytes.clone(), failing, lost, begun: AtomicUsize::new(0) })
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }
}

impl StreamedBlob for Pieces {
    fn pieces(&self) -> BlobPieces {
        let fails = self.begun.fetch_add(1, Ordering::SeqCst) < self.failing;
        let mut pieces: Vec<io::Result<Bytes>> =
            self.bytes.chunks(50_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        if fails {
            *pieces.last_mut().unwrap() = Err(io::Error::other("unreadable"));
        }
        stream::iter(pieces).boxed()
    }

    fn is_lost(&self) -> bool {
        self.lost && self.begun() <= self.failing
    }
}

async fn push(fake: &FakeRegistry, pieces: &Arc<Pieces>) -> Result<PushedBlob, Error> {
    let digest = Digest::sha256_of(&pieces.bytes);
    let source = BlobSource::streamed(
        pieces.bytes.len() as u64,
        Arc::clone(pieces) as Arc<dyn StreamedBlob>,
    );
    fake.client().push_blob(&fake.repository(NAME), &digest, &source, None).await
}

#[tokio::test(start_paused = true)]
async fn a_streamed_blob_is_uploaded_by_one_put_of_known_length() {
    for options in [
        FakeOptions::default(),
        FakeOptions { uploads_elsewhere: true, ..FakeOptions::default() },
        FakeOptions {
            auth: FakeAuth::Bearer { user: TokenUser::Anyone, lifetime: Duration::from_mins(5) },
            ..FakeOptions::default()
        },
    ] {
        let fake = start_with(options).await;
        let bytes = content(210_000);
        let pieces = Pieces::new(&bytes, 0, false);
        assert_eq!(push(&fake, &pieces).await.unwrap(), PushedBlob::Uploaded);
        assert_eq!(fake.blob(NAME, &Digest::sha256_of(&bytes)), Some(bytes));
        let puts = fake.requests_of(RequestKind::UploadPut);
        assert_eq!(puts.iter().map(|put| put.body_size).collect::<Vec<_>>(), [210_000]);
        assert_eq!(push(&fake, &pieces).await.unwrap(), PushedBlob::AlreadyThere);
        assert_eq!(pieces.begun(), 1, "what is there is not read");
    }
}

#[tokio::test(start_paused = true)]
async fn every_try_reads_it_from_its_start() {
    for (failing, quirk) in [
        (0, Some(Effect::status(500))),
        (0, Some(Effect::HangUp)),
        (0, Some(Effect::status(429))),
        (2, None),
    ] {
        let fake = start().await;
        if let Some(quirk) = quirk.clone() {
            fake.quirk(Quirk::on(RequestKind::UploadPut, quirk).times(2));
        }
        let bytes = content(210_000);
        let pieces = Pieces::new(&bytes, failing, false);
        assert_eq!(push(&fake, &pieces).await.unwrap(), PushedBlob::Uploaded, "{quirk:?}");
        assert_eq!(pieces.begun(), 3, "{quirk:?}");
        assert_eq!(fake.blob(NAME, &Digest::sha256_of(&bytes)), Some(bytes));
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_not_tried_again_and_not_there() {
    let fake = start().await;
    let bytes = content(210_000);
    let pieces = Pieces::new(&bytes, usize::MAX, true);
    push(&fake, &pieces).await.unwrap_err();
    assert_eq!(pieces.begun(), 1);
    assert_eq!(fake.blob(NAME, &Digest::sha256_of(&bytes)), None);
}

#[tokio::test(start_paused = true)]
async fn what_a_proxy_does_not_take_at_once_is_read_once_more_for_all_its_parts() {
    let fake = start().await;
    fake.behave("bodies-limited");
    let bytes = content(3_500_000);
    let pieces = Pieces::new(&bytes, 0, false);
    assert_eq!(push(&fake, &pieces).await.unwrap(), PushedBlob::Uploaded);
    assert_eq!(fake.blob(NAME, &Digest::sha256_of(&bytes)), Some(bytes));
    let parts = fake.requests_of(RequestKind::UploadPatch);
    let taken = parts.iter().filter(|part| part.status < 300).count();
    assert_eq!(taken, 4);
    // For the PUT, for the first part that was small enough, and for none of those behind it.
    assert!(pieces.begun() <= 4, "{}", pieces.begun());
}
