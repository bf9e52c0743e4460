//! Protobuf messages to the types of [`crate::store`] and back.
//!
//! The server reads requests and writes answers, the client the other way round. The frames of `Series` are not
//! here: see [`crate::wire`]. Hints are in [`crate::hints`].

#[cfg(any(feature = "client", feature = "server"))]
pub(crate) mod apis;
#[cfg(any(feature = "client", feature = "server"))]
pub(crate) mod info;
pub(crate) mod matchers;
#[cfg(any(feature = "client", feature = "server"))]
mod range;
#[cfg(any(feature = "client", feature = "server"))]
pub(crate) mod request;
#[cfg(any(feature = "client", feature = "server"))]
pub(crate) mod response;
#[cfg(any(feature = "client", feature = "server"))]
pub(crate) mod status;

/// Decodes `data` as each message that a peer may send and converts what decodes, for fuzzing.
#[cfg(all(
    any(test, feature = "testkit"),
    any(feature = "client", feature = "server")
))]
pub(crate) fn read_all(data: &[u8]) {
    use crate::pb::thanos::{self as pb, info::InfoResponse};
    use crate::store;
    use prost::Message;

    if let Ok(message) = pb::SeriesRequest::decode(data)
        && let Ok(request) = store::SeriesRequest::try_from(message)
    {
        let again = pb::SeriesRequest::from(request.clone());
        let again = store::SeriesRequest::try_from(again).expect("our own requests are valid");
        assert_eq!(format!("{again:?}"), format!("{request:?}"));
    }
    if let Ok(message) = pb::LabelNamesRequest::decode(data) {
        let _ = store::LabelNamesRequest::try_from(message);
    }
    if let Ok(message) = pb::LabelValuesRequest::decode(data) {
        let _ = store::LabelValuesRequest::try_from(message);
    }
    if let Ok(message) = pb::LabelNamesResponse::decode(data) {
        response::label_names_from_pb(message, "peer");
    }
    if let Ok(message) = pb::LabelValuesResponse::decode(data) {
        response::label_values_from_pb(message, "peer");
    }
    apis::read_all(data);
    if let Ok(message) = InfoResponse::decode(data) {
        let info = store::StoreInfo::from(message);
        let again = store::StoreInfo::from(InfoResponse::from(info.clone()));
        assert_eq!(again, info);
    }
}

#[cfg(test)]
#[cfg(any(feature = "client", feature = "server"))]
mod tests;
