//! Whether two servers said the same.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// How two answers relate.
#[derive(Debug)]
pub(crate) enum Agreement {
    /// The same series, times and values.
    Same,
    /// The same series; the peer defines the values of some functions in another way.
    SameSeries,
    /// Something else, with the first difference.
    Different(String),
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("same"),
            Self::SameSeries => f.write_str("same series"),
            Self::Different(what) => write!(f, "DIFFERENT: {what}"),
        }
    }
}

/// Compares our answer with the peer's; `same_meaning` says whether the peer defines all functions as we do.
pub(crate) fn compare(ours: &[u8], peer: &[u8], same_meaning: bool) -> Agreement {
    let [ours, peer] = [ours, peer].map(series_of);
    if ours.keys().ne(peer.keys()) {
        let counts = format!("{} series and {}", ours.len(), peer.len());
        return Agreement::Different(counts);
    }
    let mut values = ours.values().zip(peer.values()).zip(ours.keys());
    let difference = values.find_map(|((ours, peer), labels)| {
        first_difference(ours, peer).map(|what| format!("{labels}: {what}"))
    });
    match difference {
        None => Agreement::Same,
        Some(_) if !same_meaning => Agreement::SameSeries,
        Some(what) => Agreement::Different(what),
    }
}

/// Returns the values of each series by its labels.
fn series_of(body: &[u8]) -> BTreeMap<String, Vec<Value>> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let result = match &answer["data"] {
        Value::Array(series) => series,
        data => data["result"].as_array().map_or(&EMPTY, |result| result),
    };
    let with_values = |one: &Value| match one.get("metric") {
        None => (one.to_string(), Vec::new()),
        Some(metric) => {
            let values = one["values"].as_array().cloned();
            (metric.to_string(), values.unwrap_or_default())
        }
    };
    result.iter().map(with_values).collect()
}

static EMPTY: Vec<Value> = Vec::new();

fn first_difference(ours: &[Value], peer: &[Value]) -> Option<String> {
    if ours.len() != peer.len() {
        return Some(format!("{} points and {}", ours.len(), peer.len()));
    }
    let mut points = ours.iter().zip(peer);
    let (ours, peer) = points.find(|(ours, peer)| !is_same_point(ours, peer))?;
    Some(format!("{ours} and {peer}"))
}

fn is_same_point(ours: &Value, peer: &Value) -> bool {
    let number = |point: &Value| point[1].as_str().and_then(|text| text.parse::<f64>().ok());
    let is_same_time = ours[0].as_f64() == peer[0].as_f64();
    match (number(ours), number(peer)) {
        (Some(a), Some(b)) => is_same_time && (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
        _ => ours == peer,
    }
}
