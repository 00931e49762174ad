//! Who may hold a connection to the site.
//!
//! A connection is accepted as soon as it comes, so nobody queues behind anybody, and there is a place
//! for every one that is kept. There are so many places in all, and so many for one peer. Where a place
//! has to be made, an old connection goes, not the new one: whoever holds connections without using
//! them would otherwise keep everybody else out for as long as the timeouts let him. That is
//!
//! - of a peer that has as many as one may have, one of its own;
//! - else one of a peer that has the most, so that those with many take nothing from those with few;
//! - of these the one that has been silent for the longest: whose last complete request is the oldest,
//!   or which has sent none for the longest. A request is answered in well under a millisecond, so one
//!   that was just heard is the last to go.
//!
//! So while somebody holds several connections, whoever comes with one keeps it. Only as many peers as there
//! are places, each with a connection or more, can displace each other before they have asked; and nobody of
//! them the container's health check, which does not come here.
//!
//! A peer is an IPv4 address, or the first half of an IPv6 address, as hosts are given a whole network
//! of those. Behind a load balancer all clients are one peer and share its places.
//!
//! This file knows no sockets: who goes is told that by dropping what it waits for.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv6Addr};

use tokio::sync::oneshot;
use tokio::time::Instant;

/// Names a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlaceId(u64);

/// The places, and who has them.
#[derive(Debug)]
pub(super) struct Places {
    total: usize,
    per_peer: usize,
    next: u64,
    taken: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    id: PlaceId,
    peer: IpAddr,
    /// When the connection last sent a complete request, or came.
    heard: Instant,
    /// Dropped to make the connection go.
    _keep: oneshot::Sender<()>,
}

impl Places {
    /// `total` places of which one peer may have `per_peer`, both at least one.
    pub(super) fn new(total: usize, per_peer: usize) -> Self {
        Self { total: total.max(1), per_peer: per_peer.max(1), next: 0, taken: Vec::new() }
    }

    /// A place for a new connection; it has to go when the receiver ends.
    pub(super) fn take(
        &mut self,
        address: IpAddr,
        now: Instant,
    ) -> (PlaceId, oneshot::Receiver<()>) {
        let peer = peer(address);
        let goes = if self.held_by(peer) >= self.per_peer {
            self.first_to_go(|place| (place.peer != peer, place.heard))
        } else if self.taken.len() >= self.total {
            self.first_to_go(|place| (Reverse(self.held_by(place.peer)), place.heard))
        } else {
            None
        };
        if let Some(at) = goes {
            // In order: of equal ones the first is the oldest.
            self.taken.remove(at);
        }
        let id = PlaceId(self.next);
        self.next += 1;
        let (keep, goes) = oneshot::channel();
        self.taken.push(Place { id, peer, heard: now, _keep: keep });
        (id, goes)
    }

    /// Notes that a connection has sent a complete request.
    pub(super) fn heard(&mut self, id: PlaceId, now: Instant) {
        if let Some(place) = self.taken.iter_mut().find(|place| place.id == id) {
            place.heard = now;
        }
    }

    /// When a connection was last heard; `None` once it has to go.
    pub(super) fn last_heard(&self, id: PlaceId) -> Option<Instant> {
        self.taken.iter().find(|place| place.id == id).map(|place| place.heard)
    }

    /// Gives a place back.
    pub(super) fn leave(&mut self, id: PlaceId) {
        self.taken.retain(|place| place.id != id);
    }

    fn held_by(&self, peer: IpAddr) -> usize {
        self.taken.iter().filter(|place| place.peer == peer).count()
    }

    /// The connection that comes first in this order, of equal ones the oldest.
    fn first_to_go<T: Ord>(&self, order: impl Fn(&Place) -> T) -> Option<usize> {
        let places = self.taken.iter().enumerate();
        places.min_by_key(|(_, place)| order(place)).map(|(at, _)| at)
    }
}

/// Who an address belongs to.
fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Clients {
        places: Places,
        now: Instant,
        came: Vec<(PlaceId, oneshot::Receiver<()>)>,
    }

    impl Clients {
        fn new(total: usize, per_peer: usize) -> Self {
            Self { places: Places::new(total, per_peer), now: Instant::now(), came: Vec::new() }
        }

        /// A client comes a second after what happened last.
        fn come(&mut self, address: &str) -> usize {
            self.now += Duration::from_secs(1);
            self.came.push(self.places.take(address.parse().unwrap(), self.now));
            self.came.len() - 1
        }

        fn ask(&mut self, client: usize) {
            self.now += Duration::from_secs(1);
            self.places.heard(self.came[client].0, self.now);
        }

        /// Those who have to go.
        fn gone(&mut self) -> Vec<usize> {
            let closed = |goes: &mut oneshot::Receiver<()>| {
                matches!(goes.try_recv(), Err(oneshot::error::TryRecvError::Closed))
            };
            (0..self.came.len()).filter(|client| closed(&mut self.came[*client].1)).collect()
        }
    }

    #[test]
    fn a_peer_with_all_its_places_loses_the_one_that_was_silent_for_the_longest() {
        let mut clients = Clients::new(10, 2);
        let first = clients.come("10.0.0.1");
        let second = clients.come("10.0.0.1");
        let other = clients.come("10.0.0.2");
        clients.ask(first);
        clients.come("10.0.0.1");
        assert_eq!(clients.gone(), [second]);
        assert!(clients.places.last_heard(clients.came[other].0).is_some());
    }

    #[test]
    fn when_all_places_are_taken_the_peer_with_the_most_loses_one() {
        let mut clients = Clients::new(4, 3);
        let lone = clients.come("10.0.0.9");
        let greedy = clients.come("10.0.0.1");
        clients.come("10.0.0.1");
        clients.come("10.0.0.1");
        let new = clients.come("10.0.0.7");
        assert_eq!(clients.gone(), [greedy], "not {lone}, which is older");
        assert!(clients.places.last_heard(clients.came[new].0).is_some());
    }

    #[test]
    fn among_peers_that_have_equally_many_the_longest_silence_decides() {
        let mut clients = Clients::new(3, 3);
        let first = clients.come("10.0.0.1");
        let second = clients.come("10.0.0.2");
        clients.come("10.0.0.3");
        clients.ask(first);
        clients.come("10.0.0.4");
        assert_eq!(clients.gone(), [second]);
    }

    #[test]
    fn a_newcomer_always_has_a_place_and_there_are_never_more_than_all() {
        let mut clients = Clients::new(8, 3);
        for number in 0..1000 {
            let new = clients.come(&format!("10.0.{}.{}", number % 7, number % 5));
            assert!(!clients.gone().contains(&new));
            assert!(clients.places.taken.len() <= 8);
        }
    }

    #[test]
    fn a_place_that_is_given_back_makes_nobody_go() {
        let mut clients = Clients::new(1, 1);
        let first = clients.come("::1");
        clients.places.leave(clients.came[first].0);
        let second = clients.come("::1");
        assert!(clients.places.last_heard(clients.came[second].0).is_some());
    }

    #[test]
    fn a_host_is_one_peer_with_all_its_ipv6_addresses_and_with_its_ipv4_address_in_both_forms() {
        let of = |text: &str| peer(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("::1"), of("::2"));
    }
}
