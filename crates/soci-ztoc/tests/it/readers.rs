//! Building from an `io::Read`, and reading files through ranges: what needs no loop of the caller's.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::{self, Read};
use std::ops::Range;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use soci_ztoc::testing::{Layer, random_layer};
use soci_ztoc::{
    BuildError, BuildFromReaderError, Compression, Entry, ExtractError, FetchError, FileType,
    Reader, Ztoc, ZtocSettings,
};

use crate::support::{build, open, settings};

fn settings_of(layer: &Layer) -> ZtocSettings {
    settings(layer.compression, layer.span_size)
}

fn built(layer: &Layer) -> Reader<Vec<u8>> {
    open(build(&layer.bytes, settings_of(layer), || 9999).unwrap().encoded.to_vec())
}

fn slice(layer: &Layer, range: Range<u64>) -> &[u8] {
    assert!(!range.is_empty(), "nobody can fetch no bytes");
    &layer.bytes[range.start as usize..range.end as usize]
}

fn fetch<'a>(layer: &'a Layer) -> impl Fn(Range<u64>) -> Result<&'a [u8], Infallible> {
    move |range| Ok(slice(layer, range))
}

/// Polls a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

fn is_send<T: Send>(value: T) -> T {
    value
}

/// Reads a byte at a time and is interrupted before each.
struct Slow<'a>(&'a [u8], bool);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.0.read(&mut buffer[..1])
    }
}

/// Ends with an error.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

/// A layer with a regular file of at least one byte, and that file.
fn with_file() -> (Layer, Reader<Vec<u8>>, usize) {
    let layer = random_layer(7);
    let reader = built(&layer);
    let is_full = |entry: &Entry<'_>| entry.kind == FileType::Regular && entry.size > 0;
    let index = reader.entries().find(is_full).unwrap().index;
    (layer, reader, index)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_reader_gives_the_ztoc_that_pieces_give(seed: u64) {
        let layer = random_layer(seed);
        let pieces = build(&layer.bytes, settings_of(&layer), || 777).unwrap().encoded;
        let whole = Ztoc::build(&layer.bytes[..], settings_of(&layer)).unwrap().encoded;
        prop_assert_eq!(whole.digest(), pieces.digest());
        prop_assert_eq!(whole.digest(), format!("sha256:{}", hex::encode(whole.sha256())));
        let mut written = Vec::new();
        whole.write_to(&mut written).unwrap();
        prop_assert!(written == whole.to_vec());
    }

    #[test]
    fn every_file_is_read_through_ranges_now_and_later(seed: u64) {
        let layer = random_layer(seed);
        let reader = built(&layer);
        let regular = reader.entries().filter(|entry| entry.kind == FileType::Regular);
        for (entry, (path, content)) in regular.zip(&layer.files) {
            let limit = content.len() as u64;
            let blocking = reader.read_file(&entry, limit, fetch(&layer)).unwrap();
            let future = reader.read_file_async(&entry, limit, |range| ready(fetch(&layer)(range)));
            prop_assert!(&blocking == content, "{}", String::from_utf8_lossy(path));
            prop_assert!(now(is_send(future)).unwrap() == blocking);
        }
    }
}

#[test]
fn interrupted_reads_are_tried_again_and_others_end_the_build() {
    let layer = random_layer(3);
    let expected = build(&layer.bytes, settings_of(&layer), || 777).unwrap().encoded.sha256();
    let slow = Ztoc::build(Slow(&layer.bytes, false), settings_of(&layer)).unwrap();
    assert_eq!(slow.encoded.sha256(), expected);

    let broken = layer.bytes[..layer.bytes.len() / 2].chain(Broken);
    let error = Ztoc::build(broken, settings_of(&layer)).unwrap_err();
    let BuildFromReaderError::Read(source) = error else { panic!("{error:?}") };
    assert_eq!(source.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_layer_without_a_ztoc_says_why() {
    let error = Ztoc::build(&b"no gzip"[..], ZtocSettings::new(Compression::Gzip, "test"));
    let Err(BuildFromReaderError::Build(BuildError::Gzip { .. })) = error else {
        panic!("{error:?}")
    };
}

#[test]
fn a_file_over_the_limit_is_not_fetched() {
    let (layer, reader, index) = with_file();
    let entry = reader.entry(index).unwrap();
    let size = entry.size.cast_unsigned();
    let fetched = Cell::new(0);
    let fetch = |range| {
        fetched.set(fetched.get() + 1);
        Ok::<_, Infallible>(slice(&layer, range))
    };
    let expected = ExtractError::TooLarge { size, limit: size - 1 };
    for error in [
        reader.read_file(&entry, size - 1, fetch).unwrap_err(),
        now(reader.read_file_async(&entry, size - 1, |range| ready(fetch(range)))).unwrap_err(),
    ] {
        assert!(matches!(error, FetchError::Extract(found) if found == expected));
    }
    assert_eq!(fetched.get(), 0);
    assert_eq!(reader.extraction(&entry).unwrap().remaining(), size);
    assert_eq!(reader.read_file(&entry, size, fetch).unwrap().len() as u64, size);
}

#[test]
fn what_fetching_says_is_passed_on_and_changed_bytes_are_not() {
    let (layer, reader, index) = with_file();
    let entry = reader.entry(index).unwrap();
    let refuse = |_| Err::<Vec<u8>, _>("no more");
    assert_eq!(reader.read_file(&entry, u64::MAX, refuse), Err(FetchError::Fetch("no more")));
    let refuse: fn(_) -> Ready<_> = |_| ready(Err::<Vec<u8>, _>("no more"));
    let future = reader.read_file_async(&entry, u64::MAX, refuse);
    assert_eq!(now(future), Err(FetchError::Fetch("no more")));
    let error = reader.read_file(&entry, u64::MAX, |range| {
        let mut bytes = slice(&layer, range).to_vec();
        bytes[0] ^= 1;
        Ok::<_, Infallible>(bytes)
    });
    assert!(matches!(error, Err(FetchError::Extract(ExtractError::SpanDigest { .. }))));
}

#[test]
fn an_entry_without_data_is_refused_and_a_hard_link_is_followed() {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    archive.append_data(&mut header, "bin/tool", &b"code"[..]).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    for (kind, path) in [(tar::EntryType::Link, "bin/hard"), (tar::EntryType::Symlink, "bin/soft")]
    {
        header.set_entry_type(kind);
        archive.append_link(&mut header, path, "bin/tool").unwrap();
    }
    let layer = archive.into_inner().unwrap();
    let ztoc = Ztoc::build(&layer[..], settings(Compression::Uncompressed, 512)).unwrap();
    let reader = Reader::from_bytes(ztoc.encoded.to_vec()).unwrap();
    let read = |path: &str| {
        let fetch =
            |range: Range<u64>| Ok::<_, ()>(&layer[range.start as usize..range.end as usize]);
        reader.read_file(&reader.find(path).unwrap(), 4, fetch)
    };
    assert_eq!(read("/bin/hard").unwrap(), b"code");
    let symlink = ExtractError::Symlink("bin/tool".to_owned());
    assert_eq!(read("bin/soft"), Err(FetchError::Extract(symlink)));
    assert!(reader.find(b"bin/none").is_none());
}
