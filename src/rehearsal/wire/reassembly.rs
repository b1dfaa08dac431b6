//! Rows for a reader of their values. A long one comes in parts ([`Data`]), which are kept until it is
//! whole.

use bytes::{Bytes, BytesMut};

use super::WireError;
use super::frame::{Data, Frame};

/// The longest message that is kept for a reader, in bytes.
pub const KEPT_AT_MOST: usize = 64 * 1024 * 1024;

/// Puts messages together that were handed out in parts.
#[derive(Debug, Default)]
pub struct Reassembly {
    begun: BytesMut,
}

impl Reassembly {
    /// The messages that end in `data`, which follows directly on what was pushed before.
    ///
    /// # Errors
    /// A message longer than [`KEPT_AT_MOST`], as soon as that can be seen.
    pub fn push(&mut self, data: &Data) -> Result<Vec<Frame>, WireError> {
        let mut whole = Vec::with_capacity(data.ended());
        let mut rest: Bytes = data.bytes().clone();
        if data.begun() > 0 {
            whole.extend(data.frames());
            let taken: usize = whole.iter().map(|frame| frame.bytes().len()).sum();
            rest = rest.split_off(taken);
        }
        if rest.is_empty() {
            return Ok(whole);
        }
        let total = self.begun.len() + rest.len() + data.owed();
        if total > KEPT_AT_MOST {
            return Err(WireError::TooLong {
                tag: data.tag(),
                length: total,
            });
        }
        self.begun.extend_from_slice(&rest);
        if data.owed() == 0 {
            whole.extend(Frame::from_whole(self.begun.split().freeze()));
        }
        Ok(whole)
    }

    /// Leaves the message out that has begun: its reader wants no more.
    pub fn forget(&mut self) {
        self.begun.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{FrameDecoder, Piece, STREAM_ABOVE};
    use super::*;

    fn row(length: usize) -> Vec<u8> {
        let mut bytes = vec![b'D'];
        bytes.extend_from_slice(&(length as u32 + 4).to_be_bytes());
        bytes.extend((0..length).map(|index| index as u8));
        bytes
    }

    fn pieces(stream: &[u8], chunk: usize) -> Vec<Data> {
        let mut decoder = FrameDecoder::backend();
        let mut buffer = BytesMut::new();
        let mut all = Vec::new();
        for part in stream.chunks(chunk) {
            buffer.extend_from_slice(part);
            while let Some(piece) = decoder.decode(&mut buffer).unwrap() {
                let Piece::Data(data) = piece else {
                    panic!("{piece:?}");
                };
                all.push(data);
            }
        }
        all
    }

    proptest! {
        #[test]
        fn every_row_comes_out_whole_however_it_arrives(
            lengths in proptest::collection::vec(
                prop_oneof![0_usize..40, STREAM_ABOVE - 8..STREAM_ABOVE + 8, 150_000_usize..150_100],
                1..8,
            ),
            chunk in prop_oneof![900_usize..1_100, 60_000_usize..70_000, Just(1 << 20)],
        ) {
            let rows: Vec<_> = lengths.into_iter().map(row).collect();
            let mut reassembly = Reassembly::default();
            let mut found = Vec::new();
            for data in pieces(&rows.concat(), chunk) {
                found.extend(reassembly.push(&data).unwrap());
            }
            let found: Vec<_> = found.into_iter().map(|frame| frame.bytes().to_vec()).collect();
            prop_assert_eq!(found, rows);
        }
    }

    #[test]
    fn a_row_beyond_all_measure_is_an_error_at_its_beginning() {
        let mut head = row(0);
        head[1..5].copy_from_slice(&(KEPT_AT_MOST as u32).to_be_bytes());
        let head = pieces(&head, 100);
        let error = Reassembly::default().push(&head[0]).unwrap_err();
        assert!(matches!(error, WireError::TooLong { tag: b'D', .. }));
    }
}
