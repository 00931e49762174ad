//! Memory that many share: one pool, and leases on it.
//!
//! The pool bounds what all together hold, however many there are and whatever they are sent. A lease
//! is waited for before anything is held, and is all that is needed to come to an end:
//!
//! - **Nobody waits while holding.** What is needed in any case is leased at once, in the order
//!   in which it was asked for. Whoever finds out later that more is needed may take what is free
//!   ([`MemoryHold::try_grow`]), but has to give everything back and to begin again where there
//!   is not as much. So nobody can wait for somebody who waits.
//! - A blob reader has a reservation, with which it can always have one part under way, and so it ends and
//!   gives all back, whatever the others do. On top it borrows what is free, part by part.
//! - A reader that is alone has all of what windows may take. What it borrowed goes first to those who
//!   wait, in the order in which they came, because the semaphore is fair and borrowing never
//!   waits in its queue. So it gives way within the parts that are under way.
//! - Windows of downloads take a share of the pool at most, so that what is made of the downloads finds
//!   room to grow.
//! - A part that finds less room than it wants is still begun if it gets 1 MiB, or if it is the only
//!   one. Smaller ones cost more in requests than they bring.
//! - Memory comes back when the part is dropped, not when its reader is: a reader that is dropped in
//!   the middle of a part frees no memory that is still in use.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::policy::Transfer;

/// Bytes that one permit stands for: with 32 bits for a number of permits, memory of up to 4 TiB.
const UNIT: u64 = 1 << 10;

/// Least part that is worth a request of its own while another one is under way.
const SMALLEST_PART: u64 = 1 << 20;

/// Memory that many lease. Clones are the same memory.
///
/// A blob reader has some of it reserved, with which it always gets on, and takes what is free besides,
/// part by part. What it took goes first to those who wait for a lease.
#[derive(Clone, Debug)]
pub struct MemoryPool {
    free: Arc<Semaphore>,
    units: u32,
    /// What of it the windows of blob readers may still take.
    windows: Arc<Semaphore>,
    window_units: u32,
}

impl MemoryPool {
    /// Memory of `bytes`, at least 1 KiB and at most 4 TiB, of which the windows of blob readers take
    /// at most `windows`.
    pub fn new(bytes: u64, windows: u64) -> Self {
        let units = whole_units(bytes);
        let window_units = whole_units(windows).min(units);
        Self {
            free: Arc::new(Semaphore::new(units as usize)),
            units,
            windows: Arc::new(Semaphore::new(window_units as usize)),
            window_units,
        }
    }

    /// All of the memory, in bytes.
    pub fn bytes(&self) -> u64 {
        u64::from(self.units) * UNIT
    }

    /// Bytes that nobody holds.
    pub fn free(&self) -> u64 {
        self.free.available_permits() as u64 * UNIT
    }

    /// Waits until `bytes` of the memory are free, at most all of it, and holds them. Those who wait
    /// get their turn in the order in which they came.
    pub async fn hold(&self, bytes: u64) -> MemoryHold {
        let units = units(bytes).min(self.units);
        // The semaphore is never closed, so there is always a permit in the end.
        let permit = Arc::clone(&self.free).acquire_many_owned(units).await.ok();
        MemoryHold { free: Arc::clone(&self.free), permit }
    }

    /// Holds `bytes` of the memory if they are free, and nobody who waits is to have them.
    pub fn try_hold(&self, bytes: u64) -> Option<MemoryHold> {
        let permit = Arc::clone(&self.free).try_acquire_many_owned(units(bytes)).ok()?;
        Some(MemoryHold { free: Arc::clone(&self.free), permit: Some(permit) })
    }

    /// Waits likewise for `window` bytes, at most all that windows may take, which are reserved for one
    /// reader, and for `beside` more for what is made of its bytes. `transfer` bounds what the reader
    /// takes on top: no part is larger, and no more are under way.
    pub async fn reserve(
        &self,
        window: u64,
        beside: u64,
        transfer: Transfer,
    ) -> (MemoryLease, MemoryHold) {
        let units = units(window).clamp(1, self.window_units);
        // Always in this order: whoever waits for the second holds nothing that others need for theirs.
        let window = Arc::clone(&self.windows).acquire_many_owned(units).await.ok();
        let beside = u64::from(self::units(beside).min(self.units - units)) * UNIT;
        let mut beside = self.hold(beside + u64::from(units) * UNIT).await;
        let permit = beside.permit.as_mut().and_then(|permit| permit.split(units as usize));
        let reservation = Reservation {
            units,
            own: Arc::new(Semaphore::new(units as usize)),
            pool: self.clone(),
            _permits: (window, permit),
        };
        (MemoryLease { transfer, reserved: Some(Arc::new(reservation)) }, beside)
    }
}

