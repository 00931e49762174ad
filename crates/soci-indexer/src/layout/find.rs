//! Which image of a layout is meant. The rule stands at the top of `layout.rs`.

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::{Map, Value};
use soci_manifest::Version;
use soci_oci::{Digest, Tag, TagOrDigest};
use soci_registry::MANIFEST_LIMIT;

use super::base::{Layout, digest_text, new_index};
use super::names::{Naming, choice, full_name, named};
use crate::error::LayoutError;
use crate::options::ImageName;

/// Most entries of `index.json` that are looked at to find the only image. Of more one has to be named.
const MAX_ENTRIES: usize = 256;

/// Most names that an error tells.
const MAX_CHOICES: usize = 16;

/// What an entry of `index.json` is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An image for one platform, or what may be one.
    Manifest,
    /// An image index.
    Index,
    /// An image that lists its SOCI indexes.
    Converted,
    /// Something that belongs to another manifest, such as a SOCI index, or that is not there.
    Other,
}

/// An image of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayoutImage {
    /// The one with this name: a tag, or all of a reference.
    Name(String),
    /// The one with this digest.
    Digest(Digest),
    /// The entry with this number, the first of which is 0.
    Number(usize),
}

impl Layout {
    /// An image by what was asked for, or the only one. The layout that comes with it names results as this image is named.
    pub async fn find(
        &self,
        wanted: Option<&LayoutImage>,
    ) -> Result<(Self, ImageName), LayoutError> {
        let index = self.read_index().await?;
        let entries = self.entries(&index)?;
        let none = |wanted: String| LayoutError::NoSuchImage {
            path: self.files.path().to_owned(),
            wanted,
            choices: choices(entries, &entries.iter().collect::<Vec<_>>()),
        };
        let entry = match wanted {
            None => match self.only(&index, entries).await? {
                Ok(entry) => entry,
                Err(flat) => return Ok((self.clone(), flat.into())),
            },
            Some(LayoutImage::Number(number)) => {
                entries.get(*number).ok_or_else(|| none(format!("number {number}")))?
            }
            Some(LayoutImage::Digest(digest)) => {
                let text = digest.to_string();
                let listed = |entry: &&Value| digest_text(entry) == text;
                match entries.iter().find(listed) {
                    Some(entry) => entry,
                    None if self.document(digest, MANIFEST_LIMIT).await?.is_some() => {
                        return Ok((self.clone(), (*digest).into()));
                    }
                    None => return Err(none(text)),
                }
            }
            Some(LayoutImage::Name(name)) => {
                let found = named(entries, name);
                let digests: HashSet<&str> = found.iter().map(|entry| digest_text(entry)).collect();
                match found.first().copied() {
                    None => return Err(none(name.clone())),
                    Some(entry) if digests.len() == 1 => entry,
                    Some(_) => return Err(self.ambiguous(entries, &found)),
                }
            }
        };
        let (naming, tag) = Naming::of(entry);
        let target = TagOrDigest::Digest(self.digest(entry)?);
        Ok((Self { naming, ..self.clone() }, ImageName { target, tag }))
    }

    /// What stands for the image when none is named, by [`Layout::find`]. Its tag comes with it, if it has one.
    pub async fn only_image(&self) -> Result<(TagOrDigest, Option<Tag>), LayoutError> {
        let (_, ImageName { target, tag }) = self.find(None).await?;
        Ok((target, tag))
    }

