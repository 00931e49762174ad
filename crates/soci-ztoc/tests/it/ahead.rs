//! Ztocs of layers whose pieces are decoded ahead are those of layers that are read as ever.

use fastrand::Rng;
use soci_ztoc::testing::{gzip, plain_archive, random_layer};
use soci_ztoc::{BuildError, Compression, Ztoc, ZtocSettings};

use crate::support::{NEVER, build, build_ahead, on_all_cores, settings};

/// Digest, size of the archive and number of files, or the error: what does not depend on how a layer is cut.
type Told = Result<([u8; 32], u64, usize), String>;

fn told(result: Result<Ztoc, BuildError>) -> Told {
    match result {
        Ok(ztoc) => Ok((ztoc.encoded.sha256(), ztoc.uncompressed_size, ztoc.files)),
        // How much of the layer had been read is said with "near".
        Err(BuildError::Gzip { reason, .. }) => Err(format!("gzip: {reason}")),
        Err(BuildError::Tar { source, archive_offset, .. }) => {
            Err(format!("{source:?} at {archive_offset}"))
        }
        Err(other) => Err(format!("{other:?}")),
    }
}

/// Holds what was found against the layer read as ever. Of two things that are wrong close to each other, it depends on the
/// pieces which one is found first.
fn is_as_ever(
    found: Result<(Ztoc, usize), BuildError>,
    layer: &[u8],
    settings: &ZtocSettings,
    seed: u64,
) {
    let found = told(found.map(|(ztoc, _)| ztoc));
    let expected = |piece| told(build(layer, settings.clone(), || piece));
    let large = expected(1 << 20);
    if found != large {
        let small = expected(1);
        assert!(large.is_err() && found == small, "seed {seed}: {found:?}, as ever {large:?}");
    }
}

/// Rounds of a test. `AHEAD_ROUNDS` makes more.
fn rounds(most: u64) -> u64 {
    std::env::var("AHEAD_ROUNDS").map_or(most, |rounds| rounds.parse().unwrap())
}

fn damage(layer: &mut [u8], random: &mut Rng) {
    let times = if layer.is_empty() { 0 } else { random.usize(..3) };
    for _ in 0..times {
        let at = random.usize(..layer.len());
        layer[at] ^= 1 << random.u8(..8);
    }
}

#[test]
fn random_layers_give_the_same_and_the_same_errors() {
    on_all_cores(rounds(400), |seed| {
        let mut random = Rng::with_seed(seed);
        let mut layer = random_layer(seed);
        let with = settings(layer.compression, layer.span_size);
        if random.u8(..3) == 0 {
            damage(&mut layer.bytes, &mut random);
        }
        let most = [1000, 100_000, 1 << 20, 1 << 24][random.usize(..4)];
        let largest = match random.u8(..20) {
            0 => 1000,
            1..5 => 10_000,
            5..15 => 64 << 10,
            _ => 1 << 20,
        };
        let chunk = || {
            let questions = if random.bool() { NEVER } else { random.u32(1..20) };
            (random.usize(largest / 8..=largest), questions)
        };
        let found = build_ahead(&layer.bytes, with.clone(), chunk, most);
        is_as_ever(found, &layer.bytes, &with, seed);
    });
}

#[test]
fn most_of_a_layer_is_taken_from_what_was_decoded_ahead() {
    let layer = gzip(&plain_archive(3, 24 << 20));
    for (chunk, span_size) in [(64 << 10, 1 << 20), (300_000, 4 << 20), (1 << 20, 10_000)] {
        let with = settings(Compression::Gzip, span_size);
        let (ztoc, ahead) = build_ahead(&layer, with.clone(), || (chunk, NEVER), 16 << 20).unwrap();
        is_as_ever(Ok((ztoc, ahead)), &layer, &with, 3);
        let chunks = layer.len() / chunk;
        assert!(ahead * 4 >= chunks * 3, "{chunk}: {ahead} of {chunks}");
    }
}

#[test]
fn what_was_decoded_until_it_was_stopped_is_taken() {
    let layer = gzip(&plain_archive(5, 12 << 20));
    let with = settings(Compression::Gzip, 1 << 20);
    for (questions, at_least, at_most) in [(1, 0, 0), (2, 0, 8), (4, 6, 8), (9, 6, 8)] {
        let chunk = || (layer.len() / 8, questions);
        let (ztoc, taken) = build_ahead(&layer, with.clone(), chunk, 16 << 20).unwrap();
        is_as_ever(Ok((ztoc, taken)), &layer, &with, 5);
        assert!((at_least..=at_most).contains(&taken), "{questions} questions: {taken}");
    }
}

#[test]
fn damaged_layers_fail_as_ever() {
    let layer = gzip(&plain_archive(4, 3 << 20));
    let with = settings(Compression::Gzip, 100_000);
    on_all_cores(rounds(60), |seed| {
        let mut random = Rng::with_seed(seed);
        let mut layer = layer.clone();
        damage(&mut layer, &mut random);
        if random.u8(..4) == 0 {
            layer.truncate(random.usize(..layer.len()));
        }
        let chunk = || (64 << 10, if random.bool() { NEVER } else { random.u32(1..6) });
        let found = build_ahead(&layer, with.clone(), chunk, 1 << 24);
        is_as_ever(found, &layer, &with, seed);
    });
}
