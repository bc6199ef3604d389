//! What differs between two texts, line by line, in the form of `diff -u`.

use std::fmt::Write as _;

/// Unchanged lines that are shown around a change.
const AROUND: usize = 3;
/// Pairs of lines that are compared at most; what is larger is shown as replaced.
const MOST_PAIRS: usize = 16_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Same,
    Gone,
    New,
}

/// The changes from `old` to `new`; empty where there are none.
pub(super) fn unified(name: &str, old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let lines = script(&old, &new);
    let changed: Vec<usize> =
        lines.iter().enumerate().filter(|(_, (sign, _))| *sign != Sign::Same).map(|(at, _)| at).collect();
    if changed.is_empty() {
        return String::new();
    }
    let mut out = format!("--- {name}\n+++ {name}\n");
    for group in changed.chunk_by(|before, at| at - before <= 2 * AROUND + 1) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let (start, end) = (first.saturating_sub(AROUND), (last + AROUND + 1).min(lines.len()));
        let before = lines.get(..start).unwrap_or_default();
        let hunk = lines.get(start..end).unwrap_or_default();
        let count = |lines: &[(Sign, &str)], without: Sign| lines.iter().filter(|(sign, _)| *sign != without).count();
        let range = |without: Sign| {
            let (at, length) = (count(before, without), count(hunk, without));
            format!("{},{length}", if length == 0 { at } else { at + 1 })
        };
        let _infallible = writeln!(out, "@@ -{} +{} @@", range(Sign::New), range(Sign::Gone));
        for (sign, line) in hunk {
            let sign = match sign {
                Sign::Same => ' ',
                Sign::Gone => '-',
                Sign::New => '+',
            };
            let _infallible = writeln!(out, "{sign}{line}");
        }
    }
    out
}

/// All lines of both texts, each with what became of it.
fn script<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<(Sign, &'t str)> {
    let same = |(a, b): &(&&str, &&str)| a == b;
    let start = old.iter().zip(new).take_while(same).count();
    let (old_rest, new_rest) = (old.get(start..).unwrap_or_default(), new.get(start..).unwrap_or_default());
    let end = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(same).count();
    let middle = |lines: &[&'t str]| lines.get(..lines.len() - end).unwrap_or_default().to_vec();
    let mut out: Vec<(Sign, &str)> = old.iter().take(start).map(|line| (Sign::Same, *line)).collect();
    out.extend(changes(&middle(old_rest), &middle(new_rest)));
    out.extend(old_rest.iter().skip(old_rest.len() - end).map(|line| (Sign::Same, *line)));
    out
}

/// The shortest script, by a table of longest common subsequences.
fn changes<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<(Sign, &'t str)> {
    let gone = old.iter().map(|line| (Sign::Gone, *line));
    if old.len().saturating_mul(new.len()) > MOST_PAIRS {
        return gone.chain(new.iter().map(|line| (Sign::New, *line))).collect();
    }
    let width = new.len() + 1;
    let mut common = vec![0u32; (old.len() + 1) * width];
    let cell = |table: &[u32], row: usize, column: usize| table.get(row * width + column).copied().unwrap_or(0);
    for (row, a) in old.iter().enumerate().rev() {
        for (column, b) in new.iter().enumerate().rev() {
            let length = if a == b {
                cell(&common, row + 1, column + 1) + 1
            } else {
                cell(&common, row + 1, column).max(cell(&common, row, column + 1))
            };
            if let Some(place) = common.get_mut(row * width + column) {
                *place = length;
            }
        }
    }
    let (mut row, mut column, mut out) = (0, 0, Vec::new());
    loop {
        match (old.get(row), new.get(column)) {
            (Some(a), Some(b)) if a == b => {
                out.push((Sign::Same, *a));
                (row, column) = (row + 1, column + 1);
            }
            (Some(a), b) if b.is_none() || cell(&common, row + 1, column) >= cell(&common, row, column + 1) => {
                out.push((Sign::Gone, *a));
                row += 1;
            }
            (_, Some(b)) => {
                out.push((Sign::New, *b));
                column += 1;
            }
            _ => return out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::unified;

    #[test]
    fn a_change_stands_between_its_neighbours() {
        let old = "a\nb\nc\nd\ne\nf\n";
        let new = "a\nb\nc\nD\ne\nf\ng\n";
        let expected = "--- p\n+++ p\n@@ -1,6 +1,7 @@\n a\n b\n c\n-d\n+D\n e\n f\n+g\n";
        assert_eq!(unified("p", old, new), expected);
        assert_eq!(unified("p", old, old), "");
        assert_eq!(unified("p", "", "a\n"), "--- p\n+++ p\n@@ -0,0 +1,1 @@\n+a\n");
    }

    #[test]
    fn far_changes_are_apart() {
        let old: String = (0..40).map(|line| format!("{line}\n")).collect();
        let new = old.replace("3\n4\n", "3\nfour\n").replace("35\n", "");
        let found = unified("p", &old, &new);
        assert_eq!(found.matches("@@ -").count(), 2, "{found}");
        assert!(found.contains("@@ -33,7 +33,6 @@\n 32\n 33\n 34\n-35\n 36"), "{found}");
    }
}
