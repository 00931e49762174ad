//! Values as people write them.

use soci_manifest::Platforms;
use soci_oci::Platform;

/// A number of bytes, with an optional unit of 1024s: `4194304`, `4096KiB`, `4MiB`, `1GiB`.
pub fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        unit => {
            // Far shorter than other quotations: whoever reports this repeats the whole value too.
            let unit: String = unit.chars().take(16).collect();
            return Err(format!("{unit:?} is not a unit (KiB, MiB or GiB)"));
        }
    };
    let number: u64 = digits.parse().map_err(|_| "a whole number is expected".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "the number is too large".to_owned())
}

/// The end of a tag.
pub fn suffix(text: &str) -> Result<String, String> {
    let end_of_tag = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-');
    if text.len() <= 128 && text.bytes().all(end_of_tag) {
        return Ok(text.to_owned());
    }
    Err("up to 128 letters, digits, '_', '.' and '-' are expected".to_owned())
}

/// Platforms, separated by commas. Every one that is none is named.
pub(crate) fn platforms(text: &str) -> Result<Platforms, String> {
    let (mut platforms, mut problems) = (Vec::new(), Vec::new());
    for part in text.split(',').map(str::trim) {
        match part.parse::<Platform>() {
            // It marks attestations, which are no images.
            Ok(platform) if platform.is_unknown() => problems.push(format!("{platform} is none")),
            Ok(platform) => platforms.push(platform),
            Err(error) => problems.push(error.to_string()),
        }
    }
    if problems.is_empty() { Ok(Platforms::AnyOf(platforms)) } else { Err(problems.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_those_of_the_list_and_all_wrong_ones_are_named() {
        let parsed = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        assert_eq!(
            platforms("linux/amd64, linux/arm64/v8"),
            Ok(Platforms::AnyOf(parsed(&["linux/amd64", "linux/arm64/v8"])))
        );
        let wrong = platforms("linux,linux/amd64,,a/b/c/d,unknown/unknown").unwrap_err();
        for named in
            ["\"linux\" is not", "\"\" is not", "\"a/b/c/d\" is not", "unknown/unknown is none"]
        {
            assert!(wrong.contains(named), "{wrong}");
        }
        assert!(!wrong.contains("amd64 "), "{wrong}");
    }

    #[test]
    fn sizes_take_binary_units() {
        assert_eq!(bytes("0"), Ok(0));
        assert_eq!(bytes("4194304"), Ok(4 << 20));
        assert_eq!(bytes("4MiB"), Ok(4 << 20));
        assert_eq!(bytes("1G"), Ok(1 << 30));
        for broken in ["", "MiB", "-1", "1.5M", "4MB", "99999999999999999999", "17179869184GiB"] {
            assert!(bytes(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn suffixes_are_what_tags_can_end_in() {
        assert_eq!(suffix("").as_deref(), Ok(""));
        assert_eq!(suffix("-soci").as_deref(), Ok("-soci"));
        for broken in ["a b", "+", "ä", &"a".repeat(129)] {
            assert!(suffix(broken).is_err(), "{broken}");
        }
    }
}
