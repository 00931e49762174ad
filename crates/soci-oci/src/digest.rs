//! Content digests: `algorithm:hex`, OCI image specification, descriptor, "Digests".

use std::fmt;
use std::str::FromStr;

use sha2::Digest as _;
use soci_text::clip;

/// The registered digest algorithms that identify content here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, the one every registry supports.
    Sha256,
    /// SHA-384, accepted by Go's digest library, hence found in the wild.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The name in front of the colon.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the hash in bytes; its hex form is twice as long.
    pub const fn hash_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// Why a string is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// No colon between algorithm and hash.
    #[error("digest {0:?} is not of the form algorithm:hex")]
    Form(String),
    /// An algorithm other than those of [`Algorithm`].
    #[error("digest {0:?} uses an unsupported algorithm (sha256, sha384 and sha512 are supported)")]
    Algorithm(String),
    /// The hash has the wrong length or characters other than lower-case hex.
    #[error(
        "digest {0:?} has a malformed hash (lower-case hex of the algorithm's length expected)"
    )]
    Hash(String),
}

/// A parsed content digest. Ordered and hashed by algorithm, then by bytes.
///
/// Invariant: only the first `algorithm.hash_len()` bytes of `hash` are used, the rest is zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hash: [u8; 64],
}

impl Digest {
    /// The SHA-256 digest with this hash.
    pub fn from_sha256(hash: [u8; 32]) -> Self {
        Self::from_hash(Algorithm::Sha256, &hash)
    }

    /// The SHA-256 digest of `bytes`.
    pub fn sha256_of(bytes: &[u8]) -> Self {
        Self::from_hash(Algorithm::Sha256, &sha2::Sha256::digest(bytes))
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hash, [`Algorithm::hash_len`] bytes.
    pub fn hash(&self) -> &[u8] {
        &self.hash[..self.algorithm.hash_len()]
    }

    /// The hash in lower-case hex, as file names in an OCI layout have it.
    pub fn hex(&self) -> String {
        hex::encode(self.hash())
    }

    /// The first twelve characters of the hex form, for people.
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }

    fn from_hash(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hash = [0; 64];
        hash[..algorithm.hash_len()].copy_from_slice(bytes);
        Self { algorithm, hash }
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (name, digits) = text.split_once(':').ok_or_else(|| DigestError::Form(clip(text)))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha384" => Algorithm::Sha384,
            "sha512" => Algorithm::Sha512,
            _ => return Err(DigestError::Algorithm(clip(text))),
        };
        // `hex` takes capitals as well, which the specification does not.
        if digits.bytes().any(|digit| digit.is_ascii_uppercase()) {
            return Err(DigestError::Hash(clip(text)));
        }
        let mut hash = [0; 64];
        hex::decode_to_slice(digits, &mut hash[..algorithm.hash_len()])
            .map_err(|_| DigestError::Hash(clip(text)))?;
        Ok(Self { algorithm, hash })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Computes a digest from bytes that arrive in pieces.
#[derive(Clone)]
pub struct Hasher(HasherOfAlgorithm);

#[derive(Clone)]
enum HasherOfAlgorithm {
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// A hasher that has seen nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => HasherOfAlgorithm::Sha256(sha2::Sha256::new()),
            Algorithm::Sha384 => HasherOfAlgorithm::Sha384(sha2::Sha384::new()),
            Algorithm::Sha512 => HasherOfAlgorithm::Sha512(sha2::Sha512::new()),
        })
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            HasherOfAlgorithm::Sha256(hasher) => hasher.update(bytes),
            HasherOfAlgorithm::Sha384(hasher) => hasher.update(bytes),
            HasherOfAlgorithm::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all bytes taken.
    pub fn finish(self) -> Digest {
        match self.0 {
            HasherOfAlgorithm::Sha256(hasher) => {
                Digest::from_hash(Algorithm::Sha256, &hasher.finalize())
            }
            HasherOfAlgorithm::Sha384(hasher) => {
                Digest::from_hash(Algorithm::Sha384, &hasher.finalize())
            }
            HasherOfAlgorithm::Sha512(hasher) => {
                Digest::from_hash(Algorithm::Sha512, &hasher.finalize())
            }
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_prints_as_it_was_parsed() {
        for text in [
            format!("sha256:{}", "0123456789abcdef".repeat(4)),
            format!("sha384:{}", "0123456789abcdef".repeat(6)),
            format!("sha512:{}", "0123456789abcdef".repeat(8)),
        ] {
            assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_malformed_digest_names_what_is_wrong() {
        let long = format!("sha256:{}", "a".repeat(65));
        let upper = format!("sha256:{}", "A".repeat(64));
        assert!(matches!("sha256".parse::<Digest>(), Err(DigestError::Form(_))));
        assert!(matches!("md5:00".parse::<Digest>(), Err(DigestError::Algorithm(_))));
        assert!(matches!("sha256:00".parse::<Digest>(), Err(DigestError::Hash(_))));
        assert!(matches!(long.parse::<Digest>(), Err(DigestError::Hash(_))));
        assert!(matches!(upper.parse::<Digest>(), Err(DigestError::Hash(_))));
    }

    #[test]
    fn the_hasher_agrees_with_the_digest_of_the_whole() {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(b"{");
        hasher.update(b"}");
        let digest = hasher.finish();
        assert_eq!(digest, Digest::sha256_of(b"{}"));
        assert_eq!(
            digest.to_string(),
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
    }
}
