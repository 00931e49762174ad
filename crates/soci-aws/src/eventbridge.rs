//! An event bus of EventBridge, to which is announced how images end.
//!
//! One event goes with each call. The SDK tries a call that fails in passing three times, as all of them; what still fails
//! is told as passing or not, and the outbox decides ([`soci_announce::Outboxes`]). An answer of 200 may hold failures: each
//! event has a result of its own, with a code if it was not taken (EventBridge API reference, `PutEventsResultEntry`).

use std::fmt;
use std::str::FromStr;

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::config::{Builder, Region};
use aws_sdk_eventbridge::types::{PutEventsRequestEntry, PutEventsResultEntry};
use soci_announce::{Announcement, DETAIL_TYPE, Delivering, DeliveryError, Destination, SOURCE};
use soci_text::{clip, error_chain};

use crate::call_failure::{CallFailure, plain};
use crate::passing_codes::is_passing;
use crate::sdk::SdkConfig;

/// Longest name of a bus (EventBridge API reference, `CreateEventBus`).
const MAX_NAME: usize = 256;

/// A bus: its name, or its ARN (`arn:aws:events:eu-west-1:123456789012:event-bus/images`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBusName {
    text: String,
    region: Option<String>,
}

/// A string that is no [`EventBusName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of an event bus, or its ARN, is expected")]
pub struct EventBusNameError;

impl EventBusName {
    /// The name or ARN.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for EventBusName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for EventBusName {
    type Err = EventBusNameError;

    fn from_str(text: &str) -> Result<Self, EventBusNameError> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let (name, region) = match parts.as_slice() {
            [name] => (*name, None),
            ["arn", partition, "events", region, account, resource] => {
                let digits = account.bytes().all(|c| c.is_ascii_digit());
                let known = region.parse::<soci_push::event::Region>().is_ok();
                if !partition.starts_with("aws") || account.len() != 12 || !digits || !known {
                    return Err(EventBusNameError);
                }
                let name = resource.strip_prefix("event-bus/").ok_or(EventBusNameError)?;
                (name, Some((*region).to_owned()))
            }
            _ => return Err(EventBusNameError),
        };
        let in_name = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'/' | b'.' | b'-' | b'_');
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(in_name) {
            return Err(EventBusNameError);
        }
        Ok(Self { text: text.to_owned(), region })
    }
}

/// An event bus. Clones are the same.
#[derive(Clone, Debug)]
pub struct EventBus {
    client: Client,
    name: EventBusName,
}

impl EventBus {
    /// The bus of this name. Its region is the one that its ARN names, or that of the configuration.
    pub fn new(config: &SdkConfig, name: EventBusName) -> Self {
        let mut settings = Builder::from(config);
        if let Some(region) = &name.region {
            settings = settings.region(Region::new(region.clone()));
        }
        Self { client: Client::from_conf(settings.build()), name }
    }

    async fn put(&self, announcement: &Announcement) -> Result<(), DeliveryError> {
        let event = PutEventsRequestEntry::builder()
            .event_bus_name(self.name.as_str())
            .source(SOURCE)
            .detail_type(DETAIL_TYPE)
            .detail(announcement.json())
            .build();
        let answer = self.client.put_events().entries(event).send().await;
        let answer = answer.map_err(|error| failed(&CallFailure::from(error)))?;
        let results = answer.entries.unwrap_or_default();
        match results.iter().find(|result| result.error_code.is_some()) {
            Some(refused) => Err(not_taken(refused)),
            None if answer.failed_entry_count > 0 => {
                Err(DeliveryError::passing("the event was not taken, and nothing says why"))
            }
            None => Ok(()),
        }
    }
}

impl Destination for EventBus {
    fn name(&self) -> &'static str {
        "eventbridge"
    }

    fn deliver<'a>(&'a self, announcement: &'a Announcement) -> Delivering<'a> {
        Box::pin(self.put(announcement))
    }
}

fn failed(failure: &CallFailure) -> DeliveryError {
    let reason = error_chain(&*failure.source);
    DeliveryError { reason, transient: failure.transient, retry_after: None }
}

fn not_taken(refused: &PutEventsResultEntry) -> DeliveryError {
    let code = plain(refused.error_code.as_deref().unwrap_or_default());
    let said = clip(refused.error_message.as_deref().unwrap_or("no reason given"));
    let reason = format!("{}: {}", clip(&code), said.replace(char::is_control, " "));
    DeliveryError { reason, transient: is_passing(&code), retry_after: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_has_a_name_or_an_arn_and_nothing_else() {
        for (good, region) in [
            ("default", None),
            ("team/images.1_a-b", None),
            ("arn:aws:events:eu-west-1:123456789012:event-bus/images", Some("eu-west-1")),
            ("arn:aws-cn:events:cn-north-1:123456789012:event-bus/a/b", Some("cn-north-1")),
        ] {
            let name: EventBusName = good.parse().unwrap();
            assert_eq!((name.as_str(), name.region.as_deref()), (good, region));
        }
        for bad in [
            "",
            "a b",
            "a:b",
            "arn:aws:sqs:eu-west-1:123456789012:event-bus/images",
            "arn:aws:events:eu-west-1:123456789012:rule/images",
            "arn:aws:events:eu-west-1:1234:event-bus/images",
            "arn:aws:events::123456789012:event-bus/images",
            "arn:aws:events:eu-west-1:123456789012:event-bus/",
            &"a".repeat(MAX_NAME + 1),
        ] {
            assert_eq!(bad.parse::<EventBusName>(), Err(EventBusNameError), "{bad}");
        }
    }
}
