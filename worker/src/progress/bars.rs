//! Progress bars on a terminal.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use soci_indexer::ImageEvent;
use soci_oci::Digest;

use super::lines::{Doing, Lines};

/// The name of the image in hand, how much of it was read, and a bar for each layer that is being built or checked and each
/// blob that is being copied, on standard error.
#[derive(Debug)]
pub(super) struct Bars {
    all: MultiProgress,
    drawn: Mutex<Drawn>,
}

#[derive(Debug)]
struct Drawn {
    image: Lines,
    /// The image's name.
    headline: Option<ProgressBar>,
    /// All of its layers together, when it is known how much they are.
    total: Option<ProgressBar>,
    layers: HashMap<Digest, ProgressBar>,
}

/// How a bar looks.
const BAR: &str = "{prefix:12} {bar:30} {binary_bytes:>11} of {binary_total_bytes:<11} {binary_bytes_per_sec} {eta}";

/// The same where it is not known how much there is.
const COUNT: &str = "{prefix:12} {binary_bytes:>11}";

/// How the image looks.
const HEADLINE: &str = "{spinner} {wide_msg}";

/// The same where it is waited for.
const WAITING: &str = "{spinner} {elapsed} {wide_msg}";

/// Time between two looks of a spinner.
const TURN: Duration = Duration::from_millis(120);

impl Bars {
    /// Bars that are drawn only if standard error is a terminal.
    pub(super) fn new(doing: Doing) -> Self {
        Self::on(doing, ProgressDrawTarget::stderr())
    }

    fn on(doing: Doing, target: ProgressDrawTarget) -> Self {
        let all = MultiProgress::with_draw_target(target);
        let image = Lines::new(doing);
        let drawn = Drawn { image, headline: None, total: None, layers: HashMap::new() };
        Self { all, drawn: Mutex::new(drawn) }
    }

    /// The next image is begun.
    pub(super) fn begin(&self, image: &str) {
        self.clear();
        let mut drawn = self.drawn();
        drawn.image.begin(image);
        let look = if matches!(drawn.image.doing(), Doing::Wait(_)) { WAITING } else { HEADLINE };
        let headline = self.all.add(ProgressBar::new_spinner().with_style(style(look)));
        headline.set_message(drawn.image.headline());
        headline.enable_steady_tick(TURN);
        drawn.headline = Some(headline);
    }

    /// Takes all bars off the terminal, those of layers that were not finished too.
    pub(super) fn clear(&self) {
        let mut drawn = self.drawn();
        let Drawn { headline, total, layers, .. } = &mut *drawn;
        let layers = layers.drain().map(|(_, bar)| bar);
        for bar in layers.chain(total.take()).chain(headline.take()) {
            bar.finish_and_clear();
        }
        // A terminal that cannot be written to shows nothing anyway.
        let _ = self.all.clear();
    }

    /// Lets something be written above the bars.
    pub(super) fn above(&self, write: impl FnOnce()) {
        self.all.suspend(write);
    }

    /// Shows what there is of the index that is waited for.
    pub(super) fn status(&self, status: String) {
        let mut drawn = self.drawn();
        drawn.image.status(status);
        drawn.show_headline();
    }

