//! Metadata on every object that is written: `put_user_metadata`.
//!
//! Place in the stack: right above the client.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result,
};

/// In the metadata of Thanos' configuration this name means the storage class.
const STORAGE_CLASS: &str = "x-amz-storage-class";

/// An object store whose new objects carry attributes.
#[derive(Debug)]
pub struct PutAttributes {
    store: Arc<dyn ObjectStore>,
    attributes: Attributes,
}

impl PutAttributes {
    /// Returns `store`, giving all that is written this user metadata; `X-Amz-Storage-Class` is the storage class.
    pub fn new(store: Arc<dyn ObjectStore>, metadata: &BTreeMap<String, String>) -> Self {
        let mut attributes = Attributes::new();
        for (name, value) in metadata {
            let attribute = match name.eq_ignore_ascii_case(STORAGE_CLASS) {
                true => Attribute::StorageClass,
                false => Attribute::Metadata(name.clone().into()),
            };
            attributes.insert(attribute, value.clone().into());
        }
        Self { store, attributes }
    }

    /// Adds the attributes; those of the caller stand.
    fn add_to(&self, attributes: &mut Attributes) {
        for (attribute, value) in &self.attributes {
            if attributes.get(attribute).is_none() {
                attributes.insert(attribute.clone(), value.clone());
            }
        }
    }
}

impl fmt::Display for PutAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PutAttributes({})", self.store)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for PutAttributes {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        self.add_to(&mut options.attributes);
        self.store.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        mut options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.add_to(&mut options.attributes);
        self.store.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.store.rename_opts(from, to, options).await
    }
}
