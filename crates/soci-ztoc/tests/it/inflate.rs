//! Deflate streams, inflated as zlib does.

use std::io::Write as _;

use fastrand::Rng;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use soci_ztoc::testing::fuzz;

use crate::support::on_all_cores;

/// Bytes that compress in one way or another.
fn content(random: &mut Rng) -> Vec<u8> {
    let size = match random.u8(..10) {
        0 => random.usize(..20),
        1 => 70_000 + random.usize(..200_000),
        _ => random.usize(..4000),
    };
    let kinds = [2, 5, 30, 256][random.usize(..4)];
    let mut content: Vec<u8> =
        (0..size).map(|_| u8::try_from(random.u16(..kinds)).unwrap()).collect();
    if random.bool() {
        // Repeats, near and far.
        let far = if random.bool() { 20 } else { 40_000 };
        let back = 1 + random.usize(..far);
        for at in back..content.len() {
            if random.u8(..50) > 0 {
                content[at] = content[at - back];
            }
        }
    }
    content
}

fn deflate(content: &[u8], random: &mut Rng) -> Vec<u8> {
    let level = Compression::new(random.u32(..10));
    let mut encoder = DeflateEncoder::new(Vec::new(), level);
    // Flushes end blocks and add empty ones.
    let step = if random.u8(..3) == 0 { 20 + random.usize(..1500) } else { usize::MAX };
    for piece in content.chunks(step) {
        encoder.write_all(piece).unwrap();
        if piece.len() == step {
            encoder.flush().unwrap();
        }
    }
    encoder.finish().unwrap()
}

/// Rounds of a test. `INFLATE_ROUNDS` makes more.
fn rounds(most: u64) -> u64 {
    std::env::var("INFLATE_ROUNDS").map_or(most, |rounds| rounds.parse().unwrap())
}

/// Changes some bytes, mostly of the first block's header.
fn damage(stream: &mut Vec<u8>, random: &mut Rng) {
    for _ in 0..=random.u8(..5) {
        let end = if random.bool() { stream.len().min(80) } else { stream.len() };
        if end == 0 {
            return;
        }
        let at = random.usize(..end);
        match random.u8(..5) {
            0 => stream[at] = random.u8(..),
            1 => drop(stream.remove(at)),
            2 => stream.insert(at, random.u8(..)),
            _ => stream[at] ^= 1 << random.u8(..8),
        }
    }
    if random.u8(..10) == 0 {
        stream.truncate(random.usize(..=stream.len()));
    }
}

#[test]
fn streams_are_inflated_as_zlib_does_and_from_each_boundary() {
    on_all_cores(rounds(1000), |seed| {
        let mut random = Rng::with_seed(seed);
        let content = content(&mut random);
        let mut stream = deflate(&content, &mut random);
        let end = stream.len();
        // What is behind a stream is not its own.
        stream.extend((0..random.usize(..30)).map(|_| random.u8(..)));
        fuzz::inflate(&stream);
        stream.truncate(end);
        // To make a stream takes longer than to inflate a short one.
        let damaged = if end < 6000 { 40 } else { 2 };
        for _ in 0..damaged {
            let mut stream = stream.clone();
            damage(&mut stream, &mut random);
            fuzz::inflate(&stream);
        }
    });
}

#[test]
fn noise_is_refused_as_zlib_does() {
    on_all_cores(rounds(20_000), |seed| {
        let mut random = Rng::with_seed(seed);
        let mut noise: Vec<u8> = (0..random.usize(1..300)).map(|_| random.u8(..)).collect();
        // A dynamic block, mostly, as the others end soon.
        if random.u8(..4) > 0 {
            noise[0] = noise[0] & !7 | 4 | random.u8(..2);
        }
        fuzz::inflate(&noise);
    });
}
