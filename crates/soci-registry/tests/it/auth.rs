//! Credentials, tokens and who may see them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use soci_registry::{
    AuthFiles, Client, CredentialChain, CredentialProvider, Credentials, CredentialsError,
    CredentialsFuture, DockerConfig, Error, Granted, PushedBlob, Secret, StaticCredentials,
};
use soci_registry_server::testing::{
    Effect, FakeAuth, FakeOptions, FakeRegistry, Quirk, RequestKind, TokenUser,
};
use soci_tests::FakeRegistryClient;

use crate::support::{NAME, content, download, start_with, tag};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub(crate) fn basic(username: &str, password: &str) -> Credentials {
    Credentials::Basic { username: username.to_owned(), password: Secret::new(password) }
}

pub(crate) fn bearer(user: TokenUser, lifetime: Duration) -> FakeOptions {
    FakeOptions { auth: FakeAuth::Bearer { user, lifetime }, ..FakeOptions::default() }
}

pub(crate) fn user() -> TokenUser {
    TokenUser::Basic { username: "u".to_owned(), password: "p".to_owned() }
}

pub(crate) fn client(fake: &FakeRegistry, credentials: Credentials) -> Client {
    let credentials = StaticCredentials::new(fake.host(), credentials);
    fake.client_builder().credentials(Arc::new(credentials)).build().unwrap()
}

