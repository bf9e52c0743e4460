//! Objects too large for memory: read and written piece by piece.

#[cfg(feature = "filesystem")]
use std::fs::File;
#[cfg(feature = "filesystem")]
use std::io::{ErrorKind, Read, Seek, SeekFrom};
#[cfg(feature = "filesystem")]
use std::ops::Range;

use bytes::Bytes;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{Stream, StreamExt, TryStreamExt};
#[cfg(feature = "filesystem")]
use object_store::GetResultPayload;
use object_store::{GetResult, MultipartUpload, ObjectStoreExt, UploadPart};
use thanos_core::{Error, Result};
#[cfg(feature = "filesystem")]
use tokio::runtime::Handle;

use super::{Bucket, from_store};

/// How many parts of one object are on their way at once.
const CONCURRENT_PARTS: usize = 4;
/// How much of a local file is read at once.
#[cfg(feature = "filesystem")]
const FILE_PIECE_BYTES: usize = 1 << 20;

/// The body of an object, piece by piece, and how long it says to be.
pub(crate) struct ObjectBody {
    /// The announced length in bytes; whoever reads the pieces compares.
    pub(crate) size: u64,
    /// The pieces, in order.
    pub(crate) pieces: BoxStream<'static, Result<Bytes>>,
}

impl Bucket {
    /// Opens the object to be read from its start to its end; dropping the pieces ends the transfer.
    pub(crate) async fn read_pieces(&self, object: &str) -> Result<ObjectBody> {
        let path = self.path(object)?;
        let answer = self
            .store
            .get_opts(&path, self.get_options())
            .await
            .map_err(|error| from_store(object, error))?;
        let size = answer.meta.size;
        let name = object.to_owned();
        Ok(ObjectBody {
            size,
            pieces: pieces(answer, name),
        })
    }

    /// Writes the object from `parts`, each of which but the last has the same length of at least 5 MiB. Nothing is to
    /// be seen of the object until the last of them has come.
    ///
    /// # Errors
    ///
    /// The error of the parts, and what the store reports. The parts that have been sent are given up then.
    pub(crate) async fn put_parts(
        &self,
        object: &str,
        parts: impl Stream<Item = Result<Bytes>>,
    ) -> Result<()> {
        let path = self.path(object)?;
        let mut upload = self
            .store
            .put_multipart(&path)
            .await
            .map_err(|error| from_store(object, error))?;
        let sent = match send_parts(upload.as_mut(), parts, object).await {
            Ok(()) => upload.complete().await.map(drop),
            Err(error) => return Err(given_up(upload.as_mut(), object, error).await),
        };
        match sent {
            Ok(()) => Ok(()),
            Err(error) => {
                let error = from_store(object, error);
                Err(given_up(upload.as_mut(), object, error).await)
            }
        }
    }
}

async fn send_parts(
    upload: &mut dyn MultipartUpload,
    parts: impl Stream<Item = Result<Bytes>>,
    object: &str,
) -> Result<()> {
    let mut under_way = FuturesUnordered::<UploadPart>::new();
    futures::pin_mut!(parts);
    while let Some(part) = parts.try_next().await? {
        while under_way.len() >= CONCURRENT_PARTS {
            let sent = under_way.try_next().await;
            sent.map_err(|error| from_store(object, error))?;
        }
        under_way.push(upload.put_part(part.into()));
    }
    let rest = under_way.try_collect::<Vec<()>>().await;
    rest.map_err(|error| from_store(object, error))?;
    Ok(())
}

/// Ends an upload that failed; what stays behind after this costs money until a rule of the bucket removes it.
async fn given_up(upload: &mut dyn MultipartUpload, object: &str, why: Error) -> Error {
    if let Err(error) = upload.abort().await {
        tracing::warn!(object, %error, "parts of a failed upload may stay in the bucket");
    }
    why
}

fn pieces(answer: GetResult, object: String) -> BoxStream<'static, Result<Bytes>> {
    // As object_store's stream a file comes in pieces of 8 KiB, for each of which a thread is woken.
    #[cfg(feature = "filesystem")]
    if let GetResultPayload::File(file, _) = answer.payload {
        return file_pieces(file, answer.range.start, answer.range.end, object);
    }
    let body = answer.into_stream();
    body.map_err(move |error| from_store(&object, error))
        .boxed()
}

/// Returns the bytes of `range` of a local file. object_store would fill their memory with zeros first.
///
/// # Errors
///
/// What the file system reports, also when the file ends before the range does.
#[cfg(feature = "filesystem")]
pub(super) async fn file_range(mut file: File, range: Range<u64>) -> object_store::Result<Bytes> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| object_store::Error::Generic {
        store: "LocalFileSystem",
        source,
    };
    let read = move || -> std::io::Result<Bytes> {
        let wanted = range.end.saturating_sub(range.start);
        let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
        file.seek(SeekFrom::Start(range.start))?;
        file.take(wanted).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != wanted {
            let message = format!("{} of {wanted} bytes came", bytes.len());
            return Err(std::io::Error::new(ErrorKind::UnexpectedEof, message));
        }
        Ok(bytes.into())
    };
    // Without a runtime object_store, too, reads on the thread that asks.
    let bytes = match Handle::try_current() {
        Ok(runtime) => {
            let ended = runtime.spawn_blocking(read).await;
            ended.map_err(|error| failed(error.into()))?
        }
        Err(_) => read(),
    };
    bytes.map_err(|error| failed(error.into()))
}

#[cfg(feature = "filesystem")]
fn file_pieces(
    file: File,
    start: u64,
    end: u64,
    object: String,
) -> BoxStream<'static, Result<Bytes>> {
    let piece = move |(mut file, at): (File, u64)| {
        let object = object.clone();
        async move {
            if at >= end {
                return Ok(None);
            }
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX);
            let read = move || -> std::io::Result<(Bytes, File)> {
                file.seek(SeekFrom::Start(at))?;
                let mut piece = vec![0; wanted.min(FILE_PIECE_BYTES)];
                let len = file.read(&mut piece)?;
                piece.truncate(len);
                Ok((piece.into(), file))
            };
            let in_object = |error: Error| error.in_file(object);
            let ended = tokio::task::spawn_blocking(read).await;
            let (piece, file) = ended
                .map_err(|_| Error::cancelled("the runtime shuts down"))?
                .map_err(|error| in_object(error.into()))?;
            let next = at + piece.len() as u64;
            // A file that ends early ends the pieces, and the reader sees that some are missing.
            let rest = if piece.is_empty() { end } else { next };
            Ok((!piece.is_empty()).then_some((piece, (file, rest))))
        }
    };
    futures::stream::try_unfold((file, start), piece).boxed()
}
