//! Where a server may lead the client: the one rule for every URL that the user did not name.
//!
//! A user names a registry, and the registry names other places: the storage that it redirects to,
//! the token endpoint, where an upload goes on, the next page of a list. The client stands where such
//! a server does not: on a machine with services of its own, beside an endpoint that hands out the
//! machine's role. So [`Reach::admit`] looks at every URL before it is asked:
//!
//! - The registry's own scheme, host and port are asked, wherever they are: the user named them.
//! - Elsewhere https is asked. Plain http is asked only if the user allowed it, or if it stays on
//!   this machine, between a registry and its helper. A registry on this machine may speak http itself
//!   (`loopback`).
//! - Addresses belong to a [`Zone`]. Those of this machine ([`Zone::Loopback`]) and those of its link,
//!   metadata services among them ([`Zone::LinkLocal`]), are asked only on behalf of a registry that
//!   is in the same zone itself.
//! - A name is let pass and remembered, and its addresses are looked at where they are found
//!   (`resolve`), by the look-up that the connection is made from: one that were made before it
//!   could have another answer. Addresses that may not be asked are dropped; a name without any other
//!   is refused.
//! - A name in the user's own reference may lead anywhere, but makes its registry a neighbour of
//!   this machine only, never of the link: whoever owns a name moves it as he likes. A registry at
//!   the link is named by its address.
//!
//! Behind a proxy the proxy looks names up, so that only addresses in the URL itself are looked at.
//! What a request carries is the other half, and stands in `transport`, `auth/session` and `auth/endpoint`:
//! `Authorization` is put on for the registry's own origin and for its token endpoint only.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Url;

/// Names remembered before the older half is forgotten. Far more than there are requests at once: a
/// name that a server leads to is looked up right after it is noted.
const GENERATION: usize = 2048;

/// Where metadata services are that have an address beyond the link: AWS by IPv6 (`fd00:ec2::/32`
/// is in [`zone`]), Alibaba, Oracle, Azure.
const METADATA: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// Who can be met at an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Zone {
    /// Anybody.
    #[default]
    Network,
    /// This machine.
    Loopback,
    /// What is on the same link, and the services that a cloud puts there.
    LinkLocal,
}

impl Zone {
    /// Whether a registry in this zone may lead to an address in `other`.
    fn leads_to(self, other: Self) -> bool {
        other == Self::Network || other == self
    }
}

/// Why a URL is not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReachError {
    #[error("it is plain http")]
    PlainHttp,
    #[error("it is neither https nor http")]
    Scheme,
    #[error("{0} is an address of this machine or its link")]
    Address(String),
}

/// A name that a server leads to has no address that may be asked.
#[derive(Debug, thiserror::Error)]
#[error("{host} has the address {address}, which is one of this machine or its link")]
pub(crate) struct ForbiddenAddress {
    host: String,
    address: IpAddr,
}

/// The rule for one client.
#[derive(Debug)]
pub(crate) struct Reach {
    plain_http: bool,
    pub(crate) hosts: Arc<HostTable>,
}

impl Reach {
    /// The rule for a client that uses plain http or does not, and whose resolver keeps `hosts`.
    pub(crate) fn new(plain_http: bool, hosts: Arc<HostTable>) -> Self {
        Self { plain_http, hosts }
    }

    /// Whether `url` may be asked on behalf of the registry at `registry`.
    pub(crate) fn admit(&self, registry: &Url, url: &Url) -> Result<(), ReachError> {
        if url.origin() == registry.origin() {
            if let Some(name) = name(url) {
                self.hosts.note(name, |host| host.named = true);
            }
            return Ok(());
        }
        let from = self.zone(registry);
        let to = literal_zone(url);
        match url.scheme() {
            "https" => {}
            "http" if self.plain_http => {}
            "http" if from == Zone::Loopback && to == Some(Zone::Loopback) => {}
            "http" => return Err(ReachError::PlainHttp),
            _ => return Err(ReachError::Scheme),
        }
        match (to, name(url)) {
            (Some(zone), _) if from.leads_to(zone) => Ok(()),
            (Some(_), _) => Err(ReachError::Address(url.host_str().unwrap_or_default().to_owned())),
            (None, Some(name)) => {
                self.hosts.led_to(name, from);
                Ok(())
            }
            // http and https have hosts.
            (None, None) => Err(ReachError::Scheme),
        }
    }

