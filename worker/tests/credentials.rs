//! Where `index` and `verify` find credentials, as people have them.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use soci_registry_server::testing::{FakeAuth, FakeOptions, FakeRegistry};

/// "u:p", "u:wrong" and "x:y" in base64.
const GOOD: &str = "dTpw";
const WRONG: &str = "dTp3cm9uZw==";
const OTHER: &str = "eDp5";

/// A registry with a password, and a folder to find one in. The image that is asked for is not there, so
/// that a command ends with one of two errors.
struct Scene {
    fake: FakeRegistry,
    folder: tempfile::TempDir,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    LoggedIn,
    Refused,
    /// Before anything was asked.
    Usage,
}

impl Scene {
    async fn new() -> Self {
        let auth = FakeAuth::Basic { username: "u".to_owned(), password: "p".to_owned() };
        let fake = FakeRegistry::with(FakeOptions { auth, ..FakeOptions::default() }).await;
        Self { fake, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Writes a file of credentials, `auth` for `key` behind the registry's name.
    fn write(&self, name: &str, key: &str, auth: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let host = self.fake.host();
        let json = format!(r#"{{"auths":{{"{host}{key}":{{"auth":"{auth}"}}}}}}"#);
        std::fs::write(path, json).unwrap();
    }

    /// Runs a command with these variables and nothing else of the environment.
    async fn run(
        &self,
        variables: &[(&str, &str)],
        flags: &[&str],
        password: &str,
    ) -> (Seen, String) {
        let image = format!("{}/team/app:1", self.fake.host());
        let mut command = Command::new(env!("CARGO_BIN_EXE_soci-index-builder"));
        command.args(["verify", &image, "--plain-http"]).args(flags);
        command.env_clear().envs(variables.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let password = password.to_owned();
        let output = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().unwrap();
            // It may have ended without reading.
            let _ = child.stdin.take().unwrap().write_all(password.as_bytes());
            child.wait_with_output().unwrap()
        });
        let output = output.await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let seen = match output.status.code() {
            Some(2) => Seen::Usage,
            _ if said.contains("refuses access") => Seen::Refused,
            _ => {
                assert!(said.contains("there is no such image"), "{said}");
                Seen::LoggedIn
            }
        };
        (seen, said)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_podman_and_docker_are_found() {
    let scene = Scene::new().await;
    scene.write("named.json", "", GOOD);
    scene.write("docker/config.json", "/v1/", GOOD);
    scene.write("run/containers/auth.json", "/team", GOOD);
    scene.write("conf/containers/auth.json", "/team/app", GOOD);
    scene.write("home/.config/containers/auth.json", "", GOOD);
    scene.write("old/.docker/config.json", "", GOOD);
    scene.write("bad/config.json", "", WRONG);
    scene.write("other/containers/auth.json", "/other", OTHER);
    let [named, docker, run, conf, home, old, bad, other, none] =
        ["named.json", "docker", "run", "conf", "home", "old", "bad", "other", "none"]
            .map(|name| scene.path(name));
    let cases: [(&[(&str, &str)], Seen); 11] = [
        (&[("REGISTRY_AUTH_FILE", &*named), ("DOCKER_CONFIG", &bad)], Seen::LoggedIn),
        (&[("DOCKER_CONFIG", &*docker), ("HOME", &none)], Seen::LoggedIn),
        (&[("DOCKER_CONFIG", &*bad), ("HOME", &home)], Seen::Refused),
        (&[("DOCKER_CONFIG", &*none), ("HOME", &home)], Seen::Refused),
        (&[("XDG_RUNTIME_DIR", &*run), ("HOME", &none)], Seen::LoggedIn),
        (&[("XDG_RUNTIME_DIR", &*none), ("XDG_CONFIG_HOME", &conf)], Seen::LoggedIn),
        (&[("HOME", &*home)], Seen::LoggedIn),
        (&[("XDG_RUNTIME_DIR", &*other), ("HOME", &old)], Seen::LoggedIn),
        (&[("XDG_RUNTIME_DIR", &*other)], Seen::Refused),
        (&[("HOME", &*none)], Seen::Refused),
        (&[], Seen::Refused),
    ];
    for (variables, expected) in cases {
        let (seen, said) = scene.run(variables, &[], "").await;
        assert_eq!(seen, expected, "{variables:?}: {said}");
        for secret in ["wrong", WRONG, GOOD] {
            assert!(!said.contains(secret), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_on_the_command_line_wins() {
    let scene = Scene::new().await;
    scene.write("good/config.json", "", GOOD);
    scene.write("bad/config.json", "", WRONG);
    let (good, bad) = (scene.path("good"), scene.path("bad"));
    let flags = ["--username", "u", "--password-stdin"];
    for (config, password, expected) in [
        (&good, "p\n", Seen::LoggedIn),
        (&bad, "p\r\n", Seen::LoggedIn),
        (&good, "wr0ng", Seen::Refused),
        (&good, "", Seen::Usage),
        (&good, "\n", Seen::Usage),
    ] {
        let (seen, said) = scene.run(&[("DOCKER_CONFIG", config)], &flags, password).await;
        assert_eq!(seen, expected, "{password:?}: {said}");
        assert!(!said.contains("wr0ng"), "{said}");
    }
    let mistakes: [&[&str]; 3] =
        [&flags[..2], &flags[2..], &["--username", "u:p", "--password-stdin"]];
    for flags in mistakes {
        let (seen, said) = scene.run(&[], flags, "p").await;
        assert_eq!(seen, Seen::Usage, "{said}");
    }
}

#[test]
fn a_login_is_for_a_registry() {
    let folder = tempfile::tempdir().unwrap();
    let image = format!("oci:{}", Path::new(folder.path()).display());
    let output = Command::new(env!("CARGO_BIN_EXE_soci-index-builder"))
        .args(["verify", &image, "--username", "u", "--password-stdin"])
        .stdin(std::fs::File::open("Cargo.toml").unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("an image in a registry"));
}
