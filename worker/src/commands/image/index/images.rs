//! Which images `index` is to index: those on the command line, then those of a file. A name that is none is a mistake of
//! that image, and keeps no other from being indexed.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read as _};
use std::path::Path;

use soci_indexer::{LayoutImage, OutputTag};
use soci_manifest::Version;
use soci_oci::reference::DEFAULT_TAG;

use super::super::location::{LayoutKind, Location, OutputLocation};
use super::super::place::is_layout;

/// Longest list of images, in bytes.
const MOST_BYTES: u64 = 16 << 20;

/// An image that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Its name as it was written.
    pub(super) text: String,
    /// Where it is, or what is wrong with the name.
    pub(super) location: Result<Location, String>,
}

/// The images that are wanted, each once. The error says why the list cannot be read.
pub(super) fn wanted(
    given: &[String],
    list: Option<&Path>,
    output: Option<&OutputLocation>,
) -> Result<Vec<Wanted>, String> {
    let mut names = given.to_vec();
    if let Some(list) = list {
        let text =
            read(list).map_err(|error| format!("--from-file {}: {error}", list.display()))?;
        let before = names.len();
        names.extend(listed(&text).map(str::to_owned));
        if names.len() == before {
            return Err(format!("--from-file {}: it names no image", list.display()));
        }
    }
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let locate = |text: String| {
        let location = Location::parse(&text, &is_layout).and_then(|location| match location {
            Location::Layout { kind: LayoutKind::Docker, .. } if output.is_none() => Err(
                "docker-archive: is only read: say with --output where the result goes, as in --output oci-archive:FILE.tar"
                    .to_owned(),
            ),
            location => Ok(location),
        });
        Wanted { text, location }
    };
    Ok(names.into_iter().map(locate).collect())
}

fn read(list: &Path) -> io::Result<String> {
    let source: Box<dyn io::Read> = if list.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(std::fs::File::open(list)?)
    };
    let mut text = String::new();
    if source.take(MOST_BYTES + 1).read_to_string(&mut text)? as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("more than {} MiB are no list", MOST_BYTES >> 20)));
    }
    Ok(text)
}

/// The names in a list: one a line, without what follows a `#` at the beginning of a word.
fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let remark = line.match_indices('#').map(|(at, _)| at);
        let end = { remark }
            .find(|&at| line[..at].is_empty() || line[..at].ends_with(char::is_whitespace));
        let name = line[..end.unwrap_or(line.len())].trim();
        (!name.is_empty()).then_some(name)
    })
}

/// Two images whose results would have the same name in the same place, so that the later one would take the place of the
/// earlier one. A result is named after its image's tag, so images of one repository have results of their own.
pub(super) fn collision<'a>(
    images: &'a [Wanted],
    output: Option<&OutputLocation>,
    version: Version,
    tag: &OutputTag,
) -> Option<(&'a str, &'a str)> {
    // An index is attached to its image.
    if version == Version::V1 && output.is_none() {
        return None;
    }
    let named = match output {
        Some(OutputLocation::Registry { tag, .. }) => tag.is_some(),
        Some(OutputLocation::Layout { name, .. }) => name.is_some(),
        None => false,
    };
    let one = named || version == Version::V2 && matches!(tag, OutputTag::Tag(_));
    let mut results = HashMap::new();
    images.iter().find_map(|image| {
        let location = image.location.as_ref().ok()?;
        let place = if output.is_some() { String::new() } else { place(location) };
        let name = if one { String::new() } else { name(location) };
        let earlier = results.insert((place, name), image.text.as_str())?;
        Some((earlier, image.text.as_str()))
    })
}

fn place(location: &Location) -> String {
    match location {
        Location::Registry(reference) => reference.repository.to_string(),
        Location::Layout { kind, path, .. } => format!("{}{}", kind.prefix(), path.display()),
    }
}

/// What the result is named after.
fn name(location: &Location) -> String {
    match location {
        Location::Registry(reference) => match &reference.tag {
            Some(tag) => tag.to_string(),
            None => reference.target().to_string(),
        },
        Location::Layout { image: None, .. } => DEFAULT_TAG.to_owned(),
        Location::Layout { image: Some(LayoutImage::Name(name)), .. } => {
            name.rsplit(':').next().unwrap_or(name).to_owned()
        }
        Location::Layout { image: Some(LayoutImage::Digest(digest)), .. } => digest.to_string(),
        Location::Layout { image: Some(LayoutImage::Number(number)), .. } => format!("@{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(names: &[&str]) -> Vec<Wanted> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        wanted(&names, None, None).unwrap()
    }

    #[test]
    fn a_list_has_an_image_a_line_and_remarks() {
        let text = "# ours\n\n  r/app:1\nr/b:2 # the second\r\n#r/c:3\n\toci:a#b:1\n";
        assert_eq!(listed(text).collect::<Vec<_>>(), ["r/app:1", "r/b:2", "oci:a#b:1"]);
    }

    #[test]
    fn lists_come_after_arguments_and_each_image_once() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        std::fs::write(&list, "b:1\na:1\nr.example/UPPER\n").unwrap();
        let found = wanted(&["a:1".to_owned()], Some(&list), None).unwrap();
        assert_eq!(
            found.iter().map(|w| w.text.as_str()).collect::<Vec<_>>(),
            ["a:1", "b:1", "r.example/UPPER"]
        );
        assert_eq!(
            found.iter().map(|w| w.location.is_ok()).collect::<Vec<_>>(),
            [true, true, false]
        );
        std::fs::write(&list, "# nothing\n").unwrap();
        assert!(wanted(&[], Some(&list), None).unwrap_err().ends_with("it names no image"));
        let gone = folder.path().join("gone");
        assert!(wanted(&[], Some(&gone), None).unwrap_err().contains("gone"));
    }

    #[test]
    fn results_that_would_take_each_others_place_are_found() {
        let suffix = OutputTag::Suffix("-soci".to_owned());
        let tag = OutputTag::Tag("x".parse().unwrap());
        let output = |text: &str| OutputLocation::parse(text, &|_, _| false).unwrap();
        let (place, named) = (output("r.example/all"), output("oci:out:1"));
        let repositories = images(&["r.example/a:1", "r.example/b:1"]);
        let tags = images(&["r.example/a:1", "r.example/a:2"]);
        for (images, output, version, tag, collide) in [
            (&repositories, None, Version::V2, &suffix, false),
            (&repositories, None, Version::V2, &tag, false),
            (&repositories, Some(&place), Version::V2, &suffix, true),
            (&repositories, Some(&place), Version::V1, &suffix, true),
            (&tags, None, Version::V2, &suffix, false),
            (&tags, None, Version::V2, &tag, true),
            (&tags, None, Version::V1, &suffix, false),
            (&tags, Some(&place), Version::V2, &suffix, false),
            (&tags, Some(&named), Version::V2, &suffix, true),
        ] {
            let found = collision(images, output, version, tag);
            assert_eq!(found.is_some(), collide, "{images:?} {output:?} {version:?} {tag:?}");
        }
    }
}
