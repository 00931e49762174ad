//! Reads the catalogue from its records.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use soci_oci::{Digest, Tag};

use super::folders::{BLOBS, MANIFESTS, TAGS};
use crate::catalogue::{Catalogue, ManifestRecord};
use crate::error::OpenError;
use crate::route::Name;

/// The catalogue of the records in a registry's folder.
pub(super) fn catalogue(folder: &Path) -> Result<Catalogue, OpenError> {
    let repositories = folder.join("repositories");
    let mut catalogue = Catalogue::default();
    let mut left = vec![repositories.clone()];
    while let Some(folder) = left.pop() {
        for path in children(&folder)? {
            let kind = path.file_name().and_then(|name| name.to_str());
            let Some(kind @ (BLOBS | MANIFESTS | TAGS)) = kind else {
                left.push(path);
                continue;
            };
            let name = folder.strip_prefix(&repositories).ok().and_then(|name| name.to_str());
            // Folders of other systems have other separators.
            let name = name.map(|name| name.replace(std::path::MAIN_SEPARATOR, "/"));
            let name = name.as_deref().and_then(Name::parse);
            let name = name.ok_or_else(|| OpenError::Damaged { path: folder.clone() })?;
            for record in children(&path)? {
                enter(&mut catalogue, &name, kind, &record)?;
            }
        }
    }
    Ok(catalogue)
}

fn children(folder: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let failed = |source| OpenError::File { path: folder.to_owned(), source };
    let entries = fs::read_dir(folder).map_err(failed)?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}

fn enter(
    catalogue: &mut Catalogue,
    name: &Name,
    kind: &str,
    record: &Path,
) -> Result<(), OpenError> {
    let damaged = || OpenError::Damaged { path: record.to_owned() };
    if kind == BLOBS {
        catalogue.add_blob(name, digest_of(record).ok_or_else(damaged)?);
        return Ok(());
    }
    let failed = |source| OpenError::File { path: record.to_owned(), source };
    let bytes = fs::read(record).map_err(failed)?;
    let fields: Value = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
    let entered = if kind == MANIFESTS {
        manifest(&fields).zip(digest_of(record)).map(|(manifest, digest)| {
            catalogue.add_manifest(name, digest, manifest);
        })
    } else {
        tag(&fields).map(|(tag, digest)| catalogue.set_tag(name, &tag, digest))
    };
    entered.ok_or_else(damaged)
}

/// The digest that a record's file is named after.
fn digest_of(record: &Path) -> Option<Digest> {
    record.file_name()?.to_str()?.replacen('-', ":", 1).parse().ok()
}

fn manifest(fields: &Value) -> Option<ManifestRecord> {
    let subject = match fields.get("subject")? {
        Value::Null => None,
        subject => Some(subject.as_str()?.parse().ok()?),
    };
    Some(ManifestRecord { media_type: fields.get("mediaType")?.as_str()?.to_owned(), subject })
}

fn tag(fields: &Value) -> Option<(Tag, Digest)> {
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    Some((text("tag")?.parse().ok()?, text("digest")?.parse().ok()?))
}
