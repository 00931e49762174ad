//! Proxies: what goes through them, what is said of those that do not work, and how often they are tried.

use soci_oci::{Digest, Repository};
use soci_registry::{Client, Error, ProxyFault, ProxyRules, TlsOptions};
use soci_registry_server::testing::FakeRegistry;
use soci_tests::FakeRegistryClient;

use crate::servers::{Clients, address_of, answers, pem, proxy, socks, tls};
use crate::support::{NAME, content, read, start};

const PASSWORD: &str = "sup3rs3cret";

/// A client that goes by these variables.
fn client(fake: &FakeRegistry, plain_http: bool, variables: &[(&str, String)]) -> Client {
    let rules = ProxyRules::from_variables(|name| {
        let set = variables.iter().find(|(known, _)| *known == name);
        set.map(|(_, value)| value.clone())
    });
    let tls = TlsOptions { ca_files: vec![pem("plain-ca.crt")], ..TlsOptions::default() };
    let builder = fake.client_builder().plain_http(plain_http).tls(tls);
    builder.proxy_rules(rules.unwrap()).build().unwrap()
}

async fn download(fake: &FakeRegistry, client: &Client, host: &str) -> Result<(), Error> {
    let blob = content(1000);
    let digest = fake.put_blob(NAME, blob.clone());
    let repository = Repository::new(host, NAME).unwrap();
    let bytes = read(&mut client.blob(&repository, &digest, blob.len() as u64)).await?;
    assert_eq!(bytes, blob);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn requests_go_through_the_proxy_of_their_scheme_with_its_credentials() {
    let fake = start().await;
    let server = tls(address_of(&fake), "plain", Clients::Unasked).await;
    // "Basic me:sup3rs3cret"
    let login = "Basic bWU6c3VwM3JzM2NyZXQ=";
    for (variable, plain_http, target, begins) in [
        ("HTTPS_PROXY", false, server.address, "CONNECT r.example:443 HTTP/1.1\r\n"),
        ("https_proxy", false, server.address, "CONNECT r.example:443 HTTP/1.1\r\n"),
        ("ALL_PROXY", false, server.address, "CONNECT r.example:443 HTTP/1.1\r\n"),
        ("HTTP_PROXY", true, address_of(&fake), "GET http://r.example/v2/"),
        ("all_proxy", true, address_of(&fake), "GET http://r.example/v2/"),
    ] {
        let proxy = proxy(target).await;
        let url = format!("http://me:{PASSWORD}@{}", proxy.address);
        let client = client(&fake, plain_http, &[(variable, url)]);
        download(&fake, &client, "r.example").await.unwrap();
        let seen = proxy.seen();
        assert!(seen[0].starts_with(begins), "{variable}: {seen:?}");
        assert!(seen[0].to_lowercase().contains("proxy-authorization:"), "{seen:?}");
        assert!(seen[0].contains(login), "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn socks_proxies_get_the_name_or_the_address() {
    let fake = start().await;
    let target = address_of(&fake);
    for (scheme, login) in [("socks5h", None), ("socks5h", Some(("me", PASSWORD)))] {
        let proxy = socks(target, login).await;
        let user = login.map(|(name, password)| format!("{name}:{password}@")).unwrap_or_default();
        let url = format!("{scheme}://{user}{}", proxy.address);
        let client = client(&fake, true, &[("ALL_PROXY", url)]);
        download(&fake, &client, "r.example:5000").await.unwrap();
        assert_eq!(proxy.seen()[0], "r.example:5000");
    }
    // Looked up here, a name that nobody has never gets to the proxy.
    let proxy = socks(target, None).await;
    let client = client(&fake, true, &[("ALL_PROXY", format!("socks5://{}", proxy.address))]);
    let error = download(&fake, &client, "lost.invalid").await.unwrap_err();
    let Error::Exhausted { failures: 2, source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(&**source, Error::UnknownHost { host, .. } if host == "lost.invalid"));
    assert!(proxy.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn this_machine_and_exceptions_are_reached_without_a_proxy() {
    let fake = start().await;
    let nobody = || "http://127.0.0.1:1".to_owned();
    let client_of = |no_proxy: &str| {
        client(&fake, true, &[("HTTP_PROXY", nobody()), ("NO_PROXY", no_proxy.to_owned())])
    };
    let port = address_of(&fake).port();
    for host in ["127.0.0.1", "localhost"] {
        download(&fake, &client_of(""), &format!("{host}:{port}")).await.unwrap();
    }
    // That it is asked for at all shows that the proxy was left out.
    let error = download(&fake, &client_of("*.invalid:80"), "lost.invalid").await.unwrap_err();
    let Error::Exhausted { source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(&**source, Error::UnknownHost { .. }), "{source:?}");
    let error = download(&fake, &client_of("*.invalid:81"), "lost.invalid").await.unwrap_err();
    let Error::Exhausted { source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(&**source, Error::Proxy { .. }), "{source:?}");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_cannot_be_used_is_named_after_two_tries_and_its_password_is_not() {
    const REFUSES: &[u8] =
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
    const FAILS: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n";
    let fake = start().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refusing = answers(REFUSES).await;
    let failing = answers(FAILS).await;
    let silent = answers(b"").await;
    let wants_login = socks(address_of(&fake), Some(("me", "other"))).await;
    for (scheme, host, fault, tries) in [
        ("http", closed.to_string(), ProxyFault::Unusable(""), 2),
        ("socks5h", closed.to_string(), ProxyFault::Unusable(""), 2),
        ("http", "proxy.invalid:3128".to_owned(), ProxyFault::UnknownHost(""), 2),
        ("http", refusing.address.to_string(), ProxyFault::Login(""), 1),
        ("socks5", wants_login.address.to_string(), ProxyFault::Login(""), 1),
        ("http", failing.address.to_string(), ProxyFault::Unusable(""), 2),
        ("http", silent.address.to_string(), ProxyFault::Unusable(""), 2),
    ] {
        for plain_http in [false, true] {
            // By http a proxy that answers 502 or nothing looks like a registry that does.
            if plain_http
                && (host == failing.address.to_string() || host == silent.address.to_string())
            {
                continue;
            }
            let variable = if plain_http { "HTTP_PROXY" } else { "HTTPS_PROXY" };
            let url = format!("{scheme}://me:{PASSWORD}@{host}");
            let client = client(&fake, plain_http, &[(variable, url)]);
            // An address, as one of these proxies has names looked up here.
            let error = download(&fake, &client, "192.0.2.1:5000").await.unwrap_err();
            let told = soci_text::error_chain(&error);
            let debugged = format!("{error:?}");
            assert!(told.contains(&host) && told.contains(variable), "{told}");
            assert!(!told.contains(PASSWORD) && !debugged.contains(PASSWORD), "{told} {debugged}");
            let (failures, innermost) = match &error {
                Error::Exhausted { failures, source, .. } => (*failures, &**source),
                error => (1, error),
            };
            let Error::Proxy { fault: found, .. } = innermost else { panic!("{host}: {error:?}") };
            let same = std::mem::discriminant(found) == std::mem::discriminant(&fault);
            assert!(same && failures == tries, "{scheme} {host} {plain_http}: {error:?}");
            assert_eq!(error.is_transient(), tries > 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_server_behind_a_proxy_does_is_not_the_proxys_fault() {
    let fake = start().await;
    // Plain http where https was asked for, elsewhere than on this machine.
    let through = proxy(address_of(&fake)).await;
    let of = |front: &crate::servers::Front| {
        client(&fake, false, &[("HTTPS_PROXY", format!("http://{}", front.address))])
    };
    let error = download(&fake, &of(&through), "r.example").await.unwrap_err();
    assert!(matches!(error, Error::PlainHttp { .. }) && !error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("--plain-http"), "{error}");
    assert!(error.to_string().contains("REGISTRY_ENDPOINT_URL"), "{error}");
    assert_eq!(through.seen().len(), 1);

    let expired = tls(address_of(&fake), "expired", Clients::Unasked).await;
    let through = proxy(expired.address).await;
    let error = download(&fake, &of(&through), "r.example").await.unwrap_err();
    assert!(matches!(error, Error::Certificate { .. }), "{error:?}");

    let hanging_up = answers(b"").await;
    let through = proxy(hanging_up.address).await;
    let error = download(&fake, &of(&through), "r.example").await.unwrap_err();
    let Error::Exhausted { failures, source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(&**source, Error::Transport { .. }) && *failures > 2, "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_worked_before_is_tried_as_often_as_a_registry() {
    let fake = start().await;
    let server = tls(address_of(&fake), "plain", Clients::Unasked).await;
    let through = proxy(server.address).await;
    let address = through.address;
    let client = client(&fake, false, &[("HTTPS_PROXY", format!("http://{address}"))]);
    download(&fake, &client, "r.example").await.unwrap();
    // Another name needs another tunnel, which the proxy does not make.
    let digest = Digest::sha256_of(b"x");
    let other = Repository::new("other.example", NAME).unwrap();
    through.stop().await;
    let error = read(&mut client.blob(&other, &digest, 1)).await.unwrap_err();
    let Error::Exhausted { failures, source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(&**source, Error::Proxy { worked: true, .. }) && *failures > 2, "{error:?}");
}

#[test]
fn a_proxy_that_is_no_url_is_an_error_that_does_not_show_it() {
    for (value, says) in [
        ("http://", "HTTPS_PROXY"),
        ("ftp://me:sup3rs3cret@proxy:21", "ftp"),
        ("http://me:sup3rs3cret@proxy:port", "HTTPS_PROXY"),
        ("://me:sup3rs3cret@proxy", "malformed"),
    ] {
        let error =
            ProxyRules::from_variables(|name| (name == "HTTPS_PROXY").then(|| value.to_owned()));
        let error = Error::from(error.unwrap_err());
        let told = soci_text::error_chain(&error);
        assert!(told.contains(says) && !told.contains(PASSWORD), "{told}");
        assert!(!format!("{error:?}").contains(PASSWORD) && !error.is_transient());
    }
}
