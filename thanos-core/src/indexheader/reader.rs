//! Reading an index-header.

use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bytes::Bytes;

use super::format::{
    HEADER_FORMAT_VERSION, HEADER_HEAD_LEN, HEADER_MAGIC, HEADER_TOC_LEN, HeaderSource,
    INDEX_TAIL_LEN, IndexTail,
};
use super::sparse::{SparseParts, is_sparse};
use crate::encoding::{Cursor, crc};
use crate::error::{Error, Result};
use crate::index::pages::{Pages, page_count};
use crate::index::{
    INDEX_HEADER_LEN, IndexVersion, ListLocation, PostingsPlan, PostingsTable, SAMPLING,
    SparseSymbols, SparseTable, Symbols, TOC_LEN, Toc,
};
use crate::labels::Matcher;

/// A reader of an index-header, of Thanos' layout or of our sparse one.
///
/// Of Thanos' layout opening checks all checksums, and in memory stay the label names and a position for every 32nd
/// symbol and value. Opening a sparse header reads the label names and no more; what is looked up later is checked
/// then, and may be `Corrupt`. The rest is read from the bytes, which may be mapped.
///
/// # Example
///
/// ```
/// use thanos_core::index::PostingsPlan;
/// use thanos_core::indexheader::IndexHeader;
/// use thanos_core::labels::Matcher;
/// # use thanos_core::Result;
/// # fn show(bytes: bytes::Bytes) -> Result<()> {
/// let header = IndexHeader::open("index-header", bytes)?;
/// if let PostingsPlan::Lists { keep, .. } = header.plan(&[Matcher::equal("job", "api")])? {
///     for list in keep.iter().flat_map(|group| &group.lists) {
///         println!("fetch {:?} of the index", list.location.payload());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct IndexHeader {
    file: String,
    source: HeaderSource,
    index_tail: IndexTail,
    /// Of a sparse header.
    pages: Option<Arc<Pages>>,
    symbols: Symbols,
    postings: PostingsTable,
}

impl IndexHeader {
    /// Opens the header in `bytes`; `file` names it in errors.
    ///
    /// # Errors
    ///
    /// `Corrupt` when it is no index-header of a known version, or damaged.
    pub fn open(file: &str, bytes: Bytes) -> Result<Self> {
        let sampling = NonZeroUsize::new(SAMPLING).unwrap_or(NonZeroUsize::MIN);
        Self::open_sampled(file, bytes, sampling)
    }

    /// Opens the header as [`IndexHeader::open`] does and keeps in memory where every `sampling`th label value
    /// lies, which a sparse header has no need of; answers do not depend on it.
    ///
    /// # Errors
    ///
    /// As for [`IndexHeader::open`].
    pub fn open_sampled(file: &str, bytes: Bytes, sampling: NonZeroUsize) -> Result<Self> {
        Self::open_unnamed(file, &bytes, sampling).map_err(|error| error.in_file(file))
    }

    /// Returns which index the header in `bytes` was made of, without a look at symbols and lists: it may still be
    /// damaged there.
    ///
    /// # Errors
    ///
    /// `Corrupt` when it is no index-header of a known version, or damaged at its head or its end.
    pub fn peek(file: &str, bytes: &[u8]) -> Result<HeaderSource> {
        let source = match is_sparse(bytes) {
            true => SparseParts::decode(bytes).map(|parts| parts.source),
            false => decode_source(bytes).map(|(source, _)| source),
        };
        source.map_err(|error| error.in_file(file))
    }

    fn open_unnamed(file: &str, bytes: &Bytes, sampling: NonZeroUsize) -> Result<Self> {
        if is_sparse(bytes) {
            return Self::open_sparse(file, bytes);
        }
        let (source, places) = decode_source(bytes)?;
        let version = source.version;
        // COMPAT: Thanos takes the symbols to start right behind the head of the index, so that references of
        // version 1 are 9 less there than here.
        let shift = (HEADER_HEAD_LEN - INDEX_HEADER_LEN) as u64;
        let index_symbols = places.symbols - shift;
        let lists_end = source.toc.postings_table;
        Ok(Self {
            file: file.to_owned(),
            source,
            index_tail: places.index_tail(bytes),
            pages: None,
            symbols: Symbols::open(bytes, places.symbols, index_symbols, version)?,
            postings: PostingsTable::open_sampled(
                bytes,
                places.table,
                lists_end,
                version,
                sampling,
            )?,
        })
    }

