//! `Cargo.toml` alone says where the repository is and which version this is: whatever else names its URL, its
//! image or its version says the same.

use std::collections::BTreeMap;

use regex::Regex;

use crate::none;
use crate::tree::{text, texts};

/// Ends of the names of files that people and machines read it in. Rust is among them for its messages.
const ENDS: [&str; 10] =
    [".md", ".yml", ".yaml", ".toml", ".json", ".rs", ".sh", ".tf", "Dockerfile", "deploy"];

#[test]
fn the_origin_is_the_same_everywhere() {
    let files: BTreeMap<String, String> =
        ENDS.iter().flat_map(|end| texts("", end)).filter(|(file, _)| file != FILE).collect();
    none(&elsewhere(&of_the_workspace("repository"), &files));
}

#[test]
fn the_version_is_the_same_everywhere() {
    let files = ["README.md", "docs/DEPLOY.md", "Dockerfile", "deploy"]
        .map(|file| (file.to_owned(), text(file)))
        .into_iter()
        .collect();
    none(&outdated(&of_the_workspace("version"), &files));
}

/// This file, whose tests have other origins.
const FILE: &str = "tests/house/origin.rs";

/// A line of `[workspace.package]`, whose lines come before those of other tables that have such keys.
fn of_the_workspace(key: &str) -> String {
    let value = Regex::new(&format!("(?m)^{key} = \"(.+)\"$")).unwrap();
    value.captures(&text("Cargo.toml")).unwrap()[1].to_owned()
}

/// Where something is named as this repository or its image and is not, or a placeholder stands for it.
fn elsewhere(origin: &str, files: &BTreeMap<String, String>) -> Vec<String> {
    let path = origin.strip_prefix("https://github.com/").unwrap();
    let image = path.to_lowercase();
    let name = path.split_once('/').unwrap().1;
    let url = Regex::new(&format!(
        r"\b(github\.com|ghcr\.io)/([\w.$<>{{}}-]+/{}\b)",
        regex::escape(name)
    ));
    let url = url.unwrap();
    let mut found = Vec::new();
    for (file, text) in files {
        for (number, line) in (1..).zip(text.lines()) {
            for named in url.captures_iter(line) {
                let expected = if &named[1] == "ghcr.io" { &image } else { path };
                if named[2] != *expected {
                    let (host, named) = (&named[1], &named[2]);
                    found.push(format!("{file}:{number}: {host}/{named} is not {host}/{expected}"));
                }
            }
        }
    }
    found
}

fn outdated(version: &str, files: &BTreeMap<String, String>) -> Vec<String> {
    let named = Regex::new(r"\bVERSION=(\d[\w.+-]*)").unwrap();
    let mut found = Vec::new();
    for (file, text) in files {
        let mut versions = named.captures_iter(text).map(|named| named[1].to_owned()).peekable();
        if versions.peek().is_none() {
            found.push(format!("{file}: names no version"));
        }
        found.extend(
            versions
                .filter(|named| named != version)
                .map(|named| format!("{file}: VERSION={named} is not {version}")),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_origin_is_found() {
        let text = "https://github.com/Team/app/blob ghcr.io/team/app:1\nhttps://github.com/OWNER/app \
                    ghcr.io/Team/app\nhttps://github.com/other/apple ghcr.io/$OWNER/app";
        let files = BTreeMap::from([("A.md".to_owned(), text.to_owned())]);
        assert_eq!(
            elsewhere("https://github.com/Team/app", &files),
            [
                "A.md:2: github.com/OWNER/app is not github.com/Team/app",
                "A.md:2: ghcr.io/Team/app is not ghcr.io/team/app",
                "A.md:3: ghcr.io/$OWNER/app is not ghcr.io/team/app",
            ]
        );
    }

    #[test]
    fn another_version_is_found() {
        let files = [
            ("A.md", "VERSION=1.2.3 X=1"),
            ("B.md", "ARG VERSION=1.2.2\n"),
            ("C.md", "VERSION=$V"),
        ];
        let files =
            files.map(|(file, text)| (file.to_owned(), text.to_owned())).into_iter().collect();
        assert_eq!(
            outdated("1.2.3", &files),
            ["B.md: VERSION=1.2.2 is not 1.2.3", "C.md: names no version"]
        );
    }
}
