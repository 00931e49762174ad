//! What it costs to decode a layer ahead, and how long that would take on more cores: `cargo bench --bench ahead -- LAYER
//! [MIB [RUNS]]`.
//!
//! Times are processor time of the thread, the least of several runs, so that a busy machine changes little. How long it takes on several
//! cores is SIMULATED from the times of the pieces, with their order and their wait for each other: it knows nothing of
//! caches and memory that cores share.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "as in tests")]

use std::hint::black_box;

use sha2::{Digest as _, Sha256};
use soci_ztoc::testing::{gzip, plain_archive};
use soci_ztoc::{Ahead, Compression, Scanner, SpanHasher, ZtocSettings};

/// Chunks that are decoded ahead at most, beside one for each core.
const AHEAD: usize = 2;

/// What a chunk takes, in seconds.
#[derive(Clone, Copy)]
struct Times {
    decode: f64,
    scan: f64,
    hash_spans: f64,
    hash_layer: f64,
}

impl Times {
    const LONG: Self =
        Self { decode: f64::MAX, scan: f64::MAX, hash_spans: f64::MAX, hash_layer: f64::MAX };
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

/// Inflating and reading as ever.
fn sequential(layer: &[u8], runs: usize) -> f64 {
    let mut least = f64::MAX;
    for _ in 0..runs {
        let mut scanner = Scanner::new(settings()).unwrap();
        timed(&mut least, || {
            for piece in layer.chunks(256 << 10) {
                black_box(scanner.push(piece).unwrap());
            }
        });
    }
    least
}

fn ahead(layer: &[u8], chunk: usize, runs: usize) -> (Vec<Times>, usize) {
    let chunks: Vec<&[u8]> = layer.chunks(chunk).collect();
    let mut times = vec![Times::LONG; chunks.len()];
    let mut taken_ahead = 0;
    for _ in 0..runs {
        let (mut scanner, mut hasher) = (Scanner::new(settings()).unwrap(), SpanHasher::new());
        let mut of_layer = Sha256::new();
        let mut piece = Ahead::new(16 * chunk);
        let (mut done, mut end) = (0, 0);
        taken_ahead = 0;
        for (number, (chunk, times)) in chunks.iter().zip(&mut times).enumerate() {
            let offset = end;
            end += chunk.len();
            let behind = chunks.get(number + 1).copied().unwrap_or_default();
            timed(&mut times.decode, || piece.decode(offset as u64, chunk, behind));
            let rest = &layer[done.min(end)..end];
            let (taken, cuts) =
                timed(&mut times.scan, || scanner.push_chunk(rest, &mut piece).unwrap());
            let taken = usize::try_from(taken).unwrap();
            taken_ahead += usize::from(taken > end);
            timed(&mut times.hash_spans, || hasher.push(&layer[done..taken], cuts));
            timed(&mut times.hash_layer, || of_layer.update(chunk));
            done = taken;
        }
        black_box((scanner.finish(hasher).unwrap(), of_layer.finalize()));
    }
    (times, taken_ahead)
}

/// When all is done on so many cores. A core that is free takes what is next in order: reading, hashing, decoding.
fn simulate(times: &[Times], cores: usize) -> f64 {
    let mut free = vec![0.0_f64; cores];
    let mut decoded: Vec<f64> = Vec::new();
    // When the next of each is ready, and its number.
    let (mut scanned, mut spans, mut layer) = (vec![], vec![], vec![]);
    let after = |list: &[f64]| list.last().copied().unwrap_or_default();
    loop {
        let next = |ready: Option<f64>, time: f64| ready.map(|ready| (ready, time));
        let scan =
            (scanned.len() < decoded.len()).then(|| decoded[scanned.len()].max(after(&scanned)));
        let hashed = (spans.len() < scanned.len()).then(|| scanned[spans.len()].max(after(&spans)));
        let whole = (layer.len() < times.len()).then(|| after(&layer));
        let decode = (decoded.len() < times.len())
            .then(|| {
                decoded
                    .len()
                    .checked_sub(cores + AHEAD)
                    .map_or(Some(0.0), |before| scanned.get(before).copied())
            })
            .flatten();
        let tasks = [
            next(scan, times.get(scanned.len()).map_or(0.0, |times| times.scan)),
            next(hashed, times.get(spans.len()).map_or(0.0, |times| times.hash_spans)),
            next(whole, times.get(layer.len()).map_or(0.0, |times| times.hash_layer)),
            next(decode, times.get(decoded.len()).map_or(0.0, |times| times.decode)),
        ];
        let core = free.iter_mut().min_by(|one, other| one.total_cmp(other)).unwrap();
        let first = tasks.iter().enumerate().filter_map(|(kind, task)| Some((kind, (*task)?)));
        let Some((kind, (ready, time))) =
            first.min_by(|(_, one), (_, other)| one.0.max(*core).total_cmp(&other.0.max(*core)))
        else {
            break;
        };
        *core = core.max(ready) + time;
        [&mut scanned, &mut spans, &mut layer, &mut decoded][kind].push(*core);
    }
    free.into_iter().fold(0.0, f64::max)
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
    let one = sequential(&layer, runs);
    let (times, taken) = ahead(&layer, chunk, runs);
    let sum = |of: fn(&Times) -> f64| times.iter().map(of).sum::<f64>();
    let (decode, scan) = (sum(|times| times.decode), sum(|times| times.scan));
    let (spans, whole) = (sum(|times| times.hash_spans), sum(|times| times.hash_layer));
    println!(
        "{name}: {:.0} MB in {} chunks of {mib} MiB, {taken} taken ahead",
        layer.len() as f64 / 1e6,
        times.len()
    );
    println!("  one thread scans {one:.3} s; hashing spans {spans:.3}, the layer {whole:.3}");
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
