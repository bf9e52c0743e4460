//! The text of real histograms, as promtool printed it.

use crate::chunk::{self, segment_chunks};

#[test]
fn scraped_histograms_print_as_promtool_dumps_them() {
    let read = |name: &str| {
        let path = format!("{}/testdata/chunks/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).unwrap()
    };
    let mut by_time = std::collections::HashMap::<i64, Vec<String>>::new();
    for chunk in segment_chunks(&read("native-histograms")) {
        let samples = chunk::samples(&chunk).unwrap();
        for (index, &time) in samples.times().iter().enumerate() {
            let view = samples.histogram(index).unwrap();
            let integer = view.to_integer().unwrap();
            if !integer.is_stale() {
                integer.validate().unwrap();
                integer.to_float().validate().unwrap();
            }
            assert_eq!(integer.to_string(), integer.to_float().to_string());
            by_time.entry(time).or_default().push(integer.to_string());
        }
    }
    let dump = String::from_utf8(read("native-histograms-dump.txt")).unwrap();
    let mut lines = 0;
    for line in dump.lines() {
        let (text, time) = line.rsplit_once(' ').unwrap();
        let printed = &by_time[&time.parse().unwrap()];
        assert!(printed.iter().any(|other| other == text), "{line}");
        lines += 1;
    }
    assert_eq!(lines, 11);
}