    /// Draws what has happened.
    pub(super) fn draw(&self, event: &ImageEvent<'_>) {
        let mut drawn = self.drawn();
        drawn.image.note(event);
        drawn.show_headline();
        self.draw_total(&mut drawn);
        match *event {
            ImageEvent::LayerStarted { layer, size } => self.begin_bar(&mut drawn, layer, size),
            ImageEvent::CopyStarted { blob, size } => self.begin_bar(&mut drawn, blob, size),
            ImageEvent::LayerRead { layer: blob, bytes } | ImageEvent::CopyRead { blob, bytes } => {
                drawn.with_bar(blob, |bar| bar.inc(bytes));
            }
            ImageEvent::LayerRestarted { layer } => drawn.with_bar(layer, ProgressBar::reset),
            ImageEvent::LayerDone { layer: blob }
            | ImageEvent::LayerLeftOut { layer: blob, .. }
            | ImageEvent::CopyDone { blob } => {
                if let Some(bar) = drawn.layers.remove(blob) {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
    }

    fn draw_total(&self, drawn: &mut Drawn) {
        let (read, wanted) = drawn.image.amounts();
        if wanted == 0 {
            // What was wanted is there already.
            if let Some(total) = drawn.total.take() {
                total.finish_and_clear();
            }
            return;
        }
        let total = drawn.total.get_or_insert_with(|| {
            let bar = ProgressBar::new(wanted).with_style(style(BAR)).with_prefix("all layers");
            match &drawn.headline {
                Some(headline) => self.all.insert_after(headline, bar),
                None => self.all.add(bar),
            }
        });
        total.set_length(wanted);
        total.set_position(read);
    }

    fn begin_bar(&self, drawn: &mut Drawn, blob: &Digest, size: u64) {
        let (bar, look) = match size {
            0 => (ProgressBar::no_length(), COUNT),
            size => (ProgressBar::new(size), BAR),
        };
        let bar = self.all.add(bar.with_style(style(look)).with_prefix(blob.short()));
        // After a failure a copy comes again.
        if let Some(earlier) = drawn.layers.insert(*blob, bar) {
            earlier.finish_and_clear();
        }
    }

    fn drawn(&self) -> MutexGuard<'_, Drawn> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drawn {
    fn show_headline(&self) {
        let Some(headline) = &self.headline else { return };
        let now = self.image.headline();
        if headline.message() != now {
            headline.set_message(now);
        }
    }

    fn with_bar(&self, layer: &Digest, act: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = self.layers.get(layer) {
            act(bar);
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::super::{Progress, View};
    use super::*;

    #[test]
    fn the_bars_name_the_image_and_how_much_there_is_in_all() {
        let bars = Bars::on(Doing::Index, ProgressDrawTarget::hidden());
        let [a, b] = [b"a", b"b"].map(|bytes| Digest::sha256_of(bytes));
        let headline = || bars.drawn().headline.as_ref().unwrap().message();
        let amounts = |bar: &ProgressBar| (bar.prefix(), bar.position(), bar.length());
        bars.begin("r.example/app:1");
        assert_eq!(headline(), "r.example/app:1: reading its manifests");
        assert!(bars.drawn().total.is_none());
        bars.draw(&ImageEvent::Planned { layers: 2, bytes: 300 });
        bars.draw(&ImageEvent::LayerStarted { layer: &a, size: 100 });
        bars.draw(&ImageEvent::LayerRead { layer: &a, bytes: 60 });
        let from = soci_indexer::ZtocSource::Process;
        bars.draw(&ImageEvent::LayerReused { layer: &b, size: 200, from });
        assert_eq!(headline(), "r.example/app:1");
        let all = amounts(bars.drawn().total.as_ref().unwrap());
        assert_eq!(all, ("all layers".to_owned(), 60, Some(100)));
        assert_eq!(amounts(&bars.drawn().layers[&a]), (a.short(), 60, Some(100)));
        bars.draw(&ImageEvent::LayerDone { layer: &a });
        assert!(bars.drawn().layers.is_empty());
        bars.begin("r.example/other:2");
        assert_eq!(headline(), "r.example/other:2: reading its manifests");
        assert!(bars.drawn().total.is_none());
        bars.draw(&ImageEvent::Planned { layers: 1, bytes: 200 });
        assert!(bars.drawn().total.is_some());
        bars.draw(&ImageEvent::LayerReused { layer: &b, size: 200, from });
        assert_eq!(headline(), "r.example/other:2: writing the result");
        assert!(bars.drawn().total.is_none());
        bars.clear();
        assert!(bars.drawn().headline.is_none());
    }

    #[test]
    fn what_is_waited_for_is_in_the_headline() {
        let wait = Doing::Wait(Duration::from_mins(1));
        let bars = Bars::on(wait, ProgressDrawTarget::hidden());
        bars.begin("r.example/app:1");
        bars.status("there is no tag 1-soci".to_owned());
        let headline = bars.drawn().headline.as_ref().unwrap().message();
        assert_eq!(headline, "r.example/app:1: there is no tag 1-soci");
    }

    /// As after a signal.
    #[tokio::test]
    async fn the_bars_go_with_work_that_is_not_waited_for_to_its_end() {
        let bars = Bars::on(Doing::Index, ProgressDrawTarget::hidden());
        let progress = Progress(View::Bars(bars));
        let View::Bars(bars) = &progress.0 else { panic!() };
        let mut work = Box::pin(progress.beside("r.example/app:1", std::future::pending::<()>()));
        tokio::select! {
            biased;
            () = &mut work => panic!("it never ends"),
            () = std::future::ready(()) => {}
        }
        assert!(bars.drawn().headline.is_some());
        drop(work);
        assert!(bars.drawn().headline.is_none());
    }
}