/// Memory that is held for one purpose until this is dropped.
#[derive(Debug)]
pub struct MemoryHold {
    free: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl MemoryHold {
    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.permit.as_ref().map_or(0, |permit| permit.num_permits() as u64 * UNIT)
    }

    /// Holds `bytes` more if they are free. Does not wait: who holds memory and waits for more keeps
    /// others waiting.
    pub fn try_grow(&mut self, bytes: u64) -> bool {
        let Ok(more) = Arc::clone(&self.free).try_acquire_many_owned(units(bytes)) else {
            return false;
        };
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
        true
    }

    /// Takes `bytes` out of it, at most all, to be given back apart from the rest.
    #[must_use]
    pub fn split(&mut self, bytes: u64) -> Self {
        let units = units(bytes.min(self.bytes()));
        let permit = self.permit.as_mut().and_then(|permit| permit.split(units as usize));
        Self { free: Arc::clone(&self.free), permit }
    }

    /// Gives back what is more than `bytes`.
    pub fn shrink(&mut self, bytes: u64) {
        let surplus = units(self.bytes()).saturating_sub(units(bytes));
        if let Some(permit) = &mut self.permit {
            drop(permit.split(surplus as usize));
        }
    }
}

/// How much of a blob one reader may hold. A [`Transfer`] alone is a lease on memory
/// of its own.
#[derive(Debug)]
pub struct MemoryLease {
    transfer: Transfer,
    reserved: Option<Arc<Reservation>>,
}

impl From<Transfer> for MemoryLease {
    fn from(transfer: Transfer) -> Self {
        Self { transfer, reserved: None }
    }
}

#[derive(Debug)]
struct Reservation {
    units: u32,
    /// What of the reservation is not in use.
    own: Arc<Semaphore>,
    /// What is borrowed from.
    pool: MemoryPool,
    /// Of the share of windows, and of the memory.
    _permits: (Option<OwnedSemaphorePermit>, Option<OwnedSemaphorePermit>),
}

/// What was borrowed, as a part of the share of windows and of the memory.
type Borrowed = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// Room for one part. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: u64,
    _own: Option<OwnedSemaphorePermit>,
    _borrowed: Option<Borrowed>,
    /// Keeps the reservation as long as anything of it is in use.
    _reserved: Option<Arc<Reservation>>,
}

impl Room {
    /// Size of the part, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl MemoryLease {
    /// Largest part and most parts at once.
    pub(crate) fn transfer(&self) -> Transfer {
        self.transfer
    }

    /// Bytes that may be held without asking for more.
    pub(crate) fn guaranteed(&self) -> u64 {
        match &self.reserved {
            Some(reserved) => u64::from(reserved.units) * UNIT,
            None => self.transfer.window(),
        }
    }

    /// Room for the next part of a blob of which `left` bytes, at least one, are not covered, while
    /// `under_way` other parts are. With none under way there always is room.
    pub(crate) fn take(&self, left: u64, under_way: usize) -> Option<Room> {
        if under_way >= self.transfer.parallel_parts.max(1) {
            return None;
        }
        let whole = left.min(self.transfer.part_size.max(1));
        match &self.reserved {
            Some(reserved) => reserved.take(left, whole, under_way == 0),
            None => Some(Room { bytes: whole, _own: None, _borrowed: None, _reserved: None }),
        }
    }
}

