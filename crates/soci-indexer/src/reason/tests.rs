use std::collections::HashSet;
use std::path::PathBuf;

use soci_oci::{Digest, TagOrDigest};
use soci_text::error_chain;

use super::*;
use crate::error::LayoutError;

fn target() -> TagOrDigest {
    Digest::sha256_of(b"").into()
}

fn layer(source: LayerError) -> IndexError {
    IndexError::Layer { digest: Digest::sha256_of(b""), size: 7, source }
}

#[test]
fn codes_are_unique_and_well_formed() {
    let codes: HashSet<&str> = Reason::ALL.into_iter().map(Reason::code).collect();
    assert_eq!(codes.len(), Reason::ALL.len());
    for code in codes {
        assert!(code.bytes().all(|c| c.is_ascii_lowercase() || c == b'-'), "{code}");
    }
}

#[test]
fn the_runbook_says_what_to_do_about_every_reason() {
    let runbook = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/RUNBOOK.md");
    let runbook = std::fs::read_to_string(runbook).unwrap();
    for code in Reason::ALL.map(Reason::code) {
        assert!(runbook.contains(&format!("`{code}`")), "{code}");
    }
}

#[test]
fn only_what_ends_a_job_on_a_registry_s_word_alone_needs_a_second_look() {
    for reason in Reason::ALL {
        let word_alone = [
            Reason::Superseded,
            Reason::TagGone,
            Reason::ImageGone,
            Reason::TagImmutable,
            Reason::ReferrersMalformed,
            Reason::NoReferrers,
            Reason::RegistryRefused,
        ];
        assert_eq!(reason.is_believed_at_once(), !word_alone.contains(&reason), "{reason:?}");
        // What may pass is tried again as it is, and ends nothing that had to be doubted.
        assert!(reason.is_believed_at_once() || reason.is_permanent(), "{reason:?}");
        assert!(!(reason.is_of_the_registry() && reason.is_permanent()), "{reason:?}");
    }
}

#[test]
fn errors_that_no_registry_causes_have_reasons_too() {
    let layout = LayoutError::NotALayout { path: PathBuf::from("x"), reason: String::new() };
    let digest = Digest::sha256_of(b"");
    for (error, reason) in [
        (IndexError::Read { target: target(), source: layout.into() }, Reason::Layout),
        (layer(LayerError::Interrupted), Reason::Interrupted),
        (layer(BuildError::Failed.into()), Reason::Internal),
        (layer(BuildError::SpansNotHashed.into()), Reason::Internal),
        (ImageError::NothingPlanned.into(), Reason::Internal),
        (ImageError::NotSupplied { digest }.into(), Reason::Internal),
        (ImageError::ZtocMissing { layer: digest }.into(), Reason::Internal),
        (
            layer(StoreError::from(soci_registry::Error::Interrupted { digest, offset: 1 }).into()),
            Reason::Interrupted,
        ),
    ] {
        assert_eq!(error.reason(), reason, "{error}");
        assert_eq!(reason.is_permanent(), reason == Reason::Internal);
    }
}

#[test]
fn credentials_that_cannot_be_had_may_come() {
    let error = soci_registry::CredentialsError::Provider {
        registry: "r.example".to_owned(),
        transient: false,
        source: "AccessDeniedException".into(),
    };
    let source = StoreError::from(soci_registry::Error::from(error));
    let error = IndexError::Read { target: target(), source };
    assert_eq!((error.reason().code(), error.reason().is_permanent()), ("unauthorized", false));
    let detail = error_chain(&error);
    assert!(detail.contains("obtained: AccessDeniedException"), "{detail}");
}

#[test]
fn a_used_up_retry_has_the_reason_of_its_last_failure() {
    let url = soci_registry::Error::Url { url: "x".to_owned() };
    let source = soci_registry::Error::Exhausted {
        failures: 3,
        idle: std::time::Duration::from_secs(1),
        source: Box::new(soci_registry::Error::Exhausted {
            failures: 1,
            idle: std::time::Duration::ZERO,
            source: Box::new(url),
        }),
    };
    let error = IndexError::Write { what: "manifest", target: target(), source: source.into() };
    assert_eq!(error.reason(), Reason::RegistryUnavailable);
    let detail = error_chain(&error);
    assert!(detail.contains("gave up after 3"), "{detail}");
    assert!(detail.contains("\"x\" is not a URL"), "{detail}");
}

#[test]
fn a_source_that_was_quoted_is_not_repeated() {
    let inner = std::io::Error::other("inner");
    let layout = LayoutError::File { path: PathBuf::from("x"), source: inner };
    let error = IndexError::Read { target: target(), source: layout.into() };
    assert_eq!(error_chain(&error).matches("inner").count(), 1);
}
