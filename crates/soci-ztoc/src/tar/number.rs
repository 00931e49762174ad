//! Numbers as tar headers and PAX records write them, accepted exactly where Go's
//! `archive/tar` accepts them.

use crate::mod_time::ModTime;

/// A header field is no number, or too large for 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadNumber;

/// A numeric header field: octal text, or base-256 if the first bit is set (GNU tar manual,
/// "Basic Tar Format": a two's complement number, big endian).
pub(super) fn numeric(field: &[u8]) -> Result<i64, BadNumber> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base256(field, *first),
        _ => octal(field).map(u64::cast_signed),
    }
}

/// Octal digits with blanks and NULs around them; nothing at all counts as zero.
pub(super) fn octal(field: &[u8]) -> Result<u64, BadNumber> {
    let blank = |c: &u8| *c == b' ' || *c == 0;
    let Some(start) = field.iter().position(|c| !blank(c)) else { return Ok(0) };
    // A non-blank byte exists, so there is a last one.
    let end = field.iter().rposition(|c| !blank(c)).map_or(start, |last| last + 1);
    let mut value = 0u64;
    for &c in c_string(&field[start..end]) {
        if !(b'0'..=b'7').contains(&c) || value >> 61 != 0 {
            return Err(BadNumber);
        }
        value = value << 3 | u64::from(c - b'0');
    }
    Ok(value)
}

fn base256(field: &[u8], first: u8) -> Result<i64, BadNumber> {
    // A negative number is read through the identity -a - 1 == !a.
    let inversion = if first & 0x40 != 0 { 0xff } else { 0 };
    let mut value = 0u64;
    for (index, byte) in field.iter().enumerate() {
        let mut byte = byte ^ inversion;
        if index == 0 {
            byte &= 0x7f;
        }
        if value >> 56 != 0 {
            return Err(BadNumber);
        }
        value = value << 8 | u64::from(byte);
    }
    let value = i64::try_from(value).map_err(|_| BadNumber)?;
    Ok(if inversion == 0 { value } else { !value })
}

/// The bytes up to the first NUL.
pub(super) fn c_string(field: &[u8]) -> &[u8] {
    field.iter().position(|c| *c == 0).map_or(field, |end| &field[..end])
}

/// A decimal number with an optional sign, as Go's `strconv.ParseInt(text, 10, 64)`.
pub(super) fn decimal(text: &[u8]) -> Result<i64, BadNumber> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some((b'+', digits)) => (false, digits),
        _ => (false, text),
    };
    if digits.is_empty() {
        return Err(BadNumber);
    }
    let mut value = 0i64;
    for c in digits {
        if !c.is_ascii_digit() {
            return Err(BadNumber);
        }
        let digit = i64::from(c - b'0');
        let digit = if negative { -digit } else { digit };
        value = value.checked_mul(10).and_then(|v| v.checked_add(digit)).ok_or(BadNumber)?;
    }
    Ok(value)
}

/// A PAX time, `%d` or `%d.%d`; digits beyond nanoseconds are checked and cut.
pub(super) fn pax_time(text: &[u8]) -> Result<ModTime, BadNumber> {
    let (whole, fraction) = match text.iter().position(|c| *c == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    let seconds = decimal(whole)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(BadNumber);
    }
    let nanoseconds = (0..9).fold(0u32, |value, index| {
        value * 10 + fraction.get(index).map_or(0, |c| u32::from(c - b'0'))
    });
    if whole.first() == Some(&b'-') && nanoseconds > 0 {
        // Wrapping, as Go does; such a year is outside what can be written anyway.
        return Ok(ModTime {
            seconds: seconds.wrapping_sub(1),
            nanoseconds: 1_000_000_000 - nanoseconds,
        });
    }
    Ok(ModTime { seconds, nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_fields_may_be_padded_but_not_broken() {
        assert_eq!(octal(b"0000644\0"), Ok(0o644));
        assert_eq!(octal(b"  644 \0 "), Ok(0o644));
        assert_eq!(octal(b"\0\0\x000644"), Ok(0o644));
        assert_eq!(octal(b"        "), Ok(0));
        assert_eq!(octal(b"7\x008"), Ok(7), "what follows a NUL is not looked at");
        assert_eq!(octal(b"6 4"), Err(BadNumber));
        assert_eq!(octal(b"-644"), Err(BadNumber));
        assert_eq!(octal(b"0o644"), Err(BadNumber));
    }

    #[test]
    fn base_256_fields_are_signed_and_bounded() {
        assert_eq!(numeric(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Ok(256));
        assert_eq!(numeric(&[0xff; 8]), Ok(-1));
        assert_eq!(numeric(&[0xff, 0xff, 0xff, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]), Ok(i64::MIN));
        assert_eq!(numeric(&[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]), Err(BadNumber));
        assert_eq!(numeric(&[0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Err(BadNumber));
    }

    #[test]
    fn pax_times_carry_signs_and_fractions() {
        let time = |text: &str| pax_time(text.as_bytes()).map(|t| (t.seconds, t.nanoseconds));
        assert_eq!(time("12.5"), Ok((12, 500_000_000)));
        assert_eq!(time("-1.25"), Ok((-2, 750_000_000)));
        assert_eq!(time("-0.5"), Ok((-1, 500_000_000)));
        assert_eq!(time("1.1234567899"), Ok((1, 123_456_789)));
        assert_eq!(time("1."), Ok((1, 0)));
        assert_eq!(time(".5"), Err(BadNumber));
        assert_eq!(time("1.-5"), Err(BadNumber));
        assert_eq!(time("1e3"), Err(BadNumber));
        assert_eq!(time("9223372036854775808"), Err(BadNumber));
    }
}
