//! Numbers in words that people read.

pub use soci_text::size;

/// A duration with its two largest units.
pub fn duration(seconds: f64) -> String {
    if seconds < 0.9995 {
        return format!("{:.0} ms", seconds * 1e3);
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    if seconds < 59.5 {
        return format!("{seconds:.0} s");
    }
    let whole = whole(seconds);
    let (large, unit, small, part) = match whole {
        0..3600 => (whole / 60, "min", whole % 60, "s"),
        3600..86_400 => (whole / 3600, "h", whole / 60 % 60, "min"),
        _ => (whole / 86_400, "d", whole / 3600 % 24, "h"),
    };
    if small == 0 { format!("{large} {unit}") } else { format!("{large} {unit} {small:02} {part}") }
}

/// How long ago something was, in its largest unit.
pub fn ago(seconds: f64) -> String {
    match whole(seconds) {
        0..3 => "just now".to_owned(),
        seconds @ 3..60 => format!("{seconds} s ago"),
        seconds @ 60..3600 => format!("{} min ago", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} d ago", seconds / 86_400),
    }
}

/// A count with its noun: `1 layer`, `2 layers`.
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// A number with a thin space between groups of three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{2009}');
        }
        text.push(digit);
    }
    text
}

/// A part of a whole in percent, cut so that 100 stands for all of it.
pub fn percent(part: u64, whole: u64) -> u128 {
    let (part, whole) = (u128::from(part.min(whole)), u128::from(whole));
    (part * 100).checked_div(whole).unwrap_or(100)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is out of range becomes the nearest number"
)]
fn whole(seconds: f64) -> u64 {
    seconds.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        let durations = [0.0, 0.25, 1.0, 9.94, 12.4, 59.6, 3_599.6, 7_260.0, 93_600.0];
        assert_eq!(
            durations.map(duration),
            ["0 ms", "250 ms", "1.0 s", "9.9 s", "12 s", "1 min", "1 h", "2 h 01 min", "1 d 02 h"]
        );
    }

    #[test]
    fn ages_have_one_unit() {
        let ages = [0.4, 3.0, 59.0, 60.0, 7_199.0, 90_000.0];
        let words = ["just now", "3 s ago", "59 s ago", "1 min ago", "1 h ago", "1 d ago"];
        assert_eq!(ages.map(ago), words);
    }

    #[test]
    fn only_all_of_it_is_a_hundred_percent() {
        assert_eq!(percent(999, 1000), 99);
        assert_eq!(percent(1000, 1000), 100);
        assert_eq!(percent(2000, 1000), 100);
        assert_eq!(percent(0, 0), 100);
        assert_eq!(percent(u64::MAX - 1, u64::MAX), 99);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(1_234_567), "1\u{2009}234\u{2009}567");
        assert_eq!(count(1, "layer"), "1 layer");
        assert_eq!(count(0, "layer"), "0 layers");
    }
}