    /// The zone of the registry itself.
    fn zone(&self, registry: &Url) -> Zone {
        let found = || self.hosts.get(name(registry)?)?.found;
        match literal_zone(registry).or_else(found) {
            Some(Zone::LinkLocal) if name(registry).is_some() => Zone::Network,
            zone => zone.unwrap_or_default(),
        }
    }
}

/// The names that were met, and what holds for their addresses. Two generations of them, so that
/// what was noted just now is never what is forgotten.
#[derive(Debug, Default)]
pub(crate) struct HostTable(Mutex<[HashMap<String, HostRecord>; 2]>);

/// What is known of a name.
#[derive(Clone, Copy, Debug, Default)]
struct HostRecord {
    /// It is a registry's that was asked for.
    named: bool,
    /// A registry in this zone led to it.
    led_from: Option<Zone>,
    /// Where all addresses of the latest look-up were, if they were in one zone.
    found: Option<Zone>,
}

impl HostRecord {
    /// The zones of several registries that lead to one name add up, which takes none to the link:
    /// those are no names' zone.
    fn led_to(&mut self, from: Zone) {
        self.led_from = match (self.led_from, from) {
            (None | Some(Zone::Network), from) => Some(from),
            (led_from, _) => led_from,
        };
    }

    fn admits(self, address: IpAddr) -> bool {
        self.named || self.led_from.is_none_or(|from| from.leads_to(zone(address)))
    }
}

impl HostTable {
    /// Notes that a registry in this zone leads to `host`.
    pub(crate) fn led_to(&self, host: &str, from: Zone) {
        self.note(host, |host| host.led_to(from));
    }

