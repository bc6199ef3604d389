//! Whether two patterns of `regex.globs_match` have a common text. A pattern is a row of characters, `.` and `[a-z]`,
//! each with an optional `*` or `+`.

/// The characters that one element matches, as ranges.
type Ranges = Vec<(char, char)>;

struct Element {
    ranges: Ranges,
    /// Matches any number of times, none too.
    star: bool,
}

/// Is there a text that both patterns match?
pub(super) fn intersect(first: &str, second: &str) -> Result<bool, String> {
    let (a, b) = (elements(first)?, elements(second)?);
    let width = b.len() + 1;
    let mut seen = vec![false; (a.len() + 1) * width * 4];
    // Positions in both patterns, and whether the elements there matched a character already.
    let mut stack = vec![(0, 0, false, false)];
    while let Some((i, j, used_a, used_b)) = stack.pop() {
        let state = (i * width + j) * 4 + usize::from(used_a) * 2 + usize::from(used_b);
        let Some(slot) = seen.get_mut(state) else { continue };
        if std::mem::replace(slot, true) {
            continue;
        }
        match (a.get(i), b.get(j)) {
            (None, None) => return Ok(true),
            (x, y) => {
                // As in OPA, an element that matched nothing is not left out at the end of the other pattern.
                if x.is_some_and(|x| x.star) && (used_a || y.is_some()) {
                    stack.push((i + 1, j, false, used_b));
                }
                if y.is_some_and(|y| y.star) && (used_b || x.is_some()) {
                    stack.push((i, j + 1, used_a, false));
                }
                if let (Some(x), Some(y)) = (x, y)
                    && overlap(&x.ranges, &y.ranges)
                {
                    let (stay_x, stay_y) = (i + usize::from(!x.star), j + usize::from(!y.star));
                    stack.push((stay_x, stay_y, x.star, y.star));
                }
            }
        }
    }
    Ok(false)
}

fn overlap(a: &Ranges, b: &Ranges) -> bool {
    a.iter().any(|x| b.iter().any(|y| x.0 <= y.1 && y.0 <= x.1))
}

fn elements(pattern: &str) -> Result<Vec<Element>, String> {
    let invalid =
        |at: usize, what: &str| format!("input:{pattern}, pos:{}, {what}: the input provided is invalid", at + 1);
    let mut out: Vec<Element> = Vec::new();
    let mut chars = pattern.chars().enumerate().peekable();
    while let Some((at, c)) = chars.next() {
        let ranges = match c {
            '.' => vec![('\0', char::MAX)],
            '\\' => {
                let (_, escaped) = chars.next().ok_or_else(|| invalid(at, "no character after '\\'"))?;
                vec![(escaped, escaped)]
            }
            '[' => read_set(&mut chars).map_err(|what| invalid(at, what))?,
            ']' => return Err(invalid(at, "set-close ']' with no preceding '['")),
            '*' | '+' => return Err(invalid(at, "flag with no preceding element")),
            c => vec![(c, c)],
        };
        match chars.next_if(|(_, c)| matches!(c, '*' | '+')) {
            Some((_, '+')) => {
                out.push(Element { ranges: ranges.clone(), star: false });
                out.push(Element { ranges, star: true });
            }
            flag => out.push(Element { ranges, star: flag.is_some() }),
        }
    }
    Ok(out)
}

fn read_set(chars: &mut impl Iterator<Item = (usize, char)>) -> Result<Ranges, &'static str> {
    let mut ranges: Ranges = Vec::new();
    let mut range_open = false;
    loop {
        let Some((_, c)) = chars.next() else {
            return Err("found [ without matching ]");
        };
        let member = match c {
            ']' if ranges.is_empty() => return Err("set is empty"),
            ']' if range_open => return Err("range has no end"),
            ']' => return Ok(ranges),
            '-' if range_open || ranges.is_empty() => return Err("range has no start"),
            '-' => {
                range_open = true;
                continue;
            }
            '\\' => chars.next().ok_or("no character after '\\'")?.1,
            c => c,
        };
        if std::mem::take(&mut range_open) {
            let start = ranges.pop().map_or(member, |(start, _)| start);
            if start > member {
                return Err("range is out of order");
            }
            ranges.push((start, member));
        } else {
            ranges.push((member, member));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::intersect;

    #[test]
    fn patterns_with_a_common_text_intersect() {
        assert_eq!(intersect("a.a.[0-9]+z", ".b.b2359825792*594823z"), Ok(true));
        assert_eq!(intersect("[a-z]+", "[0-9]*"), Ok(false));
        assert_eq!(intersect("[a-z]*", "[0-9]*"), Ok(false));
        assert_eq!(intersect("a*", "aaa"), Ok(true));
        assert_eq!(intersect(r"[a-z]+\[[0-9]+\]", r"foo\[1\]"), Ok(true));
        assert!(intersect("pqrs]", "a").is_err_and(|text| text.contains("pos:5, set-close")));
    }
}
