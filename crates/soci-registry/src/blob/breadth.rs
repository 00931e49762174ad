//! How many parts of a blob are under way at once.
//!
//! One connection may be slow where the link is not: an object store gives each some 20 to 100 MB/s, and several at once
//! multiply that. More than are of use cost memory and connections. What is of use is not known before, so it is
//! found out, from what the reader sees in any case:
//!
//! - A reader begins with [`FIRST_PARTS`], or with what a former one of the same registry has found.
//! - It looks back after each round: as many parts as are under way were handed out. The first round tells nothing, as it
//!   has the waits for connections in it.
//! - If a quarter of the round was spent waiting for bytes, the network is what holds the layer up, and twice as many
//!   are tried. Where that is not an eighth quicker, the link or the server is full: it goes back, and the next try comes
//!   after twice as many rounds as the last one.
//! - If hardly anything was spent waiting, parts lie ready before they are asked for: an eighth fewer, at least one.
//!
//! How many there can be is the memory's to say ([`MemoryLease`](crate::MemoryLease)), which this asks for more but
//! does not give.

use std::time::Duration;

use tokio::time::Instant;

/// Parts under way at once while nothing is known.
pub(super) const FIRST_PARTS: usize = 8;

/// Fewest: while one is handed out, the next one comes.
const FEWEST_PARTS: usize = 2;

/// Most rounds between two tries.
const LONGEST_PATIENCE: u32 = 64;

/// How many parts of one blob are under way at once.
#[derive(Debug)]
pub(super) struct Breadth {
    parts: usize,
    most: usize,
    round: Option<Round>,
    trial: Option<Trial>,
    /// Rounds until the next try, and after the one that fails next.
    rest: u32,
    patience: u32,
    /// Whether any round was judged.
    found: bool,
}

/// What was handed out since the last look.
#[derive(Debug)]
struct Round {
    began: Instant,
    waited: Duration,
    parts: usize,
    bytes: u64,
}

type BytesPerSecond = u128;

/// How it was before more parts were tried.
#[derive(Clone, Copy, Debug)]
struct Trial {
    parts: usize,
    rate: BytesPerSecond,
}

impl Breadth {
    /// A reader that begins with `first` parts, and has at most `most`.
    pub(super) fn new(first: usize, most: usize) -> Self {
        let most = most.max(1);
        let parts = first.clamp(FEWEST_PARTS.min(most), most);
        Self { parts, most, round: None, trial: None, rest: 0, patience: 1, found: false }
    }

    /// How many parts are to be under way now.
    pub(super) fn parts(&self) -> usize {
        self.parts
    }

    /// What a later reader may begin with, if anything was found out. Not what is only being tried.
    pub(super) fn found(&self) -> Option<usize> {
        self.found.then(|| self.trial.map_or(self.parts, |before| before.parts))
    }

    /// The reader waited so long for bytes.
    pub(super) fn waited(&mut self, time: Duration) {
        if let Some(round) = &mut self.round {
            round.waited += time;
            return;
        }
        // The first round is that of the first parts, which is not judged.
        self.round = Some(Round { began: Instant::now(), waited: time, parts: 0, bytes: 0 });
    }

    /// A part of so many bytes was handed out whole, and more are there to begin: where there are none, fewer than
    /// wanted are under way, and nothing can be told.
    pub(super) fn handed_out(&mut self, bytes: u64, now: Instant) {
        let first = !self.found;
        let Some(round) = &mut self.round else { return };
        round.parts += 1;
        round.bytes += bytes;
        if round.parts < self.parts {
            return;
        }
        let elapsed = now.saturating_duration_since(round.began);
        let (waited, bytes) = (round.waited, round.bytes);
        *round = Round { began: now, waited: Duration::ZERO, parts: 0, bytes: 0 };
        self.found = true;
        let rate = u128::from(bytes) * 1_000_000 / elapsed.as_micros().max(1);
        if !first {
            let (often, hardly) = (4 * waited >= elapsed, 64 * waited <= elapsed);
            self.judge(rate, often, hardly);
        }
    }

