//! `ls`: the images of a repository, and whether they are indexed.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use serde_json::{Value, json};
use soci_config::budget_of_this_process;
use soci_indexer::{
    Budget, ImageList, IndexError, Inspection, ListedImage, ListedState, Options, OutputTag,
    Reason, RemoteRepository, list_images,
};
use soci_manifest::Version;
use soci_oci::{Platform, Repository, Tag};
use soci_text::error_chain;

use super::inspect::{outcome, why as why_not};
use super::location::OutputLocation;
use super::{block_on, client, locate_output, login_to, unless_stopped};
use crate::cli::LsArgs;
use crate::report::Column::Text;
use crate::report::{self, Failure, table};
use crate::usage::usage;

pub(crate) fn ls(args: &LsArgs) -> ExitCode {
    let repository = repository(&args.repository);
    let result = block_on(unless_stopped(list(args, &repository)));
    let printed = match &result {
        _ if args.json => report::line(json(&repository, result.as_ref())),
        Ok(list) => report::text(text(list)),
        Err(_) => Ok(()),
    };
    if let Err(failure) = &result {
        report::complain(format_args!("{repository}: {}", failure.detail));
        return ExitCode::from(failure.exit);
    }
    let unknown = result.iter().flat_map(|list| &list.images).filter_map(unknown);
    let mut failed = false;
    for (tag, why) in unknown {
        failed = true;
        report::complain(format_args!("{repository}:{tag}: {}", error_chain(why)));
    }
    if failed { ExitCode::FAILURE } else { report::printed(printed) }
}

/// A repository in a registry; a mistake ends the program.
pub(super) fn repository(text: &str) -> Repository {
    match locate_output("REPOSITORY", text) {
        OutputLocation::Registry { repository, tag: None } => repository,
        OutputLocation::Registry { tag: Some(_), .. } => {
            usage(format!("{text:?}: a repository is expected, without a tag"))
        }
        OutputLocation::Layout { .. } => {
            usage(format!("{text:?}: a repository in a registry is expected"))
        }
    }
}

async fn list(args: &LsArgs, repository: &Repository) -> Result<ImageList, Failure> {
    let credentials = login_to(&args.connection, &args.login, Some(repository.registry()));
    let client = client(&args.connection, credentials)?;
    let store = RemoteRepository::new(client, repository.clone());
    let options = Options {
        output: OutputTag::Suffix(args.tag_suffix.clone()),
        budget: Budget::new(NonZeroUsize::MIN, budget_of_this_process(None)),
        ..Options::default()
    };
    let list = list_images(&store, args.after.as_ref(), args.limit.get(), &options);
    Box::pin(list).await.map_err(|error| Failure::of_list(&error))
}

/// The tag of an image that could not be looked at, and why.
fn unknown(image: &ListedImage) -> Option<(&Tag, &IndexError)> {
    match &image.state {
        ListedState::Unknown(why) => Some((&image.tag, why)),
        _ => None,
    }
}

/// In one word what there is of an image.
fn state(image: &ListedImage) -> &'static str {
    match &image.state {
        ListedState::Image(inspection) => outcome(inspection),
        ListedState::ImageGone { .. } => "image-gone",
        ListedState::Failed(_) => "no-image",
        ListedState::Unknown(_) => "unknown",
    }
}

fn inspection(image: &ListedImage) -> Option<&Inspection> {
    match &image.state {
        ListedState::Image(inspection) => Some(inspection),
        ListedState::ImageGone { .. } | ListedState::Failed(_) | ListedState::Unknown(_) => None,
    }
}

/// The versions of an image's SOCI indexes.
fn versions(inspection: &Inspection) -> Vec<Version> {
    let has = |version: &Version| {
        let mut indexes = inspection.manifests.iter().flat_map(|manifest| &manifest.indexes);
        indexes.any(|index| index.version == *version)
    };
    [Version::V1, Version::V2].into_iter().filter(has).collect()
}

