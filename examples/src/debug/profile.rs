//! Profiles in the format of pprof: gzipped protobuf.
//!
//! Source: github.com/google/pprof, proto/profile.proto.

use std::collections::HashMap;
use std::hash::Hash;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message as _;

pub(super) mod pb {
    //! The messages, with the fields that are used here.

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Profile {
        #[prost(message, repeated, tag = "1")]
        pub(crate) sample_type: Vec<ValueType>,
        #[prost(message, repeated, tag = "2")]
        pub(crate) sample: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(crate) mapping: Vec<Mapping>,
        #[prost(message, repeated, tag = "4")]
        pub(crate) location: Vec<Location>,
        #[prost(message, repeated, tag = "5")]
        pub(crate) function: Vec<Function>,
        #[prost(string, repeated, tag = "6")]
        pub(crate) string_table: Vec<String>,
        #[prost(int64, tag = "9")]
        pub(crate) time_nanos: i64,
        #[prost(int64, tag = "10")]
        pub(crate) duration_nanos: i64,
        #[prost(message, optional, tag = "11")]
        pub(crate) period_type: Option<ValueType>,
        #[prost(int64, tag = "12")]
        pub(crate) period: i64,
        #[prost(int64, repeated, tag = "13")]
        pub(crate) comment: Vec<i64>,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
    pub(crate) struct ValueType {
        #[prost(int64, tag = "1")]
        pub(crate) kind: i64,
        #[prost(int64, tag = "2")]
        pub(crate) unit: i64,
    }

    #[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
    pub(crate) struct Sample {
        #[prost(uint64, repeated, tag = "1")]
        pub(crate) location_id: Vec<u64>,
        #[prost(int64, repeated, tag = "2")]
        pub(crate) value: Vec<i64>,
        #[prost(message, repeated, tag = "3")]
        pub(crate) label: Vec<Label>,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
    pub(crate) struct Label {
        #[prost(int64, tag = "1")]
        pub(crate) key: i64,
        #[prost(int64, tag = "2")]
        pub(crate) text: i64,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
    pub(crate) struct Mapping {
        #[prost(uint64, tag = "1")]
        pub(crate) id: u64,
        #[prost(int64, tag = "5")]
        pub(crate) filename: i64,
        #[prost(bool, tag = "7")]
        pub(crate) has_functions: bool,
        #[prost(bool, tag = "8")]
        pub(crate) has_filenames: bool,
        #[prost(bool, tag = "9")]
        pub(crate) has_line_numbers: bool,
        #[prost(bool, tag = "10")]
        pub(crate) has_inline_frames: bool,
    }

    #[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
    pub(crate) struct Location {
        #[prost(uint64, tag = "1")]
        pub(crate) id: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) mapping_id: u64,
        #[prost(message, repeated, tag = "4")]
        pub(crate) line: Vec<Line>,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
    pub(crate) struct Line {
        #[prost(uint64, tag = "1")]
        pub(crate) function_id: u64,
        #[prost(int64, tag = "2")]
        pub(crate) line: i64,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
    pub(crate) struct Function {
        #[prost(uint64, tag = "1")]
        pub(crate) id: u64,
        #[prost(int64, tag = "2")]
        pub(crate) name: i64,
        #[prost(int64, tag = "3")]
        pub(crate) system_name: i64,
        #[prost(int64, tag = "4")]
        pub(crate) filename: i64,
    }
}

/// A function at a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) name: String,
    pub(super) system_name: String,
    pub(super) file: String,
    pub(super) line: u32,
}

/// Makes a profile of samples; what they have in common is in it once.
#[derive(Debug, Default)]
pub(super) struct Profile {
    strings: Table<String>,
    functions: Table<[i64; 3]>,
    locations: Table<Vec<pb::Line>>,
    /// Samples of the same place and thread are one.
    samples: HashMap<(Vec<u64>, i64), Vec<i64>>,
    made: pb::Profile,
}

impl Profile {
    /// Returns a profile without samples of the program at `path`, whose values are of `kinds`: what they count, and in
    /// which unit. The last of them has one sample in every `period`.
    pub(super) fn new(path: &str, kinds: &[(&str, &str)], period: i64) -> Self {
        let mut profile = Self::default();
        // The string 0 is the empty one.
        profile.text("");
        let kinds = kinds.iter().map(|(kind, unit)| pb::ValueType {
            kind: profile.text(kind),
            unit: profile.text(unit),
        });
        let kinds: Vec<_> = kinds.collect();
        profile.made.period_type = kinds.last().copied();
        profile.made.sample_type = kinds;
        profile.made.period = period;
        // There is one for whoever reads to know that it needs no symbols of the program.
        let program = pb::Mapping {
            id: 1,
            filename: profile.text(path),
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
            has_inline_frames: true,
        };
        profile.made.mapping = vec![program];
        profile
    }

    /// Says from when on samples were taken, for how long.
    pub(super) fn taken(&mut self, time_nanos: i64, duration_nanos: i64) {
        self.made.time_nanos = time_nanos;
        self.made.duration_nanos = duration_nanos;
    }

    /// Adds a remark for people.
    pub(super) fn remark(&mut self, text: &str) {
        let text = self.text(text);
        self.made.comment.push(text);
    }

    /// Adds samples of `thread`: places from the innermost on, each with the functions that were inlined there, also from
    /// the innermost on.
    pub(super) fn add(&mut self, stack: &[Vec<Frame>], thread: &str, values: &[i64]) {
        let places = stack.iter().map(|frames| {
            let lines = frames.iter().map(|frame| self.line(frame)).collect();
            self.locations.id(lines) + 1
        });
        let places = places.collect();
        let thread = self.text(thread);
        let sums = self.samples.entry((places, thread)).or_default();
        sums.resize(values.len(), 0);
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value;
        }
    }

    fn line(&mut self, frame: &Frame) -> pb::Line {
        let names = [&frame.name, &frame.system_name, &frame.file];
        let names = names.map(|name| self.text(name));
        pb::Line {
            function_id: self.functions.id(names) + 1,
            line: frame.line.into(),
        }
    }

    fn text(&mut self, text: &str) -> i64 {
        self.strings.id(text.to_owned()).cast_signed()
    }

    /// Returns the message.
    fn finished(mut self) -> pb::Profile {
        let key = self.text("thread");
        let samples = self.samples.into_iter();
        self.made.sample = samples
            .map(|((location_id, text), value)| pb::Sample {
                location_id,
                value,
                label: vec![pb::Label { key, text }],
            })
            .collect();
        let functions = (1..).zip(self.functions.in_order());
        self.made.function = functions
            .map(|(id, [name, system_name, filename])| pb::Function {
                id,
                name,
                system_name,
                filename,
            })
            .collect();
        let locations = (1..).zip(self.locations.in_order());
        self.made.location = locations
            .map(|(id, line)| pb::Location {
                id,
                mapping_id: 1,
                line,
            })
            .collect();
        self.made.string_table = self.strings.in_order();
        self.made
    }

    /// Returns the profile as it is sent.
    pub(super) fn encoded(self) -> std::io::Result<Vec<u8>> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&self.finished().encode_to_vec())?;
        gzip.finish()
    }
}

