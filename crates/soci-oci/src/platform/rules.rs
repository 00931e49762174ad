//! What matches what, as the reference's releases have it.
//!
//! Source: containerd's `platforms` package, 0.2 and 1.0: `platforms.go` (`NewMatcher`, `Normalize`), `database.go` and
//! `platform_windows_compat.go`. soci-snapshotter has the newer one since 0.15.

use super::Platform;

/// Windows Server 2022, from which on hosts run older containers, too.
const LTSC_2022: u16 = 20_348;

/// The releases of Windows Server whose successors run their containers, in order.
const STABLE_RELEASES: [u16; 2] = [LTSC_2022, 26_100];

/// The feature of the operating system that never counted.
const WIN32K: &str = "win32k";

/// The rules by which platforms are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PlatformRules {
    /// Operating system, architecture and variant count.
    #[default]
    Coarse,
    /// Features of the operating system and versions of Windows count as well: a platform has what it is asked for
    /// and no feature more.
    Fine,
}

impl PlatformRules {
    /// A platform in its normal form.
    #[must_use]
    pub fn normalized(self, platform: &Platform) -> Platform {
        let mut normal = platform.normalized();
        if self == Self::Fine {
            let variant = match (normal.architecture.as_str(), normal.variant.as_str()) {
                ("arm64", "v8.0") => "",
                ("arm64", "9" | "9.0" | "v9.0") => "v9",
                (_, variant) => variant,
            };
            normal.variant = variant.to_owned();
            normal.os_features.sort();
            normal.os_features.dedup();
        }
        normal
    }

    /// The platform that an image configuration tells, in its normal form.
    #[must_use]
    pub fn of_config(self, config: &Platform) -> Platform {
        match self {
            Self::Coarse => Platform {
                architecture: config.architecture.clone(),
                os: config.os.clone(),
                ..Platform::default()
            }
            .normalized(),
            Self::Fine => self.normalized(config),
        }
    }

    /// Whether `offered` will do where `wanted` is asked for.
    pub fn matches(self, wanted: &Platform, offered: &Platform) -> bool {
        self.normal_forms_match(&self.normalized(wanted), &self.normalized(offered))
    }

    /// The same for two that are in their normal form, which takes no allocation.
    pub fn normal_forms_match(self, wanted: &Platform, offered: &Platform) -> bool {
        wanted.os == offered.os
            && wanted.architecture == offered.architecture
            && wanted.variant == offered.variant
            && (self == Self::Coarse || details_match(wanted, offered))
    }
}

/// Whether version and features of the operating system will do.
fn details_match(wanted: &Platform, offered: &Platform) -> bool {
    let windows = wanted.os == "windows";
    let counts = |feature: &&String| !(windows && feature.as_str() == WIN32K);
    let mut features = offered.os_features.iter().filter(counts);
    (!windows || runs(&wanted.os_version, &offered.os_version))
        && features.all(|feature| wanted.os_features.contains(feature))
}

/// Whether a host of one version of Windows runs containers of another. One that is not given will do.
fn runs(host: &str, container: &str) -> bool {
    let (host, given) = (WindowsVersion::of(host), !container.is_empty());
    let container = WindowsVersion::of(container);
    if host == WindowsVersion::default() || !given {
        return true;
    }
    if (host.major, host.minor) != (container.major, container.minor) {
        return false;
    }
    if host.build < LTSC_2022 {
        return host.build == container.build;
    }
    // From the release before the host's own, or the first of them.
    let own = STABLE_RELEASES.partition_point(|release| *release <= host.build);
    let oldest = STABLE_RELEASES[own.saturating_sub(2)];
    (oldest..=host.build).contains(&container.build)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct WindowsVersion {
    major: u8,
    minor: u8,
    build: u16,
}

impl WindowsVersion {
    /// All zeros for what is none.
    fn of(text: &str) -> Self {
        let mut parts = text.splitn(4, '.');
        let mut next = || parts.next().filter(|part| !part.starts_with('+'));
        let mut version = || {
            let (major, minor) = (next()?.parse().ok()?, next()?.parse().ok()?);
            Some(Self { major, minor, build: next()?.parse().ok()? })
        };
        version().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(version: &str, features: &[&str]) -> Platform {
        Platform {
            os_features: features.iter().map(ToString::to_string).collect(),
            ..format!("windows({version})/amd64").parse().unwrap()
        }
    }

    fn linux(features: &[&str]) -> Platform {
        Platform {
            os_features: features.iter().map(ToString::to_string).collect(),
            ..Platform { os: "linux".into(), architecture: "amd64".into(), ..Platform::default() }
        }
    }

    #[test]
    fn an_image_has_no_feature_that_was_not_asked_for() {
        let matches = |wanted: &[&str], offered: &[&str]| {
            assert!(PlatformRules::Coarse.matches(&linux(wanted), &linux(offered)));
            PlatformRules::Fine.matches(&linux(wanted), &linux(offered))
        };
        assert!(matches(&[], &[]) && matches(&["b", "a"], &["a"]) && matches(&["a"], &["a", "a"]));
        assert!(!matches(&[], &["a"]) && !matches(&["b"], &["a", "b"]));
    }

    #[test]
    fn hosts_run_the_containers_that_windows_lets_them_run() {
        let runs = |host: &str, container: &str| {
            let (host, container) = (windows(host, &[]), windows(container, &[WIN32K]));
            PlatformRules::Fine.matches(&host, &container)
        };
        assert!(runs("10.0.17763", "10.0.17763.1") && !runs("10.0.17763", "10.0.14393"));
        assert!(runs("", "10.0.14393") && runs("10.0.17763", "") && runs("x", "10.0.1"));
        assert!(runs("10.0.20348", "10.0.20348") && !runs("10.0.20348", "10.0.17763"));
        assert!(runs("10.0.26200", "10.0.20348") && !runs("10.0.20348", "10.0.26100"));
        assert!(!runs("10.0.26200", "11.0.26200") && !runs("10.0.17763", "10.0"));
    }

    #[test]
    fn a_configuration_tells_more_by_the_finer_rules() {
        let config = Platform { variant: "v9.0".into(), .."linux/arm64".parse().unwrap() };
        assert_eq!(PlatformRules::Coarse.of_config(&config).to_string(), "linux/arm64");
        assert_eq!(PlatformRules::Fine.of_config(&config).to_string(), "linux/arm64/v9");
        assert_eq!(PlatformRules::Fine.of_config(&linux(&["b", "a", "b"])).os_features, ["a", "b"]);
    }
}
