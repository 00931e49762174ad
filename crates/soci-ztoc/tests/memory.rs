//! Memory is what the build asked for plus a constant, however large the layer is and whatever is in it.
//!
//! A binary of its own: its allocator counts, and nothing else may allocate beside the test.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is a failed test")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the numbers are the tests' own"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use peak_alloc::PeakAlloc;
use soci_ztoc::testing::{gzip, plain_archive};
use soci_ztoc::{BuildError, Compression, MemoryGrant, Scanner, SpanHasher, Ztoc, ZtocSettings};
use tar::{Builder, EntryType, Header};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Gives up to a limit, and tells how much it gave at most.
#[derive(Clone, Debug)]
struct UpTo {
    limit: u64,
    given: Arc<AtomicU64>,
    most: Arc<AtomicU64>,
}

impl UpTo {
    fn new(limit: u64) -> Self {
        Self { limit, given: Arc::default(), most: Arc::default() }
    }
}

impl MemoryGrant for UpTo {
    fn grow(&mut self, bytes: u64) -> bool {
        let given = self.given.load(Ordering::Relaxed) + bytes;
        if given > self.limit {
            return false;
        }
        self.given.store(given, Ordering::Relaxed);
        self.most.fetch_max(given, Ordering::Relaxed);
        true
    }

    fn release(&mut self) {
        self.given.store(0, Ordering::Relaxed);
    }
}

/// A layer of empty files.
fn many_files(files: usize) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for file in 0..files {
        let mut header = Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(0);
        header.set_username("root").unwrap();
        header.set_groupname("root").unwrap();
        archive.append_data(&mut header, format!("usr/share/{file}"), &[][..]).unwrap();
    }
    archive.into_inner().unwrap()
}

/// A layer of files with as many small PAX records as fit into one header.
fn many_records(files: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for record in 0.. {
        let record = format!("{record:x}=\n");
        let len = record.len() + 2;
        let len = if len >= 10 { len + 1 } else { len };
        if body.len() + len > 1 << 20 {
            break;
        }
        body.extend_from_slice(format!("{len} {record}").as_bytes());
    }
    let mut archive = Builder::new(Vec::new());
    for file in 0..files {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_size(body.len() as u64);
        archive.append_data(&mut header, "x", &body[..]).unwrap();
        let mut header = Header::new_ustar();
        header.set_size(0);
        archive.append_data(&mut header, format!("{file}"), &[][..]).unwrap();
    }
    archive.into_inner().unwrap()
}

/// A layer of files whose names are as long as they may be.
fn long_names(files: usize) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for _ in 0..files {
        let mut header = Header::new_gnu();
        header.set_size(0);
        archive.append_data(&mut header, "n".repeat((1 << 20) - 1), &[][..]).unwrap();
    }
    archive.into_inner().unwrap()
}

fn build(layer: &[u8], span_size: u64, memory: &UpTo) -> Result<Ztoc, BuildError> {
    let settings = ZtocSettings { span_size, ..ZtocSettings::new(Compression::Gzip, "test") };
    let mut scanner = Scanner::with_memory(settings, Box::new(memory.clone()))?;
    let mut hasher = SpanHasher::new();
    for piece in layer.chunks(64 << 10) {
        let cuts = scanner.push(piece)?;
        hasher.push(piece, cuts);
    }
    scanner.finish(hasher)
}

#[test]
fn building_takes_what_it_asked_for_which_is_little_more_than_the_ztoc() {
    let layers = [
        ("few files, 16 MiB", gzip(&plain_archive(1, 16 << 20))),
        ("few files, 128 MiB", gzip(&plain_archive(1, 128 << 20))),
        ("300,000 empty files", gzip(&many_files(300_000))),
        ("10 empty files", gzip(&many_files(10))),
        ("records", gzip(&many_records(8))),
        ("long names", gzip(&long_names(30))),
    ];
    for (name, layer) in &layers {
        for span_size in [64 << 10, 4 << 20] {
            let memory = UpTo::new(u64::MAX);
            let before = MEMORY.current_usage();
            MEMORY.reset_peak_usage();
            let ztoc = build(layer, span_size, &memory).unwrap();
            let peak = (MEMORY.peak_usage() - before) as u64;
            let (size, given) = (ztoc.encoded.size(), memory.most.load(Ordering::Relaxed));
            println!("{name}: layer {} ztoc {size} given {given} peak {peak}", layer.len());
            assert!(peak <= given + Scanner::FIXED_MEMORY, "{name}: {peak} bytes, {given} given");
            let most = (64 << 20) + size + size / 4;
            assert!(peak <= most && given <= most, "{name}: {peak} bytes for a ztoc of {size}");
            drop(ztoc);

            // With less than that nothing is kept, and what is needed is said.
            let short = UpTo::new(given / 2);
            let before = MEMORY.current_usage();
            MEMORY.reset_peak_usage();
            let error = build(layer, span_size, &short).unwrap_err();
            let peak = (MEMORY.peak_usage() - before) as u64;
            let BuildError::OutOfMemory { needed } = error else { panic!("{name}: {error}") };
            assert!(peak <= given / 2 + (16 << 20), "{name}: {peak} bytes of {}", given / 2);
            assert!(given <= needed && needed <= given + (1 << 20), "{name}: {needed} {given}");
            assert_eq!(short.given.load(Ordering::Relaxed), 0, "{name}: what was given is back");
            assert!(build(layer, span_size, &UpTo::new(needed)).is_ok(), "{name}: {needed}");
        }
    }
}