impl Reservation {
    fn take(self: &Arc<Self>, left: u64, whole: u64, alone: bool) -> Option<Room> {
        let wanted = units(whole);
        let unused = u32::try_from(self.own.available_permits()).unwrap_or(u32::MAX);
        if alone && units(left) > unused && self.pool.can_lend() < wanted as usize {
            // Two parts share the reservation, so that one is on its way while the other is read.
            return self.room(whole, (self.units / 2).clamp(1, wanted), None);
        }
        // The own reservation first: what is borrowed is missed by others.
        let own = unused.min(wanted);
        match wanted - own {
            0 => self.room(whole, own, None),
            rest => match self.pool.lend(rest) {
                Some(borrowed) => self.room(whole, own, Some(borrowed)),
                // A smaller part, if it is worth its request or the only one.
                None if alone || u64::from(own) * UNIT >= SMALLEST_PART => {
                    self.room(whole, own, None)
                }
                None => None,
            },
        }
    }

    fn room(self: &Arc<Self>, whole: u64, own: u32, borrowed: Option<Borrowed>) -> Option<Room> {
        let units = own as usize + borrowed.as_ref().map_or(0, |(_, memory)| memory.num_permits());
        let own = Arc::clone(&self.own).try_acquire_many_owned(own).ok()?;
        Some(Room {
            bytes: whole.min(units as u64 * UNIT),
            _own: Some(own),
            _borrowed: borrowed,
            _reserved: Some(Arc::clone(self)),
        })
    }
}

impl MemoryPool {
    /// Units that a window may borrow just now.
    fn can_lend(&self) -> usize {
        self.free.available_permits().min(self.windows.available_permits())
    }

    fn lend(&self, units: u32) -> Option<Borrowed> {
        let window = Arc::clone(&self.windows).try_acquire_many_owned(units).ok()?;
        Some((window, Arc::clone(&self.free).try_acquire_many_owned(units).ok()?))
    }
}