/// Whether a manifest and a blob can be read and a blob written.
pub(crate) async fn works(fake: &FakeRegistry, client: &Client) -> Result<(), Error> {
    fake.put_manifest(NAME, Some("1"), MANIFEST, "{}");
    let digest = fake.put_blob(NAME, content(100));
    client.manifest(&fake.repository(NAME), &tag("1")).await?;
    download(fake, client, &digest, 100).await?;
    let new = content(101);
    let digest = soci_oci::Digest::sha256_of(&new);
    let pushed = client.push_blob(&fake.repository(NAME), &digest, &new.into(), None).await?;
    assert_eq!(pushed, PushedBlob::Uploaded);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn basic_credentials_are_shown_after_one_challenge() {
    let auth = FakeAuth::Basic { username: "u".to_owned(), password: "p".to_owned() };
    let fake = start_with(FakeOptions { auth, ..FakeOptions::default() }).await;
    works(&fake, &client(&fake, basic("u", "p"))).await.unwrap();
    // One challenge for reading and one for writing.
    assert_eq!(fake.requests().iter().filter(|request| request.status == 401).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn tokens_are_fetched_once_per_scope_and_used_again() {
    let credentials = [
        (TokenUser::Anyone, Credentials::Anonymous),
        (user(), basic("u", "p")),
        (
            TokenUser::IdentityToken("i&t".to_owned()),
            Credentials::IdentityToken(Secret::new("i&t")),
        ),
    ];
    for (user, credentials) in credentials {
        let fake = start_with(bearer(user, Duration::from_mins(1))).await;
        works(&fake, &client(&fake, credentials)).await.unwrap();
        assert_eq!(fake.requests_of(RequestKind::Token).len(), 2);
        let refused = fake.requests().iter().filter(|request| request.status == 401).count();
        assert_eq!(refused, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn parallel_parts_share_one_new_token() {
    let mut options = bearer(user(), Duration::from_mins(1));
    options.redirect_blobs = false;
    let fake = start_with(options).await;
    let bytes = content(400_000);
    let digest = fake.put_blob(NAME, bytes.clone());
    let credentials = StaticCredentials::new(fake.host(), basic("u", "p"));
    let client = fake
        .client_builder()
        .credentials(Arc::new(credentials))
        .transfer(soci_registry::Transfer { part_size: 10_000, parallel_parts: 8 })
        .build()
        .unwrap();
    let mut blob = client.blob(&fake.repository(NAME), &digest, 400_000);
    let mut got = blob.next().await.unwrap().unwrap().to_vec();
    fake.revoke_tokens();
    while let Some(chunk) = blob.next().await.unwrap() {
        got.extend_from_slice(&chunk);
    }
    assert_eq!(got, bytes);
    assert_eq!(fake.requests_of(RequestKind::Token).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_replaced_without_a_refusal() {
    let fake = start_with(bearer(user(), Duration::from_secs(10))).await;
    let client = client(&fake, basic("u", "p"));
    fake.put_manifest(NAME, Some("1"), MANIFEST, "{}");
    let repository = fake.repository(NAME);
    client.manifest(&repository, &tag("1")).await.unwrap();
    fake.clear_requests();
    tokio::time::advance(Duration::from_secs(11)).await;
    client.manifest(&repository, &tag("1")).await.unwrap();
    let kinds: Vec<RequestKind> = fake.requests().iter().map(|request| request.kind).collect();
    assert_eq!(kinds, [RequestKind::Token, RequestKind::ManifestGet]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_still_valid_is_used_while_no_other_can_be_had() {
    let fake = start_with(bearer(user(), Duration::from_mins(5))).await;
    let client = client(&fake, basic("u", "p"));
    fake.put_manifest(NAME, Some("1"), MANIFEST, "{}");
    let repository = fake.repository(NAME);
    client.manifest(&repository, &tag("1")).await.unwrap();
    fake.clear_requests();
    let away = fake.quirk(Quirk::on(RequestKind::Token, Effect::status(503)).always());
    // It ends after 300 s and is to be renewed after 270.
    tokio::time::advance(Duration::from_secs(271)).await;
    for _ in 0..20 {
        client.manifest(&repository, &tag("1")).await.unwrap();
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert_eq!(fake.requests_of(RequestKind::Token).len(), 1, "not with every request");
    tokio::time::advance(Duration::from_secs(15)).await;
    fake.lift(away);
    fake.clear_requests();
    client.manifest(&repository, &tag("1")).await.unwrap();
    assert_eq!(fake.requests_of(RequestKind::Token).len(), 1, "a little later it is renewed");
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_is_replaced_after_one_refusal() {
    let fake = start_with(bearer(user(), Duration::from_mins(1))).await;
    let client = client(&fake, basic("u", "p"));
    fake.put_manifest(NAME, Some("1"), MANIFEST, "{}");
    let repository = fake.repository(NAME);
    client.manifest(&repository, &tag("1")).await.unwrap();
    fake.revoke_tokens();
    fake.clear_requests();
    client.manifest(&repository, &tag("1")).await.unwrap();
    let kinds: Vec<RequestKind> = fake.requests().iter().map(|request| request.kind).collect();
    assert_eq!(kinds, [RequestKind::ManifestGet, RequestKind::Token, RequestKind::ManifestGet]);
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_name_the_registry_and_no_secret() {
    let basic_auth = FakeAuth::Basic { username: "u".to_owned(), password: "p".to_owned() };
    for options in [
        bearer(user(), Duration::from_mins(1)),
        FakeOptions { auth: basic_auth, ..FakeOptions::default() },
    ] {
        let fake = start_with(options).await;
        for credentials in [basic("u", "wrong-secret"), Credentials::Anonymous] {
            let error = works(&fake, &client(&fake, credentials)).await.unwrap_err();
            assert!(
                matches!(&error, Error::Unauthorized { registry, .. } if *registry == fake.host())
            );
            let text = format!("{error} {error:?}");
            assert!(text.contains("docker login") && !text.contains("wrong-secret"), "{text}");
            assert!(!error.is_transient());
        }
        // A refusal is not repeated.
        assert!(fake.requests().len() <= 6, "{:?}", fake.requests());
    }
}

/// Gives wrong credentials first, then right ones.
#[derive(Debug, Default)]
struct Rotating(AtomicUsize);

impl CredentialProvider for Rotating {
    fn credentials<'a>(&'a self, _: &'a str, _: &'a str) -> CredentialsFuture<'a> {
        let asked = self.0.fetch_add(1, Ordering::Relaxed);
        let credentials = basic("u", if asked == 0 { "old" } else { "p" });
        Box::pin(async { Ok(Granted { credentials, valid_for: Some(Duration::from_hours(1)) }) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_is_asked_again_after_expiry_and_not_before() {
    let auth = FakeAuth::Basic { username: "u".to_owned(), password: "p".to_owned() };
    let fake = start_with(FakeOptions { auth, ..FakeOptions::default() }).await;
    let provider = Arc::new(Rotating(AtomicUsize::new(1)));
    let client = fake.client_builder().credentials(provider.clone()).build().unwrap();
    works(&fake, &client).await.unwrap();
    assert_eq!(provider.0.load(Ordering::Relaxed), 2);
    tokio::time::advance(Duration::from_secs(3601)).await;
    client.manifest(&fake.repository(NAME), &tag("1")).await.unwrap();
    assert_eq!(provider.0.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_password_that_changed_is_asked_for_after_the_refusal() {
    let auth = FakeAuth::Basic { username: "u".to_owned(), password: "p".to_owned() };
    let fake = start_with(FakeOptions { auth, ..FakeOptions::default() }).await;
    fake.put_manifest(NAME, Some("1"), MANIFEST, "{}");
    let provider = Arc::new(Rotating::default());
    let client = fake.client_builder().credentials(provider).build().unwrap();
    let repository = fake.repository(NAME);
    assert!(client.manifest(&repository, &tag("1")).await.is_err());
    client.manifest(&repository, &tag("1")).await.unwrap();
}

fn expired(status: u16) -> Effect {
    let words = "Your authorization token has expired. Reauthenticate and try again.";
    Effect::error(StatusCode::from_u16(status).unwrap(), "DENIED", words)
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_replaced_after_an_answer_that_asks_for_nothing() {
    for effect in [expired(403), expired(400), Effect::status(403), Effect::status(400)] {
        let fake = start_with(bearer(user(), Duration::from_hours(1))).await;
        let client = client(&fake, basic("u", "p"));
        fake.put_manifest(NAME, Some("1"), MANIFEST, "{}");
        let (repository, target) = (fake.repository(NAME), tag("1"));
        let read = || client.manifest(&repository, &target);
        read().await.unwrap();
        let refuse = || {
            fake.clear_requests();
            fake.quirk(Quirk::on(RequestKind::ManifestGet, effect.clone()));
        };
        let kinds = || fake.requests().iter().map(|request| request.kind).collect::<Vec<_>>();
        refuse();
        read().await.unwrap();
        assert_eq!(
            kinds(),
            [RequestKind::ManifestGet, RequestKind::Token, RequestKind::ManifestGet]
        );
        // Soon after it means what it says.
        refuse();
        let error = read().await.unwrap_err();
        assert!(error.status().is_some() && !error.is_transient(), "{error}");
        assert_eq!(kinds(), [RequestKind::ManifestGet]);
        tokio::time::advance(Duration::from_mins(5)).await;
        refuse();
        read().await.unwrap();
        assert_eq!(
            kinds(),
            [RequestKind::ManifestGet, RequestKind::Token, RequestKind::ManifestGet]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_replaced_whatever_is_asked_for() {
    let effects = [expired(403), expired(400), Effect::status(403), Effect::status(400)];
    for effect in effects {
        let kinds = [
            RequestKind::ManifestHead,
            RequestKind::ManifestGet,
            RequestKind::BlobHead,
            RequestKind::BlobGet,
            RequestKind::Referrers,
            RequestKind::UploadPost,
        ];
        for kind in kinds {
            let fake = start_with(bearer(user(), Duration::from_hours(1))).await;
            let client = client(&fake, basic("u", "p"));
            let manifest = fake.put_manifest(NAME, Some("1"), MANIFEST, "{}");
            let blob = fake.put_blob(NAME, content(100));
            let repository = fake.repository(NAME);
            let ask = async |turn: usize| match kind {
                RequestKind::ManifestHead => {
                    client.head_manifest(&repository, &tag("1")).await.map(|_| ())
                }
                RequestKind::ManifestGet => {
                    client.manifest(&repository, &tag("1")).await.map(|_| ())
                }
                RequestKind::BlobHead => client.has_blob(&repository, &blob).await.map(|_| ()),
                // With a range, which a 400 might be about.
                RequestKind::BlobGet => {
                    client.blob_range_only(&repository, &blob, 5..10).await.map(|_| ())
                }
                RequestKind::Referrers => {
                    client.referrers(&repository, &manifest, None).await.map(|_| ())
                }
                _ => {
                    let bytes = content(200 + turn);
                    let digest = soci_oci::Digest::sha256_of(&bytes);
                    client.upload_blob(&repository, &digest, &bytes.into()).await
                }
            };
            ask(0).await.unwrap();
            fake.clear_requests();
            fake.quirk(Quirk::on(kind, effect.clone()));
            ask(1).await.unwrap();
            let asked: Vec<_> = fake.requests().iter().map(|request| request.kind).collect();
            assert_eq!(asked[..3], [kind, RequestKind::Token, kind], "{effect:?}");
            assert!(asked[3..].iter().all(|kind| *kind == RequestKind::UploadPut), "{asked:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_costs_one_renewal_and_stands_with_its_own_words() {
    let fake = start_with(bearer(user(), Duration::from_hours(1))).await;
    let client = client(&fake, basic("u", "p"));
    fake.put_manifest(NAME, Some("1"), MANIFEST, "{}");
    let repository = fake.repository(NAME);
    client.manifest(&repository, &tag("1")).await.unwrap();
    fake.clear_requests();
    let denied = Effect::error(StatusCode::FORBIDDEN, "DENIED", "no push for you");
    fake.quirk(Quirk::on(RequestKind::ManifestGet, denied).always());
    for _ in 0..20 {
        let error = client.manifest(&repository, &tag("1")).await.unwrap_err();
        assert!(matches!(error, Error::Status(_)) && error.to_string().contains("no push"));
    }
    assert_eq!(fake.requests_of(RequestKind::Token).len(), 1);
    assert_eq!(fake.requests_of(RequestKind::ManifestGet).len(), 21);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_renewed_for_a_refusal_of_what_was_not_sent_or_is_all_there_is() {
    let auth = FakeAuth::Basic { username: "u".to_owned(), password: "p".to_owned() };
    for auth in [FakeAuth::None, auth] {
        let fake = start_with(FakeOptions { auth, ..FakeOptions::default() }).await;
        let client = client(&fake, basic("u", "p"));
        fake.put_manifest(NAME, Some("1"), MANIFEST, "{}");
        let repository = fake.repository(NAME);
        client.manifest(&repository, &tag("1")).await.unwrap();
        fake.clear_requests();
        fake.quirk(Quirk::on(RequestKind::ManifestGet, expired(403)));
        assert!(client.manifest(&repository, &tag("1")).await.is_err());
        assert_eq!(fake.requests().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_document_is_no_question_of_credentials() {
    let fake = start_with(bearer(user(), Duration::from_hours(1))).await;
    let client = client(&fake, basic("u", "p"));
    works(&fake, &client).await.unwrap();
    fake.clear_requests();
    let invalid = Effect::error(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", "");
    fake.quirk(Quirk::on(RequestKind::ManifestGet, invalid));
    assert!(client.manifest(&fake.repository(NAME), &tag("1")).await.is_err());
    assert_eq!(fake.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn credentials_that_the_token_endpoint_refuses_are_not_kept() {
    let fake = start_with(bearer(user(), Duration::from_mins(1))).await;
    fake.put_manifest(NAME, Some("1"), MANIFEST, "{}");
    let provider = Arc::new(Rotating::default());
    let client = fake.client_builder().credentials(provider.clone()).build().unwrap();
    let repository = fake.repository(NAME);
    // What was given just now is not asked for again.
    assert!(client.manifest(&repository, &tag("1")).await.is_err());
    assert_eq!(provider.0.load(Ordering::Relaxed), 1);
    client.manifest(&repository, &tag("1")).await.unwrap();
    assert_eq!(provider.0.load(Ordering::Relaxed), 2);
    assert_eq!(fake.requests_of(RequestKind::Token).len(), 3);
}

/// Gives good credentials once; those who were refused with them learn that there are no others yet.
#[derive(Debug, Default)]
struct Failing(AtomicUsize);

impl CredentialProvider for Failing {
    fn credentials<'a>(&'a self, _: &'a str, _: &'a str) -> CredentialsFuture<'a> {
        Box::pin(async { Ok(basic("u", "p").into()) })
    }

    fn credentials_after<'a>(
        &'a self,
        registry: &'a str,
        _: &'a str,
        _: &'a Credentials,
    ) -> CredentialsFuture<'a> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let (registry, source) = (registry.to_owned(), "down".into());
        Box::pin(async { Err(CredentialsError::Provider { registry, transient: true, source }) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_passes_while_nobody_can_say_whether_there_are_other_credentials() {
    let fake = start_with(bearer(user(), Duration::from_hours(1))).await;
    fake.put_manifest(NAME, Some("1"), MANIFEST, "{}");
    let provider = Arc::new(Failing::default());
    let client = fake.client_builder().credentials(provider.clone()).build().unwrap();
    let repository = fake.repository(NAME);
    client.manifest(&repository, &tag("1")).await.unwrap();
    fake.quirk(Quirk::on(RequestKind::ManifestGet, expired(403)).always());
    let error = client.manifest(&repository, &tag("1")).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(provider.0.load(Ordering::Relaxed), 1, "not with every try");
    tokio::time::advance(Duration::from_secs(16)).await;
    assert!(client.manifest(&repository, &tag("1")).await.unwrap_err().is_transient());
    assert_eq!(provider.0.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn uploads_sent_to_another_host_go_without_authorization() {
    let mut options = bearer(user(), Duration::from_mins(1));
    options.uploads_elsewhere = true;
    options.redirect_blobs = true;
    let fake = start_with(options).await;
    works(&fake, &client(&fake, basic("u", "p"))).await.unwrap();
    let puts = fake.requests_of(RequestKind::UploadPut);
    assert_eq!(puts.len(), 1);
    assert_eq!(puts[0].authorization, None);
    assert!(
        fake.requests_of(RequestKind::StorageGet).iter().all(|get| get.authorization.is_none())
    );
}

/// Writes a credential helper, a program that takes time of its own. It answers with `body` and
/// records what it was given.
fn helper(directory: &Path, name: &str, body: &str) {
    let path = directory.join(format!("docker-credential-{name}"));
    let log = directory.join("asked");
    let script = format!("#!/bin/sh\necho \"$1 $(cat)\" >> '{}'\n{body}\n", log.display());
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn config(directory: &Path, json: &str) -> DockerConfig {
    let path = directory.join("config.json");
    std::fs::write(&path, json).unwrap();
    DockerConfig::load(&path).unwrap().with_helpers_in(directory)
}

#[tokio::test]
async fn a_credential_helper_is_asked_by_the_servers_name() {
    let directory = tempfile::tempdir().unwrap();
    helper(directory.path(), "one", r#"echo '{"Username":"u","Secret":"p"}'"#);
    helper(directory.path(), "all", r#"echo '{"Username":"<token>","Secret":"t"}'"#);
    let config = config(
        directory.path(),
        r#"{"credHelpers":{"one.example:5000":"one"},"credsStore":"all"}"#,
    );
    let ask = async |registry| config.credentials(registry, NAME).await.unwrap().credentials;
    assert_eq!(ask("one.example:5000").await, basic("u", "p"));
    assert_eq!(ask("docker.io").await, Credentials::IdentityToken(Secret::new("t")));
    let asked = std::fs::read_to_string(directory.path().join("asked")).unwrap();
    assert_eq!(asked, "get one.example:5000\nget https://index.docker.io/v1/\n");
}

#[tokio::test]
async fn a_helper_that_knows_nothing_leaves_the_entry_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    helper(directory.path(), "none", "echo 'credentials not found in native keychain'; exit 1");
    let config =
        config(directory.path(), r#"{"credsStore":"none","auths":{"a.example":{"auth":"dTpw"}}}"#);
    let ask = async |registry| config.credentials(registry, NAME).await.unwrap().credentials;
    assert_eq!(ask("a.example").await, basic("u", "p"));
    assert_eq!(ask("b.example").await, Credentials::Anonymous);
}

#[tokio::test]
async fn a_helper_that_fails_is_an_error_with_its_words() {
    let directory = tempfile::tempdir().unwrap();
    helper(directory.path(), "bad", "echo 'vault is sealed' >&2; exit 3");
    helper(directory.path(), "odd", "echo hello");
    helper(directory.path(), "leaky", r#"echo '{"Username":"u","Secret":"s3cret"}'; exit 1"#);
    let config = config(
        directory.path(),
        r#"{"credsStore":"bad","credHelpers":{"odd.example":"odd","gone.example":"gone",
            "leaky.example":"leaky"}}"#,
    );
    for (registry, words) in [
        ("a.example", "vault is sealed"),
        ("odd.example", "not JSON"),
        ("gone.example", "docker-credential-gone"),
        ("leaky.example", "and then failed"),
    ] {
        let error = config.credentials(registry, NAME).await.unwrap_err();
        assert!(matches!(error, CredentialsError::Helper { .. }));
        assert!(error.to_string().contains(words), "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_docker_configuration_logs_in() {
    let fake = start_with(bearer(user(), Duration::from_mins(1))).await;
    let directory = tempfile::tempdir().unwrap();
    let json = format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, fake.host());
    let config = config(directory.path(), &json);
    let client = fake.client_builder().credentials(Arc::new(config)).build().unwrap();
    works(&fake, &client).await.unwrap();
}

/// Has a login for each of two namespaces, and counts who asks.
#[derive(Debug, Default)]
struct ByNamespace(AtomicUsize);

impl CredentialProvider for ByNamespace {
    fn credentials<'a>(&'a self, _: &'a str, repository: &'a str) -> CredentialsFuture<'a> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let user = if repository.starts_with("team/") { "u" } else { "nobody" };
        Box::pin(async move { Ok(basic(user, "p").into()) })
    }
}

#[tokio::test(start_paused = true)]
async fn each_repository_has_the_credentials_that_were_given_for_it() {
    let auth = FakeAuth::Basic { username: "u".to_owned(), password: "p".to_owned() };
    for options in
        [bearer(user(), Duration::from_mins(1)), FakeOptions { auth, ..FakeOptions::default() }]
    {
        let fake = start_with(options).await;
        let provider = Arc::new(ByNamespace::default());
        let client = fake.client_builder().credentials(provider.clone()).build().unwrap();
        for name in ["other/app", NAME, "team/web"] {
            fake.put_manifest(name, Some("1"), MANIFEST, "{}");
        }
        let read = async |name| client.manifest(&fake.repository(name), &tag("1")).await;
        // In whatever order: neither the refused ones nor those that work are taken for the others.
        assert!(read("other/app").await.is_err());
        read(NAME).await.unwrap();
        read("team/web").await.unwrap();
        assert!(read("other/app").await.is_err());
        let asked = provider.0.load(Ordering::Relaxed);
        read(NAME).await.unwrap();
        assert_eq!(provider.0.load(Ordering::Relaxed), asked, "what works is kept");
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_of_podman_for_a_namespace_is_used_for_it() {
    let fake = start_with(bearer(user(), Duration::from_mins(1))).await;
    let directory = tempfile::tempdir().unwrap();
    // "x:y" and "u:p".
    let host = fake.host();
    let json = format!(
        r#"{{"auths":{{"{host}/other":{{"auth":"eDp5"}},"{host}/team":{{"auth":"dTpw"}}}}}}"#
    );
    let path = directory.path().join("auth.json");
    std::fs::write(&path, json).unwrap();
    let files = AuthFiles::from_environment(|name| {
        (name == "REGISTRY_AUTH_FILE").then(|| path.clone().into_os_string())
    });
    let client = fake.client_builder().credentials(Arc::new(files)).build().unwrap();
    works(&fake, &client).await.unwrap();
}

/// Has credentials for one registry, fails for another, and says nothing of the rest for a minute.
#[derive(Debug)]
struct Knows(&'static str, &'static str);

impl CredentialProvider for Knows {
    fn credentials<'a>(&'a self, registry: &'a str, _: &'a str) -> CredentialsFuture<'a> {
        let credentials =
            if registry == self.0 { basic(self.1, "p") } else { Credentials::Anonymous };
        let failed = registry == "broken.example";
        Box::pin(async move {
            let source = "broken".into();
            let registry = registry.to_owned();
            if failed {
                return Err(CredentialsError::Provider { registry, transient: false, source });
            }
            Ok(Granted { credentials, valid_for: Some(Duration::from_mins(1)) })
        })
    }
}

#[tokio::test]
async fn of_several_providers_the_first_that_knows_something_is_asked() {
    let provider = |registry, user| Arc::new(Knows(registry, user)) as Arc<dyn CredentialProvider>;
    let own = StaticCredentials::new("a.example", basic("static", "p"));
    let chain = CredentialChain::new([
        Arc::new(own) as Arc<dyn CredentialProvider>,
        provider("a.example", "first"),
        provider("b.example", "second"),
    ]);
    for (registry, expected) in
        [("a.example", Some("static")), ("b.example", Some("second")), ("c.example", None)]
    {
        let first = chain.credentials(registry, NAME).await.unwrap();
        let after = chain.credentials_after(registry, NAME, &basic("x", "y")).await.unwrap();
        assert_eq!(first, after);
        let expected = expected.map_or(Credentials::Anonymous, |user| basic(user, "p"));
        assert_eq!(first.credentials, expected);
        let kept = (registry != "a.example").then(|| Duration::from_mins(1));
        assert_eq!(first.valid_for, kept, "{registry}");
    }
    assert!(chain.credentials("broken.example", NAME).await.is_err());
}
