//! The running service: takes jobs off queues, runs them, and tells how that goes.

mod about;
pub mod board;
pub mod consumer;
pub mod handler;
pub mod http;
#[cfg(test)]
mod log_capture;
pub mod metrics;
pub mod protection;
mod service;
#[cfg(feature = "telemetry")]
pub mod telemetry;
mod tickets;
pub mod watch;

pub use about::About;
pub use service::Service;
