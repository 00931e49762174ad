//! What the entries of an `index.json` are called, and by which name each can be asked for.
//!
//! | who writes | `org.opencontainers.image.ref.name` | `io.containerd.image.name` |
//! | --- | --- | --- |
//! | skopeo, buildah, umoci, this program | any text that was given, mostly a tag | |
//! | Jib, ctr, podman (where a full name was given) | the full reference | |
//! | docker save, nerdctl save, BuildKit | the tag alone, so often twice the same | the full reference |
//!
//! The result of indexing is named as its image is ([`Naming`]): the suffix goes to the tag, whatever stands in front
//! of it.

use serde_json::{Value, json};
use soci_oci::{Reference, Tag};

/// The annotation that names an entry of `index.json`.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The one that containerd and docker add.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// How tags are written as names of entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Naming {
    /// What stands in front of `:TAG`. Nothing where the name is the tag.
    repository: Option<String>,
    /// Whether the full name is containerd's.
    containerd: bool,
}

impl Naming {
    /// The naming of an entry, and the tag in its name.
    pub(super) fn of(entry: &Value) -> (Self, Option<Tag>) {
        let Some(name) = full_name(entry) else { return (Self::default(), None) };
        let (naming, tag) = Self::of_name(name);
        let containerd = naming.repository.is_some() && containerd_name(entry).is_some();
        (Self { containerd, ..naming }, tag)
    }

    /// The naming that a name stands for, and the tag in it. A full name without a tag means `latest`, as everywhere;
    /// one that ends in a digest has no tag.
    pub(super) fn of_name(name: &str) -> (Self, Option<Tag>) {
        if let Ok(tag) = name.parse() {
            return (Self::default(), Some(tag));
        }
        let (name, by_digest) = match name.split_once('@') {
            Some((name, _)) => (name, true),
            None => (name, false),
        };
        let tagged = name.rsplit_once(':').and_then(|(name, tag)| Some((name, tag.parse().ok()?)));
        let (repository, tag) = match tagged {
            Some((repository, tag)) => (repository, Some(tag)),
            None if by_digest => (name, None),
            None => (name, soci_oci::reference::DEFAULT_TAG.parse().ok()),
        };
        (Self { repository: Some(repository.to_owned()), containerd: false }, tag)
    }

    /// Whether the names are more than tags.
    pub(super) fn is_full(&self) -> bool {
        self.repository.is_some()
    }

    /// Whether an entry is the one of a tag.
    pub(super) fn names(&self, entry: &Value, tag: &Tag) -> bool {
        let (short, full) = (ref_name(entry), containerd_name(entry));
        let Some(repository) = &self.repository else { return short == Some(tag.as_str()) };
        let means = |name: &str| {
            let (naming, found) = Self::of_name(name);
            naming.repository.as_ref() == Some(repository) && found.as_ref() == Some(tag)
        };
        match (full, short) {
            (Some(full), _) => means(full),
            (None, Some(short)) => means(short) || self.containerd && short == tag.as_str(),
            (None, None) => false,
        }
    }

    /// The annotations that name an entry.
    pub(super) fn annotations(&self, tag: &Tag) -> Value {
        match &self.repository {
            None => json!({ REF_NAME: tag.as_str() }),
            Some(repository) if self.containerd => {
                json!({ CONTAINERD_NAME: format!("{repository}:{tag}"), REF_NAME: tag.as_str() })
            }
            Some(repository) => json!({ REF_NAME: format!("{repository}:{tag}") }),
        }
    }
}

/// The annotations of an image of docker.
pub(super) fn docker_annotations(name: &str) -> Value {
    let full = name.parse::<Reference>().map_or_else(|_| name.to_owned(), |full| full.to_string());
    let (naming, tag) = Naming::of_name(&full);
    match tag {
        Some(tag) => Naming { containerd: naming.is_full(), ..naming }.annotations(&tag),
        None => json!({ CONTAINERD_NAME: full }),
    }
}

pub(super) fn ref_name(entry: &Value) -> Option<&str> {
    annotation(entry, REF_NAME)
}

fn containerd_name(entry: &Value) -> Option<&str> {
    annotation(entry, CONTAINERD_NAME)
}

fn annotation<'a>(entry: &'a Value, key: &str) -> Option<&'a str> {
    entry.get("annotations")?.get(key)?.as_str()
}

/// The name that says most.
pub(super) fn full_name(entry: &Value) -> Option<&str> {
    containerd_name(entry).or_else(|| ref_name(entry))
}

