//! Tables that fit the terminal.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};

use super::harmless::printable;

/// Characters that each of the other columns has at least where ids are not broken.
const LEAST: usize = 12;

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
        // A line break in a cell would look like another row.
        table.add_row(columns.iter().map(|(_, cell)| printable(&cell(row))));
    }
    keep_ids_whole(&mut table, columns.len(), width);
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// An id is copied, so it is not broken where the other columns still have some space.
fn keep_ids_whole(table: &mut Table, columns: usize, width: Option<u16>) {
    let (Some(width), others) = (width, columns.saturating_sub(1).max(1)) else { return };
    let is_id = |name: &str| name == "ID";
    let Some(id) = table.header().and_then(|titles| titles.cell_iter().position(|title| is_id(&title.content())))
    else {
        return;
    };
    let content = table.column_max_content_widths().get(id).copied().unwrap_or_default();
    let padding = u16::try_from(2 * columns).unwrap_or(u16::MAX);
    let left = usize::from(width.saturating_sub(content).saturating_sub(padding));
    if left / others >= LEAST
        && let Some(column) = table.column_mut(id)
    {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
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

    #[test]
    fn an_id_is_not_broken_where_others_fit() {
        const ID: &str = "ent_01a21ad5e1cd3639";
        let rows = ["/ns/finance/sa/payment-gateway"];
        let columns: [Column<'_, &str>; 4] = [
            ("ID", &|_| ID.to_owned()),
            ("SPIFFE ID", &|row| (*row).to_owned()),
            ("PARENT", &|row| (*row).to_owned()),
            ("SELECTORS", &|row| (*row).repeat(3)),
        ];
        let whole = fitted(&rows, &columns, Some(80));
        assert!(whole.contains(ID) && whole.lines().all(|line| line.chars().count() <= 80), "{whole}");
        let narrow = fitted(&rows, &columns, Some(50));
        assert!(!narrow.contains(ID) && narrow.lines().all(|line| line.chars().count() <= 50), "{narrow}");
    }
}
