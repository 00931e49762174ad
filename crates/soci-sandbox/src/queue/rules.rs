//! What SQS refuses, so that what passes here passes there (Amazon SQS API reference, `SendMessage`
//! and `ReceiveMessage`).

use std::time::Duration;

use soci_queue::{
    ErrorKind, MAX_ATTRIBUTES, MAX_DELAY, MAX_RECEIVE, MAX_VISIBILITY, MAX_WAIT, Outgoing, Receive,
    is_allowed,
};

/// Why this queue refuses a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("{max} messages were asked for, and a receive can have 1 to {MAX_RECEIVE}")]
    Max { max: usize },
    #[error("a receive cannot wait {wait:?}, at most {MAX_WAIT:?}")]
    Wait { wait: Duration },
    #[error("a visibility timeout cannot be {visibility:?}, at most {MAX_VISIBILITY:?}")]
    Visibility { visibility: Duration },
    #[error("a message cannot be delayed for {delay:?}, at most {MAX_DELAY:?}")]
    Delay { delay: Duration },
    #[error("the message would be hidden for more than {MAX_VISIBILITY:?} after it was received")]
    TotalVisibility,
    #[error("the receipt is none of this queue")]
    Receipt,
    #[error("the message has been received again since")]
    ReceivedAgain,
    #[error("the message is not in flight")]
    NotInFlight,
    #[error("the message has {size} bytes, more than {limit}")]
    Size { size: usize, limit: usize },
    #[error("the message has no body")]
    NoBody,
    #[error("the message has {count} attributes, more than {MAX_ATTRIBUTES}")]
    Attributes { count: usize },
    #[error("attribute {position} has an empty value or a name that is not allowed")]
    Attribute { position: usize },
    #[error("the message has characters that are not allowed")]
    Characters,
}

impl Refused {
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::ReceivedAgain | Self::NotInFlight => ErrorKind::ReceiptExpired,
            _ => ErrorKind::Permanent,
        }
    }
}

/// Longest name of an attribute (Amazon SQS developer guide, "Message metadata").
const MAX_ATTRIBUTE_NAME: usize = 256;

pub(super) fn check_receive(Receive { max, wait, visibility }: Receive) -> Result<(), Refused> {
    if !(1..=MAX_RECEIVE).contains(&max) {
        return Err(Refused::Max { max });
    }
    if wait > MAX_WAIT {
        return Err(Refused::Wait { wait });
    }
    if visibility > MAX_VISIBILITY {
        return Err(Refused::Visibility { visibility });
    }
    Ok(())
}

/// Holds a message against the limits and characters of SQS.
pub(super) fn check_outgoing(
    message: &Outgoing,
    delay: Duration,
    limit: usize,
) -> Result<(), Refused> {
    if delay > MAX_DELAY {
        return Err(Refused::Delay { delay });
    }
    let Outgoing { body, attributes, .. } = message;
    if body.is_empty() {
        return Err(Refused::NoBody);
    }
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(Refused::Attributes { count: attributes.len() });
    }
    for (position, (name, value)) in (1..).zip(attributes) {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.');
        let named = (1..=MAX_ATTRIBUTE_NAME).contains(&name.len()) && name.bytes().all(allowed);
        if !named || value.is_empty() {
            return Err(Refused::Attribute { position });
        }
    }
    let texts = attributes.iter().map(|(_, value)| value).chain([body]);
    if !texts.flat_map(|text| text.chars()).all(is_allowed) {
        return Err(Refused::Characters);
    }
    let size = message.size();
    if size > limit {
        return Err(Refused::Size { size, limit });
    }
    Ok(())
}
