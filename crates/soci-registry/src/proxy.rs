//! Which proxy a request goes through.
//!
//! The rule is that of Go (`golang.org/x/net/http/httpproxy`), by which registries and their clients are used;
//! where Go has none it is curl's:
//!
//! - `HTTPS_PROXY` is for https and `HTTP_PROXY` for http, each in capitals first, then in small letters; an empty
//!   one counts as none. `ALL_PROXY` is for what neither is set for (curl). In a CGI program, which has
//!   `REQUEST_METHOD`, `HTTP_PROXY` comes from whoever sent the request, and only `http_proxy` is read.
//! - This machine is never reached through a proxy: `localhost` and what is below it, 127.0.0.0/8, `::1`. Nor is
//!   its link, where metadata services hand out credentials (169.254.0.0/16, fe80::/10 and the like).
//! - `NO_PROXY` is a list, split at commas and blanks. `*` stands for everything. An address and a network
//!   (10.0.0.0/8) stand for themselves; `example.com` for itself and all names below it, `.example.com` and
//!   `*.example.com` for the names below it only. Each but a network may end in a port.
//! - Proxies speak http, https, `socks5`, where this machine looks names up, or `socks5h`, where the proxy does. A
//!   URL without a scheme is one of http. What is no URL is an error and not a direct connection: who
//!   set a proxy does not expect to go around it.
//!
//! User names and passwords in these URLs go to the proxy, and nowhere else: proxies are shown by host and port.
//! Where a request fails for its proxy is told here as well ([`ProxyFault`]), as the text of a failure names
//! the registry otherwise.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use reqwest::Url;

use crate::reach::{Zone, literal_zone};
use crate::setup::SetupError;

/// Names of a variable, in the order in which they are looked at.
type Names = &'static [&'static str];

const HTTPS_PROXY: Names = &["HTTPS_PROXY", "https_proxy"];
const HTTP_PROXY: Names = &["HTTP_PROXY", "http_proxy"];
const HTTP_PROXY_OF_CGI: Names = &["http_proxy"];
const ALL_PROXY: Names = &["ALL_PROXY", "all_proxy"];
const NO_PROXY: Names = &["NO_PROXY", "no_proxy"];

/// Schemes of proxies, how the HTTP library calls them, and their usual ports. `socks` is what desktops write.
const SCHEMES: [(&str, &str, u16); 7] = [
    ("http", "http", 80),
    ("https", "https", 443),
    ("socks5", "socks5", 1080),
    ("socks5h", "socks5h", 1080),
    ("socks", "socks5", 1080),
    ("socks4", "socks4", 1080),
    ("socks4a", "socks4a", 1080),
];

/// The proxies of a process, and what is reached without one.
#[derive(Clone, Debug, Default)]
pub struct ProxyRules {
    https: Option<ProxyServer>,
    http: Option<ProxyServer>,
    exceptions: Vec<Exception>,
}

/// A proxy, and the variable that names it.
#[derive(Clone)]
pub struct ProxyServer {
    url: Url,
    variable: &'static str,
}

/// An entry of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    Everything,
    Network(IpAddr, u32),
    Address(IpAddr, Option<u16>),
    /// A name with a dot before it, and whether the name itself is meant as well.
    Domain {
        suffix: String,
        itself: bool,
        port: Option<u16>,
    },
}

impl ProxyRules {
    /// What the variables of this process say.
    pub fn of_this_process() -> Result<Self, SetupError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// What variables say, which `get` looks up.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Self, SetupError> {
        let find = |names: Names| {
            let set =
                |name: &&'static str| Some((*name, get(name).filter(|text| !text.is_empty())?));
            names.iter().find_map(set)
        };
        let server = |names: Names| {
            let named = find(names).or_else(|| find(ALL_PROXY));
            named.map(|(variable, text)| ProxyServer::parse(variable, &text)).transpose()
        };
        let in_cgi = find(&["REQUEST_METHOD"]).is_some();
        Ok(Self {
            https: server(HTTPS_PROXY)?,
            http: server(if in_cgi { HTTP_PROXY_OF_CGI } else { HTTP_PROXY })?,
            exceptions: find(NO_PROXY).map(|(_, text)| exceptions(&text)).unwrap_or_default(),
        })
    }

    /// The proxy that a request for this URL goes through.
    pub fn for_url(&self, url: &Url) -> Option<&ProxyServer> {
        let server = match url.scheme() {
            "https" => self.https.as_ref(),
            "http" => self.http.as_ref(),
            _ => None,
        }?;
        if matches!(literal_zone(url), Some(Zone::Loopback | Zone::LinkLocal)) {
            return None;
        }
        let host = url.host_str()?.trim_end_matches('.').to_ascii_lowercase();
        let address: Option<IpAddr> = bare(&host).parse().ok();
        let port = url.port_or_known_default();
        let excepted = |exception: &Exception| exception.matches(&host, address, port);
        (!self.exceptions.iter().any(excepted)).then_some(server)
    }

    /// The rules in the form of the HTTP library. Its own ones have to be switched off beside.
    pub fn for_client(&self) -> reqwest::Proxy {
        let rules = Arc::new(self.clone());
        reqwest::Proxy::custom(move |url| rules.for_url(url).map(|server| server.url.clone()))
    }
}

