//! Writing a sparse header.

use std::io::Write;
use std::ops::ControlFlow;

use super::format::{HEAD, ROW_LENS, SparseParts, append_label};
use crate::encoding::crc;
use crate::error::{Error, Result};
use crate::index::pages::PAGE_LEN;
use crate::index::{IndexVersion, ListLocation, SparseLabel, SymbolFinder};
use crate::indexheader::IndexHeader;

/// Returns the sparse header with what `header` says.
///
/// # Errors
///
/// As for [`write_sparse_header`].
pub fn build_sparse_header(header: &IndexHeader) -> Result<Vec<u8>> {
    write_sparse_header(header, Vec::new())
}

/// Writes the sparse header with what `header` says to `out` and returns it, not flushed.
///
/// It only appends. Beside a page it keeps in memory the label names and four bytes for each 16 KiB written.
///
/// # Errors
///
/// `Invalid` when the index has none (version 1, or labels that are not symbols), `Corrupt` when `header` is damaged,
/// or what the output reports.
pub fn write_sparse_header<W: Write>(header: &IndexHeader, out: W) -> Result<W> {
    if header.index_version() != IndexVersion::V2 {
        return Err(has_none("its version is 1"));
    }
    let mut out = PageWriter::new(out);
    out.write(&HEAD)?;
    let starts = write_symbols(header, &mut out)?;
    let all_series = all_series(header)?;
    let labels: Vec<&str> = header.postings_table().label_names().collect();
    let mut directory = Vec::new();
    for name in &labels {
        let label = write_rows(header, name, &mut out)?;
        append_label(&label, &mut directory);
    }
    let (mut out, directory_start, checksums) = out.finish()?;
    let counts = (
        u32::try_from(header.symbols().len()),
        u32::try_from(labels.len()),
    );
    let (Ok(symbol_count), Ok(label_count)) = counts else {
        return Err(Error::limit_exceeded(
            "index has too many symbols or labels",
        ));
    };
    let parts = SparseParts {
        source: header.source(),
        index_tail: header.index_tail(),
        starts,
        directory: directory_start,
        checksums: directory_start + directory.len(),
        symbol_count,
        label_count,
        all_series,
    };
    let checked = crc::extend(crc::checksum(&directory), &checksums);
    let mut end = directory;
    end.extend_from_slice(&checksums);
    parts.append_tail(checked, &mut end);
    out.write_all(&end)?;
    Ok(out)
}

/// Writes text and starts; returns where the starts start.
fn write_symbols<W: Write>(header: &IndexHeader, out: &mut PageWriter<W>) -> Result<usize> {
    for symbol in header.symbols().iter() {
        out.write(symbol?.1.as_bytes())?;
    }
    let starts = out.len;
    let text_len = starts - HEAD.len();
    if u32::try_from(text_len).is_err() {
        return Err(Error::limit_exceeded("symbols take more than 4 GiB"));
    }
    let mut start: u32 = 0;
    out.write(&start.to_le_bytes())?;
    for symbol in header.symbols().iter() {
        // The sum of all fits.
        start = start.saturating_add(u32::try_from(symbol?.1.len()).unwrap_or(u32::MAX));
        out.write(&start.to_le_bytes())?;
    }
    Ok(starts)
}

fn all_series(header: &IndexHeader) -> Result<Option<ListLocation>> {
    let table = header.postings_table();
    let found = table.find_all_series()?;
    if table.value_count("") > usize::from(found.is_some()) {
        return Err(has_none("it has values without a label"));
    }
    Ok(found)
}

/// Writes the rows of the label `name`.
fn write_rows<W: Write>(
    header: &IndexHeader,
    name: &str,
    out: &mut PageWriter<W>,
) -> Result<SparseLabel> {
    let table = header.postings_table();
    let mut first_list = 0;
    table.visit(name, |entry| {
        first_list = entry.location.offset;
        Ok(ControlFlow::Break(()))
    })?;
    // No list lies behind the table of the lists.
    let lists_end = header.source().toc.postings_table;
    let row_len = match u32::try_from(lists_end.saturating_sub(first_list)) {
        Ok(_) => ROW_LENS[0],
        Err(_) => ROW_LENS[1],
    };
    let rows_start = out.len;
    let mut write_row = |symbol: u32, place: u64| {
        let list = place.checked_sub(first_list);
        let list = list.ok_or_else(|| has_none("its lists are not in order"))?;
        out.write(&symbol.to_le_bytes())?;
        out.write(&list.to_le_bytes()[..row_len - 4])
    };
    let mut finder = SymbolFinder::new(header.symbols());
    let (mut value_count, mut end) = (0, first_list);
    table.visit(name, |entry| {
        let symbol = finder.find(entry.value)?;
        let symbol = symbol.ok_or_else(|| has_none("a label value is no symbol"))?;
        write_row(symbol.0, entry.location.offset)?;
        value_count += 1;
        end = entry.location.end;
        Ok(ControlFlow::Continue(()))
    })?;
    write_row(u32::MAX, end)?;
    Ok(SparseLabel {
        name: name.into(),
        rows: rows_start..out.len,
        value_count,
        row_len,
        first_list,
    })
}

fn has_none(why: &str) -> Error {
    Error::invalid(format!("the index has no sparse header: {why}"))
}

/// Writes bytes and notes the checksum of each page of them.
struct PageWriter<W> {
    out: W,
    /// All bytes so far.
    len: usize,
    /// What was not written yet: less than a page.
    page: Vec<u8>,
    checksums: Vec<u8>,
}

impl<W: Write> PageWriter<W> {
    fn new(out: W) -> Self {
        Self {
            out,
            len: 0,
            page: Vec::with_capacity(PAGE_LEN),
            checksums: Vec::new(),
        }
    }

    #[inline]
    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.len += bytes.len();
        while let Some((head, rest)) = bytes.split_at_checked(PAGE_LEN - self.page.len()) {
            self.page.extend_from_slice(head);
            self.end_page()?;
            bytes = rest;
        }
        self.page.extend_from_slice(bytes);
        Ok(())
    }

    fn end_page(&mut self) -> Result<()> {
        self.out.write_all(&self.page)?;
        let checksum = crc::checksum(&self.page);
        self.checksums.extend_from_slice(&checksum.to_le_bytes());
        self.page.clear();
        Ok(())
    }

    /// Returns the output, the bytes written, and the checksums.
    fn finish(mut self) -> Result<(W, usize, Vec<u8>)> {
        if !self.page.is_empty() {
            self.end_page()?;
        }
        Ok((self.out, self.len, self.checksums))
    }
}
