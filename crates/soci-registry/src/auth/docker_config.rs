//! One file of credentials: docker's `config.json`, podman's `auth.json`.
//!
//! Both have `auths`, whose keys [`auth_keys`](super::auth_keys) reads. In which order a file is asked:
//!
//! 1. the helper that `credHelpers` names for the registry;
//! 2. an entry of `auths` for a namespace or the repository itself, which only podman writes: nobody
//!    would write one to have it overruled by a helper for everything;
//! 3. the helper of `credsStore`, unless `credHelpers` has a word on the registry (an empty one turns
//!    the store off);
//! 4. an entry of `auths` for the registry.
//!
//! A helper that knows nothing of the registry leaves the rest. One that fails is an error. Entries
//! that hold nothing, by which docker marks what a helper keeps, are none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::auth_keys::{hub, meant};
use super::credentials::{CredentialProvider, Credentials, CredentialsError, CredentialsFuture};
use super::helper;
use super::object::Object;
use crate::redact::Secret;

/// The name of Docker Hub towards credential helpers.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Standard base64, padded or not: both are found in files written by hand.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The byte order mark that editors on Windows put in front of UTF-8.
const BOM: &[u8] = "\u{feff}".as_bytes();

/// The credentials of a docker configuration file, or of podman's `auth.json`. The file is read
/// once.
#[derive(Debug)]
pub struct DockerConfig {
    path: PathBuf,
    file: ConfigFile,
    helpers: Option<PathBuf>,
}

impl DockerConfig {
    /// Reads the file at `path`. A file that does not exist is an empty configuration.
    pub fn load(path: &Path) -> Result<Self, CredentialsError> {
        match Self::read(path) {
            Err(CredentialsError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(Self::empty(path))
            }
            read => read,
        }
    }

    /// Reads the file at `path`, which has to be there.
    pub(super) fn read(path: &Path) -> Result<Self, CredentialsError> {
        let json = std::fs::read(path);
        let json =
            json.map_err(|source| CredentialsError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &json)
    }

    /// A file in which nothing stands.
    pub(super) fn empty(path: &Path) -> Self {
        Self { path: path.to_owned(), file: ConfigFile::default(), helpers: None }
    }

    /// Looks for credential helpers in `directory` instead of the search path.
    #[must_use]
    pub fn with_helpers_in(mut self, directory: impl Into<PathBuf>) -> Self {
        self.helpers = Some(directory.into());
        self
    }

    fn parse(path: &Path, json: &[u8]) -> Result<Self, CredentialsError> {
        let json = json.strip_prefix(BOM).unwrap_or(json).trim_ascii();
        // Docker takes an empty file for an empty configuration.
        let json: &[u8] = if json.is_empty() { b"{}" } else { json };
        let Object(file) = serde_json::from_slice(json)
            .map_err(|source| CredentialsError::Parse { path: path.to_owned(), source })?;
        Ok(Self { file, ..Self::empty(path) })
    }

