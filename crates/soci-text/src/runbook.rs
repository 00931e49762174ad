//! Where the runbook is. Its sections are named by the codes of reasons, by alarms and by states of the service,
//! so that whatever tells one of these can lead to what is to be done about it.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// Where the runbook is: a URL, or, as long as nobody has said one, its path in the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runbook(String);

impl Runbook {
    /// Its path in the repository.
    pub const DEFAULT: &str = "docs/RUNBOOK.md";

    /// Where the section with this heading is.
    pub fn section(&self, heading: &str) -> String {
        format!("{}#{}", self.0, heading.to_ascii_lowercase())
    }

    /// Whether a browser can follow it.
    pub fn is_url(&self) -> bool {
        self.0.starts_with("https://") || self.0.starts_with("http://")
    }
}

impl Default for Runbook {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

/// Any text can say where the runbook is. What is behind a `#` is dropped, as sections are named there.
impl FromStr for Runbook {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let base = text.split('#').next().unwrap_or_default().trim();
        Ok(if base.is_empty() { Self::default() } else { Self(base.to_owned()) })
    }
}

impl fmt::Display for Runbook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_named_behind_the_base() {
        let runbook: Runbook = "https://wiki.example/soci#top".parse().unwrap();
        assert_eq!(runbook.section("layer-memory"), "https://wiki.example/soci#layer-memory");
        assert_eq!(runbook.section("DeadLetterAlarm"), "https://wiki.example/soci#deadletteralarm");
        assert!(runbook.is_url());
        let unknown: Runbook = " ".parse().unwrap();
        assert_eq!(
            (unknown.section("panic").as_str(), unknown.is_url()),
            ("docs/RUNBOOK.md#panic", false)
        );
    }
}