/// Why an image has no index of its own: a code, where one says it, and the same for people.
fn why(image: &ListedImage) -> Option<(Option<&'static str>, String)> {
    let gone = Reason::ImageGone.code();
    match &image.state {
        ListedState::Image(inspection) => match (why_not(inspection), &inspection.of_another) {
            (Some((code, detail)), _) => Some((Some(code), detail)),
            (None, Some(other)) => {
                other.tag.as_ref().map(|tag| (None, format!("{tag} is another image's")))
            }
            (None, None) => None,
        },
        ListedState::ImageGone { .. } => {
            Some((Some(gone), "converted, and the image's tag is gone".to_owned()))
        }
        ListedState::Failed(error) | ListedState::Unknown(error) => {
            Some((Some(error.reason().code()), error_chain(error)))
        }
    }
}

fn json(repository: &Repository, result: Result<&ImageList, &Failure>) -> Value {
    let list = result.ok();
    let failure = result.err();
    json!({
        "outcome": if list.is_some() { "listed" } else { "failed" },
        "reason": failure.map(|failure| failure.code),
        "detail": failure.map(|failure| failure.detail.as_str()),
        "repository": repository.to_string(),
        "images": list.map(|list| list.images.iter().map(|image| {
            let (found, why) = (inspection(image), why(image));
            json!({
                "tag": image.tag.to_string(),
                "digest": match &image.state {
                    ListedState::Image(found) => Some(found.image.to_string()),
                    ListedState::ImageGone { digest } => Some(digest.to_string()),
                    ListedState::Failed(_) | ListedState::Unknown(_) => None,
                },
                "outcome": state(image),
                "reason": why.as_ref().and_then(|(code, _)| *code),
                "detail": why.map(|(_, detail)| detail),
                "versions": found.map_or_else(Vec::new, versions).iter().map(ToString::to_string).collect::<Vec<_>>(),
                "converted_tag": found.and_then(|found| found.converted.as_ref()?.tag.as_ref()).map(ToString::to_string),
                "converted_digest": found.and_then(|found| found.converted.as_ref()).map(|converted| converted.digest.to_string()),
                "platforms": found.map_or(&[][..], |found| &found.manifests).iter()
                    .map(|manifest| manifest.platform.as_ref().map(ToString::to_string)).collect::<Vec<_>>(),
            })
        }).collect::<Vec<_>>()),
        "more_after": list.and_then(|list| list.more_after.as_ref()).map(ToString::to_string),
        "complete": list.is_some_and(|list| {
            list.more_after.is_none() && !list.cut && list.images.iter().all(|i| unknown(i).is_none())
        }),
    })
}

fn text(list: &ImageList) -> String {
    if list.images.is_empty() && !list.cut {
        return "no image has a tag here\n".to_owned();
    }
    let rows = list.images.iter().map(|image| {
        let found = inspection(image);
        let platforms: Vec<String> = found
            .map_or(&[][..], |found| &found.manifests)
            .iter()
            .filter_map(|manifest| manifest.platform.as_ref().map(Platform::to_string))
            .collect();
        let versions: Vec<String> =
            found.map_or_else(Vec::new, versions).iter().map(ToString::to_string).collect();
        let converted = found.and_then(|found| found.converted.as_ref());
        [
            image.tag.to_string(),
            state(image).replace('-', " "),
            versions.join(", "),
            converted.and_then(|c| c.tag.as_ref()).map_or_else(String::new, ToString::to_string),
            platforms.join(", "),
            why(image).map_or_else(String::new, |(_, detail)| detail),
        ]
    });
    let head = ["image", "index", "version", "converted image", "platforms", ""].map(Text);
    let mut text = table(head, rows);
    if let Some(tag) = &list.more_after {
        let _ = writeln!(text, "  there are more: go on with --after {tag}");
    }
    if list.cut {
        text.push_str("  there are more tags than are read, 20,000\n");
    }
    text
}
