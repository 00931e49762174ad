//! The secret that a server shares, and what it signs.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What stands before the Base64 of a secret (Standard Webhooks, "Signature scheme").
const PREFIX: &str = "whsec_";

/// Bytes of a secret (the same source).
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret of 24 to 64 bytes, written as `whsec_` and their Base64. Its `Debug` form says nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Vec<u8>);

/// A text that is no [`WebhookSecret`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "whsec_ and the Base64 of 24 to 64 random bytes are expected, as of `openssl rand -base64 32`"
)]
pub struct WebhookSecretError;

impl FromStr for WebhookSecret {
    type Err = WebhookSecretError;

    fn from_str(text: &str) -> Result<Self, WebhookSecretError> {
        let text = text.strip_prefix(PREFIX).ok_or(WebhookSecretError)?;
        let bytes = STANDARD.decode(text).map_err(|_| WebhookSecretError)?;
        if LENGTHS.contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(WebhookSecretError) }
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl WebhookSecret {
    /// The header `webhook-signature` of a body that is sent under `id` at `seconds` since 1970: HMAC-SHA256 of the three,
    /// joined by full stops.
    pub fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            // Does not occur: HMAC takes keys of all lengths (RFC 2104, section 3).
            return String::new();
        };
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_example_of_the_specification_has_its_signature() {
        let secret: WebhookSecret = SECRET.parse().unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signature = secret.sign(id, 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(format!("{secret:?}"), "[redacted]");
    }

    #[test]
    fn what_is_short_or_no_base64_is_no_secret() {
        let of = |bytes: usize| format!("{PREFIX}{}", STANDARD.encode(vec![7; bytes]));
        for good in [of(24), of(32), of(64)] {
            assert!(good.parse::<WebhookSecret>().is_ok(), "{good}");
        }
        let bare = SECRET.trim_start_matches(PREFIX).to_owned();
        for bad in [of(23), of(65), bare, String::new(), "whsec_!".to_owned()] {
            assert_eq!(bad.parse::<WebhookSecret>(), Err(WebhookSecretError), "{bad}");
        }
    }
}
