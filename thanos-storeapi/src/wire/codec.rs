//! The codecs that tonic drives for `Series`: frames out on the server, bytes in on the client.

use std::marker::PhantomData;

use bytes::{Buf, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::{Frame, FrameEncoder};
use crate::pb::thanos::SeriesRequest;

/// Frames are collected up to this size before they are handed to the connection.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// The server's codec.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct FrameWriter;

impl Codec for FrameWriter {
    type Encode = Frame;
    type Decode = SeriesRequest;
    type Encoder = FrameEncoder;
    type Decoder = Messages<SeriesRequest>;

    fn encoder(&mut self) -> Self::Encoder {
        FrameEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Messages(PhantomData)
    }
}

/// The client's codec: frames stay bytes, because decoding needs to know the peer.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct FrameReader;

impl Codec for FrameReader {
    type Encode = SeriesRequest;
    type Decode = Bytes;
    type Encoder = Messages<SeriesRequest>;
    type Decoder = RawFrames;

    fn encoder(&mut self) -> Self::Encoder {
        Messages(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        RawFrames
    }
}

impl Encoder for FrameEncoder {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Self::encode(self, &frame, out).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(SEND_BUFFER_BYTES, SEND_BUFFER_BYTES)
    }
}

/// Messages of prost.
#[derive(Debug)]
pub(crate) struct Messages<M>(PhantomData<M>);

impl<M: Message> Encoder for Messages<M> {
    type Item = M;
    type Error = Status;

    fn encode(&mut self, message: M, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message
            .encode(out)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

impl<M: Message + Default> Decoder for Messages<M> {
    type Item = M;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<M>, Status> {
        M::decode(message)
            .map(Some)
            .map_err(|error| Status::invalid_argument(error.to_string()))
    }
}

/// Messages as they are.
#[derive(Debug)]
pub(crate) struct RawFrames;

impl Decoder for RawFrames {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}
