//! What a text on the command line names: an image in a registry, or in a layout on disk.
//!
//! | text | what it is |
//! | --- | --- |
//! | `REF`, `docker://REF` | an image in a registry |
//! | `oci:DIR[:NAME]`, `oci-archive:FILE[:NAME]` | an OCI layout in a folder or in a tar archive |
//! | `docker-archive:FILE[:NAME]` | what `docker save` writes; never an output |
//! | the same with `@DIGEST`, or with `@N` for a name | the image with this digest, the entry with this number |
//! | other transports, URLs and paths | an error that says what to write |
//!
//! Both paths and names may have colons. A text ends in a name behind the first colon in front of which a layout is
//! found; where none is found, behind the first one, as for skopeo. A text that ends in a slash is a folder.

use std::path::{Path, PathBuf};

use soci_indexer::LayoutImage;
use soci_oci::{Digest, Reference, Repository, Tag};

/// What names no registry here, though it would be the name of an image of Docker Hub, and what can be written.
const ELSEWHERE: [(&str, &str); 12] = [
    (
        "containers-storage:",
        "`skopeo copy containers-storage:NAME oci:DIR` makes a layout of it: oci:DIR",
    ),
    (
        "docker-daemon:",
        "`docker save NAME -o FILE.tar` makes an archive of it: docker-archive:FILE.tar",
    ),
    ("dir:", "`skopeo copy dir:DIR oci:DIR2` makes a layout of it: oci:DIR2"),
    ("ostree:", "`skopeo copy ostree:NAME oci:DIR` makes a layout of it: oci:DIR"),
    ("sif:", "`skopeo copy sif:FILE oci:DIR` makes a layout of it: oci:DIR"),
    ("tarball:", "`skopeo copy tarball:FILE oci:DIR` makes a layout of it: oci:DIR"),
    ("atomic:", "write REGISTRY/REPOSITORY[:TAG]"),
    (
        "containerd:",
        "`ctr images export FILE.tar NAME` makes an archive of it: oci-archive:FILE.tar",
    ),
    ("ocidir:", "write oci:DIR[:NAME]"),
    ("docker:/", "write docker://REGISTRY/REPOSITORY[:TAG]"),
    ("https:", "write REGISTRY/REPOSITORY[:TAG], without https://"),
    ("http:", "write REGISTRY/REPOSITORY[:TAG], without http://, and --plain-http"),
];

/// How a layout lies on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayoutKind {
    Folder,
    Archive,
    Docker,
}

impl LayoutKind {
    const ALL: [Self; 3] = [Self::Folder, Self::Archive, Self::Docker];

    /// What stands in front of it.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Folder => "oci:",
            Self::Archive => "oci-archive:",
            Self::Docker => "docker-archive:",
        }
    }

    /// How it is written.
    fn form(self) -> &'static str {
        match self {
            Self::Folder => "oci:DIR[:NAME]",
            Self::Archive => "oci-archive:FILE.tar[:NAME]",
            Self::Docker => "docker-archive:FILE.tar[:NAME]",
        }
    }
}

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    Registry(Reference),
    Layout { kind: LayoutKind, path: PathBuf, image: Option<LayoutImage> },
}

/// Where a result goes, under which name, if one is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OutputLocation {
    Registry { repository: Repository, tag: Option<Tag> },
    Layout { kind: LayoutKind, path: PathBuf, name: Option<String> },
}

/// Looks whether there is a layout of a kind.
pub(crate) type IsLayout<'a> = &'a dyn Fn(LayoutKind, &Path) -> bool;

impl Location {
    /// What `text` names. The error says what to write.
    pub(crate) fn parse(text: &str, is_layout: IsLayout<'_>) -> Result<Self, String> {
        for kind in LayoutKind::ALL {
            if let Some(rest) = text.strip_prefix(kind.prefix()) {
                return layout(kind, rest, is_layout);
            }
        }
        let reference = text.strip_prefix("docker://");
        if reference.is_none() {
            refuse(text, is_layout)?;
        }
        let reference = reference.unwrap_or(text).parse();
        reference.map(Self::Registry).map_err(|error: soci_oci::ReferenceError| error.to_string())
    }
}

impl OutputLocation {
    /// Where `text` leads. The error says what to write.
    pub(crate) fn parse(text: &str, is_layout: IsLayout<'_>) -> Result<Self, String> {
        match Location::parse(text, is_layout)? {
            Location::Registry(Reference { digest: Some(_), .. }) => {
                Err("a digest is no place for a result: write REGISTRY/REPOSITORY[:TAG]".to_owned())
            }
            Location::Registry(Reference { repository, tag, .. }) => {
                // Without one, the tag is that of the image with the suffix, and not `latest`.
                let tag = tag.filter(|tag| text.ends_with(&format!(":{tag}")));
                Ok(Self::Registry { repository, tag })
            }
            Location::Layout { kind: LayoutKind::Docker, .. } => Err(
                "docker-archive: is only read, as it has no place for a SOCI index: write oci-archive:FILE.tar".to_owned(),
            ),
            Location::Layout { kind, path, image } => match image {
                None => Ok(Self::Layout { kind, path, name: None }),
                Some(LayoutImage::Name(name)) => Ok(Self::Layout { kind, path, name: Some(name) }),
                Some(LayoutImage::Digest(_) | LayoutImage::Number(_)) => {
                    Err(format!("a digest or number is no place for a result: write {}", kind.form()))
                }
            },
        }
    }
}

