use super::*;
use crate::encoding::varint::put_uvarint;

/// Builds a table whose lists follow each other 100 bytes apart, the last ending at `lists_end`.
fn table(entries: &[(&str, &str)], lists_end: u64, version: IndexVersion) -> Result<PostingsTable> {
    let mut content = u32::try_from(entries.len()).unwrap().to_be_bytes().to_vec();
    for (i, (name, value)) in entries.iter().enumerate() {
        content.push(2);
        for text in [name, value] {
            put_uvarint(&mut content, text.len() as u64);
            content.extend_from_slice(text.as_bytes());
        }
        put_uvarint(&mut content, 1000 + 100 * i as u64);
    }
    let mut file = vec![0; 7];
    file.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
    file.extend_from_slice(&content);
    file.extend_from_slice(&crc::checksum(&content).to_be_bytes());
    PostingsTable::open(&Bytes::from(file), 7, lists_end, version)
}

fn owned(count: usize) -> Vec<(String, String)> {
    let mut entries = vec![(String::new(), String::new())];
    for name in ["a", "instance", "z"] {
        entries.extend((0..count).map(|i| (name.to_owned(), format!("v{i:04}"))));
    }
    entries
}

#[test]
fn every_value_is_found_whatever_the_sampling() {
    for count in [1, 2, 31, 32, 33, 64, 65, 100] {
        let entries = owned(count);
        let refs: Vec<_> = entries
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        let lists_end = 1000 + 100 * refs.len() as u64;
        let mut shuffled = refs.clone();
        shuffled.reverse();
        for (order, version) in [(&refs, IndexVersion::V2), (&shuffled, IndexVersion::V1)] {
            let table = table(order, lists_end, version).unwrap();
            let names: Vec<_> = table.label_names().collect();
            assert_eq!(names, ["a", "instance", "z"]);
            for (i, (name, value)) in order.iter().enumerate() {
                let offset = 1000 + 100 * i as u64;
                let expected = ListLocation {
                    offset,
                    end: offset + 100,
                };
                assert_eq!(table.find(name, value).unwrap(), Some(expected));
            }
            for (name, value) in [
                ("a", ""),
                ("a", "v"),
                ("a", "w"),
                ("b", "v0000"),
                ("z", "v00000"),
            ] {
                assert_eq!(table.find(name, value).unwrap(), None);
            }
            assert_eq!(table.value_count("instance"), count);
            let mut seen = Vec::new();
            table
                .visit_from("instance", "v0030", |entry| {
                    seen.push(entry.value.to_owned());
                    Ok(ControlFlow::Continue(()))
                })
                .unwrap();
            let expected: Vec<_> = (30..count).map(|i| format!("v{i:04}")).collect();
            assert_eq!(seen, expected);
        }
    }
}

#[test]
fn a_sorted_table_keeps_few_positions() {
    let entries = owned(1000);
    let refs: Vec<_> = entries
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let table = table(&refs, 1_000_000, IndexVersion::V2).unwrap();
    let names_bytes = table.label_names().map(str::len).sum::<usize>();
    let samples = 1 + 3 * 1000_usize.div_ceil(SAMPLING);
    let bytes_max = names_bytes + 4 * 64 + 2 * samples * size_of::<u32>();
    assert!(
        table.memory_bytes() <= bytes_max,
        "{}",
        table.memory_bytes()
    );
}

#[test]
fn an_unsorted_table_is_corrupt_in_version_2_only() {
    for entries in [
        &[("a", "2"), ("a", "1")][..],
        &[("b", "1"), ("a", "1")],
        &[("a", "1"), ("a", "1")],
        &[("a", "1"), ("b", "1"), ("a", "2")],
    ] {
        assert!(table(entries, 9999, IndexVersion::V2).is_err());
        assert!(table(entries, 9999, IndexVersion::V1).is_ok());
    }
}

#[test]
fn the_later_of_two_equal_entries_counts_in_version_1() {
    let table = table(
        &[("a", "1"), ("b", "1"), ("a", "1")],
        1300,
        IndexVersion::V1,
    )
    .unwrap();
    let location = table.find("a", "1").unwrap().unwrap();
    assert_eq!((location.offset, location.end), (1200, 1300));
    assert_eq!(location.payload(), 1204..1296);
    assert_eq!(location.entries_estimate(), 22);
    assert_eq!(table.value_count("a"), 1);
}

#[test]
fn lists_that_run_backwards_are_corrupt() {
    let table = table(&[("a", "1"), ("a", "2")], 1105, IndexVersion::V2).unwrap();
    assert!(table.find("a", "1").unwrap().is_some());
    assert!(table.find("a", "2").is_err());
}
