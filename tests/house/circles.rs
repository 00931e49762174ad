//! No two files of a crate need each other, directly or around a corner: each can be read after those
//! that it needs, and taken out with them.
//!
//! A file needs another one if it takes a name that is defined there (`module.rs` says how names are
//! followed). That a parent declares a child, or hands its names on, is no need; that a child takes
//! what its parent's file defines is one, and closes a circle once the parent uses the child.

use std::collections::{BTreeMap, BTreeSet};

use crate::module::Modules;
use crate::none;
use crate::tree::{Package, packages};

/// Circles that are allowed: their files, sorted, and why they stay. None is.
const ALLOWED: &[(&[&str], &str)] = &[];

type Needs = BTreeMap<(String, String), BTreeSet<String>>;

#[test]
fn no_files_need_each_other() {
    none(&packages().iter().flat_map(circles).collect::<Vec<_>>());
}

fn circles(package: &Package) -> Vec<String> {
    let mut found = Vec::new();
    for modules in Modules::of(package) {
        let needs = modules.needs();
        for circle in tied(&needs) {
            let files: Vec<&str> = circle.iter().map(String::as_str).collect();
            if !ALLOWED.iter().any(|(allowed, _)| *allowed == files) {
                found.push(describe(&circle, &needs));
            }
        }
    }
    found
}

/// The groups of files each of which leads to every other one of its group.
fn tied(needs: &Needs) -> Vec<BTreeSet<String>> {
    let files: BTreeSet<&String> = needs.keys().flat_map(|(from, to)| [from, to]).collect();
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        files.iter().map(|file| (*file, reach(file, needs))).collect();
    let mut groups: Vec<BTreeSet<String>> = Vec::new();
    for file in files {
        let group: BTreeSet<String> = reached[file]
            .iter()
            .filter(|other| reached[**other].contains(file))
            .map(|other| (*other).clone())
            .collect();
        if group.len() > 1 && !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups
}

fn reach<'a>(start: &str, needs: &'a Needs) -> BTreeSet<&'a String> {
    let mut found: BTreeSet<&String> = BTreeSet::new();
    let mut open = vec![start];
    while let Some(file) = open.pop() {
        for (_, to) in needs.keys().filter(|(from, _)| from == file) {
            if found.insert(to) {
                open.push(to);
            }
        }
    }
    found
}

fn describe(circle: &BTreeSet<String>, needs: &Needs) -> String {
    let mut lines = vec!["files that need each other:".to_owned()];
    for ((from, to), names) in needs {
        if circle.contains(from) && circle.contains(to) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            lines.push(format!("  {from} takes from {to}: {}", names.join(", ")));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        circles(&Package::made_up("soci-x", files))
    }

    #[test]
    fn siblings_that_use_each_other_are_found_with_what_ties_them() {
        let found = found(&[
            ("src/lib.rs", "mod left; mod right; pub use left::Left;"),
            ("src/left.rs", "use crate::right::turn; pub struct Left; fn f() { turn() }"),
            ("src/right.rs", "pub fn turn() { let _ = super::Left; }"),
        ]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("left.rs takes from crates/soci-x/src/right.rs: turn"));
        assert!(found[0].contains("right.rs takes from crates/soci-x/src/left.rs: Left"));
    }

    #[test]
    fn a_child_that_needs_its_parent_is_found_if_the_parent_uses_it() {
        let child = "pub fn go() -> super::Size { super::Size }";
        let parent = "mod child; pub struct Size; pub fn f() { child::go(); }";
        assert_eq!(found(&[("src/lib.rs", parent), ("src/child.rs", child)]).len(), 1);
        let parent = "mod child; pub use child::go; pub struct Size;";
        assert!(found(&[("src/lib.rs", parent), ("src/child.rs", child)]).is_empty());
    }

    #[test]
    fn a_circle_of_three_files_is_found_through_globs_renames_and_macros() {
        let found = found(&[
            ("src/lib.rs", "mod a; mod b; mod c;"),
            ("src/a.rs", "use super::b::*; pub fn a() { b() }"),
            ("src/b.rs", "use crate::c::c as other; pub fn b() { other() }"),
            ("src/c.rs", "pub fn c() { println!(\"{}\", crate::a::a()); }"),
        ]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].lines().count(), 4);
    }

    #[test]
    fn tests_other_crates_and_names_of_variables_are_no_needs() {
        let found = found(&[
            ("src/lib.rs", "mod a; mod b;"),
            ("src/a.rs", "use super::b::b; pub fn a(b: u8) -> u8 { b }"),
            (
                "src/b.rs",
                "use other::a::a; pub fn b() { let a = a(); a; }
                 #[cfg(test)] mod tests { use crate::a::a; }
                 #[cfg(test)] fn helper() { crate::a::a(); }",
            ),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn folders_and_modules_within_a_file_are_followed() {
        let found = found(&[
            ("src/main.rs", "mod a; fn main() { a::deep::f() }"),
            (
                "src/a.rs",
                "pub mod deep; mod inner { pub fn g() { super::deep::f() } } pub fn h() {}",
            ),
            ("src/a/deep.rs", "pub fn f() { super::h() }"),
        ]);
        assert_eq!(found.len(), 1);
    }
}
