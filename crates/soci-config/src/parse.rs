//! Values as people write them.

use std::ops::RangeInclusive;

use soci_manifest::Platforms;
use soci_oci::Platform;

/// A number of bytes, with an optional unit, in any case, that is always one of 1024s: `4194304`, `4096k`, `4M`, `4MB`,
/// `4mib`, `1GiB`.
pub fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = &text[digits.len()..];
    let scale: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => {
            // Far shorter than other quotations: whoever reports this repeats the whole value too.
            let unit: String = unit.chars().take(16).collect();
            return Err(format!("{unit:?} is not a unit (KiB, MiB or GiB)"));
        }
    };
    let number: u64 = digits.parse().map_err(|_| "a whole number is expected".to_owned())?;
    number.checked_mul(scale).ok_or_else(|| "the number is too large".to_owned())
}

/// A number of bytes within bounds. What is outside of them is told with the bounds.
pub fn bytes_within(text: &str, bounds: &RangeInclusive<u64>) -> Result<u64, String> {
    bytes(text).and_then(|number| {
        if bounds.contains(&number) {
            return Ok(number);
        }
        Err(format!("{} to {} are expected", amount(*bounds.start()), amount(*bounds.end())))
    })
}

/// A number of bytes as [`bytes`] reads it, without a loss.
fn amount(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let whole = units.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    match whole {
        Some((unit, name)) => format!("{} {name}", bytes / unit),
        None if bytes == 1 => "1 byte".to_owned(),
        None => format!("{bytes} bytes"),
    }
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
    fn sizes_take_binary_units_however_they_are_written() {
        assert_eq!(bytes("0"), Ok(0));
        for four in
            ["4194304", "4194304B", "4096K", "4096kib", "4M", "4m", "4MB", "4mib", "4 MiB", "4MiB"]
        {
            assert_eq!(bytes(four), Ok(4 << 20), "{four}");
        }
        for one in ["1G", "1gb", "1GiB"] {
            assert_eq!(bytes(one), Ok(1 << 30), "{one}");
        }
        for broken in
            ["", "MiB", "-1", "1.5M", "4MX", "4Mi", "4T", "99999999999999999999", "17179869184GiB"]
        {
            assert!(bytes(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_told_with_the_bounds() {
        let within = |text| bytes_within(text, &(32 << 20..=(1 << 40)));
        assert_eq!(within("32mib"), Ok(32 << 20));
        for wrong in ["0", "1KiB", "2048GiB"] {
            assert_eq!(within(wrong).unwrap_err(), "32 MiB to 1024 GiB are expected", "{wrong}");
        }
        assert_eq!(
            bytes_within("0", &(1..=3000)).unwrap_err(),
            "1 byte to 3000 bytes are expected"
        );
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
