//! Sparse headers: in the data directory, in memory, and published.

use super::*;

impl Rig {
    async fn put_sparse(&self, bytes: &[u8]) {
        let data = Bytes::copy_from_slice(bytes);
        let object = self.sparse_object();
        self.bucket.put(&object, data).await.unwrap();
    }
}

async fn objects(bucket: &Bucket) -> Vec<(String, u64)> {
    bucket
        .objects_under(&block_id(1).to_string())
        .await
        .unwrap()
}

fn assert_same_answers(header: &IndexHeader, rig: &Rig) {
    let thanos = Bytes::from(build_header(rig.data.index()).unwrap());
    let thanos = IndexHeader::open("index-header", thanos).unwrap();
    assert_eq!(header.label_names(), thanos.label_names());
    for name in thanos.label_names() {
        let values = thanos.label_values(&name).unwrap();
        for value in &values {
            assert_eq!(
                header.postings_location(&name, value).unwrap(),
                thanos.postings_location(&name, value).unwrap()
            );
        }
        assert_eq!(header.label_values(&name).unwrap(), values);
    }
}

/// ST-04: Thanos' file and ours are made together, and ours is opened.
#[tokio::test]
async fn both_files_are_kept_and_the_sparse_one_is_opened() {
    let rig = Rig::new(100).await;
    let headers = rig.headers(HeaderOptions::default());
    rig.header(&headers).prepare().await.unwrap();
    assert!(std::fs::read(rig.file()).unwrap() == build_header(rig.data.index()).unwrap());
    assert!(std::fs::read(rig.sparse_file()).unwrap() == rig.sparse());
    rig.trace();
    let header = rig.header(&headers);
    header.prepare().await.unwrap();
    let opened = header.get().await.unwrap();
    assert!(opened.is_sparse());
    assert_same_answers(&opened, &rig);
    assert_eq!(rig.trace().requests.len(), 0);

    let off = rig.headers(with_sparse(SparseHeaders::Off));
    let opened = rig.header(&off).get().await.unwrap();
    assert!(!opened.is_sparse());
    assert_eq!(rig.trace().requests.len(), 0);
}

/// A data directory that Thanos wrote, or we without sparse headers, is used as it is.
#[tokio::test]
async fn a_data_directory_without_the_sparse_file_gets_it_at_use() {
    let rig = Rig::new(100).await;
    let off = rig.headers(with_sparse(SparseHeaders::Off));
    rig.header(&off).prepare().await.unwrap();
    assert!(!rig.sparse_file().exists());
    rig.trace();
    let header = rig.header(&rig.headers(HeaderOptions::default()));
    header.prepare().await.unwrap();
    assert!(!rig.sparse_file().exists(), "nothing has asked yet");
    assert!(header.get().await.unwrap().is_sparse());
    assert!(std::fs::read(rig.sparse_file()).unwrap() == rig.sparse());
    assert_eq!(rig.trace().requests.len(), 0);
}

/// A request that meets damage fails; the next one finds a sound header.
#[tokio::test]
async fn a_sparse_file_in_which_damage_was_met_is_made_anew() {
    let rig = Rig::new(100).await;
    let headers = rig.headers(HeaderOptions::default());
    rig.header(&headers).prepare().await.unwrap();
    let kept = std::fs::read(rig.sparse_file()).unwrap();
    let mut damaged = kept.clone();
    damaged[100] ^= 0xFF;
    std::fs::write(rig.sparse_file(), damaged).unwrap();
    rig.trace();

    let header = rig.header(&headers);
    header.prepare().await.unwrap();
    let opened = header.get().await.unwrap();
    let error = opened.label_values("pod").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let file = rig.sparse_file().display().to_string();
    assert_eq!(error.file(), Some(file.as_str()));
    // That it is idle does not make it good.
    rig.pass(6);
    headers.close_idle();
    let again = header.get().await.unwrap();
    assert_same_answers(&again, &rig);
    assert!(std::fs::read(rig.sparse_file()).unwrap() == kept);
    assert_eq!(rig.trace().requests.len(), 0, "made of Thanos' file");

    // Damage at the ends shows before anybody asks.
    std::fs::write(rig.sparse_file(), &kept[1..]).unwrap();
    std::fs::remove_file(rig.file()).unwrap();
    rig.header(&headers).prepare().await.unwrap();
    assert_eq!(rig.trace().requests.len(), 1);
    assert!(std::fs::read(rig.sparse_file()).unwrap() == kept);
}

