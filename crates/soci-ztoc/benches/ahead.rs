//! What it costs to decode a layer ahead, and how long that would take on more cores: `cargo bench --bench ahead -- LAYER
//! [MIB [RUNS]]`.
//!
//! Times are processor time of the thread, the least of several runs, so that a busy machine changes little. How long it takes on several
//! cores is SIMULATED from the times of the pieces, with their order and their wait for each other: it knows nothing of
//! caches and memory that cores share.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "as in tests")]

use std::hint::black_box;

use soci_ztoc::testing::{gzip, plain_archive};
use soci_ztoc::{Ahead, Compression, Scanner, SpanHasher, ZtocSettings};

/// Chunks under way at most, beside one for each core.
const AHEAD: usize = 2;

/// What a chunk takes, in seconds.
#[derive(Clone, Copy)]
struct Times {
    /// Decoding it ahead.
    decode: f64,
    /// Reading it with what was decoded.
    scan: f64,
    /// Reading it without.
    plain: f64,
    /// Hashing spans and layer.
    hash: f64,
}

impl Times {
    const LONG: Self = Self { decode: f64::MAX, scan: f64::MAX, plain: f64::MAX, hash: f64::MAX };
}

/// Processor time of this thread in seconds.
fn processor_time() -> f64 {
    // Brings the figure up to date.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn timed<T>(least: &mut f64, run: impl FnOnce() -> T) -> T {
    let before = processor_time();
    let result = run();
    *least = least.min(processor_time() - before);
    result
}

fn settings() -> ZtocSettings {
    ZtocSettings::new(Compression::Gzip, "bench")
}

fn measure(layer: &[u8], chunk: usize, runs: usize) -> (Vec<Times>, usize) {
    let chunks: Vec<&[u8]> = layer.chunks(chunk).collect();
    let mut times = vec![Times::LONG; chunks.len()];
    let mut taken_ahead = 0;
    for _ in 0..runs {
        let mut scanner = Scanner::new(settings()).unwrap();
        for (chunk, times) in chunks.iter().zip(&mut times) {
            timed(&mut times.plain, || {
                for piece in chunk.chunks(256 << 10) {
                    black_box(scanner.push(piece).unwrap());
                }
            });
        }
        let mut scanner = Scanner::new(settings()).unwrap();
        let mut hasher = SpanHasher::of_layer_too();
        let mut piece = Ahead::new(16 * chunk);
        let (mut done, mut end) = (0, 0);
        taken_ahead = 0;
        for (number, (chunk, times)) in chunks.iter().zip(&mut times).enumerate() {
            let offset = end;
            end += chunk.len();
            let behind = chunks.get(number + 1).copied().unwrap_or_default();
            timed(&mut times.decode, || piece.decode(offset as u64, chunk, behind, || false));
            let rest = &layer[done.min(end)..end];
            let (taken, cuts) =
                timed(&mut times.scan, || scanner.push_chunk(rest, &mut piece).unwrap());
            let taken = usize::try_from(taken).unwrap();
            taken_ahead += usize::from(piece.was_taken());
            timed(&mut times.hash, || hasher.push(&layer[done..taken], cuts));
            done = taken;
        }
        black_box((hasher.layer_sha256(), scanner.finish(hasher).unwrap()));
    }
    (times, taken_ahead)
}

/// When all is done on so many cores. One reads the chunks in their order; the others hash what was read, and decode ahead
/// what comes. Of a chunk that is being decoded when it is to be read, the reader takes the share that was, and
/// reads the rest itself.
fn simulate(times: &[Times], cores: usize) -> f64 {
    let mut now = 0.0_f64;
    // When each other core has nothing to do any more.
    let mut others = vec![0.0_f64; cores - 1];
    // When chunks were begun, and by which core.
    let mut begun: Vec<Option<(f64, usize)>> = vec![None; times.len()];
    let mut next = 0;
    for (number, chunk) in times.iter().enumerate() {
        next = next.max(number + 1);
        let (mut read, mut ahead) = (chunk.plain, None);
        if let Some((from, core)) = begun[number] {
            let share = ((now - from) / chunk.decode).clamp(0.0, 1.0);
            read = share * chunk.scan + (1.0 - share) * chunk.plain;
            ahead = (share < 1.0).then_some((core, from + chunk.decode - now.max(from)));
        }
        if let Some((core, left)) = ahead {
            // It is stopped, and what it would have done later comes earlier.
            others[core] = (others[core] - left).max(now);
        }
        // Who is free until this chunk is read begins another one.
        let end = now + read;
        let first = |others: &[f64]| {
            (0..others.len()).min_by(|one, two| others[*one].total_cmp(&others[*two])).unwrap()
        };
        while next < times.len() && next <= number + cores + AHEAD {
            let core = first(&others);
            let from = others[core].max(now);
            if from >= end {
                break;
            }
            begun[next] = Some((from, core));
            others[core] = from + times[next].decode;
            next += 1;
        }
        now = end;
        // Hashing goes first, as it has a thread of its own.
        let core = first(&others);
        others[core] = others[core].max(now) + chunk.hash;
    }
    now
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let layer = arguments.next();
    let mib: f64 = arguments.next().map_or(1.0, |mib| mib.parse().unwrap());
    let runs = arguments.next().map_or(3, |runs| runs.parse().unwrap());
    let name = layer.as_deref().unwrap_or("a layer made for this");
    let layer = layer
        .as_ref()
        .map_or_else(|| gzip(&plain_archive(1, 64 << 20)), |layer| std::fs::read(layer).unwrap());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few MiB")]
    let chunk = (mib * 1024.0 * 1024.0) as usize;
    let (times, taken) = measure(&layer, chunk, runs);
    let sum = |of: fn(&Times) -> f64| times.iter().map(of).sum::<f64>();
    let (decode, scan) = (sum(|times| times.decode), sum(|times| times.scan));
    let (one, hash) = (sum(|times| times.plain), sum(|times| times.hash));
    println!(
        "{name}: {:.0} MB in {} chunks of {mib} MiB, {taken} taken ahead",
        layer.len() as f64 / 1e6,
        times.len()
    );
    println!("  one thread scans {one:.3} s; hashing spans and layer {hash:.3}");
    println!(
        "  decoding ahead {decode:.3} s, reading behind it {scan:.3}: {:.2} times one thread",
        (decode + scan) / one
    );
    for cores in [2, 3, 4, 6, 8, 16] {
        let all = simulate(&times, cores);
        println!(
            "  SIMULATED {cores:>2} cores: {all:.3} s, {:.2} times as fast as one thread that scans",
            one / all
        );
    }
}
