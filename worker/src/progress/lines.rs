//! How far an image is, as a line.

use std::time::Duration;

use soci_indexer::ImageEvent;
use soci_oci::Digest;
use soci_text::size;
use tokio::time::Instant;

/// Time between lines.
pub(super) const PERIOD: Duration = Duration::from_secs(10);

/// What is done when no layer is in hand yet.
const READING: &str = "reading its manifests";

/// What is done when no layer is in hand any more.
const WRITING: &str = "writing the result";

/// What is done with an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It is indexed, or copied.
    #[default]
    Index,
    /// Its index is checked.
    Verify,
    /// Its index is waited for, so long.
    Wait(Duration),
}

/// What is known of the image in hand.
#[derive(Debug)]
pub(super) struct Lines {
    doing: Doing,
    image: String,
    /// Since when it is in hand.
    since: Instant,
    /// What there is of an index that is waited for.
    status: String,
    /// Whether it is known what there is to do.
    planned: bool,
    /// Bytes that will be read, as far as it is known.
    wanted: u64,
    /// Those that have been.
    read: u64,
    /// Those that had been when the last line was said.
    told: u64,
    /// What is being read, in the order in which it was begun.
    begun: Vec<Begun>,
}

#[derive(Debug)]
struct Begun {
    what: &'static str,
    blob: Digest,
    size: u64,
    read: u64,
}

impl Lines {
    /// Nothing is known yet.
    pub(super) fn new(doing: Doing) -> Self {
        Self {
            doing,
            image: String::new(),
            since: Instant::now(),
            status: READING.to_owned(),
            planned: false,
            wanted: 0,
            read: 0,
            told: 0,
            begun: Vec::new(),
        }
    }

    /// The next image is begun.
    pub(super) fn begin(&mut self, image: &str) {
        *self = Self { image: image.to_owned(), ..Self::new(self.doing) };
    }

    /// What is done with the image.
    pub(super) fn doing(&self) -> Doing {
        self.doing
    }

    /// What there is of the index that is waited for.
    pub(super) fn status(&mut self, status: String) {
        self.status = status;
    }

    /// The image with what is known of it beside how much of it was read.
    pub(super) fn headline(&self) -> String {
        let Self { image, status, .. } = self;
        match self.doing {
            Doing::Wait(_) => format!("{image}: {status}"),
            Doing::Index | Doing::Verify if self.wanted == 0 && self.begun.is_empty() => {
                format!("{image}: {}", self.without_layers())
            }
            Doing::Index | Doing::Verify => image.clone(),
        }
    }

    /// What is done when there is no layer to read.
    fn without_layers(&self) -> &'static str {
        if self.planned && self.doing == Doing::Index { WRITING } else { READING }
    }

    /// Bytes that were read, and those that will be as far as it is known.
    pub(super) fn amounts(&self) -> (u64, u64) {
        (self.read, self.wanted)
    }

    /// Takes in what has happened.
    pub(super) fn note(&mut self, event: &ImageEvent<'_>) {
        match *event {
            ImageEvent::Planned { bytes, .. } => {
                self.planned = true;
                self.wanted = self.wanted.saturating_add(bytes);
            }
            ImageEvent::LayerStarted { layer, size } => self.push("layer", layer, size),
            ImageEvent::CopyStarted { blob, size } => {
                // After a failure it comes again.
                if self.begun.iter().any(|begun| begun.blob == *blob) {
                    self.again(blob);
                } else {
                    self.wanted = self.wanted.saturating_add(size);
                    self.push("copy of", blob, size);
                }
            }
            ImageEvent::LayerRead { layer: blob, bytes } | ImageEvent::CopyRead { blob, bytes } => {
                self.read += bytes;
                if let Some(begun) = self.begun.iter_mut().find(|begun| begun.blob == *blob) {
                    begun.read += bytes;
                }
            }
            ImageEvent::LayerRestarted { layer } => self.again(layer),
            ImageEvent::LayerReused { layer, size, .. } => self.drop(layer, size),
            ImageEvent::LayerLeftOut { layer, unread } => self.drop(layer, unread),
            ImageEvent::LayerDone { layer: blob } | ImageEvent::CopyDone { blob } => {
                self.drop(blob, 0);
            }
            _ => {}
        }
    }

    fn push(&mut self, what: &'static str, blob: &Digest, size: u64) {
        self.begun.push(Begun { what, blob: *blob, size, read: 0 });
    }

    fn again(&mut self, blob: &Digest) {
        if let Some(begun) = self.begun.iter_mut().find(|begun| begun.blob == *blob) {
            self.read = self.read.saturating_sub(begun.read);
            begun.read = 0;
        }
    }

    /// A blob is done with, so many bytes of which will not be read.
    fn drop(&mut self, blob: &Digest, unread: u64) {
        self.wanted = self.wanted.saturating_sub(unread);
        self.begun.retain(|begun| begun.blob != *blob);
    }

    /// The line, a period after the last one; nothing before the first image.
    pub(super) fn line(&mut self) -> Option<String> {
        if self.image.is_empty() {
            return None;
        }
        if let Doing::Wait(timeout) = self.doing {
            let (waited, all) = (self.since.elapsed().as_secs(), timeout.as_secs());
            return Some(format!("{} (waited {waited} s of {all} s)", self.headline()));
        }
        let image = &self.image;
        if self.wanted == 0 {
            return Some(match self.begun.as_slice() {
                [] => self.headline(),
                [Begun { what, blob, read, .. }, ..] => {
                    format!("{image}: {what} {}, read {} of it", blob.short(), size(*read))
                }
            });
        }
        let rate = self.read.saturating_sub(self.told) / PERIOD.as_secs();
        self.told = self.read;
        let now = match self.begun.as_slice() {
            [] if self.doing == Doing::Verify => READING.to_owned(),
            [] if self.read >= self.wanted => WRITING.to_owned(),
            [] => "waiting for memory, or for the registry".to_owned(),
            [Begun { what, blob, size: all, read }, rest @ ..] => {
                let more = if rest.is_empty() {
                    String::new()
                } else {
                    format!(", and {} more", rest.len())
                };
                format!("{what} {} {} of {}{more}", blob.short(), size(*read), size(*all))
            }
        };
        let (read, wanted, rate) = (size(self.read), size(self.wanted), size(rate));
        Some(format!("{image}: read {read} of {wanted}, {rate}/s; {now}"))
    }
}