/// A cold block costs one round trip: the header, and the few bytes that show that it is of this index.
#[tokio::test]
async fn a_published_header_is_used_instead_of_the_index() {
    let rig = Rig::new(300).await;
    let sparse = rig.sparse();
    let len = sparse.len() as u64;
    rig.put_sparse(&sparse).await;
    for data_dir in [Some(rig.dir.path().to_owned()), None] {
        rig.trace();
        let is_kept = data_dir.is_some();
        let headers = rig.headers_in(data_dir, HeaderOptions::default());
        let header = rig.header_published(&headers, Some(len));
        header.prepare().await.unwrap();
        let opened = header.get().await.unwrap();
        assert_same_answers(&opened, &rig);
        let trace = rig.trace();
        assert_eq!(
            (trace.requests.len(), trace.dependent_round_trips()),
            (2, 1)
        );
        assert_eq!(trace.bytes_read(), len + 56);
        if is_kept {
            assert!(std::fs::read(rig.sparse_file()).unwrap() == sparse);
            assert!(!rig.file().exists());
            let restarted = rig.header(&headers);
            restarted.prepare().await.unwrap();
            restarted.get().await.unwrap();
            assert_eq!(rig.trace().requests.len(), 0);
        }
    }
    let off = rig.headers_in(None, with_sparse(SparseHeaders::Off));
    let opened = rig.header_published(&off, Some(len)).get().await.unwrap();
    assert!(!opened.is_sparse());
}

/// Whatever lies there under its name: the block is served from its index.
#[tokio::test]
async fn a_published_header_that_is_damaged_or_of_another_index_is_ignored() {
    let rig = Rig::new(100).await;
    let sparse = rig.sparse();
    let mut damaged = sparse.clone();
    damaged[100] ^= 1;
    let of_another = sparse_of_index(block(99).index());
    let of_thanos = build_header(rig.data.index()).unwrap();
    let len_of = |bytes: &[u8]| bytes.len() as u64;
    for (what, put, len) in [
        ("damaged", &damaged, len_of(&damaged)),
        ("of another index", &of_another, len_of(&of_another)),
        ("in the other layout", &of_thanos, len_of(&of_thanos)),
        ("shorter than listed", &sparse, len_of(&sparse) + 1),
        ("longer than listed", &sparse, len_of(&sparse) - 1),
        ("far too long", &sparse, u64::MAX),
        ("empty", &Vec::new(), 0),
    ] {
        rig.put_sparse(put).await;
        let header = rig.header_published(&rig.headers(HeaderOptions::default()), Some(len));
        header.prepare().await.unwrap();
        assert_same_answers(&header.get().await.unwrap(), &rig);
        assert!(rig.file().exists(), "{what}");
        assert!(
            std::fs::read(rig.sparse_file()).unwrap() == sparse,
            "{what}"
        );
        std::fs::remove_dir_all(rig.folder()).unwrap();
    }
    rig.bucket.delete(&rig.sparse_object()).await.unwrap();
    let headers = rig.headers(HeaderOptions::default());
    let header = rig.header_published(&headers, Some(sparse.len() as u64));
    assert_same_answers(&header.get().await.unwrap(), &rig);
}

