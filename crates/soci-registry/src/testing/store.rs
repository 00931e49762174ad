//! What the registry does with blobs, uploads, manifests and referrers.

use http::Method;
use http::header::AUTHORIZATION;
use serde_json::{Value, json};
use soci_oci::{Digest, Hasher, Tag, TagOrDigest};

use super::respond::{self, Reply};
use super::server::Asked;
use super::state::{Content, State};

const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An authorized request to the registry.
pub(super) fn registry(state: &mut State, asked: &Asked) -> Reply {
    if asked.path == "/v2/" {
        return respond::plain(200);
    }
    let Some((name, collection, rest)) = asked.parts() else { return respond::plain(404) };
    match (asked.method.as_str(), collection) {
        ("GET" | "HEAD", "blobs") => get_blob(state, asked, name, rest),
        ("POST", "blobs") if rest == "uploads/" => begin_upload(state, asked, name),
        ("PUT", "blobs") => match rest.strip_prefix("uploads/") {
            Some(upload) => end_upload(state, asked, upload),
            None => respond::plain(405),
        },
        ("GET" | "HEAD", "manifests") => get_manifest(state, name, rest),
        ("PUT", "manifests") => put_manifest(state, asked, name, rest),
        ("GET", "referrers") if state.options.referrers_api => referrers(state, asked, name, rest),
        ("GET", "referrers") => respond::plain(404).with_body("text/plain", "404 page not found"),
        _ => respond::plain(405),
    }
}

/// A request to the storage: a presigned blob, or the end of an upload that was sent here.
pub(super) fn storage(state: &mut State, asked: &Asked) -> Reply {
    if asked.header(AUTHORIZATION).is_some() {
        return xml(400, "Only one auth mechanism allowed");
    }
    if asked.method == Method::PUT {
        let upload = asked.path.rsplit('/').next().unwrap_or_default();
        return end_upload(state, asked, upload);
    }
    let signature = asked.parameter("X-Signature").unwrap_or_default();
    match state.signatures.get_mut(&signature) {
        None | Some(Some(0)) => return xml(403, "Request has expired"),
        Some(Some(left)) => *left -= 1,
        Some(None) => {}
    }
    let digest = asked.path.trim_start_matches("/store/").parse().ok();
    match digest.and_then(|digest: Digest| state.stored(&digest)) {
        Some(bytes) => respond::blob(bytes),
        None => xml(404, "NoSuchKey"),
    }
}

fn xml(status: u16, message: &str) -> Reply {
    let body = format!("<Error><Message>{message}</Message></Error>");
    respond::plain(status).with_body("application/xml", body)
}

fn get_blob(state: &mut State, asked: &Asked, name: &str, digest: &str) -> Reply {
    let found = digest.parse::<Digest>().ok();
    let Some(bytes) = found.and_then(|digest| state.repository(name).blobs.get(&digest).cloned())
    else {
        return respond::error(404, "BLOB_UNKNOWN", "blob unknown to registry");
    };
    if state.options.redirect_blobs && asked.method == Method::GET {
        let signature = state.fresh("signature");
        state.signatures.insert(signature.clone(), state.options.url_uses);
        let url = format!("http://{}/store/{digest}?X-Signature={signature}", state.storage);
        return respond::plain(307).header("location", &url);
    }
    respond::blob(bytes).header("docker-content-digest", digest)
}

fn begin_upload(state: &mut State, asked: &Asked, name: &str) -> Reply {
    if let (true, Some(mount), Some(from)) =
        (state.options.mounts, asked.parameter("mount"), asked.parameter("from"))
        && let Ok(digest) = mount.parse::<Digest>()
        && let Some(bytes) = state.repository(&from).blobs.get(&digest).cloned()
    {
        state.repository(name).blobs.insert(digest, bytes);
        return respond::plain(201).header("location", &format!("/v2/{name}/blobs/{digest}"));
    }
    let upload = state.fresh("upload");
    state.uploads.insert(upload.clone(), name.to_owned());
    let path = format!("/v2/{name}/blobs/uploads/{upload}?_state=a%2Bb%3D%3D");
    let location = if state.options.uploads_elsewhere {
        format!("http://{}{path}", state.storage)
    } else if state.options.absolute_locations {
        format!("http://{}{path}", state.address)
    } else {
        path
    };
    respond::plain(202).header("location", &location)
}

fn end_upload(state: &mut State, asked: &Asked, upload: &str) -> Reply {
    if !asked.query.starts_with("_state=a%2Bb%3D%3D&") {
        return respond::error(400, "BLOB_UPLOAD_INVALID", "the upload's state is missing");
    }
    let Some(name) = state.uploads.remove(upload) else {
        return respond::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
    };
    let digest = asked.parameter("digest").and_then(|digest| digest.parse::<Digest>().ok());
    match digest.filter(|digest| digest_of(*digest, &asked.body) == *digest) {
        Some(digest) => {
            state.repository(&name).blobs.insert(digest, asked.body.clone());
            respond::plain(201).header("location", &format!("/v2/{name}/blobs/{digest}"))
        }
        None => respond::error(400, "DIGEST_INVALID", "the digest is not that of the content"),
    }
}

fn get_manifest(state: &mut State, name: &str, reference: &str) -> Reply {
    let target = target(reference);
    let found = target.and_then(|target| state.repository(name).manifest(&target));
    let Some((digest, (media_type, bytes))) = found else {
        return respond::error(404, "MANIFEST_UNKNOWN", "manifest unknown");
    };
    let reply = respond::plain(200).with_body(&media_type, bytes);
    if state.options.digest_header {
        reply.header("docker-content-digest", &digest.to_string())
    } else {
        reply
    }
}

