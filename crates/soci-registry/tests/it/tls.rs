//! Whom TLS trusts, what is said of those whom it does not, and who is shown a client certificate. The certificates
//! are those of `tests/tls`.

use std::path::{Path, PathBuf};

use http::StatusCode;
use soci_oci::Repository;
use soci_registry::{Client, ClientBuilder, Error, SetupError, TlsOptions};
use soci_registry_server::testing::{Effect, FakeRegistry, Quirk, RequestKind};
use soci_tests::FakeRegistryClient;

use crate::servers::{Clients, Front, address_of, answers, pem, tls};
use crate::support::{NAME, content, read, start};

/// A client that speaks https with everybody but this machine's fakes, which are at 127.0.0.1 too.
fn builder(fake: &FakeRegistry, options: TlsOptions) -> ClientBuilder {
    fake.client_builder().plain_http(false).tls(options)
}

fn trusting(file: &str) -> TlsOptions {
    TlsOptions { ca_files: vec![pem(file)], ..TlsOptions::default() }
}

/// Reads a blob of the registry behind `front`.
async fn download(fake: &FakeRegistry, client: &Client, front: &Front) -> Result<Vec<u8>, Error> {
    let blob = content(1000);
    let digest = fake.put_blob(NAME, blob.clone());
    let repository = Repository::new(&front.address.to_string(), NAME).unwrap();
    let bytes = read(&mut client.blob(&repository, &digest, blob.len() as u64)).await?;
    assert_eq!(bytes, blob);
    Ok(bytes)
}