    /// Decides after a round in which the reader waited for bytes `often` or `hardly`.
    fn judge(&mut self, rate: BytesPerSecond, often: bool, hardly: bool) {
        if let Some(before) = self.trial.take() {
            if 8 * rate < 9 * before.rate {
                self.parts = before.parts;
                self.rest = self.patience;
                self.patience = (2 * self.patience).min(LONGEST_PATIENCE);
                return;
            }
            self.patience = 1;
        }
        if self.rest > 0 {
            self.rest -= 1;
        } else if often && self.parts < self.most {
            self.trial = Some(Trial { parts: self.parts, rate });
            self.parts = (2 * self.parts).min(self.most);
        }
        if hardly {
            let fewer = self.parts - (self.parts / 8).max(1).min(self.parts);
            self.parts = fewer.max(FEWEST_PARTS.min(self.most));
        }
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
mod tests {
    use super::*;

    const PART: u64 = 8 << 20;

    /// A link and a consumer, in bytes a second.
    #[derive(Clone, Copy)]
    struct World {
        /// What one connection gives.
        connection: f64,
        /// What all give together.
        link: f64,
        /// What the reader of the bytes takes.
        consumer: f64,
        /// What a request costs before its first byte, in seconds.
        latency: f64,
    }

    /// How a blob was read.
    struct BlobRead {
        /// Parts that were wanted at the end.
        parts: usize,
        /// Most parts under way.
        most: usize,
        /// Share of the parts that were handed out with more under way than at first.
        widened: f64,
        seconds: f64,
    }

    fn read(world: World, parts: usize, breadth: &mut Breadth) -> BlobRead {
        let start = Instant::now();
        let (mut now, mut most, mut widened) = (0.0_f64, 0, 0);
        // Bytes that are still to come of each part under way, and when its first one may come.
        let mut under_way: Vec<(f64, f64)> = Vec::new();
        let mut begun = 0;
        for _ in 0..parts {
            let mut left_to_read = PART as f64;
            let mut waited = 0.0;
            while left_to_read > 0.0 {
                while begun < parts && under_way.len() < breadth.parts() {
                    under_way.push((PART as f64, now + world.latency));
                    begun += 1;
                }
                most = most.max(under_way.len());
                let step = 0.001;
                now += step;
                let active =
                    under_way.iter().filter(|(left, from)| *left > 0.0 && *from <= now).count();
                let rate = world.connection.min(world.link / active.max(1) as f64);
                for (left, from) in &mut under_way {
                    if *from <= now {
                        *left = (*left - rate * step).max(0.0);
                    }
                }
                let there = left_to_read - under_way[0].0;
                let takes = (world.consumer * step).min(there.max(0.0));
                left_to_read -= takes;
                waited += step * (1.0 - takes / (world.consumer * step));
            }
            under_way.remove(0);
            widened += usize::from(breadth.parts() > FIRST_PARTS);
            breadth.waited(Duration::from_secs_f64(waited));
            if begun < parts {
                breadth.handed_out(PART, start + Duration::from_secs_f64(now));
            }
        }
        let widened = widened as f64 / parts as f64;
        BlobRead { parts: breadth.parts(), most, widened, seconds: now }
    }

    const MB: f64 = 1e6;
    const QUICK: World =
        World { connection: 1000.0 * MB, link: 10_000.0 * MB, consumer: 300.0 * MB, latency: 0.0 };

    #[test]
    fn slow_connections_do_not_hold_a_quick_link_down() {
        let world = World { connection: 20.0 * MB, ..QUICK };
        let adapted = read(world, 400, &mut Breadth::new(FIRST_PARTS, 32));
        assert!((12..=24).contains(&adapted.parts) && adapted.most <= 32, "{}", adapted.parts);
        let fixed = read(world, 400, &mut Breadth::new(8, 8)).seconds;
        println!(
            "adapted: {:.1} s, {} parts; with eight: {fixed:.1} s",
            adapted.seconds, adapted.parts
        );
        assert!(adapted.seconds < fixed * 0.65);
    }

    #[test]
    fn a_wait_before_each_part_is_filled_by_more_of_them() {
        let world = World { connection: 60.0 * MB, latency: 0.3, ..QUICK };
        let adapted = read(world, 400, &mut Breadth::new(FIRST_PARTS, 32)).seconds;
        let fixed = read(world, 400, &mut Breadth::new(8, 8)).seconds;
        println!("adapted: {adapted:.1} s; with eight: {fixed:.1} s");
        assert!(adapted < fixed * 0.75);
    }

    #[test]
    fn where_one_connection_is_enough_there_are_two() {
        let adapted = read(QUICK, 400, &mut Breadth::new(FIRST_PARTS, 32));
        assert_eq!((adapted.parts, adapted.most), (2, 8));
        let least = 400.0 * PART as f64 / QUICK.consumer;
        assert!(adapted.seconds < least * 1.05, "{} {least}", adapted.seconds);
    }

    #[test]
    fn a_full_link_gets_no_more_connections_than_it_has() {
        let world = World { connection: 50.0 * MB, link: 100.0 * MB, ..QUICK };
        let adapted = read(world, 1_000, &mut Breadth::new(FIRST_PARTS, 32));
        println!("{:.0} % of the parts with more than eight", adapted.widened * 100.0);
        assert!(adapted.most <= 16 && adapted.widened > 0.0 && adapted.widened < 0.2);
        let fixed = read(world, 1_000, &mut Breadth::new(8, 8)).seconds;
        assert!(adapted.seconds < fixed * 1.01, "{} {fixed}", adapted.seconds);
    }

    #[test]
    fn what_was_found_is_what_proved_right() {
        let mut breadth = Breadth::new(FIRST_PARTS, 32);
        read(QUICK, 4, &mut breadth);
        assert_eq!(breadth.found(), None, "not even a round");
        read(World { connection: 5.0 * MB, ..QUICK }, 400, &mut breadth);
        assert_eq!(breadth.found(), Some(32));
        breadth.trial = Some(Trial { parts: 16, rate: 1 });
        assert_eq!(breadth.found(), Some(16), "the rest is only being tried");
    }

    #[test]
    fn bounds_hold_whatever_they_are() {
        for most in 0..5 {
            for first in 0..9 {
                let mut breadth = Breadth::new(first, most);
                assert!((1..=most.max(1)).contains(&breadth.parts()), "{first} {most}");
                read(QUICK, 50, &mut breadth);
                assert!((1..=most.max(1)).contains(&breadth.parts()), "{first} {most}");
            }
        }
    }
}
