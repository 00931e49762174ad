//! Speed of building and of extracting, on layers like those of real images.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "as in tests")]
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use soci_ztoc::testing::{gzip, plain_archive};
use soci_ztoc::{Builder, Compression, LayerLimits, Reader, Ztoc, ZtocSettings};

fn build(layer: &[u8], compression: Compression) -> Ztoc {
    let mut builder = Builder::new(ZtocSettings::new(compression, "bench")).unwrap();
    for piece in layer.chunks(128 << 10) {
        builder.push(piece).unwrap();
    }
    builder.finish().unwrap()
}

fn benches(criterion: &mut Criterion) {
    let archive = plain_archive(1, 64 << 20);
    let layer = gzip(&archive);
    let mut group = criterion.benchmark_group("ztoc");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(layer.len() as u64));
    group.bench_function("build gzip", |b| b.iter(|| build(black_box(&layer), Compression::Gzip)));
    group.throughput(Throughput::Bytes(archive.len() as u64));
    group.bench_function("build uncompressed", |b| {
        b.iter(|| build(black_box(&archive), Compression::Uncompressed));
    });
    let ztoc = build(&layer, Compression::Gzip).encoded.to_vec();
    group.throughput(Throughput::Bytes(ztoc.len() as u64));
    group.bench_function("open", |b| {
        let open = |ztoc| Reader::parse(ztoc, &LayerLimits::DEFAULT).unwrap();
        b.iter_batched(|| ztoc.clone(), open, BatchSize::LargeInput);
    });
    let reader = Reader::parse(ztoc, &LayerLimits::DEFAULT).unwrap();
    let entry = reader.entry(reader.entry_count() / 2).unwrap();
    group.throughput(Throughput::Bytes(entry.size.cast_unsigned()));
    group.bench_function("extract one file", |b| {
        b.iter(|| {
            let mut size = 0;
            let fetch = |span: &soci_ztoc::Span| {
                Ok::<_, ()>(&layer[span.start as usize..span.end as usize])
            };
            let sink = |piece: &[u8]| {
                size += piece.len();
                Ok(())
            };
            reader.extract(&entry, fetch, sink).unwrap();
            size
        });
    });
    group.finish();
}

criterion_group!(build_and_read, benches);
criterion_main!(build_and_read);
