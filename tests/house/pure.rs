//! Crates that the table calls pure take time, limits and bytes as arguments. They open no file and no
//! socket, read no clock and no environment, print nothing, start no thread, wait for nothing and leave
//! nothing to chance.
//!
//! Helpers for tests (the feature `testing`) may do as they like.

use crate::crates::MAY_USE;
use crate::module::{Modules, Purpose};
use crate::none;
use crate::tree::{Package, packages};

/// Paths that reach out of the process or let time in. What begins with one does so as well.
const REACHES_OUT: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io::stderr",
    "std::io::stdin",
    "std::io::stdout",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    // Macros of the prelude.
    "dbg",
    "eprint",
    "eprintln",
    "print",
    "println",
    "fastrand",
    "getrandom",
    "rand",
    "reqwest",
    "tempfile",
    "time::OffsetDateTime::now_local",
    "time::OffsetDateTime::now_utc",
    "time::UtcDateTime::now",
    "tokio",
];

#[test]
fn pure_crates_reach_for_nothing() {
    let pure = |package: &&Package| MAY_USE.iter().any(|row| row.pure && row.name == package.name);
    none(&packages().iter().filter(pure).flat_map(reaching).collect::<Vec<_>>());
}

fn reaching(package: &Package) -> Vec<String> {
    let mut found = Vec::new();
    for modules in Modules::of(package) {
        for (file, mention) in modules.foreign() {
            let path = mention.path.join("::");
            let outside = REACHES_OUT.iter().any(|outside| {
                path.strip_prefix(outside)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            });
            if outside && mention.purpose == Purpose::Product {
                found.push(format!("{file}:{}: a pure crate names {path}", mention.line));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        reaching(&Package::made_up("soci-x", &[("src/lib.rs", text)]))
    }

    #[test]
    fn files_clocks_and_threads_are_found_however_they_are_named() {
        let text = "use std::time::{Duration, Instant};
use std::{fs as disk, sync::Arc};
fn f() { Instant::now(); }
fn g() { std::thread::spawn(f); }
fn h() { format!(\"{:?}\", std::env::args()); }
async fn i() { tokio::task::yield_now().await }";
        let found = found(text);
        let lines: Vec<&str> = found.iter().map(|line| line.split(':').nth(1).unwrap()).collect();
        assert_eq!(lines, ["2", "3", "4", "5", "6"], "{found:?}");
    }

    #[test]
    fn prints_chance_and_the_clocks_of_libraries_are_found() {
        let text = "use time::OffsetDateTime;
fn a() { println!(\"x\"); }
fn b() -> u8 { dbg!(1) }
fn c() { OffsetDateTime::now_utc(); }
fn d() { tempfile::tempdir(); }
fn e() { getrandom::fill(&mut []); }
fn f() -> u8 { rand::random() }
fn g(at: OffsetDateTime, random: f64) { write!(at, \"{random}\"); }";
        let found = found(text);
        let lines: Vec<&str> = found.iter().map(|line| line.split(':').nth(1).unwrap()).collect();
        assert_eq!(lines, ["2", "3", "4", "5", "6", "7"], "{found:?}");
    }

    #[test]
    fn time_as_a_value_and_helpers_of_tests_are_not() {
        let text = "use std::time::{Instant, SystemTime};
pub fn since(start: Instant, now: Instant) -> std::time::Duration { now - start }
#[cfg(feature = \"testing\")] pub fn helper() { std::fs::read(\"x\").unwrap(); }
#[cfg(any(test, feature = \"testing\"))] pub mod testing { use std::fs; }
#[cfg(test)] mod tests { use std::fs; }
#[test] fn test() { std::thread::yield_now(); }";
        assert!(found(text).is_empty(), "{:?}", found(text));
    }
}