    /// Notes what a look-up of `host` found, and gives the addresses that may be asked.
    pub(crate) fn found(
        &self,
        host: &str,
        mut addresses: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>, ForbiddenAddress> {
        let mut zones = addresses.iter().map(|address| zone(address.ip()));
        let first = zones.next();
        let found = first.filter(|first| zones.all(|zone| zone == *first));
        let record = self.note(host, |host| host.found = found.or(Some(Zone::Network)));
        let forbidden = addresses.iter().map(SocketAddr::ip).find(|ip| !record.admits(*ip));
        addresses.retain(|address| record.admits(address.ip()));
        match forbidden {
            Some(address) if addresses.is_empty() => {
                Err(ForbiddenAddress { host: host.to_owned(), address })
            }
            _ => Ok(addresses),
        }
    }

    /// Whether a look-up has found this name before.
    pub(crate) fn is_known(&self, host: &str) -> bool {
        self.get(host).is_some_and(|record| record.found.is_some())
    }

    fn get(&self, host: &str) -> Option<HostRecord> {
        let generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        generations.iter().find_map(|hosts| hosts.get(host).copied())
    }

    fn note(&self, host: &str, change: impl FnOnce(&mut HostRecord)) -> HostRecord {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *generations;
        if young.len() >= GENERATION && !young.contains_key(host) {
            *old = std::mem::take(young);
        }
        let before = old.get(host).copied().unwrap_or_default();
        let record = young.entry(host.to_owned()).or_insert(before);
        change(record);
        *record
    }
}

/// The host of a URL that has to be looked up.
fn name(url: &Url) -> Option<&str> {
    literal_zone(url).is_none().then(|| url.host_str()).flatten()
}

/// Whether a URL says by itself that it leads to this machine.
pub(crate) fn is_this_machine(url: &Url) -> bool {
    literal_zone(url) == Some(Zone::Loopback)
}

/// The zone of a host that needs no look-up: an address, or `localhost` and what is below it
/// (RFC 6761, 6.3).
pub(crate) fn literal_zone(url: &Url) -> Option<Zone> {
    let host = url.host_str()?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse() {
        return Some(zone(address));
    }
    is_local_name(host).then_some(Zone::Loopback)
}

/// Whether a name is this machine's wherever it is asked for.
pub(crate) fn is_local_name(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// The zone of an address. One of IPv6 that stands for one of IPv4 is in the zone of that.
pub(crate) fn zone(address: IpAddr) -> Zone {
    match address {
        IpAddr::V4(address) => zone_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(address) => zone_v4(address),
            None => zone_v6(address),
        },
    }
}

fn zone_v4(address: Ipv4Addr) -> Zone {
    // 0.0.0.0 and its kin reach this machine.
    if address.is_loopback() || address.octets()[0] == 0 {
        Zone::Loopback
    } else if address.is_link_local() || METADATA.contains(&address) {
        Zone::LinkLocal
    } else {
        Zone::Network
    }
}

fn zone_v6(address: Ipv6Addr) -> Zone {
    let amazon = address.segments()[..2] == [0xfd00, 0x0ec2];
    if address.is_loopback() || address.is_unspecified() {
        Zone::Loopback
    } else if address.is_unicast_link_local() || amazon {
        Zone::LinkLocal
    } else {
        Zone::Network
    }
}

/// The address of IPv4 inside one of IPv6: mapped or compatible (RFC 4291, 2.5.5), behind NAT64
/// (RFC 6052, RFC 8215), 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high @ 1..=0xffff, low]
        | [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(plain_http: bool) -> Reach {
        Reach::new(plain_http, Arc::default())
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn admit(reach: &Reach, registry: &str, target: &str) -> Result<(), ReachError> {
        reach.admit(&url(registry), &url(target))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const PUBLIC: &str = "https://r.example/";

    #[test]
    fn addresses_belong_to_a_zone_in_every_form() {
        for (zone_is, addresses) in [
            (Zone::Loopback, &["127.0.0.1", "127.255.0.9", "0.0.0.0", "0.1.2.3", "::1", "::"][..]),
            (Zone::Loopback, &["::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"]),
            (Zone::LinkLocal, &["169.254.169.254", "169.254.170.2", "169.254.0.0", "fe80::1"]),
            (Zone::LinkLocal, &["febf::1", "fd00:ec2::254", "fd00:ec2::23", "100.100.100.200"]),
            (Zone::LinkLocal, &["::ffff:169.254.169.254", "::a9fe:a9fe", "64:ff9b::a9fe:a9fe"]),
            (Zone::LinkLocal, &["64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1"]),
            (Zone::Network, &["8.8.8.8", "10.0.0.1", "192.168.1.1", "169.253.255.255"]),
            (Zone::Network, &["169.255.0.0", "fd00:ec3::254", "fec0::1", "2600::1"]),
            (Zone::Network, &["::ffff:10.0.0.1", "64:ff9b::808:808", "100.100.100.201"]),
        ] {
            for address in addresses {
                assert_eq!(zone(ip(address)), zone_is, "{address}");
            }
        }
    }

    #[test]
    fn a_registry_leads_to_its_own_zone_and_to_the_network() {
        let here = ["https://r.example/", "https://127.0.0.1:5000/", "https://169.254.1.1/"];
        let there = ["https://s.example/", "https://[::1]/", "https://169.254.169.254/"];
        for (from, registry) in here.iter().enumerate() {
            for (to, target) in there.iter().enumerate() {
                let allowed = to == 0 || to == from;
                let admitted = admit(&reach(false), registry, target);
                assert_eq!(admitted.is_ok(), allowed, "{registry} to {target}");
            }
        }
    }

    #[test]
    fn every_way_to_write_an_address_is_seen_through() {
        for target in [
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0251.0376.0251.0376/",
            "https://169.254.43518/",
            "https://[::ffff:169.254.169.254]/",
            "https://[::ffff:a9fe:a9fe]:8443/",
            "https://localhost/",
            "https://LOCALHOST./",
            "https://a.b.localhost/",
        ] {
            assert!(admit(&reach(true), PUBLIC, target).is_err(), "{target}");
        }
    }

    #[test]
    fn plain_http_is_for_those_who_allowed_it_and_for_one_machine() {
        let http = Err(ReachError::PlainHttp);
        assert_eq!(admit(&reach(false), PUBLIC, "http://t.example/"), http);
        assert_eq!(admit(&reach(false), PUBLIC, "http://r.example/"), http);
        assert!(admit(&reach(true), PUBLIC, "http://t.example/").is_ok());
        assert_eq!(admit(&reach(false), PUBLIC, "http://127.0.0.1/"), http);
        assert!(admit(&reach(false), "https://localhost:1/", "http://127.0.0.1:2/").is_ok());
        assert_eq!(admit(&reach(false), "https://localhost:1/", "http://t.example/"), http);
        for other in ["ftp://r.example/", "file:///etc/passwd", "data:,x"] {
            assert_eq!(admit(&reach(true), PUBLIC, other), Err(ReachError::Scheme), "{other}");
        }
    }

    fn found(reach: &Reach, host: &str, addresses: &[&str]) -> Result<usize, ForbiddenAddress> {
        let addresses = addresses.iter().map(|address| SocketAddr::new(ip(address), 0));
        reach.hosts.found(host, addresses.collect()).map(|addresses| addresses.len())
    }

    #[test]
    fn a_name_that_a_server_leads_to_is_asked_at_its_harmless_addresses_only() {
        let reach = reach(false);
        admit(&reach, PUBLIC, "https://s.example/").unwrap();
        assert_eq!(found(&reach, "s.example", &["10.0.0.1", "2600::1"]).unwrap(), 2);
        let mixed = ["169.254.169.254", "10.0.0.1", "::ffff:127.0.0.1"];
        assert_eq!(found(&reach, "s.example", &mixed).unwrap(), 1);
        let error = found(&reach, "s.example", &["fd00:ec2::254"]).unwrap_err();
        assert!(error.to_string().starts_with("s.example has the address fd00:ec2::254"));
    }

    #[test]
    fn a_name_that_the_user_names_or_that_is_a_proxys_is_asked_wherever_it_is() {
        let reach = reach(false);
        admit(&reach, PUBLIC, "https://r.example/v2/").unwrap();
        assert_eq!(found(&reach, "r.example", &["169.254.169.254"]).unwrap(), 1);
        assert_eq!(found(&reach, "proxy.example", &["127.0.0.1"]).unwrap(), 1);
        // Nor can a server make the user's registry unreachable by leading there.
        admit(&reach, "https://evil.example/", "https://r.example:444/").unwrap();
        assert_eq!(found(&reach, "r.example", &["169.254.169.254"]).unwrap(), 1);
    }

    #[test]
    fn a_registry_whose_name_is_this_machines_leads_to_it_and_none_leads_to_the_link_by_name() {
        for (address, there, allowed) in [
            ("127.0.0.1", "https://127.0.0.1/", true),
            ("10.0.0.1", "https://127.0.0.1/", false),
            ("169.254.1.1", "https://169.254.1.1/", false),
        ] {
            let reach = reach(false);
            admit(&reach, PUBLIC, PUBLIC).unwrap();
            found(&reach, "r.example", &[address]).unwrap();
            assert_eq!(admit(&reach, PUBLIC, there).is_ok(), allowed, "{address}");
            admit(&reach, PUBLIC, "https://s.example/").unwrap();
            assert_eq!(found(&reach, "s.example", &[&there[8..there.len() - 1]]).is_ok(), allowed);
        }
        let reach = reach(false);
        found(&reach, "r.example", &["127.0.0.1", "10.0.0.1"]).unwrap();
        assert!(admit(&reach, PUBLIC, "https://127.0.0.1/").is_err(), "it is only half there");
    }

    #[test]
    fn what_was_noted_just_now_is_not_forgotten() {
        let reach = reach(false);
        for number in 0..3 * GENERATION {
            let host = format!("{number}.example");
            admit(&reach, PUBLIC, &format!("https://{host}/")).unwrap();
            assert!(found(&reach, &host, &["127.0.0.1"]).is_err());
        }
        let held: usize = reach.hosts.0.lock().unwrap().iter().map(HashMap::len).sum();
        assert!(held <= 2 * GENERATION);
    }
}
