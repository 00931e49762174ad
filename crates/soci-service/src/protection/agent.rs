//! The ECS container agent, which passes requests on to ECS.

use std::time::Duration;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::{Protection, TaskProtection};

/// Longest time for an answer. The agent is on the same host and itself calls ECS.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest answer that is read, in bytes; real ones have a few hundred.
const MAX_ANSWER: usize = 16 << 10;

/// Most characters of what an answer says that an error repeats.
const MAX_QUOTED: usize = 200;

/// The ECS container agent of this task. Source: Amazon ECS developer guide, "Task scale-in
/// protection endpoint".
#[derive(Clone, Debug)]
pub struct EcsAgent {
    http: reqwest::Client,
    endpoint: Url,
}

/// Why the agent did not protect or release the task. None of these stops work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtectionError {
    /// The agent's address, `ECS_AGENT_URI`, is none.
    #[error("{uri:?} is no address of an ECS agent")]
    Address {
        /// What it is.
        uri: String,
    },
    /// The HTTP client cannot be built.
    #[error("the HTTP client for the ECS agent cannot be built")]
    Client(#[source] reqwest::Error),
    /// The agent does not answer.
    #[error("the ECS agent did not answer")]
    Request(#[source] reqwest::Error),
    /// The agent, or ECS behind it, refused.
    #[error("the ECS agent answered {status}: {code}")]
    Refused {
        /// The agent's status. Refusals of ECS come with 200.
        status: StatusCode,
        /// The code or reason that it gives, such as `AccessDeniedException` or `TASK_NOT_VALID`.
        code: String,
    },
    /// The answer is none that the agent is known to give.
    #[error("the ECS agent's answer is not understood (status {status})")]
    Answer {
        /// The agent's status.
        status: StatusCode,
    },
}

impl ProtectionError {
    /// Whether the same call may succeed later. A refusal may be one of a task that is still
    /// starting, or for which somebody is about to grant the permission.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Address { .. } | Self::Client(_) => false,
            Self::Request(_) | Self::Refused { .. } | Self::Answer { .. } => true,
        }
    }
}

impl EcsAgent {
    /// The agent at `uri`, which ECS puts into the variable `ECS_AGENT_URI` of a container.
    pub fn new(uri: &str) -> Result<Self, ProtectionError> {
        let address = || ProtectionError::Address { uri: uri.to_owned() };
        let mut endpoint = Url::parse(uri).map_err(|_| address())?;
        if !matches!(endpoint.scheme(), "http" | "https") {
            return Err(address());
        }
        let path = format!("{}/task-protection/v1/state", endpoint.path().trim_end_matches('/'));
        endpoint.set_path(&path);
        soci_registry::install_tls_provider();
        let http = reqwest::Client::builder()
            // The agent has a link-local address, which no proxy reaches.
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .build()
            .map_err(ProtectionError::Client)?;
        Ok(Self { http, endpoint })
    }
}

impl TaskProtection for EcsAgent {
    type Error = ProtectionError;

    async fn set(&self, protection: Protection) -> Result<(), ProtectionError> {
        let request = self.http.put(self.endpoint.clone()).header(CONTENT_TYPE, "application/json");
        let response = request.body(body(protection)).send().await;
        let mut response = response.map_err(ProtectionError::Request)?;
        let status = response.status();
        let mut text = Vec::new();
        while text.len() < MAX_ANSWER
            && let Some(chunk) = response.chunk().await.map_err(ProtectionError::Request)?
        {
            text.extend_from_slice(&chunk);
        }
        judge(status, &text)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    protection_enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_minutes: Option<u16>,
}

/// One of the three members is there.
#[derive(Deserialize)]
struct Answer {
    protection: Option<State>,
    failure: Option<Failure>,
    error: Option<Fault>,
}

#[derive(Deserialize)]
struct State {}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Fault {
    code: String,
}

fn body(protection: Protection) -> String {
    let request = match protection {
        Protection::Minutes(minutes) => {
            Request { protection_enabled: true, expires_in_minutes: Some(minutes.get()) }
        }
        Protection::Released => Request { protection_enabled: false, expires_in_minutes: None },
    };
    serde_json::json!(request).to_string()
}

fn judge(status: StatusCode, text: &[u8]) -> Result<(), ProtectionError> {
    let Ok(answer) = serde_json::from_slice::<Answer>(text) else {
        return Err(ProtectionError::Answer { status });
    };
    let code = answer.failure.map(|failure| failure.reason);
    if let Some(code) = code.or(answer.error.map(|fault| fault.code)) {
        let code = code.chars().filter(|c| !c.is_control()).take(MAX_QUOTED).collect();
        return Err(ProtectionError::Refused { status, code });
    }
    match answer.protection {
        Some(State {}) if status.is_success() => Ok(()),
        _ => Err(ProtectionError::Answer { status }),
    }
}
