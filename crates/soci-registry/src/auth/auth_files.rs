//! Which files credentials are kept in, and in which order they are asked.
//!
//! The order is that of podman and skopeo (containers-auth.json(5); `GetDefaultAuthFile` of
//! containers/common and `pkg/docker/config` of containers/image), which ends with docker's file:
//!
//! 1. `$REGISTRY_AUTH_FILE`, alone;
//! 2. `$DOCKER_CONFIG/config.json`, alone: who names it means it, as docker does;
//! 3. `$XDG_RUNTIME_DIR/containers/auth.json`, or without that variable
//!    `/run/containers/$UID/auth.json`, where `podman login` writes;
//! 4. `$XDG_CONFIG_HOME/containers/auth.json`, or `~/.config/containers/auth.json`;
//! 5. `~/.docker/config.json`, where `docker login` writes.
//!
//! The first file that has credentials for a repository is the answer, however general its entry is. A
//! file is read when it is asked for the first time, so that one that is broken does no harm where no
//! credentials are wanted or an earlier one has them. What is not there is empty, except for the file
//! of `REGISTRY_AUTH_FILE`. What may not be read is passed over with a warning where nobody named it: a
//! container often has the home of another user.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tokio::sync::OnceCell;

use super::credentials::{CredentialProvider, Credentials, CredentialsError, CredentialsFuture};
use super::docker_config::DockerConfig;

/// What is done about a file that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileDuty {
    /// It has to be there.
    Required,
    /// It may be missing.
    Named,
    /// It may be missing, or somebody else's.
    Usual,
}

/// The credentials in the files of docker, podman and skopeo: the first that has some for a repository
/// is the answer.
#[derive(Debug)]
pub struct AuthFiles {
    files: Vec<AuthFile>,
}

#[derive(Debug)]
struct AuthFile {
    path: PathBuf,
    duty: FileDuty,
    content: OnceCell<DockerConfig>,
}

impl AuthFiles {
    /// The files that the environment names; `variable` looks one of its variables up. Nothing is read
    /// yet.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = set("REGISTRY_AUTH_FILE") {
            return Self { files: vec![AuthFile::new(path, FileDuty::Required)] };
        }
        if let Some(directory) = set("DOCKER_CONFIG") {
            let path = directory.join("config.json");
            return Self { files: vec![AuthFile::new(path, FileDuty::Named)] };
        }
        let home = set("HOME");
        let in_home = |name| home.as_ref().map(|home| home.join(name));
        let podmans = |directory: PathBuf| directory.join("containers/auth.json");
        let runtime = set("XDG_RUNTIME_DIR").map(podmans).or_else(runtime_file);
        let config = set("XDG_CONFIG_HOME").or_else(|| in_home(".config")).map(podmans);
        let docker = in_home(".docker/config.json");
        let paths = [runtime, config, docker].into_iter().flatten();
        Self { files: paths.map(|path| AuthFile::new(path, FileDuty::Usual)).collect() }
    }

    async fn look_up(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Credentials, CredentialsError> {
        for file in &self.files {
            let found = file.content().await?.look_up(registry, repository).await?;
            if found != Credentials::Anonymous {
                tracing::debug!(path = %file.path.display(), registry, "credentials found");
                return Ok(found);
            }
        }
        Ok(Credentials::Anonymous)
    }
}

impl CredentialProvider for AuthFiles {
    fn credentials<'a>(&'a self, registry: &'a str, repository: &'a str) -> CredentialsFuture<'a> {
        Box::pin(async move { Ok(self.look_up(registry, repository).await?.into()) })
    }
}

impl AuthFile {
    fn new(path: PathBuf, duty: FileDuty) -> Self {
        Self { path, duty, content: OnceCell::new() }
    }

    async fn content(&self) -> Result<&DockerConfig, CredentialsError> {
        let reading = || async {
            let (path, duty) = (self.path.clone(), self.duty);
            // It may be a pipe, whose other end takes its time.
            match tokio::task::spawn_blocking(move || read(&path, duty)).await {
                Ok(read) => read,
                Err(ended) => {
                    let (path, source) = (self.path.clone(), std::io::Error::other(ended));
                    Err(CredentialsError::Read { path, source })
                }
            }
        };
        self.content.get_or_try_init(reading).await
    }
}

fn read(path: &Path, duty: FileDuty) -> Result<DockerConfig, CredentialsError> {
    let read = DockerConfig::read(path);
    let Err(CredentialsError::Read { source, .. }) = &read else { return read };
    match (source.kind(), duty) {
        (ErrorKind::NotFound, FileDuty::Named | FileDuty::Usual) => Ok(DockerConfig::empty(path)),
        (ErrorKind::PermissionDenied, FileDuty::Usual) => {
            let shown = path.display();
            tracing::warn!(path = %shown, "credentials that may not be read are passed over");
            Ok(DockerConfig::empty(path))
        }
        _ => read,
    }
}