    /// The only image's entry, or the digest of the one that all of them are together.
    async fn only<'a>(
        &self,
        index: &Map<String, Value>,
        entries: &'a [Value],
    ) -> Result<Result<&'a Value, Digest>, LayoutError> {
        let mut images: Vec<(Kind, &Value)> = Vec::new();
        let mut converted = Vec::new();
        if entries.len() > MAX_ENTRIES {
            return Err(self.ambiguous(entries, &entries.iter().collect::<Vec<_>>()));
        }
        for entry in entries {
            let same = |(_, other): &(Kind, &Value)| {
                digest_text(other) == digest_text(entry) && full_name(other) == full_name(entry)
            };
            match self.kind(entry).await? {
                _ if images.iter().chain(&converted).any(same) => {}
                Kind::Converted => converted.push((Kind::Converted, entry)),
                Kind::Other => {}
                kind => images.push((kind, entry)),
            }
        }
        let images = if images.is_empty() { converted } else { images };
        match images.as_slice() {
            [] => Err(self.broken("index.json lists no image that is there".to_owned())),
            [(_, entry)] => Ok(Ok(entry)),
            _ => {
                if let Some(digest) = self.flat(index, &images).await? {
                    return Ok(Err(digest));
                }
                let images: Vec<&Value> = images.iter().map(|(_, entry)| *entry).collect();
                Err(self.ambiguous(entries, &images))
            }
        }
    }

    /// Several manifests without names as one image: those of `index.json` that an image index would list. What was added
    /// to it since is not among them, so it stays the same document.
    async fn flat(
        &self,
        index: &Map<String, Value>,
        images: &[(Kind, &Value)],
    ) -> Result<Option<Digest>, LayoutError> {
        let mut platforms = HashSet::new();
        let mut manifests = Vec::new();
        for (kind, entry) in images {
            if *kind != Kind::Manifest || full_name(entry).is_some() {
                return Ok(None);
            }
            let mut entry = (*entry).clone();
            if entry.get("platform").is_none_or(Value::is_null) {
                entry["platform"] = self.platform(&entry).await?;
            }
            let platform = &entry["platform"];
            // Attestations have one that is none, all of them the same.
            let unknown = platform.get("os").is_some_and(|os| os == "unknown");
            if platform.is_null() || !platforms.insert(platform.to_string()) && !unknown {
                return Ok(None);
            }
            manifests.push(entry);
        }
        let mut root = new_index();
        root.insert("manifests".to_owned(), manifests.into());
        if let Some(annotations) = index.get("annotations") {
            root.insert("annotations".to_owned(), annotations.clone());
        }
        let bytes = Bytes::from(Value::from(root).to_string());
        let digest = Digest::sha256_of(&bytes);
        self.documents().insert(digest, bytes);
        Ok(Some(digest))
    }

    /// The platform that the configuration of an entry's image states.
    async fn platform(&self, entry: &Value) -> Result<Value, LayoutError> {
        let Some(manifest) = self.document(&self.digest(entry)?, MANIFEST_LIMIT).await? else {
            return Ok(Value::Null);
        };
        let manifest = serde_json::from_slice::<Value>(&manifest).unwrap_or(Value::Null);
        let Some(Ok(config)) =
            manifest.pointer("/config/digest").and_then(Value::as_str).map(str::parse)
        else {
            return Ok(Value::Null);
        };
        let Some(config) = self.document(&config, MANIFEST_LIMIT).await? else {
            return Ok(Value::Null);
        };
        let config = serde_json::from_slice::<Value>(&config).unwrap_or(Value::Null);
        let fields = ["architecture", "os", "os.version", "os.features", "variant"];
        let stated = fields
            .into_iter()
            .filter_map(|field| Some((field.to_owned(), config.get(field)?.clone())));
        let platform: Map<String, Value> = stated.collect();
        let complete = ["architecture", "os"].iter().all(|field| platform.contains_key(*field));
        Ok(if complete { platform.into() } else { Value::Null })
    }

    fn ambiguous(&self, entries: &[Value], found: &[&Value]) -> LayoutError {
        LayoutError::Ambiguous {
            path: self.files.path().to_owned(),
            count: found.len(),
            tags: choices(entries, found),
        }
    }

    /// What an entry of `index.json` is, by the fields of its manifest.
    async fn kind(&self, entry: &Value) -> Result<Kind, LayoutError> {
        let Some(bytes) = self.document(&self.digest(entry)?, MANIFEST_LIMIT).await? else {
            return Ok(Kind::Other);
        };
        let manifest = serde_json::from_slice::<Value>(&bytes).unwrap_or(Value::Null);
        let soci = |artifact_type: Option<&Value>| {
            let artifact_type = artifact_type.and_then(Value::as_str);
            [Version::V1, Version::V2]
                .iter()
                .any(|version| artifact_type == Some(version.artifact_type()))
        };
        let config = manifest.get("config").and_then(|config| config.get("mediaType"));
        if manifest.get("subject").is_some_and(Value::is_object) || soci(config) {
            return Ok(Kind::Other);
        }
        Ok(match manifest.get("manifests").and_then(Value::as_array) {
            Some(listed) if listed.iter().any(|entry| soci(entry.get("artifactType"))) => {
                Kind::Converted
            }
            Some(_) => Kind::Index,
            None => Kind::Manifest,
        })
    }
}

/// What is written behind the layout's name to mean each of these entries.
fn choices(entries: &[Value], these: &[&Value]) -> String {
    let mut told: Vec<String> = Vec::new();
    for entry in these.iter().take(MAX_CHOICES) {
        let choice = choice(entries, entry);
        if !told.contains(&choice) {
            told.push(choice);
        }
    }
    if these.len() > MAX_CHOICES {
        told.push(format!("and {} more", these.len() - MAX_CHOICES));
    }
    told.join(", ")
}
