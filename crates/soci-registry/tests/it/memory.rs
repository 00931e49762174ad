//! Readers that share memory.

use bytes::Bytes;
use soci_registry::{MemoryPool, Transfer};
use soci_registry_server::testing::{Effect, FakeOptions, Quirk, RequestKind};
use soci_tests::FakeRegistryClient;
use tokio::task::JoinSet;

use crate::support::{NAME, start, start_with};

#[tokio::test(start_paused = true)]
async fn readers_that_share_memory_all_end_and_hold_no_more_than_it() {
    const SIZE: usize = 3_000_000;
    for ranges in [true, false] {
        let fake = start_with(FakeOptions { ranges, ..FakeOptions::default() }).await;
        let memory = MemoryPool::new(512 << 10, 512 << 10);
        let transfer = Transfer { part_size: 64 << 10, parallel_parts: 8 };
        let mut readers = JoinSet::new();
        for number in 0..20 {
            let bytes = Bytes::from(vec![number; SIZE]);
            let digest = fake.put_blob(NAME, bytes);
            let (client, repository) = (fake.client(), fake.repository(NAME));
            let memory = memory.clone();
            readers.spawn(async move {
                let share = memory.reserve(128 << 10, 0, transfer).await.0;
                let mut blob = client.blob_with(&repository, &digest, SIZE as u64, share);
                while blob.next().await.unwrap().is_some() {}
                blob.peak_buffered()
            });
        }
        while let Some(peak) = readers.join_next().await {
            assert!(peak.unwrap() <= 512 << 10);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stands_still_does_not_hold_up_one_that_has_begun() {
    const SIZE: usize = 2 << 20;
    let fake = start().await;
    let memory = MemoryPool::new(1 << 20, 1 << 20);
    let transfer = Transfer { part_size: 64 << 10, parallel_parts: 16 };
    let slow = fake.put_blob(NAME, vec![1; SIZE]);
    let quick = fake.put_blob(NAME, vec![2; SIZE]);
    let stall = Quirk::on(RequestKind::BlobGet, Effect::Stall(0)).path(slow.to_string());
    fake.quirk(stall.range("bytes=131072-196607").always());
    let (client, repository) = (fake.client(), fake.repository(NAME));
    let share = memory.reserve(128 << 10, 0, transfer).await.0;
    let mut slow = client.blob_with(&repository, &slow, SIZE as u64, share);
    let share = memory.reserve(128 << 10, 0, transfer).await.0;
    let mut quick = client.blob_with(&repository, &quick, SIZE as u64, share);
    // By now the slow one has taken all that was left.
    while slow.position() < 128 << 10 {
        slow.next().await.unwrap();
    }
    while quick.next().await.unwrap().is_some() {}
    assert_eq!(slow.position(), 128 << 10);
}