/// Where `podman login` writes without `XDG_RUNTIME_DIR`. Other systems than Linux have no such place.
fn runtime_file() -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;

    let user = std::fs::metadata("/proc/self").ok()?.uid();
    Some(format!("/run/containers/{user}/auth.json").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(variables: &[(&str, &Path)]) -> AuthFiles {
        AuthFiles::from_environment(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.as_os_str().to_owned())
        })
    }

    fn paths(variables: &[(&str, &str)]) -> Vec<String> {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (*name, Path::new(*value))).collect();
        let files = files(&variables).files;
        files.iter().map(|file| file.path.display().to_string()).collect()
    }

    #[test]
    fn files_are_asked_in_the_order_of_podman_and_skopeo() {
        let all = [
            ("REGISTRY_AUTH_FILE", "/a/auth.json"),
            ("DOCKER_CONFIG", "/d"),
            ("XDG_RUNTIME_DIR", "/r"),
            ("XDG_CONFIG_HOME", "/c"),
            ("HOME", "/h"),
        ];
        assert_eq!(paths(&all), ["/a/auth.json"]);
        assert_eq!(paths(&all[1..]), ["/d/config.json"]);
        let (runtime, docker) = ("/r/containers/auth.json", "/h/.docker/config.json");
        assert_eq!(paths(&all[2..]), [runtime, "/c/containers/auth.json", docker]);
        let without = [all[2], ("XDG_CONFIG_HOME", ""), ("DOCKER_CONFIG", ""), all[4]];
        assert_eq!(paths(&without), [runtime, "/h/.config/containers/auth.json", docker]);
        let rest = paths(&all[3..]);
        assert_eq!(rest[rest.len() - 2..], ["/c/containers/auth.json", docker]);
        if cfg!(target_os = "linux") {
            assert!(rest[0].starts_with("/run/containers/") && rest[0].ends_with("/auth.json"));
            assert_eq!(paths(&[]).len(), 1);
        }
    }

    fn write(directory: &Path, name: &str, json: &str) -> PathBuf {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, json).unwrap();
        path
    }

    async fn user(files: &AuthFiles, registry: &str, repository: &str) -> Option<String> {
        match files.look_up(registry, repository).await.unwrap() {
            Credentials::Basic { username, .. } => Some(username),
            _ => None,
        }
    }

    #[tokio::test]
    async fn the_first_file_with_credentials_is_the_answer_and_the_next_has_the_rest() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        // "r:p", "c:p" and "d:p".
        write(
            root,
            "run/containers/auth.json",
            r#"{"auths":{"a.example":{"auth":"cjpw"},"b.example":{}}}"#,
        );
        write(
            root,
            "conf/containers/auth.json",
            r#"{"auths":{"a.example/team":{"auth":"Yzpw"},"b.example":{"auth":"Yzpw"}}}"#,
        );
        write(
            root,
            ".docker/config.json",
            r#"{"auths":{"b.example":{"auth":"ZDpw"},"https://c.example/v1/":{"auth":"ZDpw"}}}"#,
        );
        let (run, conf) = (root.join("run"), root.join("conf"));
        let files = files(&[("XDG_RUNTIME_DIR", &run), ("XDG_CONFIG_HOME", &conf), ("HOME", root)]);
        for (registry, repository, expected) in [
            ("a.example", "app", Some("r")),
            ("a.example", "team/app", Some("r")),
            ("b.example", "app", Some("c")),
            ("c.example", "app", Some("d")),
            ("d.example", "app", None),
        ] {
            let found = user(&files, registry, repository).await;
            assert_eq!(found.as_deref(), expected, "{registry}/{repository}");
        }
    }

    #[tokio::test]
    async fn a_broken_file_matters_only_where_it_is_asked() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        write(root, "run/containers/auth.json", r#"{"auths":{"a.example":{"auth":"cjpw"}}}"#);
        let broken = write(root, ".docker/config.json", "{");
        let files = files(&[("XDG_RUNTIME_DIR", &root.join("run")), ("HOME", root)]);
        assert_eq!(user(&files, "a.example", "app").await.as_deref(), Some("r"));
        let error = files.look_up("b.example", "app").await.unwrap_err();
        assert!(matches!(&error, CredentialsError::Parse { path, .. } if *path == broken));
        assert!(error.to_string().contains("log in anew"), "{error}");
    }

    #[tokio::test]
    async fn only_the_file_of_registry_auth_file_has_to_be_there() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let error = files(&[("REGISTRY_AUTH_FILE", &missing)]).look_up("a.example", "app").await;
        assert!(matches!(error, Err(CredentialsError::Read { .. })));
        for name in ["DOCKER_CONFIG", "XDG_RUNTIME_DIR", "HOME"] {
            assert_eq!(user(&files(&[(name, &missing)]), "a.example", "app").await, None, "{name}");
        }
        // A file where a folder is expected, or the other way round, is a mistake in any case.
        let file = write(directory.path(), "file", "{}");
        let folder = directory.path();
        for (name, path) in [("DOCKER_CONFIG", &*file), ("REGISTRY_AUTH_FILE", folder)] {
            assert!(files(&[(name, path)]).look_up("a.example", "app").await.is_err(), "{name}");
        }
    }

    #[test]
    fn what_may_not_be_read_is_passed_over_where_nobody_named_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = write(directory.path(), "auth.json", "{}");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o000);
        std::fs::set_permissions(&path, mode).unwrap();
        // The superuser may read everything.
        let denied = std::fs::read(&path).is_err();
        assert!(read(&path, FileDuty::Usual).is_ok());
        for duty in [FileDuty::Named, FileDuty::Required] {
            assert_eq!(read(&path, duty).is_err(), denied, "{duty:?}");
        }
    }

    #[tokio::test]
    async fn a_file_is_read_once() {
        let directory = tempfile::tempdir().unwrap();
        let path =
            write(directory.path(), "auth.json", r#"{"auths":{"a.example":{"auth":"cjpw"}}}"#);
        let files = files(&[("REGISTRY_AUTH_FILE", &path)]);
        assert_eq!(user(&files, "a.example", "app").await.as_deref(), Some("r"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(user(&files, "a.example", "app").await.as_deref(), Some("r"));
        assert!(!format!("{files:?}").contains("cjpw"));
    }
}
