//! The algorithms by which TLS checks signatures: ring's, and those of ECDSA that ring lacks.
//!
//! Companies sign with P-521, and with P-384 or P-256 and a hash of another length than the curve: OpenSSL, Go and
//! browsers check these. ring does not, so they are checked by the curves of RustCrypto; everything that ring
//! checks stays with ring (docs/decisions/0009-ecdsa-beside-ring.md). What is checked is public, so that the time
//! it takes tells nothing.

use std::sync::OnceLock;

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rustls::SignatureScheme;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

type Algorithm = &'static dyn SignatureVerificationAlgorithm;

/// ECDSA on a curve with a hash.
#[derive(Clone, Copy, Debug)]
struct Ecdsa(Curve, Hash);

#[derive(Clone, Copy, Debug)]
enum Curve {
    P256,
    P384,
    P521,
}

#[derive(Clone, Copy, Debug)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// What ring lacks of ECDSA, and the scheme of TLS that it comes under: before TLS 1.3 a scheme means a hash, and
/// any curve. The first of a scheme has its curve (RFC 8446, 4.2.3).
static BEYOND_RING: [(SignatureScheme, Algorithm); 5] = [
    (SignatureScheme::ECDSA_NISTP521_SHA512, &Ecdsa(Curve::P521, Hash::Sha512)),
    (SignatureScheme::ECDSA_NISTP521_SHA512, &Ecdsa(Curve::P384, Hash::Sha512)),
    (SignatureScheme::ECDSA_NISTP521_SHA512, &Ecdsa(Curve::P256, Hash::Sha512)),
    (SignatureScheme::ECDSA_NISTP384_SHA384, &Ecdsa(Curve::P521, Hash::Sha384)),
    (SignatureScheme::ECDSA_NISTP256_SHA256, &Ecdsa(Curve::P521, Hash::Sha256)),
];

/// Makes these algorithms those of the process, by which its HTTP clients go. One that has some already keeps them.
pub fn install_tls_provider() {
    let provider = rustls::crypto::ring::default_provider();
    let ring = provider.signature_verification_algorithms;
    let signature_verification_algorithms = with_more(ring);
    let _ = CryptoProvider { signature_verification_algorithms, ..provider }.install_default();
}

