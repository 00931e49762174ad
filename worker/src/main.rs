//! `soci-index-builder`: builds SOCI indexes of container images.

mod cli;
mod commands;
#[cfg(feature = "aws")]
mod config;
mod process;
mod progress;
mod report;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    commands::run(cli::Cli::parse().command)
}
