//! Which releases of the reference can use what is built.
//!
//! soci-snapshotter has changed three times in what it builds and reads:
//!
//! - Release 0.12 names the span size in the SOCI index, which is part of the index's digest.
//! - Up to 0.13 its snapshotter reads a gzip layer only to the end of its first member. With the ztoc of a layer of
//!   several members, files come back wrong, in part without an error, where without that ztoc the layer would
//!   simply have been pulled whole.
//! - Release 0.15 counts more of a platform, see [`PlatformRules`]; it shows in images whose configuration tells a
//!   variant, and in those for Windows.
//!
//! So there are two generations. The older one leaves layers of several members out, and everybody can read what
//! it builds. The newer one has them, and its mark is the annotation of the span size: a ztoc without it, of such a
//! layer, may be given to a snapshotter that reads it wrongly.

use std::fmt;
use std::str::FromStr;

use soci_oci::PlatformRules;
use soci_text::clip;
use soci_ztoc::GzipMembers;

/// Which releases of soci-snapshotter can use a SOCI index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Generation {
    /// `0.11`: all of them. Layers of several gzip members get no ztoc.
    #[default]
    Older,
    /// `0.16`: those from 0.14 on. Layers of several gzip members get a ztoc, and the span size is named: the bytes
    /// of the reference's newest release.
    Newer,
}

impl Generation {
    /// Both, the older one first.
    pub const ALL: [Self; 2] = [Self::Older, Self::Newer];

    /// The release that it is named after, as it is written in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Older => "0.11",
            Self::Newer => "0.16",
        }
    }

    /// What counts of a platform.
    pub const fn platform_rules(self) -> PlatformRules {
        match self {
            Self::Older => PlatformRules::Coarse,
            Self::Newer => PlatformRules::Fine,
        }
    }

    /// Whether gzip layers of several members get a ztoc.
    pub const fn members(self) -> GzipMembers {
        match self {
            Self::Older => GzipMembers::One,
            Self::Newer => GzipMembers::Any,
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no generation's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not 0.11 or 0.16")]
pub struct GenerationError(String);

impl FromStr for Generation {
    type Err = GenerationError;

    fn from_str(text: &str) -> Result<Self, GenerationError> {
        let name = text.trim().trim_start_matches('v');
        let found = Self::ALL.into_iter().find(|generation| generation.name() == name);
        found.ok_or_else(|| GenerationError(clip(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_prints_as_it_is_parsed() {
        for generation in Generation::ALL {
            assert_eq!(generation.to_string().parse(), Ok(generation));
            assert_eq!(format!(" v{generation}").parse(), Ok(generation));
        }
        for wrong in ["", "0.1", "0.14", "0.11.1", "1", "newer"] {
            assert!(wrong.parse::<Generation>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_default_harms_nobody() {
        assert_eq!(Generation::default().members(), GzipMembers::One);
    }
}