impl ProxyServer {
    fn parse(variable: &'static str, text: &str) -> Result<Self, SetupError> {
        let fail = |problem: String| SetupError::Proxy { variable, problem };
        let text = text.trim();
        let parsed = match Url::parse(text) {
            // `proxy:3128` reads as a scheme and a path.
            Ok(url) if url.has_host() => Ok(url),
            _ if text.contains("://") => return Err(fail("it is malformed".to_owned())),
            _ => Url::parse(&format!("http://{text}")),
        };
        let given = parsed.map_err(|error| fail(error.to_string()))?;
        let known = SCHEMES.iter().find(|(scheme, ..)| *scheme == given.scheme());
        let Some((scheme, real, port)) = known else {
            return Err(fail(format!("no proxy speaks {}", given.scheme())));
        };
        // Written anew, as a URL does not change from a scheme of its own kind to one of another.
        let mut url = given.clone();
        if scheme != real {
            let after = &given.as_str()[scheme.len()..];
            url = Url::parse(&format!("{real}{after}")).map_err(|error| fail(error.to_string()))?;
        }
        if url.port_or_known_default().is_none() {
            // It has a host, and so it takes a port.
            let _ = url.set_port(Some(*port));
        }
        Ok(Self { url, variable })
    }

    /// The variable that names it.
    pub fn variable(&self) -> &'static str {
        self.variable
    }

    /// Its host, as it is looked up.
    pub(crate) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Whether it is spoken to by TLS.
    pub(crate) fn speaks_tls(&self) -> bool {
        self.url.scheme() == "https"
    }
}

/// Host and port, without user name and password.
impl fmt::Display for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.url.port_or_known_default().unwrap_or_default();
        write!(f, "{}:{port}", self.host())
    }
}

impl fmt::Debug for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{self}", self.url.scheme())
    }
}

impl Exception {
    fn matches(&self, host: &str, address: Option<IpAddr>, port: Option<u16>) -> bool {
        let at = |wanted: &Option<u16>| wanted.is_none() || *wanted == port;
        match (self, address) {
            (Self::Everything, _) => true,
            (Self::Network(network, length), Some(address)) => within(*network, *length, address),
            (Self::Address(wanted, wanted_port), Some(address)) => {
                *wanted == address.to_canonical() && at(wanted_port)
            }
            (Self::Domain { suffix, itself, port: wanted_port }, None) => {
                let named = host.ends_with(suffix.as_str()) || (*itself && *host == suffix[1..]);
                named && at(wanted_port)
            }
            _ => false,
        }
    }
}

fn exceptions(text: &str) -> Vec<Exception> {
    text.split([',', ' ', '\t', '\n']).filter_map(exception).collect()
}

/// One entry; `None` for one that stands for nothing, which Go passes over as well.
fn exception(entry: &str) -> Option<Exception> {
    let entry = entry.trim().to_lowercase();
    if entry == "*" {
        return Some(Exception::Everything);
    }
    if let Some(network) = network(&entry) {
        return Some(network);
    }
    let (host, port) = split_port(&entry);
    let port = match port {
        None | Some("") => None,
        // No port is equal to what is none.
        Some(port) => Some(port.parse().ok()?),
    };
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(Exception::Address(address.to_canonical(), port));
    }
    let name = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
    let bare = name.strip_prefix('.').unwrap_or(name).trim_end_matches('.');
    if bare.is_empty() {
        return None;
    }
    Some(Exception::Domain {
        suffix: format!(".{}", in_ascii(bare)),
        itself: !name.starts_with('.'),
        port,
    })
}