/// The entries that a name may mean: those that are called so, else those whose name means the same reference.
pub(super) fn named<'a>(entries: &'a [Value], name: &str) -> Vec<&'a Value> {
    let is = |found: Option<&str>| found == Some(name);
    let exact = |entry: &&Value| is(ref_name(entry)) || is(containerd_name(entry));
    let found: Vec<&Value> = entries.iter().filter(exact).collect();
    let full = name.contains([':', '/']);
    let Some(reference) = name.parse::<Reference>().ok().filter(|_| full && found.is_empty())
    else {
        return found;
    };
    let same = |entry: &&Value| {
        let name = full_name(entry).filter(|name| name.contains([':', '/']));
        name.and_then(|name| name.parse::<Reference>().ok()).is_some_and(|found| found == reference)
    };
    entries.iter().filter(same).collect()
}

/// What is written behind the layout's own name to mean an entry and no other one: `:NAME`, or `@DIGEST`.
pub(super) fn choice(entries: &[Value], entry: &Value) -> String {
    let digest =
        |entry: &Value| entry.get("digest").and_then(Value::as_str).unwrap_or_default().to_owned();
    let only = |name: &&str| {
        // A name with a digest in it would be read as that digest.
        let plain = !name.is_empty() && !name.contains('@') && !name.chars().any(char::is_control);
        plain && named(entries, name).iter().all(|found| digest(found) == digest(entry))
    };
    let names = [ref_name(entry), containerd_name(entry)];
    match names.into_iter().flatten().find(only) {
        Some(name) => format!(":{name}"),
        None => format!("@{}", digest(entry)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(digest: &str, short: Option<&str>, full: Option<&str>) -> Value {
        let mut entry = json!({ "digest": digest, "annotations": {} });
        for (key, name) in [(REF_NAME, short), (CONTAINERD_NAME, full)] {
            if let Some(name) = name {
                entry["annotations"][key] = name.into();
            }
        }
        entry
    }

    #[test]
    fn results_are_named_as_their_images_are() {
        let r = "r.example:5000/a/b";
        for (short, full, tag, result) in [
            (Some("1"), None, Some("1"), (Some("1-soci".to_owned()), None)),
            (Some("r.example:5000/a/b:1"), None, Some("1"), (Some(format!("{r}:1-soci")), None)),
            (
                Some("1"),
                Some("r.example:5000/a/b:1"),
                Some("1"),
                (Some("1-soci".to_owned()), Some(format!("{r}:1-soci"))),
            ),
            (Some("a/b"), None, Some("latest"), (Some("a/b:latest-soci".to_owned()), None)),
            (None, Some("docker.io/a@sha256:00"), None, (None, None)),
            (None, None, None, (None, None)),
        ] {
            let image = entry("d", short, full);
            let (naming, found) = Naming::of(&image);
            assert_eq!(found.as_ref().map(Tag::as_str), tag, "{image}");
            let Some(found) = found else { continue };
            assert!(naming.names(&image, &found), "{image}");
            let named: Tag = format!("{found}-soci").parse().unwrap();
            let written = json!({ "annotations": naming.annotations(&named) });
            assert!(naming.names(&written, &named) && !naming.names(&image, &named), "{written}");
            let texts = (ref_name(&written), containerd_name(&written));
            assert_eq!(texts, (result.0.as_deref(), result.1.as_deref()), "{image}");
        }
    }

    #[test]
    fn every_entry_has_a_choice_that_means_it_alone() {
        let entries = [
            entry("sha256:1", Some("latest"), Some("docker.io/library/a:latest")),
            entry("sha256:2", Some("latest"), Some("docker.io/library/b:latest")),
            entry("sha256:3", Some("docker.io/library/c:1"), None),
            entry("sha256:4", None, None),
            entry("sha256:5", Some("x@sha256:5"), None),
            entry("sha256:6", Some("same"), None),
            entry("sha256:7", Some("same"), None),
            entry("sha256:8", Some("2"), None),
        ];
        let choices: Vec<String> = entries.iter().map(|entry| choice(&entries, entry)).collect();
        let expected = [
            ":docker.io/library/a:latest",
            ":docker.io/library/b:latest",
            ":docker.io/library/c:1",
            "@sha256:4",
            "@sha256:5",
            "@sha256:6",
            "@sha256:7",
            ":2",
        ];
        assert_eq!(choices, expected);
    }

    #[test]
    fn a_name_means_what_docker_means_by_it() {
        let entries = [
            entry("1", Some("1.0"), Some("docker.io/library/a:1.0")),
            entry("2", Some("docker.io/library/b:latest"), None),
        ];
        let digests = |name| {
            named(&entries, name)
                .iter()
                .map(|entry| entry["digest"].to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(digests("a:1.0"), ["\"1\""]);
        assert_eq!(digests("1.0"), ["\"1\""]);
        assert_eq!(digests("library/b"), ["\"2\""]);
        assert_eq!(digests("b"), [""; 0]);
        assert_eq!(docker_annotations("a:1.0"), entries[0]["annotations"]);
    }
}
