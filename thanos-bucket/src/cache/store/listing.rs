//! Listings of the root of the bucket.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use object_store::path::Path;
use object_store::{ListResult, ObjectMeta};
use serde::{Deserialize, Serialize};

use super::metrics::Operation;
use super::{Shared, keys};

/// A listing of more objects is not kept: it would be a value of tens of megabytes.
const OBJECTS_MAX: usize = 200_000;

/// One object of a recursive listing.
#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    name: String,
    size: u64,
    last_modified: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e_tag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

impl Shared {
    /// Returns the directories of the root.
    ///
    /// The names that Thanos keeps say nothing of the sizes of objects, so a root that has objects beside directories is
    /// always listed.
    pub(super) async fn list_root_names(
        &self,
        prefix: Option<&Path>,
    ) -> object_store::Result<ListResult> {
        self.metrics.requested(Operation::Iter);
        let key = keys::iter("", &self.options.listing_hash);
        let known = self.values(vec![key.clone()]).await.pop().flatten();
        if let Some(directories) = known.and_then(|value| self.decode_directories(&value)) {
            self.metrics.hit(Operation::Iter);
            return Ok(ListResult {
                common_prefixes: directories,
                objects: Vec::new(),
                extensions: Default::default(),
            });
        }
        let read_at = Instant::now();
        let listing = self.inner.list_with_delimiter(prefix).await?;
        let names: Vec<String> = listing
            .common_prefixes
            .iter()
            .filter_map(|path| Some(format!("{}/", self.name(path)?)))
            .collect();
        if listing.objects.is_empty()
            && let Ok(value) = serde_json::to_vec(&names)
        {
            self.keep(key, value.into(), self.options.iter_ttl, read_at);
        }
        Ok(listing)
    }

    fn decode_directories(&self, value: &[u8]) -> Option<Vec<Path>> {
        let names: Vec<String> = serde_json::from_slice(value).ok()?;
        let path = |name: &String| {
            let name = Path::parse(name.strip_suffix('/')?).ok()?;
            Some(self.options.prefix.parts().chain(name.parts()).collect())
        };
        names.iter().map(path).collect()
    }

    /// Returns all objects of the bucket.
    pub(super) async fn list_root(
        self: Arc<Self>,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.metrics.requested(Operation::Iter);
        let key = keys::iter_recursive("", &self.options.listing_hash);
        let known = self.values(vec![key.clone()]).await.pop().flatten();
        if let Some(objects) = known.and_then(|value| self.decode_objects(&value)) {
            self.metrics.hit(Operation::Iter);
            return stream::iter(objects.into_iter().map(Ok)).boxed();
        }
        let prefix = Some(&self.options.prefix).filter(|prefix| prefix.parts().next().is_some());
        let listing = self.inner.list(prefix);
        let state = Recorded {
            shared: self,
            key,
            listing,
            objects: Some(Vec::new()),
            read_at: Instant::now(),
        };
        stream::unfold(state, |mut state| async move {
            let item = state.next().await?;
            Some((item, state))
        })
        .boxed()
    }

    fn decode_objects(&self, value: &[u8]) -> Option<Vec<ObjectMeta>> {
        let listed: Vec<Listed> = serde_json::from_slice(value).ok()?;
        let object = |listed: Listed| {
            let name = Path::parse(&listed.name).ok()?;
            Some(ObjectMeta {
                location: self.options.prefix.parts().chain(name.parts()).collect(),
                last_modified: listed.last_modified.parse().ok()?,
                size: listed.size,
                e_tag: listed.e_tag,
                version: listed.version,
            })
        };
        listed.into_iter().map(object).collect()
    }
}

/// A listing that is kept when it has been read to its end.
struct Recorded {
    shared: Arc<Shared>,
    key: String,
    listing: BoxStream<'static, object_store::Result<ObjectMeta>>,
    /// `None` when there are too many, or one was not read.
    objects: Option<Vec<Listed>>,
    read_at: Instant,
}

impl Recorded {
    async fn next(&mut self) -> Option<object_store::Result<ObjectMeta>> {
        let item = self.listing.next().await;
        match &item {
            Some(Ok(meta)) => self.record(meta),
            Some(Err(_)) => self.objects = None,
            None => self.keep(),
        }
        item
    }

    fn record(&mut self, meta: &ObjectMeta) {
        let listed = self.shared.name(&meta.location).map(|name| Listed {
            name,
            size: meta.size,
            last_modified: keys::rfc3339(meta),
            e_tag: meta.e_tag.clone(),
            version: meta.version.clone(),
        });
        let objects = self.objects.take();
        let fitting = objects.filter(|objects| objects.len() < OBJECTS_MAX);
        self.objects = fitting.zip(listed).map(|(mut objects, listed)| {
            objects.push(listed);
            objects
        });
    }

    fn keep(&mut self) {
        let Some(objects) = self.objects.take() else {
            return;
        };
        if let Ok(value) = serde_json::to_vec(&objects) {
            let (key, ttl) = (std::mem::take(&mut self.key), self.shared.options.iter_ttl);
            self.shared.keep(key, Bytes::from(value), ttl, self.read_at);
        }
    }
}
