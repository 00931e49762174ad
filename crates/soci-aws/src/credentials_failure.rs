//! Why a call of AWS was never made: no credentials, or no region. In one sentence that says what to do.
//!
//! The SDK tells it as an account of all that it tried, for people who know the SDK. Its errors have few
//! types and much text, so the text decides ([`KINDS`]). Where no text is known the rule is the SDK's
//! type: a provider that failed may do better later, one that is not configured will not.

use std::error::Error;
use std::io::ErrorKind;

use aws_credential_types::provider::error::CredentialsError;
use soci_text::{error_chain, truncate};

use crate::passing_codes::is_passing;

/// Most bytes that are repeated of what the SDK says.
const MAX_REASON: usize = 300;

/// Why there are no credentials, or no region.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CredentialsFailure {
    #[error(
        "no AWS credentials were found{}: set AWS_PROFILE or AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY, or give this machine, task or pod a role",
        profile.as_ref().map(|name| format!(" with the profile {name} (AWS_PROFILE)"))
            .unwrap_or_default())]
    Missing {
        /// The profile that was to have some.
        profile: Option<String>,
    },
    #[error(
        "there is no AWS profile {0}: correct AWS_PROFILE, or add the profile to ~/.aws/config \
         (aws configure)"
    )]
    NoProfile(String),
    #[error(
        "the AWS configuration cannot be used: {0}; correct ~/.aws/config and ~/.aws/credentials"
    )]
    Configuration(String),
    #[error("the AWS profile has no valid login: {0}; log in with aws sso login, or aws login")]
    Login(String),
    #[error("the credential_process of the AWS profile failed: {0}; run it by hand")]
    Process(String),
    #[error(
        "a file with AWS credentials cannot be read: {0}; see AWS_WEB_IDENTITY_TOKEN_FILE, \
         AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE and the profile"
    )]
    File(String),
    #[error("AWS refuses to give credentials: {0}; check the role, its trust policy and the keys")]
    Refused(String),
    #[error("the AWS credentials cannot be had: {0}")]
    Unavailable(String),
    #[error("no AWS region is configured: set AWS_REGION, or region in the profile")]
    NoRegion,
}

/// What the SDK puts before its reasons and what the sentences here say already.
const PREAMBLES: [&str; 4] = [
    "an error occurred while loading credentials: ",
    "an error occurred while loading an access token: ",
    "unexpected credentials error: ",
    "ProfileFile provider could not be built: ",
];

/// Makes a failure of what the SDK said.
type Kind = fn(String) -> CredentialsFailure;

/// What the SDK says of providers that failed, and what that means, in order. Source: `aws-config`.
const KINDS: [(&str, Kind); 17] = [
    // Whatever was asked could not be reached.
    ("dispatch failure", CredentialsFailure::Unavailable),
    ("timeout", CredentialsFailure::Unavailable),
    ("external process", CredentialsFailure::Process),
    ("IMDS is disabled", |_| CredentialsFailure::Missing { profile: None }),
    // Whoever never logged in has no file there.
    ("/login/cache/", CredentialsFailure::Login),
    ("/sso/cache/", CredentialsFailure::Login),
    ("cached Login token", CredentialsFailure::Login),
    ("SSO token", CredentialsFailure::Login),
    // SSO's answer to a token that has ended before its time.
    ("Session token not found or invalid", CredentialsFailure::Login),
    ("AccessDenied", CredentialsFailure::Refused),
    ("ForbiddenException", CredentialsFailure::Refused),
    ("InvalidClientTokenId", CredentialsFailure::Refused),
    ("InvalidIdentityToken", CredentialsFailure::Refused),
    ("ResourceNotFoundException", CredentialsFailure::Refused),
    ("SignatureDoesNotMatch", CredentialsFailure::Refused),
    ("UnauthorizedException", CredentialsFailure::Refused),
    ("ValidationError", CredentialsFailure::Refused),
];

impl CredentialsFailure {
    /// What the error of a call says of credentials or the region; `None` if it is about something else.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut chain = std::iter::successors(Some(error), |&error| error.source());
        let failed = chain.find_map(|error| {
            if lacks_region(&error.to_string()) {
                return Some(Self::NoRegion);
            }
            error.downcast_ref().map(|failed: &CredentialsError| Self::read(failed))
        })?;
        Some(match failed {
            Self::Missing { profile: None } => Self::Missing { profile: profile_of_this_process() },
            failed => failed,
        })
    }

    /// Whether waiting may help.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    fn read(error: &CredentialsError) -> Self {
        let mut text = error.source().map_or_else(|| error.to_string(), error_chain);
        for preamble in PREAMBLES {
            text = text.replace(preamble, "");
        }
        let mut reason = text.trim().to_owned();
        // A role is assumed in a region as well.
        if lacks_region(&reason) {
            return Self::NoRegion;
        }
        if let Some(name) = undefined_profile(&reason) {
            return Self::NoProfile(name.to_owned());
        }
        if reason.contains("`sso_account_id`") {
            let reason = "the profile has sso_session without sso_account_id and sso_role_name";
            return Self::Configuration(reason.to_owned());
        }
        truncate(&mut reason, MAX_REASON);
        match error {
            CredentialsError::CredentialsNotLoaded(_) => Self::Missing { profile: None },
            CredentialsError::InvalidConfiguration(_) => Self::Configuration(reason),
            // What passes by its code passes here as well.
            _ if reason.split(|c: char| !c.is_ascii_alphanumeric()).any(is_passing) => {
                Self::Unavailable(reason)
            }
            _ => {
                let known = KINDS.iter().find(|(words, _)| reason.contains(words));
                match known {
                    Some((_, kind)) => kind(reason),
                    None if is_unreadable_file(error) => Self::File(reason),
                    None => Self::Unavailable(reason),
                }
            }
        }
    }
}

