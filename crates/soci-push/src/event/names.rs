//! Names that AWS gives to accounts, regions, registries and events.

use std::fmt;
use std::str::FromStr;

use soci_text::clip;

/// Longest event identifier; EventBridge's have 36 characters.
const MAX_ID: usize = 128;

/// What an event's identifier must be, for people.
pub(crate) const EVENT_ID: &str = "up to 128 letters, digits, '-', '_', '.' and ':'";

/// An AWS account's number, twelve digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(String);

/// A string that is no [`AccountId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an AWS account ID (twelve digits)")]
pub struct AccountIdError(String);

impl AccountId {
    /// The twelve digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountId {
    type Err = AccountIdError;

    fn from_str(text: &str) -> Result<Self, AccountIdError> {
        if text.len() == 12 && text.bytes().all(|c| c.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(AccountIdError(clip(text)))
        }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An AWS region's name, such as `eu-west-1` or `us-gov-east-1`: words of lower-case letters and
/// a number, joined by hyphens, at most 32 characters. Which regions there are is AWS's business.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region(String);

/// A string that is no [`Region`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of an AWS region")]
pub struct RegionError(String);

impl Region {
    /// The region's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The domain that the region's services are in. Source: the partitions that AWS's SDKs list
    /// (botocore, `partitions.json`).
    pub fn dns_suffix(&self) -> &'static str {
        match self.0.split_once('-') {
            Some(("cn", _)) => "amazonaws.com.cn",
            Some(("eusc", _)) => "amazonaws.eu",
            Some(("us", rest)) if rest.starts_with("iso-") => "c2s.ic.gov",
            Some(("us", rest)) if rest.starts_with("isob-") => "sc2s.sgov.gov",
            Some(("us", rest)) if rest.starts_with("isof-") => "csp.hci.ic.gov",
            Some(("eu", rest)) if rest.starts_with("isoe-") => "cloud.adc-e.uk",
            _ => "amazonaws.com",
        }
    }
}

impl FromStr for Region {
    type Err = RegionError;

    fn from_str(text: &str) -> Result<Self, RegionError> {
        let word = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_lowercase());
        let number = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
        let ok = text.len() <= 32
            && text.rsplit_once('-').is_some_and(|(words, last)| {
                words.contains('-') && words.split('-').all(word) && number(last)
            });
        if ok { Ok(Self(text.to_owned())) } else { Err(RegionError(clip(text))) }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An event's identifier: 1 to 128 letters, digits, `-`, `_`, `.` and `:`. EventBridge gives UUIDs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(String);

/// A string that is no [`EventId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an event's identifier ({EVENT_ID})")]
pub struct EventIdError(String);

impl EventId {
    /// The identifier's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventId {
    type Err = EventIdError;

    fn from_str(text: &str) -> Result<Self, EventIdError> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.' | b':');
        if (1..=MAX_ID).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(EventIdError(clip(text)))
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The host name of an account's private registry:
/// `<account>.dkr.ecr.<region>.amazonaws.com`, in China `.com.cn` (Amazon ECR user guide,
/// "Private registry"). Where a token is at hand, its `proxyEndpoint` is the better source.
pub fn registry_host(account: &AccountId, region: &Region) -> String {
    format!("{account}.dkr.ecr.{region}.{}", region.dns_suffix())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_hosts_follow_the_regions_partition() {
        let account: AccountId = "123456789012".parse().unwrap();
        for (region, domain) in [
            ("eu-west-1", "amazonaws.com"),
            ("us-gov-east-1", "amazonaws.com"),
            ("cn-north-1", "amazonaws.com.cn"),
            ("us-iso-east-1", "c2s.ic.gov"),
            ("us-isob-east-1", "sc2s.sgov.gov"),
            ("us-isof-south-1", "csp.hci.ic.gov"),
            ("eu-isoe-west-1", "cloud.adc-e.uk"),
            ("eusc-de-east-1", "amazonaws.eu"),
        ] {
            assert_eq!(
                registry_host(&account, &region.parse().unwrap()),
                format!("123456789012.dkr.ecr.{region}.{domain}")
            );
        }
    }

    #[test]
    fn what_is_no_region_is_refused() {
        for text in
            ["", "us", "us-1", "us-west", "us--west-1", "us-west-1-", "us_west-1", "-us-west-1"]
        {
            assert!(text.parse::<Region>().is_err(), "{text}");
        }
    }
}
