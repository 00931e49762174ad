//! Codes of AWS's services that tell of a state that passes.

/// Codes by which services say that a request comes too early or too late, not that it is wrong.
/// Sources: "Common error types" of the Amazon SQS and Amazon ECR API references, and the codes
/// that AWS's SDKs retry.
const PASSING: [&str; 19] = [
    "BandwidthLimitExceeded",
    "ExpiredToken",
    "ExpiredTokenException",
    "InternalError",
    "InternalFailure",
    "KmsThrottled",
    "LimitExceededException",
    "OverLimit",
    "PriorRequestNotComplete",
    "RequestExpired",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "ServerException",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Whether a code, prefixes aside, tells of a state that passes.
pub(crate) fn is_passing(code: &str) -> bool {
    PASSING.contains(&code)
}