/// Whole units in so many bytes, at least one.
fn whole_units(bytes: u64) -> u32 {
    u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1)
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A pool that windows may take all of.
    fn all_windows(bytes: u64) -> MemoryPool {
        MemoryPool::new(bytes, bytes)
    }

    async fn lease_of(memory: &MemoryPool, bytes: u64) -> MemoryLease {
        memory.reserve(bytes, 0, Transfer::default()).await.0
    }

    fn sizes(lease: &MemoryLease, left: u64) -> (Vec<u64>, Vec<Room>) {
        let mut rooms = Vec::new();
        while let Some(room) = lease.take(left, rooms.len()) {
            rooms.push(room);
        }
        (rooms.iter().map(|room| room.bytes() / MIB).collect(), rooms)
    }

    #[tokio::test]
    async fn a_reader_that_is_alone_has_all_of_the_memory() {
        for reserve in [2, 4, 8, 32, 64] {
            let memory = all_windows(64 * MIB);
            let lease = lease_of(&memory, reserve * MIB).await;
            assert_eq!(sizes(&lease, u64::MAX).0, [8; 8], "{reserve}");
        }
    }

    #[tokio::test]
    async fn readers_that_fill_the_memory_have_two_parts_each() {
        for (reserve, parts) in [(2, [1, 1]), (4, [2, 2]), (8, [4, 4]), (16, [8, 8])] {
            let memory = all_windows(64 * MIB);
            let mut leases = Vec::new();
            for _ in 0..64 / reserve {
                leases.push(lease_of(&memory, reserve * MIB).await);
            }
            for lease in &leases {
                assert_eq!(sizes(lease, u64::MAX).0, parts);
            }
            assert!(lease_of(&memory, 1).now_or_never().is_none());
        }
    }

    #[tokio::test]
    async fn what_a_reader_gives_back_goes_to_those_who_wait_first() {
        let memory = all_windows(64 * MIB);
        let first = lease_of(&memory, 16 * MIB).await;
        let (_, mut rooms) = sizes(&first, u64::MAX);
        let mut second = Box::pin(lease_of(&memory, 16 * MIB));
        assert!((&mut second).now_or_never().is_none());
        // The first two parts are its own reservation; the others are not.
        for turn in 0..4 {
            drop(rooms.remove(0));
            let again = first.take(u64::MAX, rooms.len());
            assert_eq!(again.is_some(), turn < 2, "{turn}");
            rooms.extend(again);
        }
        let second = second.now_or_never().unwrap();
        assert_eq!(sizes(&second, u64::MAX).0, [8, 8]);
        assert!(first.take(u64::MAX, rooms.len()).is_none());
        drop(second);
        assert!(first.take(u64::MAX, rooms.len()).is_some());
    }

    #[tokio::test]
    async fn a_small_blob_is_one_part_of_its_own_size() {
        let memory = all_windows(64 * MIB);
        let _others = lease_of(&memory, 63 * MIB).await;
        let lease = lease_of(&memory, 1000).await;
        assert_eq!((lease.guaranteed(), lease.take(1000, 0).unwrap().bytes()), (1024, 1000));
    }

    #[tokio::test]
    async fn a_reservation_is_given_back_when_nothing_of_it_is_in_use() {
        let memory = all_windows(4 * MIB);
        let lease = lease_of(&memory, u64::MAX).await;
        let room = lease.take(u64::MAX, 0).unwrap();
        drop(lease);
        assert!(lease_of(&memory, 1).now_or_never().is_none());
        drop(room);
        assert!(lease_of(&memory, 4 * MIB).now_or_never().is_some());
    }

    /// Readers that begin, take and give back parts and end, in random order.
    #[tokio::test]
    async fn no_order_of_events_holds_more_than_the_memory_or_leaves_a_reader_without_a_part() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let total = random.u64(1..100) * MIB;
            let memory = all_windows(total);
            let reserve = random.u64(1..=2 * total);
            let mut readers: Vec<(MemoryLease, Vec<Room>)> = Vec::new();
            for _ in 0..300 {
                let reader = random.usize(0..readers.len().max(1));
                match (random.u8(0..8), readers.get_mut(reader)) {
                    (0..3, _) | (_, None) => {
                        let lease = lease_of(&memory, reserve);
                        readers.extend(lease.now_or_never().map(|lease| (lease, Vec::new())));
                    }
                    (3..6, Some((lease, rooms))) => {
                        let left = random.u64(1..50 * MIB);
                        let room = lease.take(left, rooms.len());
                        assert!(room.is_some() || !rooms.is_empty());
                        assert!(
                            room.as_ref().is_none_or(|room| (1..=left).contains(&room.bytes()))
                        );
                        rooms.extend(room);
                    }
                    (6, Some((_, rooms))) if !rooms.is_empty() => drop(rooms.remove(0)),
                    _ => drop(readers.swap_remove(reader)),
                }
                let held =
                    readers.iter().flat_map(|(_, rooms)| rooms).map(Room::bytes).sum::<u64>();
                assert!(held <= total, "{held} of {total}");
            }
            readers.clear();
            assert_eq!(memory.free.available_permits(), memory.units as usize);
        }
    }

    #[tokio::test]
    async fn windows_leave_room_for_what_is_made_of_their_bytes() {
        let memory = MemoryPool::new(64 * MIB, 32 * MIB);
        let (lease, mut beside) = memory.reserve(16 * MIB, 3 * MIB, Transfer::default()).await;
        let (parts, rooms) = sizes(&lease, u64::MAX);
        assert_eq!(parts, [8; 4], "no more than windows may have");
        assert_eq!(beside.bytes(), 3 * MIB);
        assert!(beside.try_grow(29 * MIB) && !beside.try_grow(1));
        assert_eq!(memory.free(), 0);
        drop(rooms);
        assert_eq!(memory.free(), 16 * MIB, "what was borrowed is back");
        assert!(beside.try_grow(16 * MIB), "what windows do not use others may");
        assert_eq!(sizes(&lease, u64::MAX).0, [8; 2], "and the reservation stays");
        beside.shrink(2 * MIB);
        assert_eq!((beside.bytes(), memory.free()), (2 * MIB, 46 * MIB));
        drop((lease, beside));
        assert_eq!(memory.free(), memory.bytes());
    }

    #[tokio::test]
    async fn what_is_waited_for_goes_before_what_is_taken() {
        let memory = MemoryPool::new(64 * MIB, 32 * MIB);
        let mut first = memory.hold(10 * MIB).await;
        let mut second = memory.hold(10 * MIB).await;
        let mut all = Box::pin(memory.hold(64 * MIB));
        assert!((&mut all).now_or_never().is_none());
        assert!(!first.try_grow(1), "somebody waits");
        first.shrink(0);
        assert!(!second.try_grow(1), "somebody still waits");
        drop(second);
        assert_eq!(all.now_or_never().unwrap().bytes(), 64 * MIB);
    }
}
