//! The loop that takes invocations from Lambda and hands them to a handler.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::SystemTime;

use lambda_runtime::{Diagnostic, LambdaEvent, Runtime, service_fn};
use serde::Serialize;
use serde_json::value::RawValue;
use soci_push::event::Timestamp;
use soci_text::error_chain;
use tokio::time::Instant;

/// What Lambda tells of an invocation beside its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Lambda's identifier of the request. A retry of an asynchronous invocation repeats it.
    pub request_id: String,
    /// When Lambda ends the invocation, done or not.
    pub deadline: Instant,
    /// When it began.
    pub now: Timestamp,
}

impl From<&lambda_runtime::Context> for Invocation {
    /// Reads the clock: Lambda's deadline is a time of day.
    fn from(context: &lambda_runtime::Context) -> Self {
        let now = SystemTime::now();
        let left = context.deadline().duration_since(now).unwrap_or_default();
        Self {
            request_id: context.request_id.clone(),
            deadline: Instant::now() + left,
            now: now.into(),
        }
    }
}

/// Makes an invocation fail: Lambda repeats an asynchronous one, at most twice unless configured
/// otherwise, and then sends it to the function's destination on failure. The caller of a
/// synchronous one gets this as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvocationError {
    /// What kind of failure it is: a short stable name.
    pub kind: &'static str,
    /// What happened.
    pub message: String,
}

impl InvocationError {
    /// An error with everything that led to it, as [`error_chain`] has it.
    pub fn of(kind: &'static str, error: &dyn Error) -> Self {
        Self { kind, message: error_chain(error) }
    }
}

impl fmt::Display for InvocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl From<InvocationError> for Diagnostic {
    fn from(fault: InvocationError) -> Self {
        Self { error_type: fault.kind.to_owned(), error_message: fault.message }
    }
}

/// The loop cannot begin, or has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The process was not started by Lambda.
    #[error(
        "{0} is not set: this program is a Lambda function (the file \"bootstrap\" of a function \
         with the runtime provided.al2023)"
    )]
    NotInLambda(&'static str),
    /// Lambda's runtime API failed.
    #[error("Lambda's runtime API failed")]
    RuntimeApi(#[source] Box<dyn Error + Send + Sync>),
}

/// Takes invocations from Lambda, one after the other, and answers each with what `handle` makes of
/// its payload. Does not end as long as Lambda is there.
pub async fn serve<H, F, A>(handle: H) -> Result<(), ServeError>
where
    H: Fn(Box<RawValue>, Invocation) -> F,
    F: Future<Output = Result<A, InvocationError>>,
    A: Serialize,
{
    // Without one of these the library panics.
    for name in [
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION",
    ] {
        if std::env::var_os(name).is_none() {
            return Err(ServeError::NotInLambda(name));
        }
    }
    let service = service_fn(|event: LambdaEvent<Box<RawValue>>| {
        let invocation = Invocation::from(&event.context);
        handle(event.payload, invocation)
    });
    Runtime::new(service).run().await.map_err(ServeError::RuntimeApi)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn a_fault_tells_the_whole_chain_of_errors() {
        let fault = InvocationError::of("Kind", &Outer("x".parse::<u8>().unwrap_err()));
        assert_eq!(fault.to_string(), "Kind: outer: invalid digit found in string");
        let diagnostic = Diagnostic::from(fault);
        assert_eq!(diagnostic.error_type, "Kind");
        assert_eq!(diagnostic.error_message, "outer: invalid digit found in string");
    }

    #[tokio::test]
    async fn a_deadline_becomes_a_point_of_the_monotonic_clock() {
        let mut context = lambda_runtime::Context::default();
        let at = SystemTime::now() + Duration::from_mins(15);
        context.deadline = at.duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap();
        let left = Invocation::from(&context).deadline - Instant::now();
        assert!(left <= Duration::from_mins(15) && left > Duration::from_secs(890), "{left:?}");

        context.deadline = 0;
        assert!(Invocation::from(&context).deadline <= Instant::now(), "one that has passed");
    }
}
