//! Where the commands on single images find the credentials for registries.
//!
//! In this order, and the first that has some for the repository is the answer:
//!
//! 1. `--username` and `--password-stdin`, for the registry that the command's image is in;
//! 2. the files of podman and docker and the helpers that they name ([`AuthFiles`]);
//! 3. for ECR, the credentials of AWS (`AwsCredentialProvider`), in a program that is built with them.
//!
//! Nothing is looked up before a registry asks for credentials. The password is read at once, so that a
//! mistake in it is one on the command line.

use std::io::Read;
use std::sync::Arc;

use soci_registry::{
    AuthFiles, CredentialChain, CredentialProvider, Credentials, Secret, StaticCredentials,
    TlsOptions,
};

use crate::cli::LoginArgs;

/// Longest password. Tokens have a few kilobytes.
const MAX_PASSWORD: u64 = 64 << 10;

/// The credentials for a command on an image in `registry`; `None` for an image that is in none. The
/// error is a mistake on the command line.
pub(crate) fn provider(
    login: &LoginArgs,
    tls: &TlsOptions,
    registry: Option<&str>,
) -> Result<Arc<dyn CredentialProvider>, String> {
    let mut providers: Vec<Arc<dyn CredentialProvider>> = Vec::new();
    if let Some(credentials) = read(login, &mut std::io::stdin())? {
        let registry = registry.ok_or("--username is for an image in a registry")?;
        providers.push(Arc::new(StaticCredentials::new(registry, credentials)));
    }
    providers.push(Arc::new(AuthFiles::from_environment(|name| std::env::var_os(name))));
    #[cfg(feature = "aws")]
    providers.push(Arc::new(soci_aws::AwsCredentialProvider::trusting(tls.clone())));
    #[cfg(not(feature = "aws"))]
    let _ = tls;
    Ok(Arc::new(CredentialChain::new(providers)))
}

/// What the flags say, with the password that stands in `input`.
fn read(login: &LoginArgs, input: &mut impl Read) -> Result<Option<Credentials>, String> {
    let Some(username) = &login.username else { return Ok(None) };
    // They end at the first colon when they are sent (RFC 7617, section 2).
    if username.is_empty() || username.contains(':') {
        return Err("--username: a name without a colon is expected".to_owned());
    }
    let mut text = String::new();
    let read = input.take(MAX_PASSWORD + 1).read_to_string(&mut text);
    let read = read.map_err(|error| format!("--password-stdin: standard input: {error}"))?;
    if read as u64 > MAX_PASSWORD {
        return Err(format!("--password-stdin: more than {MAX_PASSWORD} bytes are no password"));
    }
    // One end of line is that of `echo`, as for `docker login`.
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err("--password-stdin: there is no password on standard input".to_owned());
    }
    let (username, password) = (username.clone(), Secret::new(password));
    Ok(Some(Credentials::Basic { username, password }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(username: &str) -> LoginArgs {
        LoginArgs { username: Some(username.to_owned()), password_stdin: true }
    }

    #[test]
    fn a_password_is_what_stands_on_standard_input_without_the_end_of_its_line() {
        for (input, password) in [
            ("p", "p"),
            ("p\n", "p"),
            ("p\r\n", "p"),
            ("p\n\n", "p\n"),
            (" p q ", " p q "),
            ("p:q", "p:q"),
        ] {
            let found = read(&login("u"), &mut input.as_bytes()).unwrap().unwrap();
            let (username, password) = ("u".to_owned(), Secret::new(password));
            assert_eq!(found, Credentials::Basic { username, password }, "{input:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_login_is_said_without_repeating_it() {
        let long = "secret".repeat(20_000);
        let cases: [(&str, &[u8]); 7] = [
            ("u", b""),
            ("u", b"\n"),
            ("u", b"\r\n"),
            ("u", b"secret\xff"),
            ("u", long.as_bytes()),
            ("", b"secret"),
            ("u:v", b"secret"),
        ];
        for (username, mut input) in cases {
            let error = read(&login(username), &mut input).unwrap_err();
            assert!(error.starts_with("--") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn without_the_flags_standard_input_is_left_alone() {
        let none = LoginArgs { username: None, password_stdin: false };
        let mut input = &b"secret"[..];
        assert_eq!(read(&none, &mut input).unwrap(), None);
        assert_eq!(input.len(), 6);
        assert!(provider(&none, &TlsOptions::default(), None).is_ok());
    }
}
