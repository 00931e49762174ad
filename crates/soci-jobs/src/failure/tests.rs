use soci_text::error_chain;
use std::collections::HashSet;
use std::path::PathBuf;

use soci_indexer::LayoutError;
use soci_oci::{Digest, TagOrDigest};

use super::*;

fn target() -> TagOrDigest {
    Digest::sha256_of(b"").into()
}

fn layer(source: LayerError) -> IndexError {
    IndexError::Layer { digest: Digest::sha256_of(b""), size: 7, source }
}

#[test]
fn labels_are_unique_and_well_formed() {
    let labels: HashSet<&str> = Cause::ALL.into_iter().map(Cause::label).collect();
    assert_eq!(labels.len(), Cause::ALL.len());
    for label in labels {
        assert!(label.bytes().all(|c| c.is_ascii_lowercase() || c == b'-'), "{label}");
    }
}

#[test]
fn the_runbook_says_what_to_do_about_every_cause() {
    let runbook = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/RUNBOOK.md");
    let runbook = std::fs::read_to_string(runbook).unwrap();
    for label in Cause::ALL.map(Cause::label) {
        assert!(runbook.contains(&format!("`{label}`")), "{label}");
    }
}

#[test]
fn errors_that_no_registry_causes_have_causes_too() {
    let layout = LayoutError::NotALayout { path: PathBuf::from("x"), reason: String::new() };
    let digest = Digest::sha256_of(b"");
    for (error, cause) in [
        (IndexError::Read { target: target(), source: layout.into() }, Cause::Layout),
        (layer(LayerError::Interrupted), Cause::Interrupted),
        (layer(BuildError::Failed.into()), Cause::Internal),
        (layer(BuildError::SpansNotHashed.into()), Cause::Internal),
        (ImageError::NothingPlanned.into(), Cause::Internal),
        (ImageError::NotSupplied { digest }.into(), Cause::Internal),
        (ImageError::ZtocMissing { layer: digest }.into(), Cause::Internal),
        (
            layer(StoreError::from(soci_registry::Error::Interrupted { digest, offset: 1 }).into()),
            Cause::Interrupted,
        ),
    ] {
        let failure = Failure::from(error);
        assert_eq!(failure.cause(), cause, "{failure}");
        assert_eq!(failure.is_permanent(), cause == Cause::Internal);
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
    let failure = Failure::from(IndexError::Read { target: target(), source });
    assert_eq!((failure.label(), failure.is_permanent()), ("unauthorized", false));
    assert!(failure.detail().contains("obtained: AccessDeniedException"), "{}", failure.detail());
}

#[test]
fn a_used_up_retry_has_the_cause_of_its_last_failure() {
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
    let failure = Failure::from(IndexError::Write {
        what: "manifest",
        target: target(),
        source: source.into(),
    });
    assert_eq!(failure.cause(), Cause::RegistryUnavailable);
    assert!(failure.detail().contains("gave up after 3"), "{}", failure.detail());
    assert!(failure.detail().contains("\"x\" is not a URL"), "{}", failure.detail());
}

#[test]
fn a_source_that_was_quoted_is_not_repeated() {
    let inner = std::io::Error::other("inner");
    let layout = LayoutError::File { path: PathBuf::from("x"), source: inner };
    let error = IndexError::Read { target: target(), source: layout.into() };
    assert_eq!(error_chain(&error).matches("inner").count(), 1);
}
