//! What is checked, and who is told how far it is.

use std::fmt;
use std::sync::Arc;

use soci_oci::Platform;

use crate::event::OnImageEvent;

/// What is checked of an image.
#[derive(Clone)]
pub struct VerifySettings {
    /// Only the SOCI indexes of manifests for these platforms; all if there are none.
    pub platforms: Vec<Platform>,
    /// Whether layers are looked at in a few places only, and not read whole.
    pub quick: bool,
    /// Told what happens: of each SOCI index what will be read, and of each layer how far it is. By default nobody is.
    pub on_event: OnImageEvent,
}

impl Default for VerifySettings {
    /// Everything.
    fn default() -> Self {
        Self { platforms: Vec::new(), quick: false, on_event: Arc::new(|_| {}) }
    }
}

impl fmt::Debug for VerifySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { platforms, quick, on_event: _ } = self;
        f.debug_struct("VerifySettings")
            .field("platforms", platforms)
            .field("quick", quick)
            .finish_non_exhaustive()
    }
}
