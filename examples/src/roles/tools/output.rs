//! Printing: tables, separated values and JSON.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use thanos_core::{Error, Result};

/// Writes to standard output. Whoever reads it may go away: that ends the output and is no error.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Returns `value` as indented JSON with a line end, as Thanos prints it.
pub(super) fn json(value: &impl Serialize) -> Result<String> {
    let mut text = Vec::new();
    let layout = PrettyFormatter::with_indent(b"\t");
    let written = value.serialize(&mut Serializer::with_formatter(&mut text, layout));
    written.map_err(|error| Error::internal(format!("encode JSON: {error}")))?;
    text.push(b'\n');
    String::from_utf8(text).map_err(|error| Error::internal(error.to_string()))
}

/// Returns a table as Thanos draws it: cells to the left, headers in the middle.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(header[column].chars().count())
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut out = String::from("|");
    for (name, width) in header.iter().zip(&widths) {
        out.push_str(&format!(" {name:^width$} |"));
    }
    out.push_str("\n|");
    for width in &widths {
        out.push_str(&"-".repeat(width + 2));
        out.push('|');
    }
    out.push('\n');
    for row in rows {
        out.push('|');
        for (cell, width) in row.iter().zip(&widths) {
            out.push_str(&format!(" {cell:<width$} |"));
        }
        out.push('\n');
    }
    out
}

/// Returns the rows separated as CSV, or another character, as Go's `encoding/csv` writes them.
pub(super) fn separated(separator: char, header: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = String::new();
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    for row in std::iter::once(&header).chain(rows) {
        for (at, cell) in row.iter().enumerate() {
            if at > 0 {
                out.push(separator);
            }
            push_cell(&mut out, cell, separator);
        }
        out.push('\n');
    }
    out
}

fn push_cell(out: &mut String, cell: &str, separator: char) {
    let needs_quotes = cell.contains(['"', '\n', '\r', separator])
        || cell.starts_with([' ', '\t'])
        || cell == r"\.";
    if needs_quotes {
        out.push('"');
        out.push_str(&cell.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(cell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T-04, T-05: what the table writer and the CSV writer of Thanos print.
    #[test]
    fn tables_and_separated_values_are_those_of_thanos() {
        let rows = [
            vec!["1,234".to_owned(), "x".to_owned()],
            vec![String::new(), "a\"b".to_owned()],
        ];
        assert_eq!(
            table(&["A", "LONG"], &rows),
            "|   A   | LONG |\n|-------|------|\n| 1,234 | x    |\n|       | a\"b  |\n"
        );
        assert_eq!(
            separated(',', &["A", "B"], &rows),
            "A,B\n\"1,234\",x\n,\"a\"\"b\"\n"
        );
        assert_eq!(
            separated('\t', &["A", "B"], &rows),
            "A\tB\n1,234\tx\n\t\"a\"\"b\"\n"
        );
    }
}
