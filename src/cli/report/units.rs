//! Numbers with their units, as tables and plots show them.

/// So many significant digits without an exponent: 0.0123, 1.23, 12.3, 1230.
pub fn significant(value: f64, digits: i32) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".into() } else { "–".into() };
    }
    let places = |value: f64| (digits - 1 - value.abs().log10().floor() as i32).clamp(0, 12);
    // 9.996 has a digit more once it is rounded.
    let step = 10f64.powi(places(value));
    let rounded = (value * step).round() / step;
    let places = places(if rounded == 0.0 { value } else { rounded });
    grouped(format!("{value:.*}", places as usize))
}

/// Thousands apart by a narrow space that isn't broken, from five digits on.
fn grouped(number: String) -> String {
    let (whole, rest) =
        number.split_once('.').map_or((number.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let digits = whole.trim_start_matches('-').len();
    if digits < 5 {
        return number;
    }
    let mut text = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let left = whole.len() - index;
        if index > 0 && left.is_multiple_of(3) && !text.ends_with('-') {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    rest.map_or(text.clone(), |rest| format!("{text}.{rest}"))
}

/// Milliseconds, always with three decimals, so that points stand below each other.
pub fn ms(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{value:.3}"))
}

/// A rate with one decimal, more where it is small.
pub fn rate(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| grouped(format!("{value:.*}", if value < 10.0 { 2 } else { 1 })))
}

/// How many times as fast.
pub fn times(ratio: f64) -> String {
    format!("{ratio:.2}×")
}

/// Mebibytes with one decimal.
pub fn mebibytes(bytes: Option<u64>) -> String {
    bytes.map_or("–".into(), |bytes| format!("{:.1}", bytes as f64 / (1 << 20) as f64))
}

/// A relative difference: 1.2e-6.
pub fn difference(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| if value == 0.0 { "0".into() } else { format!("{value:.1e}") })
}

pub fn count(value: Option<u64>) -> String {
    value.map_or("–".into(), |value| value.to_string())
}

/// A share as percent with one decimal.
pub fn percent(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| format!("{:.1} %", share * 100.0))
}

/// `10⁻⁶`, and 0.01 to 100 as they are.
pub fn decade(exponent: i32) -> String {
    if (-2..=3).contains(&exponent) {
        return significant(10f64.powi(exponent), 1);
    }
    let raised = |digit: char| match digit {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => digit.to_digit(10).and_then(|digit| char::from_u32(0x2070 + digit)).unwrap_or('?'),
    };
    format!("10{}", exponent.to_string().chars().map(raised).collect::<String>())
}

/// Seconds since 1970 as a date and time of day.
pub fn utc(seconds: Option<u64>) -> String {
    let time = seconds.and_then(|seconds| chrono::DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0));
    time.map_or("–".into(), |time| time.format("%Y-%m-%d %H:%M UTC").to_string())
}

/// `1 device`, `2 devices`.
pub fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// At most so many characters, the end as …
pub fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_string();
    }
    format!("{}…", text.chars().take(most.saturating_sub(1)).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_say_something() {
        let found: Vec<String> = [0.012345, 1.0, 9.996, 12.34, 123.4, 1234.5, 0.0]
            .iter()
            .map(|value| significant(*value, 3))
            .collect();
        assert_eq!(found, ["0.0123", "1.00", "10.0", "12.3", "123", "1234", "0"]);
        assert_eq!(
            [25957.0, 1234567.0].map(|value| significant(value, 3)),
            ["25\u{202f}957", "1\u{202f}234\u{202f}567"]
        );
        assert_eq!([-7, -2, 0, 3, 12].map(decade), ["10⁻⁷", "0.01", "1", "1000", "10¹²"]);
        assert_eq!(utc(Some(1_700_000_000)), "2023-11-14 22:13 UTC");
        assert_eq!(utc(Some(u64::MAX)), "–");
        assert_eq!((shortened("abcdef", 4), shortened("abcd", 4)), ("abc…".into(), "abcd".into()));
    }
}
