//! An announcement and a destination for the tests of other crates.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::{Arc, Mutex, MutexGuard};

use crate::announcement::{Announcement, ImageStatus, SCHEMA};
use crate::destination::{Delivering, DeliveryError, Destination};

/// One of an image that was skipped.
pub fn announcement(id: &str) -> Announcement {
    Announcement {
        schema: SCHEMA,
        id: id.to_owned(),
        time: "2026-08-01T12:34:56Z".to_owned(),
        status: ImageStatus::Skipped,
        registry: "registry.example".to_owned(),
        repository: "team/app".to_owned(),
        tag: Some("1".to_owned()),
        image_digest: format!("sha256:{}", "0".repeat(64)),
        output_tag: None,
        index_digest: None,
        deploy: None,
        soci_index_version: None,
        reason: Some("artifact".to_owned()),
        message: Some("größer, a \"chart\"".to_owned()),
        bytes_read: 0,
        seconds: 0.5,
    }
}

/// A destination that takes announcements, refuses them or hangs. Clones are the same.
#[derive(Clone, Default)]
pub struct Bus(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    announcements: Vec<Announcement>,
    refuses: Option<DeliveryError>,
    hangs: bool,
}

impl Bus {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap()
    }

    /// Refuses everything from now on.
    pub fn refuse(&self, error: DeliveryError) {
        self.lock().refuses = Some(error);
    }

    /// Answers nothing from now on, or answers again.
    pub fn hang(&self, hangs: bool) {
        self.lock().hangs = hangs;
    }

    /// What it has taken.
    pub fn announcements(&self) -> Vec<Announcement> {
        self.lock().announcements.clone()
    }

    /// What it has taken since the last time.
    pub fn take(&self) -> Vec<Announcement> {
        std::mem::take(&mut self.lock().announcements)
    }
}

impl Destination for Bus {
    fn name(&self) -> &'static str {
        "bus"
    }

    fn deliver<'a>(&'a self, announcement: &'a Announcement) -> Delivering<'a> {
        Box::pin(async move {
            if self.lock().hangs {
                std::future::pending::<()>().await;
            }
            let mut taken = self.lock();
            if let Some(error) = taken.refuses.clone() {
                return Err(error);
            }
            taken.announcements.push(announcement.clone());
            Ok(())
        })
    }
}