#[cfg(test)]
mod tests {
    use soci_indexer::ZtocSource;

    use super::*;

    #[test]
    fn what_is_not_read_after_all_is_not_waited_for() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|bytes| Digest::sha256_of(bytes));
        let mut lines = Lines::new(Doing::Index);
        assert_eq!(lines.line(), None);
        lines.begin("app");
        lines.note(&ImageEvent::Planned { layers: 3, bytes: 600 });
        lines.note(&ImageEvent::LayerReused { layer: &a, size: 100, from: ZtocSource::Repository });
        lines.note(&ImageEvent::LayerStarted { layer: &b, size: 200 });
        lines.note(&ImageEvent::LayerStarted { layer: &c, size: 300 });
        lines.note(&ImageEvent::LayerRead { layer: &b, bytes: 150 });
        let short = b.short();
        let told =
            format!("app: read 150 B of 500 B, 15 B/s; layer {short} 150 B of 200 B, and 1 more");
        assert_eq!(lines.line().unwrap(), told);
        lines.note(&ImageEvent::LayerRestarted { layer: &b });
        lines.note(&ImageEvent::LayerLeftOut { layer: &c, unread: 300 });
        let told = format!("app: read 0 B of 200 B, 0 B/s; layer {short} 0 B of 200 B");
        assert_eq!(lines.line().unwrap(), told);
        lines.note(&ImageEvent::LayerRead { layer: &b, bytes: 200 });
        lines.note(&ImageEvent::LayerDone { layer: &b });
        assert_eq!(lines.line().unwrap(), "app: read 200 B of 200 B, 20 B/s; writing the result");
        lines.begin("next");
        assert_eq!(lines.line().unwrap(), "next: reading its manifests");
    }

    #[test]
    fn where_nothing_is_to_be_read_the_result_is_written() {
        let layer = Digest::sha256_of(b"a");
        let mut lines = Lines::new(Doing::Index);
        lines.begin("app");
        lines.note(&ImageEvent::Planned { layers: 1, bytes: u64::MAX });
        lines.note(&ImageEvent::Planned { layers: 1, bytes: 100 });
        let from = ZtocSource::Repository;
        lines.note(&ImageEvent::LayerReused { layer: &layer, size: u64::MAX, from });
        assert_eq!(lines.headline(), "app: writing the result");
        assert_eq!(lines.line().unwrap(), "app: writing the result");
    }

    #[test]
    fn a_check_tells_what_it_reads_where_it_is_known_how_much_and_where_not() {
        let layer = Digest::sha256_of(b"a");
        let short = layer.short();
        let mut lines = Lines::new(Doing::Verify);
        lines.begin("app");
        assert_eq!(lines.headline(), "app: reading its manifests");
        lines.note(&ImageEvent::LayerStarted { layer: &layer, size: 0 });
        lines.note(&ImageEvent::LayerRead { layer: &layer, bytes: 150 });
        assert_eq!(lines.headline(), "app");
        assert_eq!(lines.line().unwrap(), format!("app: layer {short}, read 150 B of it"));
        lines.begin("app");
        lines.note(&ImageEvent::Planned { layers: 1, bytes: 200 });
        lines.note(&ImageEvent::LayerStarted { layer: &layer, size: 200 });
        lines.note(&ImageEvent::LayerRead { layer: &layer, bytes: 200 });
        let told = format!("app: read 200 B of 200 B, 20 B/s; layer {short} 200 B of 200 B");
        assert_eq!(lines.line().unwrap(), told);
        lines.note(&ImageEvent::LayerDone { layer: &layer });
        let told = "app: read 200 B of 200 B, 0 B/s; reading its manifests";
        assert_eq!(lines.line().unwrap(), told);
    }
}
