//! When SQS itself moves a message to the dead-letter queue.

/// `maxReceiveCount` of a redrive policy, a JSON object in which some tools write the number as text
/// (Amazon SQS API reference, `SetQueueAttributes`). `None` if there is none.
pub(super) fn max_receives(policy: &str) -> Option<u32> {
    let (_, rest) = policy.split_once("\"maxReceiveCount\"")?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start().trim_start_matches('"');
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    value[..digits].parse().ok().filter(|max| *max > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_receives_is_read_from_a_policy_as_number_and_as_text() {
        let arn = r#""deadLetterTargetArn":"arn:aws:sqs:eu-west-1:123456789012:dead""#;
        for (policy, expected) in [
            (format!(r#"{{{arn},"maxReceiveCount":5}}"#), Some(5)),
            (format!(r#"{{"maxReceiveCount" : "1000", {arn}}}"#), Some(1000)),
            (format!("{{{arn}}}"), None),
            (String::new(), None),
            (r#"{"maxReceiveCount":0}"#.to_owned(), None),
            (r#"{"maxReceiveCount":-1}"#.to_owned(), None),
            (r#"{"maxReceiveCount":99999999999}"#.to_owned(), None),
            (r#"{"maxReceiveCount""#.to_owned(), None),
        ] {
            assert_eq!(max_receives(&policy), expected, "{policy}");
        }
    }
}
