//! Progress bars on a terminal.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use soci_indexer::ImageEvent;
use soci_oci::Digest;

/// One bar for each layer that is being built and each blob that is being copied, on standard error.
#[derive(Debug)]
pub(super) struct Bars {
    all: MultiProgress,
    layers: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Bars {
    /// Bars that are drawn only if standard error is a terminal.
    pub(super) fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self { all, layers: Mutex::default() }
    }

    /// Takes all bars off the terminal, those of layers that were not finished too.
    pub(super) fn clear(&self) {
        for (_, bar) in self.layers.lock().unwrap_or_else(PoisonError::into_inner).drain() {
            bar.finish_and_clear();
        }
        // A terminal that cannot be written to shows nothing anyway.
        let _ = self.all.clear();
    }

    /// Lets something be written above the bars.
    pub(super) fn above(&self, write: impl FnOnce()) {
        self.all.suspend(write);
    }

    fn with_bar(&self, layer: &Digest, act: impl FnOnce(&ProgressBar)) {
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = layers.get(layer) {
            act(bar);
        }
    }
}

impl Bars {
    /// Draws what has happened.
    pub(super) fn draw(&self, event: &ImageEvent<'_>) {
        match *event {
            ImageEvent::LayerStarted { layer, size } => self.begin(layer, size),
            ImageEvent::LayerRead { layer, bytes } => self.with_bar(layer, |bar| bar.inc(bytes)),
            ImageEvent::LayerRestarted { layer } => self.with_bar(layer, ProgressBar::reset),
            ImageEvent::LayerDone { layer } | ImageEvent::LayerLeftOut { layer, .. } => {
                self.with_bar(layer, ProgressBar::finish_and_clear);
            }
            ImageEvent::CopyStarted { blob, size } => self.begin(blob, size),
            ImageEvent::CopyRead { blob, bytes } => self.with_bar(blob, |bar| bar.inc(bytes)),
            ImageEvent::CopyDone { blob } => self.with_bar(blob, ProgressBar::finish_and_clear),
            _ => {}
        }
    }

    fn begin(&self, layer: &Digest, size: u64) {
        let template = "{prefix} {bar:30} {binary_bytes:>11} of {binary_total_bytes:<11} {binary_bytes_per_sec} {eta}";
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self.all.add(ProgressBar::new(size).with_style(style).with_prefix(layer.short()));
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).insert(*layer, bar);
    }
}