/// Whether it is said that there is no region: to find a service, or to sign a request.
fn lacks_region(text: &str) -> bool {
    ["Missing Region", "missing signing region"].iter().any(|words| text.contains(words))
}

/// The profile that an account of what was tried says is not there.
fn undefined_profile(text: &str) -> Option<&str> {
    let (before, _) = text.split_once("` was not defined")?;
    before.rsplit_once("profile `").map(|(_, name)| name)
}

/// The profile that the environment names.
fn profile_of_this_process() -> Option<String> {
    let name = std::env::var("AWS_PROFILE").ok()?;
    Some(soci_text::disarmed(&name, soci_text::MAX_QUOTED, ' ', &[]))
        .filter(|name| !name.is_empty())
}

/// Whether the cause is a file that is not there or that is somebody else's.
fn is_unreadable_file(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|error| {
        let error: Option<&std::io::Error> = error.downcast_ref();
        error.is_some_and(|error| {
            matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of an error of a provider, without the environment of the test.
    fn read(error: &CredentialsError) -> (String, bool) {
        let failure = CredentialsFailure::read(error);
        (failure.to_string(), failure.is_transient())
    }

    #[test]
    fn every_failure_is_one_sentence_that_says_what_to_do() {
        let provider = |text: &str| CredentialsError::provider_error(text.to_owned());
        let attempts = "no credentials found in chain. Attempted:\n  Environment: the credential \
            provider was not enabled: environment variable not set\n  Profile: the credential \
            provider was not enabled";
        for (error, beginning, advice) in [
            (
                CredentialsError::not_loaded(attempts),
                "no AWS credentials were found",
                "AWS_PROFILE",
            ),
            (CredentialsError::not_loaded_no_source(), "no AWS credentials were found", "a role"),
            (
                CredentialsError::not_loaded(format!(
                    "{attempts}: profile `nope` was not defined: "
                )),
                "there is no AWS profile nope",
                "aws configure",
            ),
            (
                CredentialsError::invalid_configuration("profile formed an infinite loop"),
                "the AWS configuration cannot be used: profile formed",
                "~/.aws/config",
            ),
            (
                provider("the SSO token has expired and cannot be refreshed"),
                "the AWS profile has no valid login: the SSO token has expired and",
                "aws sso login",
            ),
            (
                provider(
                    "service error: UnauthorizedException: Session token not found or invalid",
                ),
                "the AWS profile has no valid login",
                "aws sso login",
            ),
            (
                CredentialsError::not_loaded(format!(
                    "{attempts} since it doesn't have `sso_account_id` and `sso_role_name` set"
                )),
                "the AWS configuration cannot be used: the profile has sso_session without",
                "~/.aws/config",
            ),
            (
                CredentialsError::unhandled(
                    "failed to read `/home/u/.aws/login/cache/0.json`: No such file or directory",
                ),
                "the AWS profile has no valid login",
                "aws login",
            ),
            (
                provider("cached Login token is expired"),
                "the AWS profile has no valid login",
                "aws login",
            ),
            (
                provider("Error retrieving credentials: external process exited with code 1"),
                "the credential_process of the AWS profile failed",
                "by hand",
            ),
            (
                CredentialsError::provider_error(std::io::Error::from(ErrorKind::NotFound)),
                "a file with AWS credentials cannot be read",
                "AWS_WEB_IDENTITY_TOKEN_FILE",
            ),
            (
                provider("failed to load IMDS session token: request forbidden: IMDS is disabled"),
                "no AWS credentials were found",
                "a role",
            ),
            (
                provider("service error: unhandled error (AccessDenied): not authorized"),
                "AWS refuses to give credentials",
                "trust policy",
            ),
        ] {
            let (said, transient) = read(&error);
            assert!(said.starts_with(beginning) && said.contains(advice), "{said}");
            assert!(!transient && !said.contains('\n') && said.len() < 2 * MAX_REASON, "{said}");
        }
    }

    #[test]
    fn what_may_pass_is_told_as_such() {
        for text in [
            "dispatch failure: io error: connection refused",
            "failed to load the cached SSO token: dispatch failure: timeout",
            "service error: unhandled error (ThrottlingException): Rate exceeded",
            "something that nobody has seen yet",
        ] {
            let (said, transient) = read(&CredentialsError::provider_error(text));
            assert!(transient && said.starts_with("the AWS credentials cannot be had: "), "{said}");
        }
        let late = CredentialsError::provider_timed_out(std::time::Duration::from_secs(5));
        assert!(read(&late).1);
    }

    #[test]
    fn other_errors_are_somebody_elses() {
        let error = std::io::Error::other("something else");
        assert_eq!(CredentialsFailure::of(&error), None);
        for text in ["Invalid Configuration: Missing Region", "missing signing region"] {
            let region = std::io::Error::other(text);
            assert_eq!(CredentialsFailure::of(&region), Some(CredentialsFailure::NoRegion));
            let role = CredentialsError::provider_error(format!("dispatch failure: {text}"));
            assert_eq!(CredentialsFailure::of(&role), Some(CredentialsFailure::NoRegion));
        }
    }
}
