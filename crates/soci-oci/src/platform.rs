//! Platforms: what an image runs on.
//!
//! Sources: OCI image specification 1.1, image index, `platform`; containerd's `platforms`
//! package 0.2 for the grammar, the aliases and what matches what.

mod rules;

use std::fmt;
use std::str::FromStr;

use soci_text::clip;

pub use rules::PlatformRules;

/// The operating system that an empty `os` means: images run on Linux hosts here.
const DEFAULT_OS: &str = "linux";

/// What buildkit writes as operating system and architecture of an attestation.
const UNKNOWN: &str = "unknown";

/// A platform as a document names it, not normalized.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Platform {
    /// CPU architecture in Go's words, for example `amd64`.
    pub architecture: String,
    /// Operating system in Go's words, for example `linux`.
    pub os: String,
    /// Version of the operating system, for example `10.0.14393.1066`; empty if not given.
    pub os_version: String,
    /// Features that the operating system has to have, for example `win32k`.
    pub os_features: Vec<String>,
    /// Variant of the architecture, for example `v7`; empty if not given.
    pub variant: String,
}

/// Why a string is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a platform of the form os/arch[/variant], for example linux/arm64")]
pub struct PlatformError(String);

impl Platform {
    /// The platform with aliases resolved (`x86_64` is `amd64`), in lower case, and without the
    /// variants that are the default of their architecture.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let os = match self.os.to_lowercase().as_str() {
            "" => DEFAULT_OS.to_owned(),
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let (architecture, variant) = normalize_architecture(&self.architecture, &self.variant);
        Self { architecture, os, variant, ..self.clone() }
    }

    /// Whether the two are the same once normalized. Versions and features of the operating
    /// system do not count.
    pub fn matches(&self, other: &Self) -> bool {
        let (this, other) = (self.normalized(), other.normalized());
        this.os == other.os
            && this.architecture == other.architecture
            && this.variant == other.variant
    }

    /// Whether this marks a manifest that is no image, such as a build attestation.
    pub fn is_unknown(&self) -> bool {
        self.os == UNKNOWN || self.architecture == UNKNOWN
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// Reads `os[(version)]/arch[/variant]`.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let error = || PlatformError(clip(text));
        let mut parts = text.split('/');
        let (os, os_version) = parts.next().and_then(split_os_version).ok_or_else(error)?;
        let architecture = parts.next().filter(|part| is_word(part)).ok_or_else(error)?;
        let variant = parts.next();
        if variant.is_some_and(|part| !is_word(part)) || parts.next().is_some() {
            return Err(error());
        }
        let (architecture, normal) =
            normalize_architecture(architecture, variant.unwrap_or_default());
        // containerd's parser and its normalizer disagree about these two variants. A platform that
        // somebody types goes through both.
        let variant = match (architecture.as_str(), normal.as_str(), variant) {
            ("arm", "v7", None) => String::new(),
            ("arm64", "", Some(_)) => "v8".to_owned(),
            _ => normal,
        };
        let os = Self { os: os.to_owned(), ..Self::default() }.normalized().os;
        let os_version = os_version.to_owned();
        Ok(Self { architecture, os, os_version, os_features: Vec::new(), variant })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.os.is_empty() {
            return f.write_str(UNKNOWN);
        }
        f.write_str(&self.os)?;
        for part in [&self.architecture, &self.variant] {
            if !part.is_empty() {
                write!(f, "/{part}")?;
            }
        }
        Ok(())
    }
}

fn normalize_architecture(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_lowercase(), variant.to_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        same => same,
    };
    (architecture.to_owned(), variant.to_owned())
}

/// Splits `os(version)`; the version is empty without parentheses.
fn split_os_version(text: &str) -> Option<(&str, &str)> {
    let (os, version) = match text.split_once('(') {
        Some((os, rest)) => (os, rest.strip_suffix(')')?),
        None => (text, ""),
    };
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-');
    (is_word(os) && version.bytes().all(plain)).then_some((os, version))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn aliases_resolve() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/X86_64", "linux/amd64"),
            ("linux/x86-64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64/v8"),
            ("linux/arm64/v9", "linux/arm64/v9"),
            ("linux/armhf", "linux/arm"),
            ("linux/arm/7", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386/x", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
            ("windows(10.0.17763)/amd64", "windows/amd64"),
        ] {
            assert_eq!(parse(text).to_string(), expected, "{text}");
        }
        assert_eq!(parse("windows(10.0.17763)/amd64").os_version, "10.0.17763");
    }

    #[test]
    fn what_is_no_platform_is_refused() {
        for bad in [
            "",
            "linux",
            "amd64",
            "linux/",
            "/amd64",
            "linux/a/b/c",
            "linux/*",
            "linux/amd64/",
            "l nux/a",
            "windows(1/a",
            "windows(1)x/a",
        ] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn default_variants_match_their_absence() {
        assert!(parse("linux/arm64").matches(&parse("linux/arm64/v8")));
        assert!(parse("linux/arm").matches(&parse("linux/arm/v7")));
        assert!(!parse("linux/arm").matches(&parse("linux/arm/v6")));
        assert!(!parse("linux/amd64").matches(&parse("linux/amd64/v2")));
        assert!(
            Platform { architecture: "amd64".into(), ..Platform::default() }
                .matches(&parse("linux/amd64"))
        );
        let windows = parse("windows(10.0.17763)/amd64");
        assert!(windows.matches(&parse("windows(10.0.20348)/amd64")));
    }

    #[test]
    fn attestations_have_an_unknown_platform() {
        assert!(parse("unknown/unknown").is_unknown());
        assert!(parse("linux/unknown").is_unknown());
        assert!(!parse("linux/amd64").is_unknown());
        assert_eq!(Platform::default().to_string(), "unknown");
    }
}
