//! Memory that the downloads of several blobs share: one pool, and a lease on it for each reader.
//!
//! The pool bounds what all readers together hold, however many there are and however large their
//! blobs. A reader gets its lease before it begins: a reservation, which is its own until it ends.
//! On top it borrows what is free, part by part.
//!
//! - No reader stands still for the want of memory. With its reservation it can always have one part
//!   under way, and so it ends and gives all back, whatever the others do.
//! - A reader that is alone has all of the pool. What it borrowed goes first to those who wait for a
//!   reservation, in the order in which they came, because the semaphore is fair and borrowing never
//!   waits in its queue. So it gives way within the parts that are under way.
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

/// Memory that several blob readers lease. Clones are the same memory.
///
/// A reader has some of it reserved, with which it always gets on, and takes what is free besides,
/// part by part. What it took goes first to those who wait for a reservation.
#[derive(Clone, Debug)]
pub struct MemoryPool {
    free: Arc<Semaphore>,
    units: u32,
}

impl MemoryPool {
    /// Memory of `bytes`, at least 1 KiB and at most 4 TiB.
    pub fn new(bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        Self { free: Arc::new(Semaphore::new(units as usize)), units }
    }

    /// Waits until `bytes` of the memory are free, at most all of it, and reserves them for one
    /// reader. Those who wait get their turn in the order in which they came. `transfer` bounds what
    /// the reader takes on top: no part is larger, and no more are under way.
    pub async fn reserve(&self, bytes: u64, transfer: Transfer) -> MemoryLease {
        let units = units(bytes).clamp(1, self.units);
        // The semaphore is never closed, so there is always a permit in the end.
        let permit = Arc::clone(&self.free).acquire_many_owned(units).await.ok();
        let own = Arc::new(Semaphore::new(units as usize));
        let free = Arc::clone(&self.free);
        MemoryLease {
            transfer,
            reserved: Some(Arc::new(Reservation { units, own, free, _permit: permit })),
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
    /// What of the whole memory is not reserved and not in use.
    free: Arc<Semaphore>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Room for one part. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: u64,
    _own: Option<OwnedSemaphorePermit>,
    _shared: Option<OwnedSemaphorePermit>,
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
            None => Some(Room { bytes: whole, _own: None, _shared: None, _reserved: None }),
        }
    }
}

impl Reservation {
    fn take(self: &Arc<Self>, left: u64, whole: u64, alone: bool) -> Option<Room> {
        let wanted = units(whole);
        let unused = u32::try_from(self.own.available_permits()).unwrap_or(u32::MAX);
        if alone && units(left) > unused && self.free.available_permits() < wanted as usize {
            // Two parts share the reservation, so that one is on its way while the other is read.
            return self.room(whole, (self.units / 2).clamp(1, wanted), None);
        }
        // The own reservation first: what is borrowed is missed by others.
        let own = unused.min(wanted);
        match wanted - own {
            0 => self.room(whole, own, None),
            rest => match Arc::clone(&self.free).try_acquire_many_owned(rest) {
                Ok(shared) => self.room(whole, own, Some(shared)),
                // A smaller part, if it is worth its request or the only one.
                Err(_) if alone || u64::from(own) * UNIT >= SMALLEST_PART => {
                    self.room(whole, own, None)
                }
                Err(_) => None,
            },
        }
    }

    fn room(
        self: &Arc<Self>,
        whole: u64,
        own: u32,
        shared: Option<OwnedSemaphorePermit>,
    ) -> Option<Room> {
        let units = own as usize + shared.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let own = Arc::clone(&self.own).try_acquire_many_owned(own).ok()?;
        Some(Room {
            bytes: whole.min(units as u64 * UNIT),
            _own: Some(own),
            _shared: shared,
            _reserved: Some(Arc::clone(self)),
        })
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const MIB: u64 = 1 << 20;

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
            let memory = MemoryPool::new(64 * MIB);
            let lease = memory.reserve(reserve * MIB, Transfer::default()).await;
            assert_eq!(sizes(&lease, u64::MAX).0, [8; 8], "{reserve}");
        }
    }

    #[tokio::test]
    async fn readers_that_fill_the_memory_have_two_parts_each() {
        for (reserve, parts) in [(2, [1, 1]), (4, [2, 2]), (8, [4, 4]), (16, [8, 8])] {
            let memory = MemoryPool::new(64 * MIB);
            let mut leases = Vec::new();
            for _ in 0..64 / reserve {
                leases.push(memory.reserve(reserve * MIB, Transfer::default()).await);
            }
            for lease in &leases {
                assert_eq!(sizes(lease, u64::MAX).0, parts);
            }
            assert!(memory.reserve(1, Transfer::default()).now_or_never().is_none());
        }
    }

    #[tokio::test]
    async fn what_a_reader_gives_back_goes_to_those_who_wait_first() {
        let memory = MemoryPool::new(64 * MIB);
        let first = memory.reserve(16 * MIB, Transfer::default()).await;
        let (_, mut rooms) = sizes(&first, u64::MAX);
        let mut second = Box::pin(memory.reserve(16 * MIB, Transfer::default()));
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
        let memory = MemoryPool::new(64 * MIB);
        let _others = memory.reserve(63 * MIB, Transfer::default()).await;
        let lease = memory.reserve(1000, Transfer::default()).await;
        assert_eq!((lease.guaranteed(), lease.take(1000, 0).unwrap().bytes()), (1024, 1000));
    }

    #[tokio::test]
    async fn a_reservation_is_given_back_when_nothing_of_it_is_in_use() {
        let memory = MemoryPool::new(4 * MIB);
        let lease = memory.reserve(u64::MAX, Transfer::default()).await;
        let room = lease.take(u64::MAX, 0).unwrap();
        drop(lease);
        assert!(memory.reserve(1, Transfer::default()).now_or_never().is_none());
        drop(room);
        assert!(memory.reserve(4 * MIB, Transfer::default()).now_or_never().is_some());
    }

    /// Readers that begin, take and give back parts and end, in random order.
    #[tokio::test]
    async fn no_order_of_events_holds_more_than_the_memory_or_leaves_a_reader_without_a_part() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let total = random.u64(1..100) * MIB;
            let memory = MemoryPool::new(total);
            let reserve = random.u64(1..=2 * total);
            let mut readers: Vec<(MemoryLease, Vec<Room>)> = Vec::new();
            for _ in 0..300 {
                let reader = random.usize(0..readers.len().max(1));
                match (random.u8(0..8), readers.get_mut(reader)) {
                    (0..3, _) | (_, None) => {
                        let lease = memory.reserve(reserve, Transfer::default());
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
}