/// Values with numbers, from 0 on.
#[derive(Debug)]
struct Table<T>(HashMap<T, u64>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Eq + Hash> Table<T> {
    fn id(&mut self, value: T) -> u64 {
        let next = self.0.len() as u64;
        *self.0.entry(value).or_insert(next)
    }

    fn in_order(self) -> Vec<T> {
        let mut values: Vec<_> = self.0.into_iter().collect();
        values.sort_unstable_by_key(|(_, id)| *id);
        values.into_iter().map(|(value, _)| value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(name: &str, line: u32) -> Frame {
        Frame {
            name: name.to_owned(),
            system_name: format!("_{name}"),
            file: "a.rs".to_owned(),
            line,
        }
    }

    /// equal stacks of a thread are one sample, and what stacks share is written once.
    #[test]
    fn samples_share_what_they_have_in_common() {
        let mut profile =
            Profile::new("/bin/p", &[("samples", "count"), ("cpu", "nanoseconds")], 5);
        let inner = vec![frame("inlined", 2), frame("inner", 9)];
        let outer = vec![frame("outer", 1)];
        profile.add(&[inner.clone(), outer.clone()], "t", &[1, 5]);
        profile.add(&[inner, outer.clone()], "t", &[2, 10]);
        profile.add(std::slice::from_ref(&outer), "u", &[1, 5]);
        let made = profile.finished();
        let text = |at: i64| &*made.string_table[usize::try_from(at).unwrap()];
        assert_eq!(text(0), "");
        let kind = made.period_type.unwrap();
        assert_eq!(
            (text(kind.kind), text(kind.unit), made.period),
            ("cpu", "nanoseconds", 5)
        );
        assert_eq!(text(made.mapping[0].filename), "/bin/p");
        let mut samples = made.sample.clone();
        samples.sort_by_key(|sample| sample.location_id.len());
        let values: Vec<_> = samples.iter().map(|sample| sample.value.clone()).collect();
        assert_eq!(values, [[1, 5], [3, 15]]);
        let label = samples[0].label[0];
        assert_eq!((text(label.key), text(label.text)), ("thread", "u"));
        assert_eq!((made.location.len(), made.function.len()), (2, 3));
        // Innermost first, and the place that both have is the same.
        let named = samples[1].location_id.iter().map(|id| {
            let place = made.location.iter().find(|place| place.id == *id).unwrap();
            let names = place.line.iter().map(|line| {
                let function = made
                    .function
                    .iter()
                    .find(|f| f.id == line.function_id)
                    .unwrap();
                (text(function.name), line.line)
            });
            names.collect::<Vec<_>>()
        });
        let named: Vec<_> = named.collect();
        assert_eq!(
            named,
            [vec![("inlined", 2), ("inner", 9)], vec![("outer", 1)]]
        );
        assert_eq!(samples[0].location_id[0], samples[1].location_id[1]);
    }
}