    /// The credentials that the file has for `repository` of `registry`.
    pub(super) async fn look_up(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Credentials, CredentialsError> {
        let ConfigFile { auths, cred_helpers, creds_store } = &self.file;
        // Helpers are asked for registries, so only keys for a whole one count: no repository has no name.
        let own = meant(&cred_helpers.0, registry, "", |_| true)
            .map(|(_, name)| name.as_deref().unwrap_or_default());
        if let Some(found) = self.ask(own, registry).await? {
            return Ok(found);
        }
        let entry = meant(&auths.0, registry, repository, |Object(entry)| !entry.is_empty());
        let read = |entry: &AuthEntry| {
            entry.credentials().map_err(|reason| CredentialsError::Entry {
                path: self.path.clone(),
                registry: registry.to_owned(),
                reason,
            })
        };
        if let Some((key, Object(entry))) = &entry
            && !key.is_registry()
        {
            return read(entry);
        }
        let store = creds_store.as_deref().filter(|_| own.is_none());
        if let Some(found) = self.ask(store, registry).await? {
            return Ok(found);
        }
        entry.map_or(Ok(Credentials::Anonymous), |(_, Object(entry))| read(entry))
    }

    /// What a helper has, if there is one and it has anything.
    async fn ask(
        &self,
        helper: Option<&str>,
        registry: &str,
    ) -> Result<Option<Credentials>, CredentialsError> {
        let Some(name) = helper.filter(|name| !name.is_empty()) else { return Ok(None) };
        let server = if hub(registry) == "docker.io" { DOCKER_HUB } else { registry };
        let found = helper::get(name, self.helpers.as_deref(), server).await?;
        Ok(Some(found).filter(|found| *found != Credentials::Anonymous))
    }
}

impl CredentialProvider for DockerConfig {
    fn credentials<'a>(&'a self, registry: &'a str, repository: &'a str) -> CredentialsFuture<'a> {
        Box::pin(async move { Ok(self.look_up(registry, repository).await?.into()) })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConfigFile {
    auths: Object<BTreeMap<String, Object<AuthEntry>>>,
    cred_helpers: Object<BTreeMap<String, Option<String>>>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl AuthEntry {
    /// Whether it says nothing, as the entries of logins that a helper keeps.
    fn is_empty(&self) -> bool {
        let fields = [&self.auth, &self.username, &self.password, &self.identitytoken];
        fields.iter().all(|field| field.as_deref().unwrap_or_default().is_empty())
    }

    fn credentials(&self) -> Result<Credentials, &'static str> {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let token = text(&self.identitytoken);
        if !token.is_empty() {
            return Ok(Credentials::IdentityToken(Secret::new(token)));
        }
        let auth = text(&self.auth);
        if auth.is_empty() {
            return Ok(basic(&text(&self.username), &text(&self.password)));
        }
        let decoded = BASE64.decode(auth.trim()).map_err(|_| "auth is not base64")?;
        let text = String::from_utf8(decoded).map_err(|_| "auth is not UTF-8")?;
        let (username, password) = text.split_once(':').ok_or("auth has no colon")?;
        // Docker itself cuts zero bytes at the end, which old versions padded with.
        Ok(basic(username, password.trim_end_matches('\0')))
    }
}

/// A login; two empty words are none.
fn basic(username: &str, password: &str) -> Credentials {
    if username.is_empty() && password.is_empty() {
        return Credentials::Anonymous;
    }
    Credentials::Basic { username: username.to_owned(), password: Secret::new(password) }
}

impl std::fmt::Debug for AuthEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> DockerConfig {
        DockerConfig::parse(Path::new("config.json"), json.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn entries_are_found_by_host_under_any_form_of_key() {
        // dTpw is "u:p", dTpwOnE= is "u:p:q".
        let config = config(
            r#"{"auths":{
                "https://index.docker.io/v1/":{"auth":"dTpw"},
                "http://r.example:5000/v2/":{"auth":"dTpwOnE="},
                "id.example":{"auth":"dTpw","identitytoken":"idt"},
                "plain.example":{"username":"x","password":"y"},
                "empty.example":{},
                "loose.example":{"auth":"dTpwOnE"}}}"#,
        );
        for (registry, expected) in [
            ("docker.io", basic("u", "p")),
            ("r.example:5000", basic("u", "p:q")),
            ("id.example", Credentials::IdentityToken(Secret::new("idt"))),
            ("plain.example", basic("x", "y")),
            ("empty.example", Credentials::Anonymous),
            ("loose.example", basic("u", "p:q")),
            ("r.example", Credentials::Anonymous),
        ] {
            assert_eq!(config.look_up(registry, "app").await.unwrap(), expected, "{registry}");
        }
    }

