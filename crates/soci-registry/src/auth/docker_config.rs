//! Docker's `config.json` as a source of credentials.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::credentials::{CredentialProvider, Credentials, CredentialsError, CredentialsFuture};
use super::helper;
use super::object::Object;
use crate::redact::Secret;

/// Docker Hub's key in `auths`, and its name towards credential helpers.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Standard base64, padded or not: both are found in files written by hand.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The byte order mark that editors on Windows put in front of UTF-8.
const BOM: &[u8] = "\u{feff}".as_bytes();

/// Where docker keeps its configuration: `$DOCKER_CONFIG/config.json`, else
/// `$HOME/.docker/config.json`. `variable` looks a variable of the environment up.
pub fn default_docker_config(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let directory = set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")))?;
    Some(directory.join("config.json"))
}

/// The credentials of a docker configuration file: `credHelpers`, then `credsStore`, then
/// `auths`, as docker looks them up. The file is read once.
#[derive(Debug)]
pub struct DockerConfig {
    file: ConfigFile,
    helpers: Option<PathBuf>,
}

impl DockerConfig {
    /// Reads the file at `path`. A file that does not exist is an empty configuration.
    pub fn load(path: &Path) -> Result<Self, CredentialsError> {
        match std::fs::read(path) {
            Ok(json) => Self::parse(path, &json),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self { file: ConfigFile::default(), helpers: None })
            }
            Err(source) => Err(CredentialsError::Read { path: path.to_owned(), source }),
        }
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
        Ok(Self { file, helpers: None })
    }

    async fn look_up(&self, registry: &str) -> Result<Credentials, CredentialsError> {
        let registry = host(registry);
        let server = if registry == "docker.io" { DOCKER_HUB } else { registry };
        let own = find(&self.file.cred_helpers.0, registry).and_then(Option::as_deref);
        let store = self.file.creds_store.as_deref();
        if let Some(name) = own.or(store).filter(|name| !name.is_empty()) {
            let found = helper::get(name, self.helpers.as_deref(), server).await?;
            if found != Credentials::Anonymous {
                return Ok(found);
            }
        }
        match find(&self.file.auths.0, registry) {
            Some(Object(entry)) => entry.credentials().map_err(|reason| CredentialsError::Entry {
                registry: registry.to_owned(),
                reason,
            }),
            None => Ok(Credentials::Anonymous),
        }
    }
}

impl CredentialProvider for DockerConfig {
    fn credentials<'a>(&'a self, registry: &'a str) -> CredentialsFuture<'a> {
        Box::pin(async move { Ok(self.look_up(registry).await?.into()) })
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
    fn credentials(&self) -> Result<Credentials, &'static str> {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let token = text(&self.identitytoken);
        if !token.is_empty() {
            return Ok(Credentials::IdentityToken(Secret::new(token)));
        }
        let basic = |username: &str, password: &str| Credentials::Basic {
            username: username.to_owned(),
            password: Secret::new(password),
        };
        let auth = text(&self.auth);
        if auth.is_empty() {
            return Ok(match (text(&self.username).as_str(), text(&self.password).as_str()) {
                ("", "") => Credentials::Anonymous,
                (username, password) => basic(username, password),
            });
        }
        let decoded = BASE64.decode(auth.trim()).map_err(|_| "auth is not base64")?;
        let text = String::from_utf8(decoded).map_err(|_| "auth is not UTF-8")?;
        let (username, password) = text.split_once(':').ok_or("auth has no colon")?;
        // Docker itself cuts zero bytes at the end, which old versions padded with.
        Ok(basic(username, password.trim_end_matches('\0')))
    }
}

impl std::fmt::Debug for AuthEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The entry under the registry's own name, else the first under a URL of the registry.
fn find<'a, T>(entries: &'a BTreeMap<String, T>, registry: &str) -> Option<&'a T> {
    let exact = entries.get(registry);
    exact.or_else(|| entries.iter().find(|(key, _)| host(key) == registry).map(|(_, entry)| entry))
}

/// The host and port of a key such as `https://index.docker.io/v1/`; all names of Docker Hub
/// become `docker.io`.
fn host(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = key.split('/').next().unwrap_or(key);
    match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> DockerConfig {
        DockerConfig::parse(Path::new("config.json"), json.as_bytes()).unwrap()
    }

    fn basic(username: &str, password: &str) -> Credentials {
        Credentials::Basic { username: username.to_owned(), password: Secret::new(password) }
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
            assert_eq!(config.look_up(registry).await.unwrap(), expected, "{registry}");
        }
    }

    #[tokio::test]
    async fn a_malformed_entry_names_the_registry_and_no_secret() {
        let config = config(r#"{"auths":{"a.example":{"auth":"c2VjcmV0"}}}"#);
        let error = config.look_up("a.example").await.unwrap_err().to_string();
        assert!(error.contains("a.example") && error.contains("no colon"), "{error}");
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
            let found = config(json).look_up("a.example").await.unwrap();
            assert_eq!(found, Credentials::Anonymous, "{json}");
        }
        let named = config(r#"{"auths":{"b.example":null,"a.example":{"auth":"dTpw"}}}"#);
        assert_eq!(named.look_up("a.example").await.unwrap(), basic("u", "p"));
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
        let error = config(json).look_up("a.example").await.unwrap_err().to_string();
        assert!(error.contains("docker-credential-no-such-helper is not on PATH"), "{error}");
        let there = config(json).with_helpers_in("/nonexistent");
        let error = there.look_up("a.example").await.unwrap_err().to_string();
        assert!(error.contains("is not in /nonexistent"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_file_is_an_empty_configuration() {
        let config = DockerConfig::load(Path::new("/nonexistent/config.json")).unwrap();
        assert_eq!(config.look_up("a.example").await.unwrap(), Credentials::Anonymous);
    }

    #[tokio::test]
    async fn a_helper_with_a_path_in_its_name_is_not_run() {
        let config = config(r#"{"credsStore":"../../bin/sh"}"#);
        let error = config.look_up("a.example").await.unwrap_err();
        assert!(matches!(error, CredentialsError::Helper { .. }));
    }

    #[test]
    fn the_default_path_follows_dockers_variables() {
        let home = |name: &str| (name == "HOME").then(|| OsString::from("/home/u"));
        let path = default_docker_config(home).unwrap();
        assert_eq!(path, Path::new("/home/u/.docker/config.json"));
        let both = |name: &str| Some(OsString::from(if name == "HOME" { "/h" } else { "/c" }));
        assert_eq!(default_docker_config(both).unwrap(), Path::new("/c/config.json"));
        assert_eq!(default_docker_config(|_| None), None);
    }
}
