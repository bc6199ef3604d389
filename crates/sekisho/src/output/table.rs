//! Tables that fit the terminal.

use comfy_table::{ContentArrangement, Table, presets};

/// The title of a column, and what of a row stands in it.
pub(crate) type Column<'a, T> = (&'a str, &'a dyn Fn(&T) -> String);

/// A line for each row.
pub(crate) fn table<T>(rows: &[T], columns: &[Column<'_, T>]) -> String {
    fitted(rows, columns, width())
}

fn fitted<T>(rows: &[T], columns: &[Column<'_, T>], width: Option<u16>) -> String {
    if rows.is_empty() {
        return "none".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.iter().map(|(title, _)| *title));
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    for row in rows {
        table.add_row(columns.iter().map(|(_, cell)| cell(row)));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// What `COLUMNS` says, or the terminal. Output that goes elsewhere has no width.
fn width() -> Option<u16> {
    let set = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let measured = || terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| width.0);
    set.or_else(measured).filter(|width| *width >= 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_its_terminal() {
        let rows = ["spiffe://td.example/a/long/path/of/a/workload, and words behind it that are many"];
        let columns: [Column<'_, &str>; 2] =
            [("NAME", &|row| (*row).to_owned()), ("LENGTH", &|row| row.len().to_string())];
        let narrow = fitted(&rows, &columns, Some(40));
        assert!(narrow.lines().count() > 2 && narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
        assert_eq!(fitted(&rows, &columns, None).lines().count(), 2);
    }
}
