//! `soci-index-builder`: builds SOCI indexes of container images.
//!
//! It is both Lambda functions as well, when it is started by their names: the container image has one program and two links
//! to it, as the three have most of their code in common.

mod cli;
mod commands;
#[cfg(feature = "aws")]
mod config;
mod process;
mod progress;
mod report;
mod usage;

#[cfg(feature = "aws")]
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "aws")]
    match std::env::args_os().next().as_deref().and_then(|path| Path::new(path).file_name()) {
        Some(name) if name == "filter-lambda" => return soci_filter_lambda::run(),
        Some(name) if name == "index-lambda" => return soci_index_lambda::run(),
        _ => {}
    }
    commands::run(usage::parse().command)
}
