//! Rows of text in columns.

/// Lines in which every column is as wide as its widest cell; those of `left` start at their left edge, the others end
/// at their right one, as numbers do.
pub(crate) fn table<const COLUMNS: usize>(
    rows: &[[String; COLUMNS]],
    left: &[usize],
) -> Vec<String> {
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let cell = |column: usize, text: &str| {
        let width = widths[column];
        if left.contains(&column) {
            format!("{text:<width$}")
        } else {
            format!("{text:>width$}")
        }
    };
    let line = |row: &[String; COLUMNS]| {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(column, text)| cell(column, text))
            .collect();
        cells.join("  ").trim_end().to_string()
    };
    rows.iter().map(line).collect()
}

/// A time with three digits and its unit: `12.3 µs`, `1.23 ms`, `4.56 s`.
pub(crate) fn time(seconds: f64) -> String {
    let (value, unit) = match seconds {
        ..1e-6 => (seconds * 1e9, "ns"),
        1e-6..1e-3 => (seconds * 1e6, "µs"),
        1e-3..1.0 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    let decimals = match value {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}
