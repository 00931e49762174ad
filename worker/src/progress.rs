//! How far a command is, on standard error: bars on a terminal, and elsewhere, as in the log of a pipeline, a line every
//! ten seconds. Where more is told than that, there are lines on a terminal too, as bars would be drawn over.

mod bars;
mod lines;
mod retries;

use std::convert::Infallible;
use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use soci_indexer::ImageEvent;
use tokio::time::{Instant, interval_at};

use bars::Bars;
pub(crate) use lines::Doing;
use lines::{Lines, PERIOD};
pub(crate) use retries::RetryNotes;

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Nothing.
    Nothing,
    /// How far the work is.
    Progress,
    /// The same beside a log.
    BesideLog,
}

/// How far a command is.
#[derive(Debug)]
pub(crate) struct Progress(View);

#[derive(Debug)]
enum View {
    Nothing,
    Bars(Bars),
    Lines(Mutex<Lines>),
}

/// Takes the bars away when it goes.
struct Cleared<'a>(&'a Progress);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl Progress {
    pub(crate) fn new(shown: Shown, doing: Doing) -> Self {
        Self(match shown {
            Shown::Nothing => View::Nothing,
            Shown::Progress if std::io::stderr().is_terminal() => View::Bars(Bars::new(doing)),
            Shown::Progress | Shown::BesideLog => View::Lines(Mutex::new(Lines::new(doing))),
        })
    }

    /// Does something with an image, and says meanwhile how far it is.
    pub(crate) async fn beside<T>(&self, image: &str, work: impl Future<Output = T>) -> T {
        // Also where it is not waited for to its end, as after a signal: bars that go later take what was said since with them.
        let _cleared = Cleared(self);
        self.begin(image);
        tokio::select! {
            result = work => result,
            never = self.tell() => match never {},
        }
    }

    /// The next image is begun.
    pub(crate) fn begin(&self, image: &str) {
        match &self.0 {
            View::Nothing => {}
            View::Bars(bars) => bars.begin(image),
            View::Lines(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).begin(image),
        }
    }

    /// Shows what has happened.
    pub(crate) fn show(&self, event: &ImageEvent<'_>) {
        match &self.0 {
            View::Nothing => {}
            View::Bars(bars) => bars.draw(event),
            View::Lines(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).note(event),
        }
    }

    /// Shows what there is of an index that is waited for.
    pub(crate) fn status(&self, status: String) {
        match &self.0 {
            View::Nothing => {}
            View::Bars(bars) => bars.status(status),
            View::Lines(lines) => {
                lines.lock().unwrap_or_else(PoisonError::into_inner).status(status);
            }
        }
    }

    /// Says something, which bars make room for.
    pub(crate) fn say(&self, line: impl Display) {
        match &self.0 {
            View::Bars(bars) => bars.above(|| say(&line)),
            View::Nothing | View::Lines(_) => say(&line),
        }
    }

    /// Says something that belongs to the progress, and is not said where that is not shown.
    pub(crate) fn note(&self, line: impl Display) {
        if !matches!(self.0, View::Nothing) {
            self.say(line);
        }
    }

    /// What is tried again, said as [`Progress::note`] does.
    pub(crate) fn retries(self: &Arc<Self>) -> RetryNotes {
        let progress = Arc::clone(self);
        RetryNotes::new(move |line| progress.note(&line))
    }

    /// Takes all bars off the terminal, those of layers that were not finished too.
    pub(crate) fn clear(&self) {
        if let View::Bars(bars) = &self.0 {
            bars.clear();
        }
    }

    /// Says the lines when their time has come, as long as it is polled.
    pub(crate) async fn tell(&self) -> Infallible {
        self.tell_to(say).await
    }

    async fn tell_to(&self, say: impl Fn(&String)) -> Infallible {
        let View::Lines(lines) = &self.0 else { return std::future::pending().await };
        let mut ticks = interval_at(Instant::now() + PERIOD, PERIOD);
        loop {
            ticks.tick().await;
            let line = lines.lock().unwrap_or_else(PoisonError::into_inner).line();
            if let Some(line) = line {
                say(&line);
            }
        }
    }
}

/// Nobody is left to tell if that fails.
fn say(line: &impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use soci_oci::Digest;
    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_comes_every_ten_seconds_with_bytes_rate_and_layer() {
        let progress = Progress::new(Shown::BesideLog, Doing::Index);
        let said = Mutex::new(Vec::new());
        let layer = Digest::sha256_of(b"layer");
        let begun = Instant::now();
        let work = async {
            // Between the lines, so that it is clear what comes first.
            sleep(Duration::from_millis(500)).await;
            progress.begin("r/app:1");
            sleep(Duration::from_secs(10)).await;
            progress.show(&ImageEvent::Planned { layers: 1, bytes: 50 << 20 });
            progress.show(&ImageEvent::LayerStarted { layer: &layer, size: 50 << 20 });
            for _ in 0..20 {
                progress.show(&ImageEvent::LayerRead { layer: &layer, bytes: 2 << 20 });
                sleep(Duration::from_secs(1)).await;
            }
            progress.show(&ImageEvent::LayerDone { layer: &layer });
        };
        let tell = progress.tell_to(|line| {
            said.lock().unwrap().push((begun.elapsed().as_secs(), line.clone()));
        });
        tokio::select! {
            _ = timeout(Duration::from_secs(35), tell) => panic!("the work takes 30.5 s"),
            () = work => {}
        }
        let short = layer.short();
        assert_eq!(
            *said.lock().unwrap(),
            [
                (10, "r/app:1: reading its manifests".to_owned()),
                (
                    20,
                    format!(
                        "r/app:1: read 20.0 MiB of 50.0 MiB, 2.0 MiB/s; layer {short} 20.0 MiB of 50.0 MiB"
                    )
                ),
                (
                    30,
                    format!(
                        "r/app:1: read 40.0 MiB of 50.0 MiB, 2.0 MiB/s; layer {short} 40.0 MiB of 50.0 MiB"
                    )
                ),
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_waited_for_is_told_with_how_long() {
        let progress = Progress::new(Shown::BesideLog, Doing::Wait(Duration::from_mins(15)));
        progress.begin("r/app:1");
        let said = Mutex::new(Vec::new());
        let work = async {
            sleep(Duration::from_secs(15)).await;
            progress.status("there is no tag 1-soci".to_owned());
            sleep(Duration::from_secs(10)).await;
        };
        let tell = progress.tell_to(|line| said.lock().unwrap().push(line.clone()));
        tokio::select! {
            never = tell => match never {},
            () = work => {}
        }
        assert_eq!(
            *said.lock().unwrap(),
            [
                "r/app:1: reading its manifests (waited 10 s of 900 s)",
                "r/app:1: there is no tag 1-soci (waited 20 s of 900 s)",
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_said_where_nothing_is_wanted() {
        let progress = Progress::new(Shown::Nothing, Doing::Index);
        progress.begin("r/app:1");
        let tell = progress.tell_to(|line| panic!("{line}"));
        assert!(timeout(Duration::from_mins(5), tell).await.is_err());
    }
}
