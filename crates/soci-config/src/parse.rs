//! Values as people write them.

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

#[cfg(test)]
mod tests {
    use super::*;

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