    #[tokio::test]
    async fn a_malformed_entry_names_the_registry_and_no_secret() {
        let config = config(r#"{"auths":{"a.example":{"auth":"c2VjcmV0"}}}"#);
        let error = config.look_up("a.example", "app").await.unwrap_err().to_string();
        for part in ["a.example", "config.json", "no colon", "log in anew"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains("secret"));
        assert!(!format!("{config:?}").contains("c2VjcmV0"));
    }

    #[tokio::test]
    async fn null_is_the_same_as_nothing() {
        for json in [
            "null",
            "\u{feff}{}",
            "",
            r#"{"auths":null,"credHelpers":null,"credsStore":null}"#,
            r#"{"auths":{"a.example":null},"credHelpers":{"a.example":null}}"#,
            r#"{"auths":{"a.example":{"auth":null,"username":null,"identitytoken":null}}}"#,
        ] {
            let found = config(json).look_up("a.example", "app").await.unwrap();
            assert_eq!(found, Credentials::Anonymous, "{json}");
        }
        let named = config(r#"{"auths":{"b.example":null,"a.example":{"auth":"dTpw"}}}"#);
        assert_eq!(named.look_up("a.example", "app").await.unwrap(), basic("u", "p"));
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        for json in ["[]", "1", r#"{"auths":[]}"#, r#"{"auths":{"a":["dTpw"]}}"#, "{}x"] {
            let read = DockerConfig::parse(Path::new("config.json"), json.as_bytes());
            assert!(matches!(read, Err(CredentialsError::Parse { .. })), "{json}");
        }
    }

    #[tokio::test]
    async fn a_helper_that_is_not_installed_is_said_to_be_missing() {
        let json = r#"{"credHelpers":{"a.example":"no-such-helper"}}"#;
        let error = config(json).look_up("a.example", "app").await.unwrap_err().to_string();
        assert!(error.contains("docker-credential-no-such-helper is not on PATH"), "{error}");
        let there = config(json).with_helpers_in("/nonexistent");
        let error = there.look_up("a.example", "app").await.unwrap_err().to_string();
        assert!(error.contains("is not in /nonexistent"), "{error}");
    }

    #[tokio::test]
    async fn a_namespace_has_its_own_login_and_the_rest_that_of_the_registry() {
        // "x:y", "u:p" and "r:r".
        let config = config(
            r#"{"auths":{
                "r.example/aaa":{"auth":"eDp5"},
                "r.example/app":{"auth":"dTpw"},
                "r.example/app/marked":{},
                "r.example":{"auth":"cjpy"},
                "docker.io/library":{"auth":"eDp5"}}}"#,
        );
        for (registry, repository, expected) in [
            ("r.example", "aaa", basic("x", "y")),
            ("r.example", "app", basic("u", "p")),
            ("r.example", "app/web", basic("u", "p")),
            ("r.example", "app/marked", basic("u", "p")),
            ("r.example", "apps", basic("r", "r")),
            ("r.example", "b", basic("r", "r")),
            ("docker.io", "library/debian", basic("x", "y")),
            ("docker.io", "me/app", Credentials::Anonymous),
        ] {
            let found = config.look_up(registry, repository).await.unwrap();
            assert_eq!(found, expected, "{registry}/{repository}");
        }
    }

    #[tokio::test]
    async fn a_registry_can_be_taken_out_of_the_store() {
        for own in [r#""""#, "null"] {
            let json = format!(
                r#"{{"credsStore":"no-such-helper","credHelpers":{{"a.example":{own}}},
                "auths":{{"a.example":{{"auth":"dTpw"}},"b.example":{{"auth":"dTpw"}},
                "b.example/own":{{"auth":"eDp5"}}}}}}"#
            );
            let config = config(&json);
            assert_eq!(config.look_up("a.example", "app").await.unwrap(), basic("u", "p"));
            assert!(config.look_up("b.example", "app").await.is_err());
            assert_eq!(config.look_up("b.example", "own/app").await.unwrap(), basic("x", "y"));
        }
    }

    #[tokio::test]
    async fn a_missing_file_is_an_empty_configuration() {
        let config = DockerConfig::load(Path::new("/nonexistent/config.json")).unwrap();
        assert_eq!(config.look_up("a.example", "app").await.unwrap(), Credentials::Anonymous);
    }

    #[tokio::test]
    async fn a_helper_with_a_path_in_its_name_is_not_run() {
        let config = config(r#"{"credsStore":"../../bin/sh"}"#);
        let error = config.look_up("a.example", "app").await.unwrap_err();
        assert!(matches!(error, CredentialsError::Helper { .. }));
    }
}
