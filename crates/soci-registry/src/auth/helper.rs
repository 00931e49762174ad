//! Credential helpers: programs `docker-credential-<name>` that are given a server's name on
//! standard input and print JSON (docker/docker-credential-helpers, "Usage").

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::credentials::{Credentials, CredentialsError};
use super::object::Object;
use crate::redact::{Secret, sanitize};

/// Time for a helper to answer. Some of them ask a cloud service.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Most bytes read from a helper.
const OUTPUT_LIMIT: u64 = 64 << 10;

/// What to do about a helper that is not there.
const MISSING: &str = "; install it, or take it out of the file that names it";

/// The user name that marks the secret as an identity token.
const TOKEN_USER: &str = "<token>";

/// What helpers print, with a status of 1, if they know nothing of the server.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// Asks the helper `name` for the credentials of `server`. `directory` is where the program is
/// looked for instead of the search path.
pub(super) async fn get(
    name: &str,
    directory: Option<&Path>,
    server: &str,
) -> Result<Credentials, CredentialsError> {
    let program = format!("docker-credential-{name}");
    let fail = |reason: String| CredentialsError::Helper {
        helper: sanitize(&program),
        registry: server.to_owned(),
        reason,
    };
    // A name with a separator would run a program outside the search path.
    if !name.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c)) {
        return Err(fail(
            "its name has characters other than letters, digits, '.', '_', '-'".into(),
        ));
    }
    let path = directory.map_or_else(|| program.as_str().into(), |dir| dir.join(&program));
    match tokio::time::timeout(TIMEOUT, run(&path, server)).await {
        Err(_) => Err(fail(format!("no answer within {TIMEOUT:?}"))),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(fail(match directory {
                Some(directory) => format!("{program} is not in {}{MISSING}", directory.display()),
                None => format!("{program} is not on PATH{MISSING}"),
            }))
        }
        Ok(Err(error)) => Err(fail(error.to_string())),
        Ok(Ok((true, output))) => {
            parse(&output).ok_or_else(|| fail("its output is not JSON".into()))
        }
        Ok(Ok((false, output))) => {
            let said = String::from_utf8_lossy(&output);
            if said.contains(NOT_FOUND) {
                Ok(Credentials::Anonymous)
            } else if parse(&output).is_some() {
                // Whatever it means by it, it is not to be repeated.
                Err(fail("it printed credentials and then failed".into()))
            } else {
                Err(fail(sanitize(&said)))
            }
        }
    }
}

/// Whether the program succeeded, and what it printed: standard output, or, if that is empty and
/// it failed, standard error.
async fn run(path: &Path, server: &str) -> std::io::Result<(bool, Vec<u8>)> {
    let mut child = Command::new(path)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A helper that does not read its input closes the pipe; its answer still counts.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
    };
    let ((), stdout, stderr) = tokio::join!(write, read(stdout), read(stderr));
    let (stdout, stderr) = (stdout?, stderr?);
    let success = child.wait().await?.success();
    Ok((success, if !success && stdout.is_empty() { stderr } else { stdout }))
}

async fn read(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut output = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(OUTPUT_LIMIT).read_to_end(&mut output).await?;
    }
    Ok(output)
}

fn parse(output: &[u8]) -> Option<Credentials> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct HelperOutput {
        username: Option<String>,
        secret: Option<String>,
    }
    let Object(answer) = serde_json::from_slice::<Object<HelperOutput>>(output).ok()?;
    let username = answer.username.unwrap_or_default();
    let secret = answer.secret.unwrap_or_default();
    Some(match username.as_str() {
        // Some helpers do not say that they know nothing.
        "" if secret.is_empty() => Credentials::Anonymous,
        TOKEN_USER => Credentials::IdentityToken(Secret::new(secret)),
        _ => Credentials::Basic { username, password: Secret::new(secret) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_docker_reads_it() {
        let basic = |username: &str, password: &str| Credentials::Basic {
            username: username.to_owned(),
            password: Secret::new(password),
        };
        for (output, expected) in [
            (r#"{"ServerURL":"s","Username":"u","Secret":"p"}"#, Some(basic("u", "p"))),
            (
                r#"{"Username":"<token>","Secret":"t"}"#,
                Some(Credentials::IdentityToken(Secret::new("t"))),
            ),
            (r#"{"Secret":"p"}"#, Some(basic("", "p"))),
            (r#"{"Username":"","Secret":""}"#, Some(Credentials::Anonymous)),
            (r#"{"Username":null,"Secret":null}"#, Some(Credentials::Anonymous)),
            ("{}", Some(Credentials::Anonymous)),
            ("null", Some(Credentials::Anonymous)),
            (r#"["u","p"]"#, None),
            ("u:p", None),
            ("", None),
        ] {
            assert_eq!(parse(output.as_bytes()), expected, "{output}");
        }
    }
}