/// Nothing that Thanos reads changes, and only who is asked to publishes.
#[tokio::test]
async fn publishing_adds_one_object_to_the_block() {
    let rig = Rig::new(100).await;
    let before = objects(&rig.bucket).await;
    for sparse in [SparseHeaders::Off, SparseHeaders::Use] {
        let headers = rig.headers_in(None, with_sparse(sparse));
        rig.header(&headers).prepare().await.unwrap();
        assert_eq!(objects(&rig.bucket).await, before);
    }
    for data_dir in [Some(rig.dir.path().to_owned()), None] {
        let headers = rig.headers_in(data_dir, with_sparse(SparseHeaders::Publish));
        rig.header(&headers).prepare().await.unwrap();
        let mut after = objects(&rig.bucket).await;
        let published = (rig.sparse_object(), rig.sparse().len() as u64);
        let at = after.iter().position(|object| *object == published);
        after.remove(at.unwrap());
        assert_eq!(after, before);
        let found = rig
            .bucket
            .read(&rig.sparse_object(), 1 << 20)
            .await
            .unwrap();
        assert!(found == rig.sparse());
        let index = format!("{}/index", block_id(1));
        let index = rig.bucket.read(&index, 1 << 30).await.unwrap();
        assert!(index == *rig.data.index());
        rig.bucket.delete(&rig.sparse_object()).await.unwrap();
    }
    // A kept file of Thanos is published when it is first opened.
    std::fs::remove_file(rig.sparse_file()).unwrap();
    let headers = rig.headers(with_sparse(SparseHeaders::Publish));
    rig.header(&headers).get().await.unwrap();
    assert!(rig.bucket.exists(&rig.sparse_object()).await.unwrap());
}

/// A header that is longer than one download comes in parts, in order; one that ends early is not used.
#[tokio::test]
async fn a_long_published_header_is_read_in_parts() {
    let rig = Rig::new(300).await;
    let sparse = rig.sparse();
    let len = sparse.len() as u64;
    rig.put_sparse(&sparse).await;
    let compute = Compute::per_core();
    let (object, index_object) = (rig.sparse_object(), format!("{}/index", block_id(1)));
    let published = Published {
        bucket: &rig.bucket,
        compute: &compute,
        object: &object,
        len,
        index_object: &index_object,
        index_len: rig.data.index_bytes(),
        part_bytes: len / 9,
    };
    rig.trace();
    assert!(published.read().await.unwrap() == sparse);
    // The last is what the division leaves; one more is for the end of the index.
    let parts = len.div_ceil(len / 9);
    assert_eq!(rig.trace().requests.len() as u64, parts + 1);
    rig.put_sparse(&sparse[..sparse.len() - 1]).await;
    assert_eq!(
        published.read().await.unwrap_err().kind(),
        ErrorKind::Corrupt
    );
}

/// Who may not write serves all the same, and tries again with the next header only.
#[tokio::test]
async fn a_refused_publication_costs_nothing() {
    let rig = Rig::new(100).await;
    let faulty = Arc::new(FaultyStore::new(
        Arc::clone(&rig.store) as Arc<dyn object_store::ObjectStore>
    ));
    faulty.start(FaultPlan {
        per_mille: vec![(StoreFault::Unavailable, 1000)],
        spared: vec![(StoreFault::Unavailable, "/index")],
        ..FaultPlan::default()
    });
    let bucket = Bucket::new(Arc::clone(&faulty) as Arc<dyn object_store::ObjectStore>);
    for data_dir in [Some(rig.dir.path().to_owned()), None] {
        let options = GatewayOptions {
            data_dir,
            headers: with_sparse(SparseHeaders::Publish),
            ..GatewayOptions::default()
        };
        let headers = Headers::new(&bucket, &options);
        let header = rig.header(&headers);
        header.prepare().await.unwrap();
        let opened = header.get().await.unwrap();
        assert!(opened.is_sparse());
        assert_same_answers(&opened, &rig);
        let failed = headers.options.metrics.failed_loads.get();
        assert_eq!(failed, 0);
    }
    let refused = faulty.injected()[&StoreFault::Unavailable];
    assert_eq!(refused, 2, "one for each header that was made");
    assert!(!rig.bucket.exists(&rig.sparse_object()).await.unwrap());
}
