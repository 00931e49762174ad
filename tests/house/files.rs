//! How a file of Rust begins, how long it is, why it breaks a lint, and what its types are not called.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::Visit;
use syn::{Attribute, Item, Visibility};

use crate::module::{Purpose, parse, purpose};
use crate::none;
use crate::tree::{Package, packages};

/// As many lines as a person holds in mind, with those of tests left out.
const MAX_LINES: usize = 500;

/// Files that are longer, and why each is better in one piece.
const LONG: &[(&str, &str)] = &[];

/// Public types whose name two crates have, and why.
const SHARED_NAMES: &[(&str, &str)] = &[];

#[test]
fn files_are_no_longer_than_a_person_can_hold_in_mind() {
    none(&long(packages(), LONG));
}

#[test]
fn crates_and_programs_say_first_what_they_are() {
    none(&packages().iter().flat_map(undescribed).collect::<Vec<_>>());
}

#[test]
fn every_exception_to_a_lint_has_a_reason() {
    none(&packages().iter().flat_map(unexplained).collect::<Vec<_>>());
}

#[test]
fn no_two_crates_have_a_public_type_of_one_name() {
    none(&shared(packages(), SHARED_NAMES));
}

fn long(packages: &[Package], allowed: &[(&str, &str)]) -> Vec<String> {
    let lengths: BTreeMap<&str, usize> = packages
        .iter()
        .flat_map(|package| &package.files)
        .filter(|(file, _)| !is_test(file))
        .map(|(file, text)| (file.as_str(), length(file, text)))
        .collect();
    let listed = |file: &str| allowed.iter().any(|(name, _)| *name == file);
    let mut found: Vec<String> = lengths
        .iter()
        .filter(|(file, lines)| **lines > MAX_LINES && !listed(file))
        .map(|(file, lines)| format!("{file} has {lines} lines; split it, or list why not"))
        .collect();
    // A reason that is needed no more would hide the next time that the file grows.
    let short = |file: &str| lengths.get(file).is_none_or(|lines| *lines <= MAX_LINES);
    let stale = allowed.iter().filter(|(file, _)| short(file));
    found.extend(stale.map(|(file, _)| format!("{file} is listed as long and is not")));
    found
}

/// Whether a file holds tests alone.
fn is_test(file: &str) -> bool {
    file.split('/').any(|part| matches!(part, "tests" | "tests.rs" | "benches" | "examples"))
}

/// Lines without the modules that only tests have.
fn length(file: &str, text: &str) -> usize {
    let items = parse(file, text).items;
    let tests = items.iter().filter_map(|item| match item {
        Item::Mod(module) if purpose(&module.attrs) == Purpose::Test => Some(module),
        _ => None,
    });
    let lines = |module: &syn::ItemMod| {
        let end =
            module.content.as_ref().map_or(module.ident.span(), |(brace, _)| brace.span.close());
        end.end().line + 1 - module.mod_token.span.start().line
    };
    text.lines().count() - tests.map(lines).sum::<usize>()
}

fn undescribed(package: &Package) -> Vec<String> {
    ["src/lib.rs", "src/main.rs"]
        .into_iter()
        .map(|root| format!("{}/{root}", package.folder))
        .filter(|file| package.files.get(file).is_some_and(|text| !text.starts_with("//!")))
        .map(|file| format!("{file} does not begin with `//!` and what it is"))
        .collect()
}

fn unexplained(package: &Package) -> Vec<String> {
    let mut found = Vec::new();
    for (file, text) in &package.files {
        let mut exceptions = Exceptions::default();
        exceptions.visit_file(&parse(file, text));
        for line in exceptions.unexplained {
            found.push(format!("{file}:{line}: an exception to a lint without `reason = \"...\"`"));
        }
    }
    found
}

/// The lines of `allow` and `expect` without a reason.
#[derive(Default)]
struct Exceptions {
    unexplained: Vec<usize>,
}

impl<'a> Visit<'a> for Exceptions {
    fn visit_attribute(&mut self, attribute: &'a Attribute) {
        let syn::Meta::List(list) = &attribute.meta else { return };
        let Some(name) = list.path.get_ident() else { return };
        let tokens = list.tokens.to_string();
        let exception = name == "allow"
            || name == "expect"
            || name == "cfg_attr" && (tokens.contains("allow (") || tokens.contains("expect ("));
        if exception && !tokens.contains("reason = \"") {
            self.unexplained.push(name.span().start().line);
        }
    }
}

