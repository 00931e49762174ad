//! From documents to JSON, in the order and with the omissions of the Go structs.
//!
//! Each function writes the fields of one struct as `specs-go/v1` declares them. Whether an empty
//! field is left out (`omitempty`) differs from field to field, and decides digests: a descriptor
//! always has its `size`, a manifest without a list of layers has `"layers":null`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::model::{Annotations, Descriptor, Index, Manifest};
use crate::json::{Object, write_array, write_string};
use crate::platform::Platform;

pub(super) fn manifest(manifest: &Manifest) -> Vec<u8> {
    let mut out = String::new();
    let mut object = Object::begin(&mut out);
    object.number("schemaVersion", manifest.schema_version);
    object.string_unless_empty("mediaType", &manifest.media_type);
    object.string_unless_empty("artifactType", &manifest.artifact_type);
    descriptor(object.key("config"), &manifest.config);
    descriptors(object.key("layers"), manifest.layers.as_deref());
    subject_and_annotations(&mut object, manifest.subject.as_ref(), &manifest.annotations);
    object.end();
    out.into_bytes()
}

pub(super) fn index(index: &Index) -> Vec<u8> {
    let mut out = String::new();
    let mut object = Object::begin(&mut out);
    object.number("schemaVersion", index.schema_version);
    object.string_unless_empty("mediaType", &index.media_type);
    object.string_unless_empty("artifactType", &index.artifact_type);
    descriptors(object.key("manifests"), index.manifests.as_deref());
    subject_and_annotations(&mut object, index.subject.as_ref(), &index.annotations);
    object.end();
    out.into_bytes()
}

fn subject_and_annotations(
    object: &mut Object<'_>,
    subject: Option<&Descriptor>,
    annotations: &Annotations,
) {
    if let Some(subject) = subject {
        descriptor(object.key("subject"), subject);
    }
    annotations_unless_empty(object, annotations);
}

fn descriptors(out: &mut String, items: Option<&[Descriptor]>) {
    match items {
        Some(items) => write_array(out, items, descriptor),
        None => out.push_str("null"),
    }
}

fn descriptor(out: &mut String, descriptor: &Descriptor) {
    let mut object = Object::begin(out);
    object.string("mediaType", &descriptor.media_type);
    object.string("digest", &descriptor.digest.to_string());
    object.number("size", descriptor.size);
    strings_unless_empty(&mut object, "urls", &descriptor.urls);
    annotations_unless_empty(&mut object, &descriptor.annotations);
    // Go writes a slice of bytes as base64.
    object.string_unless_empty("data", &STANDARD.encode(&descriptor.data));
    if let Some(value) = &descriptor.platform {
        platform(object.key("platform"), value);
    }
    object.string_unless_empty("artifactType", &descriptor.artifact_type);
    object.end();
}

fn platform(out: &mut String, platform: &Platform) {
    let mut object = Object::begin(out);
    object.string("architecture", &platform.architecture);
    object.string("os", &platform.os);
    object.string_unless_empty("os.version", &platform.os_version);
    strings_unless_empty(&mut object, "os.features", &platform.os_features);
    object.string_unless_empty("variant", &platform.variant);
    object.end();
}

fn annotations_unless_empty(object: &mut Object<'_>, annotations: &Annotations) {
    if annotations.is_empty() {
        return;
    }
    let mut members = Object::begin(object.key("annotations"));
    for (key, value) in annotations {
        members.string(key, value);
    }
    members.end();
}

fn strings_unless_empty(object: &mut Object<'_>, key: &str, strings: &[String]) {
    if !strings.is_empty() {
        write_array(object.key(key), strings, |out, text| write_string(out, text));
    }
}