fn layout(kind: LayoutKind, text: &str, is_layout: IsLayout<'_>) -> Result<Location, String> {
    let (text, digest) = match text.rsplit_once('@') {
        Some((rest, digest)) => match digest.parse::<Digest>() {
            Ok(digest) => (rest, Some(digest)),
            Err(_) => (text, None),
        },
        None => (text, None),
    };
    let (path, name) = split(kind, text, is_layout);
    if path.is_empty() {
        let what = if kind == LayoutKind::Folder { "folder" } else { "file" };
        return Err(format!("the {what} is missing, as in {}", kind.form()));
    }
    let image = match (digest, name) {
        (Some(digest), _) => Some(LayoutImage::Digest(digest)),
        (None, None) => None,
        (None, Some("")) => {
            return Err(format!("the name behind the colon is missing, as in {}", kind.form()));
        }
        (None, Some(name)) => match name.strip_prefix('@').map(str::parse) {
            Some(Ok(number)) => Some(LayoutImage::Number(number)),
            _ if name.chars().any(char::is_control) => {
                return Err("a name has no control characters".to_owned());
            }
            _ => Some(LayoutImage::Name(name.to_owned())),
        },
    };
    Ok(Location::Layout { kind, path: path.into(), image })
}

/// The path and the name in `PATH[:NAME]`.
fn split<'a>(
    kind: LayoutKind,
    text: &'a str,
    is_layout: IsLayout<'_>,
) -> (&'a str, Option<&'a str>) {
    if text.ends_with('/') || is_layout(kind, Path::new(text)) {
        return (text, None);
    }
    let at = |colon: usize| (&text[..colon], Some(&text[colon + 1..]));
    let colons = || text.match_indices(':').map(|(colon, _)| colon);
    let found = colons().find(|colon| is_layout(kind, Path::new(&text[..*colon])));
    found.or_else(|| colons().next()).map_or((text, None), at)
}

/// An error for what is meant for something else than a registry.
fn refuse(text: &str, is_layout: IsLayout<'_>) -> Result<(), String> {
    if let Some((transport, advice)) = ELSEWHERE.iter().find(|(name, _)| text.starts_with(name)) {
        let hub = match text.strip_prefix(transport) {
            Some(tag) if tag.parse::<Tag>().is_ok() => {
                format!(" (the image of that name on Docker Hub is docker://{text})")
            }
            _ => String::new(),
        };
        return Err(format!("images are not read from {transport}; {advice}{hub}"));
    }
    let (path, _) = split(LayoutKind::Archive, text, is_layout);
    let is_folder = is_layout(LayoutKind::Folder, Path::new(text));
    let is_path = looks_like_a_path(text) || is_layout(LayoutKind::Archive, Path::new(path));
    let ends = |ends: &[&str]| ends.iter().any(|end| path.ends_with(end));
    if is_path && ends(&[".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2"]) {
        return Err(format!(
            "a path is no image: decompress the archive, and write {} or {}",
            LayoutKind::Archive.form(),
            LayoutKind::Docker.form()
        ));
    }
    if is_path && ends(&[".tar"]) || is_bare_tar(text) {
        let (oci, docker) = (LayoutKind::Archive.prefix(), LayoutKind::Docker.prefix());
        return Err(format!(
            "a path is no image: write {oci}{text}, or {docker}{text} for what `docker save` wrote"
        ));
    }
    if is_folder || looks_like_a_path(text) {
        return Err(format!("a path is no image: write oci:{text} for an OCI layout"));
    }
    Ok(())
}

fn looks_like_a_path(text: &str) -> bool {
    let start = ["/", "./", "../", "~/"];
    start.iter().any(|start| text.starts_with(start)) || matches!(text, "." | ".." | "~")
}