/// ring's algorithms and the others. The library wants lists that live as long as the process, so they are made
/// once.
fn with_more(ring: WebPkiSupportedAlgorithms) -> WebPkiSupportedAlgorithms {
    type Lists = (Vec<Algorithm>, Vec<(SignatureScheme, Vec<Algorithm>)>);
    static LISTS: OnceLock<Lists> = OnceLock::new();
    static MAPPING: OnceLock<Vec<(SignatureScheme, &'static [Algorithm])>> = OnceLock::new();
    let (all, by_scheme) = LISTS.get_or_init(|| {
        let all = ring.all.iter().copied().chain(BEYOND_RING.iter().map(|(_, more)| *more));
        let mut by_scheme: Vec<_> =
            ring.mapping.iter().map(|(scheme, of)| (*scheme, of.to_vec())).collect();
        for (scheme, more) in BEYOND_RING {
            match by_scheme.iter_mut().find(|(known, _)| *known == scheme) {
                Some((_, of)) => of.push(more),
                None => by_scheme.push((scheme, vec![more])),
            }
        }
        (all.collect(), by_scheme)
    });
    let mapping = MAPPING
        .get_or_init(|| by_scheme.iter().map(|(scheme, of)| (*scheme, of.as_slice())).collect());
    WebPkiSupportedAlgorithms { all, mapping }
}

impl SignatureVerificationAlgorithm for Ecdsa {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let Self(curve, hash) = self;
        let hash = match hash {
            Hash::Sha256 => Sha256::digest(message).to_vec(),
            Hash::Sha384 => Sha384::digest(message).to_vec(),
            Hash::Sha512 => Sha512::digest(message).to_vec(),
        };
        let valid = match curve {
            Curve::P256 => p256(public_key, &hash, signature),
            Curve::P384 => p384(public_key, &hash, signature),
            Curve::P521 => p521(public_key, &hash, signature),
        };
        valid.ok_or(InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        match self.0 {
            Curve::P256 => alg_id::ECDSA_P256,
            Curve::P384 => alg_id::ECDSA_P384,
            Curve::P521 => alg_id::ECDSA_P521,
        }
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self.1 {
            Hash::Sha256 => alg_id::ECDSA_SHA256,
            Hash::Sha384 => alg_id::ECDSA_SHA384,
            Hash::Sha512 => alg_id::ECDSA_SHA512,
        }
    }
}

fn p256(key: &[u8], hash: &[u8], signature: &[u8]) -> Option<()> {
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
    let signature = p256::ecdsa::Signature::from_der(signature).ok()?;
    key.verify_prehash(hash, &signature).ok()
}

fn p384(key: &[u8], hash: &[u8], signature: &[u8]) -> Option<()> {
    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
    let signature = p384::ecdsa::Signature::from_der(signature).ok()?;
    key.verify_prehash(hash, &signature).ok()
}

fn p521(key: &[u8], hash: &[u8], signature: &[u8]) -> Option<()> {
    const FIELD: usize = 66;
    let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
    let signature = p521::ecdsa::Signature::from_der(signature).ok()?;
    // The library refuses a hash of less than half the field, which certificates may have. As a number it is the
    // same with zeros before it.
    let mut number = vec![0; FIELD - hash.len()];
    number.extend_from_slice(hash);
    key.verify_prehash(&number, &signature).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `tests/tls/make`: a key, and signatures of the same message with each hash.
    const MESSAGE: &[u8] = b"soci";

    fn file(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/signatures");
        std::fs::read(format!("{folder}/{name}")).unwrap()
    }

    #[test]
    fn signatures_of_openssl_are_valid_and_changed_ones_are_not() {
        for (curve, name) in [(Curve::P256, "p256"), (Curve::P384, "p384"), (Curve::P521, "p521")] {
            let key = file(&format!("{name}.key"));
            for (hash, bits) in [(Hash::Sha256, 256), (Hash::Sha384, 384), (Hash::Sha512, 512)] {
                let algorithm = Ecdsa(curve, hash);
                let signature = file(&format!("{name}.sha{bits}"));
                let verify = |key: &[u8], message: &[u8], signature: &[u8]| {
                    algorithm.verify_signature(key, message, signature).is_ok()
                };
                assert!(verify(&key, MESSAGE, &signature), "{algorithm:?}");
                assert!(!verify(&key, b"other", &signature), "{algorithm:?}");
                for at in [1, signature.len() / 2, signature.len() - 1] {
                    let mut changed = signature.clone();
                    changed[at] ^= 1;
                    assert!(!verify(&key, MESSAGE, &changed), "{algorithm:?} {at}");
                }
                let mut other = key.clone();
                *other.last_mut().unwrap() ^= 1;
                assert!(!verify(&other, MESSAGE, &signature), "{algorithm:?}");
                for cut in [0, 1, signature.len() - 1] {
                    assert!(!verify(&key, MESSAGE, &signature[..cut]), "{algorithm:?} {cut}");
                    assert!(!verify(&key[..cut.min(key.len() - 1)], MESSAGE, &signature));
                }
            }
        }
    }

    #[test]
    fn ring_keeps_what_it_has_and_each_scheme_begins_with_its_curve() {
        let ring = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let all = with_more(ring);
        assert_eq!(all.all.len(), ring.all.len() + BEYOND_RING.len());
        for (scheme, of) in ring.mapping {
            let (_, now) = all.mapping.iter().find(|(known, _)| known == scheme).unwrap();
            let ids = |of: &[Algorithm]| -> Vec<_> {
                of.iter().map(|a| (a.public_key_alg_id(), a.signature_alg_id())).collect()
            };
            assert_eq!(ids(&now[..of.len()]), ids(of));
        }
        let p521 = all.mapping.iter().find(|(s, _)| *s == SignatureScheme::ECDSA_NISTP521_SHA512);
        assert_eq!(p521.unwrap().1[0].public_key_alg_id(), alg_id::ECDSA_P521);
    }
}