    fn open_sparse(file: &str, bytes: &Bytes) -> Result<Self> {
        let parts = SparseParts::decode(bytes)?;
        let labels = parts.labels(bytes)?;
        let checksums = parts.checksums..parts.checksums + page_checksums_len(&parts);
        let pages = Pages::new(bytes.slice(..parts.directory), bytes.slice(checksums));
        let pages = Arc::new(pages);
        let symbols = SparseSymbols {
            pages: Arc::clone(&pages),
            text: SparseParts::TEXT..parts.starts,
            starts: parts.starts,
            count: parts.symbol_count,
        };
        let symbols = Symbols::sparse(bytes, symbols);
        let table = SparseTable {
            pages: Arc::clone(&pages),
            symbols: symbols.clone(),
            labels,
            all_series: parts.all_series,
        };
        Ok(Self {
            file: file.to_owned(),
            source: parts.source,
            index_tail: parts.index_tail,
            pages: Some(pages),
            symbols,
            postings: PostingsTable::sparse(table),
        })
    }

    /// Reports whether this is a sparse header.
    pub fn is_sparse(&self) -> bool {
        self.pages.is_some()
    }

    /// Checks what opening left unchecked, which is everything but the label names of a sparse header.
    ///
    /// # Errors
    ///
    /// `Corrupt` when something is damaged.
    pub fn verify(&self) -> Result<()> {
        self.named(self.pages.iter().try_for_each(|pages| pages.check_all()))
    }

    /// Reports whether damage was met since the header was opened. It should be made anew then: other look-ups may
    /// still succeed, but not those that failed.
    pub fn is_damaged(&self) -> bool {
        self.pages.as_ref().is_some_and(|pages| pages.is_damaged())
    }

    /// Returns the last bytes of the index, which tell it from others.
    pub fn index_tail(&self) -> IndexTail {
        self.index_tail
    }

    /// Returns version, length and contents of the index.
    pub fn source(&self) -> HeaderSource {
        self.source
    }

    /// Returns the version of the index.
    pub fn index_version(&self) -> IndexVersion {
        self.source.version
    }

    /// Returns the symbol table.
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// Returns the table of the postings lists.
    pub fn postings_table(&self) -> &PostingsTable {
        &self.postings
    }

    /// Returns the bytes of memory that the reader keeps beside the file.
    pub fn memory_bytes(&self) -> usize {
        self.symbols.memory_bytes() + self.postings.memory_bytes()
    }

    /// Returns the names of all labels, sorted.
    pub fn label_names(&self) -> Vec<String> {
        self.postings.label_names().map(str::to_owned).collect()
    }

    /// Returns the values of the label `name`, sorted.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the table is damaged.
    pub fn label_values(&self, name: &str) -> Result<Vec<String>> {
        let mut values = Vec::with_capacity(self.postings.value_count(name));
        self.named(self.postings.visit(name, |entry| {
            values.push(entry.value.to_owned());
            Ok(ControlFlow::Continue(()))
        }))?;
        Ok(values)
    }

    /// Returns where in the index the list of a label value lies, with length prefix and checksum.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the table is damaged.
    pub fn postings_location(&self, name: &str, value: &str) -> Result<Option<ListLocation>> {
        self.named(self.postings.find(name, value))
    }

    /// Returns where in the index the entries of a list lie, without length prefix and checksum, as Thanos does.
    ///
    /// The end of the last list of an index is not known: its range may be some bytes too long.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the table is damaged.
    pub fn postings_range(&self, name: &str, value: &str) -> Result<Option<Range<u64>>> {
        let location = self.postings_location(name, value)?;
        Ok(location.map(ListLocation::payload))
    }

    /// Plans which lists to fetch for the series that satisfy all of `matchers`.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the table is damaged.
    pub fn plan(&self, matchers: &[Matcher]) -> Result<PostingsPlan> {
        self.named(PostingsPlan::new(&self.postings, matchers))
    }

    fn named<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| error.in_file(self.file.as_str()))
    }
}