/// Whether it is the name of an archive without a folder. Docker Hub has no such names, as its users have none.
fn is_bare_tar(text: &str) -> bool {
    !text.contains('/') && Path::new(text).extension().is_some_and(|end| end == "tar")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(text: &str, there: &[&str]) -> Result<Location, String> {
        Location::parse(text, &|_, path| there.iter().any(|there| Path::new(there) == path))
    }

    #[expect(clippy::unnecessary_wraps, reason = "a row of a table below is shorter so")]
    fn name(name: &str) -> Option<LayoutImage> {
        Some(LayoutImage::Name(name.to_owned()))
    }

    #[test]
    fn texts_name_images_in_layouts() {
        let digest = || Some(LayoutImage::Digest(DIGEST.parse().unwrap()));
        for (text, there, path, image) in [
            ("d", &[][..], "d", None),
            ("d:1", &[], "d", name("1")),
            ("/a/d:docker.io/library/a:1.0", &[], "/a/d", name("docker.io/library/a:1.0")),
            ("/a/d:localhost:5000/a:1.0", &["/a/d"], "/a/d", name("localhost:5000/a:1.0")),
            // Where a folder has a colon in its name.
            ("/a:b:1", &["/a:b"], "/a:b", name("1")),
            ("/a:b", &["/a:b"], "/a:b", None),
            ("/a:b/", &[], "/a:b/", None),
            ("/a:b/c", &["/a:b/c"], "/a:b/c", None),
            ("/a:b/c", &["/a"], "/a", name("b/c")),
            ("d:@2", &[], "d", Some(LayoutImage::Number(2))),
            ("d:@x", &[], "d", name("@x")),
            (&format!("d@{DIGEST}"), &[], "d", digest()),
            (&format!("d:r/a:1@{DIGEST}"), &[], "d", digest()),
            ("d@x", &[], "d@x", None),
        ] {
            for kind in LayoutKind::ALL {
                let found = parse(&format!("{}{text}", kind.prefix()), there);
                let expected = Location::Layout { kind, path: path.into(), image: image.clone() };
                assert_eq!(found, Ok(expected), "{text}");
            }
        }
    }

    #[test]
    fn texts_name_images_in_registries() {
        for (text, reference) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("docker://alpine", "docker.io/library/alpine:latest"),
            ("docker://r.example:5000/a/b:1", "r.example:5000/a/b:1"),
            ("docker://dir:1", "docker.io/library/dir:1"),
            // An image of this name is there, and had to stay.
            ("docker:latest", "docker.io/library/docker:latest"),
            ("docker:dind", "docker.io/library/docker:dind"),
            ("a.tar/b", "a.tar/b:latest"),
            // Files of these names say nothing.
            ("app", "docker.io/library/app:latest"),
            ("app:1", "docker.io/library/app:1"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
        ] {
            let expected = Location::Registry(reference.parse().unwrap());
            let files = |kind, path: &Path| {
                kind != LayoutKind::Folder
                    && ["app", "localhost"].iter().any(|file| path == Path::new(file))
            };
            assert_eq!(Location::parse(text, &files), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_refused_says_what_to_write() {
        for (text, there, words) in [
            ("containers-storage:a", &[][..], "skopeo copy containers-storage:"),
            ("docker-daemon:a:1", &[], "docker-archive:"),
            ("dir:/a", &[], "oci:"),
            ("dir:latest", &[], "docker://dir:latest"),
            ("ostree:a", &[], "skopeo copy"),
            ("sif:a", &[], "skopeo copy"),
            ("tarball:a", &[], "skopeo copy"),
            ("atomic:a", &[], "REGISTRY/REPOSITORY"),
            ("https://r/a", &[], "without https://"),
            ("http://r/a", &[], "--plain-http"),
            ("docker:/r/a", &[], "docker://"),
            ("./d", &[], "oci:./d"),
            ("/d", &[], "oci:/d"),
            ("../d", &[], "oci:../d"),
            (".", &[], "oci:."),
            ("d", &["d"], "oci:d"),
            ("./a.tar", &[], "oci-archive:./a.tar, or docker-archive:./a.tar"),
            ("a.tar", &[], "oci-archive:a.tar"),
            ("x/a.tar.gz", &["x/a.tar.gz"], "decompress"),
            ("/x/a.tgz", &[], "decompress"),
            ("oci:", &[], "folder is missing"),
            ("oci-archive:", &[], "file is missing"),
            ("docker-archive::1", &[], "file is missing"),
            ("oci:d:", &[], "name behind the colon is missing"),
            ("docker://", &[], "empty"),
            ("docker://UPPER/x/Y", &[], "not a repository name"),
        ] {
            let error = parse(text, there).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn outputs_are_places_for_a_result() {
        let output = |text: &str| OutputLocation::parse(text, &|_, _| false);
        let registry = |text: &str| match output(text) {
            Ok(OutputLocation::Registry { repository, tag }) => {
                (repository.to_string(), tag.map(|tag| tag.to_string()))
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(registry("r.example/a"), ("r.example/a".to_owned(), None));
        assert_eq!(registry("docker://localhost:5000/a"), ("localhost:5000/a".to_owned(), None));
        assert_eq!(registry("r.example/a:latest").1.as_deref(), Some("latest"));
        for (text, words) in [
            (format!("r.example/a@{DIGEST}"), "no place for a result"),
            (format!("oci:d@{DIGEST}"), "no place for a result"),
            ("oci-archive:d:@0".to_owned(), "no place for a result"),
            ("docker-archive:f".to_owned(), "oci-archive:FILE.tar"),
            ("./d".to_owned(), "oci:./d"),
        ] {
            let error = output(&text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        let named = OutputLocation::Layout {
            kind: LayoutKind::Archive,
            path: "f.tar".into(),
            name: Some("r/a:1".into()),
        };
        assert_eq!(output("oci-archive:f.tar:r/a:1"), Ok(named));
    }
}
