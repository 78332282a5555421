//! What a command says to the person who ran it. Results go to standard output, the log to standard error.

use std::io::{self, Write as _};

/// Prints a line of a result. A reader that has gone away is no reason to fail.
pub fn print(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Prints a line beside the result: an explanation, an error.
pub fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// `1 host`, `2 hosts`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Prints rows under each other in columns.
pub fn print_table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| rows.iter().filter_map(|row| row.get(c)).map(|t| t.chars().count()).max().unwrap_or(0))
        .collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        print(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
