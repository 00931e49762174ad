//! What a document names exists: the targets of its links, the headings behind them, and the paths of
//! this repository in its text.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::none;
use crate::tree::{exists, text, texts};

/// Where paths in a text begin that are of this repository.
const FOLDERS: [&str; 9] = [
    "crates/",
    "docs/",
    "filter-lambda/",
    "fuzz/",
    "index-lambda/",
    "release/",
    "tests/",
    "worker/",
    ".ci/",
];

#[test]
fn links_and_paths_lead_somewhere() {
    none(&broken(&texts("", ".md"), &exists));
}

#[test]
fn the_readme_names_the_rust_that_is_needed() {
    let manifest = text("Cargo.toml");
    let version = Regex::new(r#"(?m)^rust-version = "(.+)"$"#).unwrap();
    let version = &version.captures(&manifest).unwrap()[1];
    assert!(text("README.md").contains(&format!("Rust {version}")), "Rust {version}");
}

fn broken(documents: &BTreeMap<String, String>, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let headings: BTreeMap<&String, BTreeSet<String>> =
        documents.iter().map(|(path, text)| (path, anchors(text))).collect();
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let code = Regex::new(r"`([^`\s*<>{}$]+)`").unwrap();
    let mut found = Vec::new();
    for (document, text) in documents {
        for (number, line) in prose(text) {
            let mut complain = |what: &str| {
                found.push(format!("{document}:{number}: {what} does not exist"));
            };
            for target in link.captures_iter(line).map(|found| found.get(1).unwrap().as_str()) {
                if target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
                let path = if path.is_empty() { document.clone() } else { beside(document, path) };
                let known = headings.get(&path).is_none_or(|all| all.contains(anchor));
                if !exists(&path) || !anchor.is_empty() && !known {
                    complain(target);
                }
            }
            for path in code.captures_iter(line).map(|found| found.get(1).unwrap().as_str()) {
                // `worker/...` stands for many.
                let path = path.trim_end_matches("...");
                if FOLDERS.iter().any(|folder| path.starts_with(folder)) && !exists(path) {
                    complain(path);
                }
            }
        }
    }
    found
}

/// The lines outside of code blocks, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}

/// The path from the root of what a document names by a path from its own folder.
fn beside(document: &str, path: &str) -> String {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// What links to headings are called: lower case, dashes for spaces, other marks left out.
fn anchors(text: &str) -> BTreeSet<String> {
    prose(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| {
            let heading = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_found() {
        let documents = [
            ("README.md", "# One\n[a](docs/A.md#two-words) [b](docs/B.md) [c](#one) `crates/x`\n"),
            ("docs/A.md", "## Two, words\n[up](../README.md#none) [web](https://a.example/b)\n"),
            ("docs/C.md", "```sh\n[x](nothing.md)\n```\n`tests/*/run` `docs/A.md`\n[d](A.md)\n"),
        ];
        let documents: BTreeMap<String, String> =
            documents.map(|(path, text)| (path.to_owned(), text.to_owned())).into_iter().collect();
        let found = broken(&documents, &|path| documents.contains_key(path));
        assert_eq!(
            found,
            [
                "README.md:2: docs/B.md does not exist",
                "README.md:2: crates/x does not exist",
                "docs/A.md:2: ../README.md#none does not exist",
            ]
        );
    }
}
