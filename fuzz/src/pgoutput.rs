//! Frames of the replication protocol, one after another on one connection.

use bytes::Bytes;
use wal2graph::pgoutput::{Decoder, Message, frame::Frame};

/// Each frame: its length in two bytes, then its bytes.
fn frames(data: &[u8]) -> impl Iterator<Item = Bytes> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (frame, after) = after.split_at(length);
        rest = after;
        Some(Bytes::copy_from_slice(frame))
    })
}

/// Any frames give changes or an error. A message that is cut is none.
pub fn pgoutput(data: &[u8]) {
    let mut decoder = Decoder::new();
    for frame in frames(data) {
        let _ = Frame::decode(frame.clone());
        if let Ok(message) = Message::decode(frame.clone()) {
            let cut = frame.slice(..frame.len() - 1);
            assert!(Message::decode(cut).is_err(), "{message:?} without its last byte");
            let _ = decoder.accept(message);
        }
    }
}
