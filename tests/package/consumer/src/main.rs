//! Uses what is published as anyone would: makes a layer, builds its ztoc, and reads a file of it through ranges; then
//! has an image of that layer indexed.

mod image;

use std::convert::Infallible;
use std::error::Error;
use std::io::Write;
use std::ops::Range;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use soci_ztoc::{Compression, Reader, Ztoc, ZtocSettings};

/// A compressed layer that counts what is read of it.
struct Layer {
    bytes: Vec<u8>,
    read: usize,
}

impl Layer {
    fn range(&mut self, range: Range<u64>) -> std::io::Result<Vec<u8>> {
        let range = range.start as usize..range.end as usize;
        let bytes = self.bytes.get(range).ok_or(std::io::ErrorKind::UnexpectedEof)?;
        self.read += bytes.len();
        Ok(bytes.to_vec())
    }
}

fn content(number: u32) -> Vec<u8> {
    // A generator of Lehmer's: bytes that compress badly, so that the layer has several spans.
    let mut state = u64::from(number) + 1;
    let mut next = move || {
        state = state * 48_271 % 0x7fff_ffff;
        (state >> 8) as u8
    };
    (0..100_000).map(|_| next()).collect()
}

fn layer() -> std::io::Result<Vec<u8>> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut archive = tar::Builder::new(gzip);
    for number in 0..20 {
        let content = content(number);
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("usr/share/{number}"), &content[..])?;
    }
    let mut gzip = archive.into_inner()?;
    gzip.flush()?;
    gzip.finish()
}

/// Waits for a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> Result<T, &'static str> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Ok(value),
        Poll::Pending => Err("it waits"),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let layer = layer()?;
    ztoc_of(layer.clone())?;
    image::index(&layer).await
}

fn ztoc_of(layer: Vec<u8>) -> Result<(), Box<dyn Error>> {
    let mut layer = Layer { bytes: layer, read: 0 };

    let settings = ZtocSettings {
        span_size: 256 << 10,
        ..ZtocSettings::new(Compression::Gzip, "consumer 0.0.0")
    };
    let ztoc = Ztoc::build(&layer.bytes[..], settings)?;
    assert_eq!(ztoc.files, 20);
    assert!(ztoc.spans > 4, "{} spans", ztoc.spans);
    let mut stored = Vec::new();
    ztoc.encoded.write_to(&mut stored)?;

    let reader = Reader::from_bytes(stored)?;
    let file = reader.find("usr/share/11").ok_or("the layer has no usr/share/11")?;
    assert!(reader.read_file(&file, 99_999, |range| layer.range(range)).is_err());
    assert_eq!(layer.read, 0, "a file over the limit is not fetched");
    let found = reader.read_file(&file, 100_000, |range| layer.range(range))?;
    assert!(found == content(11), "what was read is not what was written");
    assert!(layer.read < layer.bytes.len() / 2, "{} of {}", layer.read, layer.bytes.len());

    let found =
        reader.read_file_async(&file, 100_000, |range| std::future::ready(layer.range(range)));
    assert!(now(found)?? == content(11), "what was read later is not what was written");

    let mut pieces = Vec::new();
    let mut extraction = reader.extraction(&file)?;
    while let Some(span) = extraction.next_span() {
        extraction.push(&layer.range(span.range())?, &mut |data| {
            pieces.extend_from_slice(data);
            Ok::<_, Infallible>(())
        })?;
    }
    extraction.finish()?;
    assert!(pieces == content(11), "what came in pieces is not what was written");

    println!("{}: {} of {} bytes read", ztoc.encoded.digest(), layer.read, layer.bytes.len());
    Ok(())
}