#[tokio::test(start_paused = true)]
async fn authorities_of_every_curve_and_hash_are_trusted_if_they_are_named() {
    for name in [
        "plain",
        "p256-sha512",
        "p384-sha512",
        "p521-sha256",
        "p521-sha384",
        "p521-sha512",
        "self-signed-false",
    ] {
        let fake = start().await;
        let front = tls(address_of(&fake), name, Clients::Unasked).await;
        let authority =
            if name.starts_with("self") { format!("{name}.crt") } else { format!("{name}-ca.crt") };
        let client = builder(&fake, trusting(&authority)).build().unwrap();
        download(&fake, &client, &front).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));

        let client = builder(&fake, TlsOptions::default()).build().unwrap();
        let error = download(&fake, &client, &front).await.unwrap_err();
        assert!(matches!(error, Error::Certificate { .. }), "{name}: {error:?}");
        assert!(!error.is_transient() && error.to_string().contains("--ca-file"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_certificate_is_said_with_what_helps() {
    for (name, trusted, says) in [
        ("plain", "p521-sha512-ca.crt", "--ca-file"),
        ("expired", "plain-ca.crt", "it has expired"),
        ("other-name", "plain-ca.crt", "other.example"),
        ("other-name", "plain-ca.crt", "not for 127.0.0.1"),
        ("self-signed-true", "self-signed-true.crt", "CA:FALSE"),
    ] {
        let fake = start().await;
        let front = tls(address_of(&fake), name, Clients::Unasked).await;
        let client = builder(&fake, trusting(trusted)).build().unwrap();
        let error = download(&fake, &client, &front).await.unwrap_err();
        assert!(matches!(error, Error::Certificate { .. }), "{name}: {error:?}");
        assert!(!error.is_transient() && error.to_string().contains(says), "{error}");
        // Once to find out about the scheme, and once for the blob: nothing is tried again, nor by http.
        assert!(fake.requests().is_empty() && front.seen().len() <= 2, "{:?}", front.seen());
    }
}

#[tokio::test(start_paused = true)]
async fn every_certificate_is_taken_if_that_is_asked_for() {
    for name in ["plain", "expired", "other-name", "self-signed-true"] {
        let fake = start().await;
        let front = tls(address_of(&fake), name, Clients::Unasked).await;
        let options = TlsOptions { insecure_skip_verify: true, ..TlsOptions::default() };
        let client = builder(&fake, options).build().unwrap();
        download(&fake, &client, &front).await.unwrap();
    }
}

#[test]
fn a_file_of_authorities_that_holds_none_is_an_error_that_names_it() {
    for (file, says) in [("missing.crt", "cannot be read"), ("make", "holds no certificate")] {
        let error = Client::builder().tls(trusting(file)).build().unwrap_err();
        assert!(matches!(error, Error::Connections(_)) && !error.is_transient(), "{error:?}");
        assert!(error.to_string().contains(says) && error.to_string().contains(file), "{error}");
    }
}

/// A folder `certs.d` for the registry behind `front`, with these files of `tests/tls`.
fn certs_d(front: &Front, files: &[(&str, &str)]) -> (tempfile::TempDir, TlsOptions) {
    let folder = tempfile::tempdir().unwrap();
    let of_host = folder.path().join(front.address.to_string());
    std::fs::create_dir(&of_host).unwrap();
    for (name, of) in files {
        std::fs::copy(pem(of), of_host.join(name)).unwrap();
    }
    let certs_dirs = vec![PathBuf::from("/nowhere"), Path::to_owned(folder.path())];
    (folder, TlsOptions { certs_dirs, ..TlsOptions::default() })
}

#[tokio::test(start_paused = true)]
async fn a_client_certificate_is_shown_to_the_registry_it_is_for() {
    let fake = start().await;
    let front = tls(address_of(&fake), "plain", Clients::MustShow).await;
    let all = [("ca.crt", "plain-ca.crt"), ("me.cert", "client.crt"), ("me.key", "client.key")];
    let (_folder, options) = certs_d(&front, &all);
    let client = builder(&fake, options).build().unwrap();
    download(&fake, &client, &front).await.unwrap();
    assert!(front.seen().iter().all(|shown| shown == "certificate"), "{:?}", front.seen());

    let (_folder, options) = certs_d(&front, &all[..1]);
    let client = builder(&fake, options).build().unwrap();
    let error = download(&fake, &client, &front).await.unwrap_err();
    assert!(matches!(error, Error::ClientCertificate { .. }), "{error:?}");
    assert!(!error.is_transient() && error.to_string().contains("certs.d"), "{error}");

    // The authority alone is not in the other registries' folder.
    let other = tls(address_of(&fake), "plain", Clients::MayShow).await;
    let (_folder, options) = certs_d(&front, &all);
    let client = builder(&fake, options).build().unwrap();
    let error = download(&fake, &client, &other).await.unwrap_err();
    assert!(matches!(error, Error::Certificate { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn where_a_registry_leads_its_authorities_count_and_its_client_certificate_is_not_shown() {
    let fake = start().await;
    let registry = tls(address_of(&fake), "plain", Clients::MustShow).await;
    let storage = tls(address_of(&fake), "plain", Clients::MayShow).await;
    let all = [("ca.crt", "plain-ca.crt"), ("me.cert", "client.crt"), ("me.key", "client.key")];
    let (_folder, options) = certs_d(&registry, &all);
    let client = builder(&fake, options).build().unwrap();
    let blob = content(1000);
    let digest = fake.put_blob(NAME, blob.clone());
    let there = format!("https://{}/v2/{NAME}/blobs/{digest}", storage.address);
    let lead = Effect::status_with(StatusCode::TEMPORARY_REDIRECT.as_u16(), "location", &there);
    fake.quirk(Quirk::on(RequestKind::BlobGet, lead).times(1));
    let repository = Repository::new(&registry.address.to_string(), NAME).unwrap();
    let bytes = read(&mut client.blob(&repository, &digest, blob.len() as u64)).await.unwrap();
    assert_eq!(bytes, blob);
    assert_eq!(storage.seen(), ["none"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_in_a_folder_for_a_registry_is_an_error_at_its_first_request() {
    let fake = start().await;
    let front = tls(address_of(&fake), "plain", Clients::Unasked).await;
    for files in [[("me.cert", "client.crt")], [("me.key", "client.key")]] {
        let (_folder, options) = certs_d(&front, &files);
        let client = builder(&fake, options).build().unwrap();
        let error = download(&fake, &client, &front).await.unwrap_err();
        let half = matches!(error, Error::Connections(SetupError::HalfIdentity { .. }));
        assert!(half && !error.is_transient(), "{error:?}");
    }
    assert!(front.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_no_tls_in_common_is_asked_once() {
    // Fatal alerts of TLS 1.2 (RFC 8446, 6): a failed handshake, a version, too little security.
    for alert in [&[21, 3, 3, 0, 2, 2, 40][..], &[21, 3, 3, 0, 2, 2, 70], &[21, 3, 3, 0, 2, 2, 71]]
    {
        let fake = start().await;
        let front = answers(alert).await;
        let client = builder(&fake, TlsOptions::default()).build().unwrap();
        let error = download(&fake, &client, &front).await.unwrap_err();
        assert!(matches!(error, Error::Handshake { .. }) && !error.is_transient(), "{error:?}");
        assert!(fake.requests().is_empty() && front.seen().len() == 2, "{:?}", front.seen());
    }
}