/// Decodes which index the header is of and where its parts lie.
fn decode_source(bytes: &[u8]) -> Result<(HeaderSource, Places)> {
    let (version, index_table) = decode_head(bytes)?;
    let places = decode_toc(bytes)?;
    let source = HeaderSource {
        version,
        toc: index_toc(bytes, &places, index_table)?,
        index_len: index_table + (places.end - places.table),
    };
    Ok((source, places))
}

/// Decodes the version of the index and where its postings table started.
fn decode_head(bytes: &[u8]) -> Result<(IndexVersion, u64)> {
    let mut cursor = Cursor::new(bytes);
    let magic = cursor.be32("index-header magic")?;
    if magic != HEADER_MAGIC {
        let message =
            format!("not an index-header: magic is {magic:08x}, expected {HEADER_MAGIC:08x}");
        return Err(Error::corrupt(message).at(0));
    }
    let version = cursor.u8("index-header version")?;
    if version != HEADER_FORMAT_VERSION {
        let message = format!("unknown index-header version {version}");
        return Err(Error::corrupt(message).at(4));
    }
    let index_version = cursor.u8("index version")?;
    let index_version = IndexVersion::from_number(index_version).map_err(|error| error.at(5))?;
    Ok((index_version, cursor.be64("postings table offset")?))
}

fn page_checksums_len(parts: &SparseParts) -> usize {
    page_count(parts.directory) * crc::CRC_LEN
}

/// Where the parts of the header lie in it.
#[derive(Debug)]
struct Places {
    symbols: u64,
    table: u64,
    /// Where the contents of the header start.
    end: u64,
}

impl Places {
    /// Returns the last bytes of the index, which are the last before the contents of the header.
    fn index_tail(&self, bytes: &[u8]) -> IndexTail {
        let end = usize::try_from(self.end).unwrap_or_default();
        let tail = bytes.get(end.saturating_sub(INDEX_TAIL_LEN)..end);
        // A header that could be decoded has a postings table, and so these bytes.
        tail.and_then(|tail| tail.try_into().ok())
            .unwrap_or([0; INDEX_TAIL_LEN])
    }
}

fn decode_toc(bytes: &[u8]) -> Result<Places> {
    let what = "index-header contents";
    let end = bytes.len().saturating_sub(HEADER_TOC_LEN);
    let mut cursor = Cursor::at_offset(bytes.get(end..).unwrap_or_default(), end as u64);
    let content = cursor.bytes(HEADER_TOC_LEN - crc::CRC_LEN, what)?;
    let stored = cursor.be32(what)?;
    crc::verify(what, content, stored).map_err(|error| error.at(end as u64))?;
    let mut cursor = Cursor::at_offset(content, end as u64);
    let places = Places {
        symbols: cursor.be64(what)?,
        table: cursor.be64(what)?,
        end: end as u64,
    };
    let ordered = [
        HEADER_HEAD_LEN as u64,
        places.symbols,
        places.table,
        places.end,
    ];
    if !ordered.is_sorted() {
        let message = format!("index-header parts are out of order: {places:?}");
        return Err(Error::corrupt(message).at(end as u64));
    }
    Ok(places)
}

/// Decodes the contents of the index, which lie behind its postings table, and checks with their help the one
/// number of the header that no checksum covers.
fn index_toc(bytes: &[u8], places: &Places, index_table: u64) -> Result<Toc> {
    let table_len = places.end - places.table;
    let start = places.end.saturating_sub(TOC_LEN as u64).max(places.table);
    let bounds = (usize::try_from(start), usize::try_from(places.end));
    let toc_bytes = match bounds {
        (Ok(start), Ok(end)) => bytes.get(start..end).unwrap_or_default(),
        _ => &[],
    };
    let index_len = index_table
        .checked_add(table_len)
        .ok_or_else(|| Error::corrupt("postings table offset is out of range").at(6))?;
    let toc = Toc::decode(toc_bytes, index_len)
        .map_err(|error| Error::corrupt(error.message()).at(start))?;
    if toc.postings_table != index_table {
        return Err(Error::corrupt(format!(
            "postings table offset is {index_table}, but the index says {}",
            toc.postings_table
        ))
        .at(6));
    }
    Ok(toc)
}