fn shared(packages: &[Package], allowed: &[(&str, &str)]) -> Vec<String> {
    let mut defined: BTreeMap<String, BTreeMap<&str, String>> = BTreeMap::new();
    for package in packages {
        for (file, text) in package.files.iter().filter(|(file, _)| !is_test(file)) {
            for name in public_types(&parse(file, text).items) {
                defined.entry(name).or_default().insert(&package.name, file.clone());
            }
        }
    }
    defined
        .into_iter()
        .filter(|(_, crates)| crates.len() > 1)
        .filter(|(name, _)| !allowed.iter().any(|(other, _)| other == name))
        .map(|(name, crates)| {
            let files: BTreeSet<String> = crates.into_values().collect();
            let files: Vec<String> = files.into_iter().collect();
            format!("{name} is the name of a public type in several crates: {}", files.join(", "))
        })
        .collect()
}

fn public_types(items: &[Item]) -> Vec<String> {
    items
        .iter()
        .filter_map(|item| match item {
            Item::Enum(item) => Some((&item.vis, &item.ident)),
            Item::Struct(item) => Some((&item.vis, &item.ident)),
            Item::Trait(item) => Some((&item.vis, &item.ident)),
            Item::Type(item) => Some((&item.vis, &item.ident)),
            Item::Union(item) => Some((&item.vis, &item.ident)),
            _ => None,
        })
        .filter(|(visibility, _)| matches!(visibility, Visibility::Public(_)))
        .map(|(_, name)| name.to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_found_without_their_tests_and_stale_reasons_too() {
        let lines = |count: usize| "const _: () = ();\n".repeat(count);
        let tests = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", lines(499), lines(200));
        let long_one = lines(501);
        let package = Package::made_up(
            "soci-x",
            &[
                ("src/a.rs", &long_one),
                ("src/b.rs", &tests),
                ("src/c.rs", &long_one),
                ("src/c/tests.rs", &long_one),
            ],
        );
        let allowed =
            [("crates/soci-x/src/c.rs", "one table"), ("crates/soci-x/src/b.rs", "was long")];
        assert_eq!(
            long(&[package], &allowed),
            [
                "crates/soci-x/src/a.rs has 501 lines; split it, or list why not",
                "crates/soci-x/src/b.rs is listed as long and is not",
            ]
        );
    }

    #[test]
    fn a_crate_that_does_not_say_what_it_is_is_found() {
        let files = [("src/lib.rs", "mod a;"), ("src/main.rs", "//! The program.\nfn main() {}")];
        assert_eq!(
            undescribed(&Package::made_up("soci-x", &files)),
            ["crates/soci-x/src/lib.rs does not begin with `//!` and what it is"]
        );
    }

    #[test]
    fn exceptions_without_a_reason_are_found() {
        let text = "#![allow(missing_docs)]
#[expect(clippy::expect_used, reason = \"proven above\")]
fn f() {
    #[cfg_attr(test, allow(dead_code))]
    let a = 1;
    #[expect(unused)]
    let b = 2;
}";
        let found = unexplained(&Package::made_up("soci-x", &[("src/lib.rs", text)]));
        let lines: Vec<&str> = found.iter().map(|line| line.split(':').nth(1).unwrap()).collect();
        assert_eq!(lines, ["1", "4", "6"], "{found:?}");
    }

    #[test]
    fn names_of_two_crates_are_found() {
        let package = |name: &str, text: &str| Package::made_up(name, &[("src/lib.rs", text)]);
        let packages = [
            package("soci-a", "pub struct Settings; pub struct Limits;"),
            package("soci-b", "pub enum Settings {} pub(crate) struct Limits; pub struct Job;"),
        ];
        assert_eq!(
            shared(&packages, &[]),
            [
                "Settings is the name of a public type in several crates: crates/soci-a/src/lib.rs, crates/soci-b/src/lib.rs"
            ]
        );
        assert!(shared(&packages, &[("Settings", "a test")]).is_empty());
    }
}