fn put_manifest(state: &mut State, asked: &Asked, name: &str, reference: &str) -> Reply {
    let Some(target) = target(reference) else {
        return respond::error(400, "TAG_INVALID", "manifest tag did not match URI");
    };
    let options = state.options.clone();
    let content = state.repository(name);
    let Ok(manifest) = serde_json::from_slice::<Value>(&asked.body) else {
        return respond::error(400, "MANIFEST_INVALID", "manifest invalid");
    };
    let digest = match &target {
        TagOrDigest::Digest(digest) => digest_of(*digest, &asked.body),
        TagOrDigest::Tag(_) => Digest::sha256_of(&asked.body),
    };
    if matches!(&target, TagOrDigest::Digest(named) if *named != digest) {
        return respond::error(400, "DIGEST_INVALID", "provided digest did not match");
    }
    if options.check_references
        && let Some(missing) = missing(content, &manifest)
    {
        return respond::error(400, "MANIFEST_BLOB_UNKNOWN", &format!("unknown: {missing}"));
    }
    if let TagOrDigest::Tag(tag) = &target {
        if options.immutable_tags && content.tags.contains_key(tag.as_str()) {
            let message = format!(
                "The image tag '{tag}' already exists in the '{name}' repository and cannot be \
                 overwritten because the tag is immutable."
            );
            return respond::error(400, "TAG_INVALID", &message);
        }
        content.tags.insert(tag.as_str().to_owned(), digest);
    }
    let stored = (asked.media_type().to_owned(), asked.body.clone());
    content.manifests.insert(digest, stored);
    let reply = respond::plain(201)
        .header("location", &format!("/v2/{name}/manifests/{digest}"))
        .header("docker-content-digest", &digest.to_string());
    match manifest["subject"]["digest"].as_str() {
        Some(subject) if options.referrers_api => reply.header("oci-subject", subject),
        _ => reply,
    }
}

/// The first digest that a manifest names and the repository lacks. A subject may be missing,
/// and layers that are not to be distributed always are.
fn missing(content: &Content, manifest: &Value) -> Option<String> {
    let lacks = |descriptor: &Value, held: &dyn Fn(&Digest) -> bool| {
        let text = descriptor["digest"].as_str().unwrap_or("a descriptor without a digest");
        let there = text.parse().is_ok_and(|digest: Digest| held(&digest));
        (!there).then(|| text.to_owned())
    };
    let foreign = |layer: &&Value| {
        let kind = layer["mediaType"].as_str().unwrap_or_default();
        kind.contains("nondistributable") || kind.contains("foreign")
    };
    let list = |key: &str| manifest[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let config = manifest.get("config").into_iter();
    let blobs = config.chain(list("layers").iter().filter(|layer| !foreign(layer)));
    blobs
        .filter_map(|blob| lacks(blob, &|digest| content.blobs.contains_key(digest)))
        .chain(list("manifests").iter().filter_map(|manifest| {
            lacks(manifest, &|digest| content.manifests.contains_key(digest))
        }))
        .next()
}

fn referrers(state: &mut State, asked: &Asked, name: &str, subject: &str) -> Reply {
    let page = state.options.referrers_page.unwrap_or(usize::MAX);
    let wanted = asked.parameter("artifactType");
    let from: usize = asked.parameter("from").and_then(|from| from.parse().ok()).unwrap_or(0);
    let all: Vec<Value> = state
        .repository(name)
        .manifests
        .iter()
        .filter_map(|(digest, (media_type, bytes))| referrer(subject, *digest, media_type, bytes))
        .filter(|one| wanted.as_ref().is_none_or(|wanted| one["artifactType"] == **wanted))
        .collect();
    let manifests: Vec<&Value> = all.iter().skip(from).take(page).collect();
    let next = from + manifests.len();
    let index = json!({ "schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": manifests });
    let mut reply = respond::plain(200).with_body(IMAGE_INDEX, index.to_string());
    if wanted.is_some() {
        reply = reply.header("oci-filters-applied", "artifactType");
    }
    if next < all.len() {
        let kind = wanted.map(|wanted| format!("&artifactType={wanted}")).unwrap_or_default();
        let link = format!("<{}?from={next}{kind}>; rel=\"next\"", asked.path);
        reply = reply.header("link", &link);
    }
    reply
}

/// The descriptor of a manifest with this subject.
fn referrer(subject: &str, digest: Digest, media_type: &str, bytes: &[u8]) -> Option<Value> {
    let manifest: Value = serde_json::from_slice(bytes).ok()?;
    if manifest["subject"]["digest"] != subject {
        return None;
    }
    let kind = manifest.get("artifactType").unwrap_or(&manifest["config"]["mediaType"]);
    let mut descriptor = json!({
        "mediaType": media_type,
        "digest": digest.to_string(),
        "size": bytes.len(),
        "artifactType": kind,
    });
    if let Some(annotations) = manifest.get("annotations") {
        descriptor["annotations"] = annotations.clone();
    }
    Some(descriptor)
}

fn target(reference: &str) -> Option<TagOrDigest> {
    match reference.parse::<Digest>() {
        Ok(digest) => Some(TagOrDigest::Digest(digest)),
        Err(_) => reference.parse::<Tag>().ok().map(TagOrDigest::Tag),
    }
}

/// The digest of `bytes` by the algorithm of `like`.
fn digest_of(like: Digest, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(like.algorithm());
    hasher.update(bytes);
    hasher.finish()
}
