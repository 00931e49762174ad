//! The running service: takes jobs off queues, runs them, and tells how that goes.

mod about;
mod announcer;
pub mod consumer;
pub mod dead_letters;
pub mod event;
pub mod handler;
pub mod health_socket;
pub mod http;
mod job_in_hand;
mod job_log;
#[cfg(test)]
mod log_capture;
pub mod metrics;
pub mod protection;
mod queue_kind;
mod recent_rate;
mod service;
mod service_state;
mod shown_text;
pub mod status_store;
#[cfg(feature = "telemetry")]
pub mod telemetry;
pub mod words;

pub use about::About;
pub use announcer::Announcer;
pub use job_in_hand::{JobId, JobImage, JobInHand};
pub use job_log::JobLog;
pub use service::Service;