/// A network, `10.0.0.0/8`.
fn network(entry: &str) -> Option<Exception> {
    let (address, length) = entry.split_once('/')?;
    let (address, length): (IpAddr, u32) = (address.parse().ok()?, length.parse().ok()?);
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (length <= longest).then_some(Exception::Network(address, length))
}

/// `host:port`, `[address]:port`, or either without a port.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    if let Some((address, after)) = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, after.strip_prefix(':'));
    }
    match entry.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (entry, None),
    }
}

fn within(network: IpAddr, length: u32, address: IpAddr) -> bool {
    let same = |a: u128, b: u128, width: u32| {
        // A shift by the whole width is none that a number can make.
        length == 0 || (a ^ b) >> (width - length) == 0
    };
    match (network, address.to_canonical()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

/// A name as URLs have it.
fn in_ascii(name: &str) -> String {
    let url = Url::parse(&format!("http://{name}/"));
    url.ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| name.to_owned())
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The proxy of a request that failed.
#[derive(Clone, Debug)]
pub(crate) struct ProxyUse {
    pub(crate) server: ProxyServer,
    /// Something came through a proxy before.
    pub(crate) worked: bool,
}

/// What is wrong with a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyFault {
    /// It answers 407, or its SOCKS counterpart.
    #[error(
        "wants a user name and a password, or refuses those it was given; write them into {0} as http://USER:PASSWORD@HOST:PORT"
    )]
    Login(&'static str),
    /// Its name has no address.
    #[error("has a host name that cannot be resolved; is it spelled correctly in {0}?")]
    UnknownHost(&'static str),
    /// It does not answer, or does not make the connection.
    #[error("makes no connection; is {0} right, and should the registry stand in NO_PROXY?")]
    Unusable(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(variables: &[(&str, &str)]) -> ProxyRules {
        ProxyRules::from_variables(|name| {
            let set = variables.iter().find(|(known, _)| *known == name);
            set.map(|(_, value)| (*value).to_owned())
        })
        .unwrap()
    }

    fn proxy(rules: &ProxyRules, url: &str) -> Option<String> {
        let url = Url::parse(url).unwrap();
        rules.for_url(&url).map(|server| format!("{server:?} {}", server.variable()))
    }

    /// Go's `http.ProxyFromEnvironment` (1.24) says the same, but where it is said. It wants no blanks for commas.
    #[test]
    fn exceptions_are_those_of_go() {
        let list = "corp.example, .sub.example,*.wild.example,192.0.2.1 192.0.2.2:81, 192.0.2.3:80,\t10.0.0.0/30, \
                    2001:db8::52:0:1, [2001:db8::52:0:2]:443,[2001:db8::52:0:3]:80, 2001:db8:a::45/64, p.example:8080, \
                    bücher.example, ,:80, 10.1.0.0/33, x.example:port";
        let rules = rules(&[("HTTP_PROXY", "proxy:3128"), ("NO_PROXY", list)]);
        for (host, through) in [
            // This machine.
            ("localhost", false),
            ("localhost:5000", false),
            ("127.0.0.1", false),
            ("127.0.0.2", false),
            ("[::1]", false),
            ("[::2]", true),
            ("localhost.example", true),
            // Go has a proxy for these, which are this machine's (RFC 6761) or its link's, and for other spellings.
            ("LOCALHOST", false),
            ("corp.example.", false),
            ("r.localhost", false),
            ("169.254.169.254", false),
            ("169.254.170.2", false),
            ("[fe80::424b:c8be:1643:a1b6]", false),
            ("[fd00:ec2::254]", false),
            // Addresses.
            ("192.0.2.1", false),
            ("192.0.2.1:5000", false),
            ("192.0.2.2", true),
            ("192.0.2.2:81", false),
            ("192.0.2.3", false),
            ("192.0.2.3:81", true),
            ("192.0.2.4", true),
            ("10.0.0.3", false),
            ("10.0.0.4", true),
            ("10.1.0.1", true),
            ("[2001:db8::52:0:1]", false),
            ("[2001:db8::52:0:2]", true),
            ("[2001:db8::52:0:3]", false),
            ("[2001:db8:a::123]", false),
            ("[2001:db8:b::123]", true),
            // Names.
            ("corp.example", false),
            ("CORP.example", false),
            ("r.corp.example", false),
            ("r.corp.example:5000", false),
            ("xcorp.example", true),
            ("corp.example.org", true),
            ("sub.example", true),
            ("r.sub.example", false),
            ("wild.example", true),
            ("r.wild.example", false),
            ("rwild.example", true),
            ("p.example", true),
            ("p.example:8080", false),
            ("x.example", true),
            ("bücher.example", false),
            ("xn--bcher-kva.example", false),
        ] {
            assert_eq!(proxy(&rules, &format!("http://{host}/")).is_some(), through, "{host}");
        }
    }

    #[test]
    fn a_star_stands_for_everything_only_alone() {
        let of = |list| rules(&[("HTTPS_PROXY", "proxy"), ("NO_PROXY", list)]);
        for (list, through) in
            [("*", false), ("a.example, *", false), ("*a.example", true), ("", true)]
        {
            assert_eq!(proxy(&of(list), "https://r.example/").is_some(), through, "{list}");
            assert_eq!(proxy(&of(list), "https://192.0.2.1/").is_some(), through, "{list}");
        }
    }

    #[test]
    fn each_scheme_has_its_variable() {
        let (https, http) = ("https://r.example/", "http://r.example/");
        for (variables, for_https, for_http) in [
            (&[][..], None, None),
            (&[("HTTPS_PROXY", "http://a:1")], Some("http://a:1 HTTPS_PROXY"), None),
            (&[("https_proxy", "http://a:1")], Some("http://a:1 https_proxy"), None),
            (
                &[("https_proxy", "http://a:1"), ("HTTPS_PROXY", "http://b:1")],
                Some("http://b:1 HTTPS_PROXY"),
                None,
            ),
            (&[("HTTPS_PROXY", ""), ("https_proxy", "a:1")], Some("http://a:1 https_proxy"), None),
            (&[("HTTP_PROXY", "http://a:1")], None, Some("http://a:1 HTTP_PROXY")),
            (&[("HTTP_PROXY", "http://a:1"), ("REQUEST_METHOD", "GET")], None, None),
            (
                &[("http_proxy", "http://a:1"), ("REQUEST_METHOD", "GET")],
                None,
                Some("http://a:1 http_proxy"),
            ),
            (
                &[("ALL_PROXY", "socks5h://a"), ("HTTP_PROXY", "b")],
                Some("socks5h://a:1080 ALL_PROXY"),
                Some("http://b:80 HTTP_PROXY"),
            ),
            (
                &[("all_proxy", "socks5://a:9"), ("https_proxy", "https://b")],
                Some("https://b:443 https_proxy"),
                Some("socks5://a:9 all_proxy"),
            ),
        ] {
            let rules = rules(variables);
            assert_eq!(proxy(&rules, https).as_deref(), for_https, "{variables:?}");
            assert_eq!(proxy(&rules, http).as_deref(), for_http, "{variables:?}");
        }
    }

    #[test]
    fn urls_of_proxies_are_read_as_people_write_them() {
        for (text, shown) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("proxy:3128", "http://proxy:3128"),
            ("proxy.corp.example:3128", "http://proxy.corp.example:3128"),
            ("proxy.corp.example", "http://proxy.corp.example:80"),
            ("10.0.0.1:3128", "http://10.0.0.1:3128"),
            ("[2001:db8::1]:3128", "http://[2001:db8::1]:3128"),
            ("me:secret@proxy:3128", "http://proxy:3128"),
            ("http://me:se%40cret@proxy:3128/path?query", "http://proxy:3128"),
            ("https://proxy", "https://proxy:443"),
            ("socks5://proxy", "socks5://proxy:1080"),
            ("socks5h://me:secret@proxy:9050", "socks5h://proxy:9050"),
            ("socks://proxy:1080/", "socks5://proxy:1080"),
            (" http://proxy:3128\n", "http://proxy:3128"),
        ] {
            let server = ProxyServer::parse("HTTPS_PROXY", text).unwrap();
            assert_eq!(format!("{server:?}"), shown, "{text}");
            assert!(!server.to_string().contains("secret"));
        }
        for text in
            ["http://", "ftp://proxy", "http://proxy:port", "://proxy", "http://pro xy", "/", "@"]
        {
            assert!(ProxyServer::parse("HTTPS_PROXY", text).is_err(), "{text}");
        }
    }
}
