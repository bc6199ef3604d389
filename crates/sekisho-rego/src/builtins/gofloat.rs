//! Floats as Go's `strconv.FormatFloat` writes them.

/// The decimal digits of a finite float and the position of the point in `0.digits × 10^point`.
fn digits(value: f64, precision: Option<usize>) -> (String, i64) {
    let text = match precision {
        Some(precision) => format!("{:.*e}", precision, value.abs()),
        None => format!("{:e}", value.abs()),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i64 = exponent.parse().unwrap_or(0);
    (mantissa.replace('.', ""), exponent + 1)
}

/// Formats by `e`, `f` or `g` (upper case too); without a precision as many digits as identify the float.
pub(super) fn format_float(value: f64, verb: char, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if value.is_infinite() {
        return format!("{}Inf", if sign.is_empty() { "+" } else { sign });
    }
    let body = match verb.to_ascii_lowercase() {
        'e' => scientific(&digits(value, precision), precision, verb),
        'f' => match precision {
            Some(precision) => format!("{:.*}", precision, value.abs()),
            None => format!("{}", value.abs()),
        },
        _ => general(value, verb, precision),
    };
    format!("{sign}{body}")
}

fn scientific((digits, point): &(String, i64), precision: Option<usize>, verb: char) -> String {
    let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, ""));
    let size = precision.unwrap_or(rest.len());
    let dot = if size == 0 { "" } else { "." };
    let exponent = if digits.bytes().all(|digit| digit == b'0') { 0 } else { point - 1 };
    let mark = if exponent < 0 { '-' } else { '+' };
    let e = if verb.is_ascii_uppercase() { 'E' } else { 'e' };
    format!("{first}{dot}{rest:0<size$}{e}{mark}{:02}", exponent.abs())
}

fn general(value: f64, verb: char, precision: Option<usize>) -> String {
    let wanted = precision.map(|precision| precision.max(1));
    let (all, point) = digits(value, wanted.map(|wanted| wanted - 1));
    let significant = match all.trim_end_matches('0') {
        "" => "0",
        kept => kept,
    };
    let count = significant.len() as i64;
    let limit = match wanted {
        None => 6,
        Some(wanted) if wanted as i64 > count && count >= point => count,
        Some(wanted) => wanted as i64,
    };
    let exponent = if value == 0.0 { 0 } else { point - 1 };
    if exponent < -4 || exponent >= limit {
        let e = if verb.is_ascii_uppercase() { 'E' } else { 'e' };
        return scientific(&(significant.to_owned(), point), None, e);
    }
    let fraction = (count - (exponent + 1)).max(0);
    let integer_digits = usize::try_from(exponent + 1).unwrap_or(0);
    if exponent < 0 {
        let zeros = "0".repeat(usize::try_from(-exponent - 1).unwrap_or(0));
        return format!("0.{zeros}{significant}");
    }
    let padded = format!("{significant:0<integer_digits$}");
    let (whole, rest) = padded.split_at_checked(integer_digits).unwrap_or((&padded, ""));
    if fraction == 0 { whole.to_owned() } else { format!("{whole}.{rest}") }
}

#[cfg(test)]
mod tests {
    use super::format_float;

    #[test]
    fn shortest_forms_are_those_of_go() {
        let shortest = |value| format_float(value, 'g', None);
        assert_eq!(shortest(1_234_567.5), "1.2345675e+06");
        assert_eq!(shortest(123_456.5), "123456.5");
        assert_eq!(shortest(1e20), "1e+20");
        assert_eq!(shortest(0.0001), "0.0001");
        assert_eq!(shortest(0.00001), "1e-05");
        assert_eq!(shortest(-3.0), "-3");
    }

    #[test]
    fn precision_counts_digits() {
        assert_eq!(format_float(123_456.5, 'g', Some(3)), "1.23e+05");
        assert_eq!(format_float(12_345.678, 'e', Some(2)), "1.23e+04");
        assert_eq!(format_float(0.0, 'e', Some(2)), "0.00e+00");
        assert_eq!(format_float(2.5, 'f', Some(0)), "2");
    }
}
