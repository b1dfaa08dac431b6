//! COPY FROM STDIN: the client's data goes upstream as it comes. Nothing of ours may come between
//! Execute and Sync; a Sync that arrives in copy mode is ignored, as the server does.

use super::event::Surroundings;
use super::upstream::Copying;
use super::{ClientId, Flow, Transaction};
use crate::rehearsal::wire::{Frontend, Piece};

impl<S: Surroundings> Transaction<S> {
    /// Passes data on until the client or the server ends it, in the simple protocol.
    pub(super) async fn copy_in_simple(&mut self, id: ClientId) -> Flow<()> {
        self.copy_in(id, true).await
    }

    /// Passes data on until the client or the server ends it.
    pub(super) async fn copy_in(&mut self, id: ClientId, simple: bool) -> Flow<()> {
        while self.upstream.copying == Copying::In {
            let ended = match self.copy_message(id).await? {
                Some(Piece::Data(data)) => {
                    self.output.upstream.extend_from_slice(data.bytes());
                    self.finish_cut_message(id, data.owed()).await?;
                    false
                }
                Some(Piece::Frame(frame)) => match frame.tag() {
                    b'c' | b'f' => {
                        self.output.upstream.extend_from_slice(frame.bytes());
                        true
                    }
                    b'S' | b'H' => false,
                    b'X' => {
                        if let Some(client) = self.clients.get_mut(&id) {
                            client.gone = true;
                        }
                        self.fail_copy("unexpected end of the client's data");
                        true
                    }
                    _ => {
                        self.fail_copy("unexpected message during COPY from stdin");
                        true
                    }
                },
                None if self.upstream.copying == Copying::In => {
                    self.fail_copy("unexpected EOF on client connection with an open transaction");
                    true
                }
                None => true,
            };
            if ended {
                break;
            }
        }
        if self.upstream.copying == Copying::In {
            self.upstream.copying = Copying::No;
        }
        self.upstream.replies.copied();
        // A client of the extended protocol asks for the answer by its own Sync or Flush.
        if simple {
            Frontend::Flush.encode(&mut self.output.upstream);
        }
        if simple || self.upstream.faulted {
            self.settle().await?;
        }
        Ok(())
    }

    /// The next message, unless the server has given up meanwhile.
    async fn copy_message(&mut self, id: ClientId) -> Flow<Option<Piece>> {
        while self.upstream.copying == Copying::In {
            if let Some(said) = self.next_said(id) {
                return Ok(said);
            }
            self.listen_to_client().await?;
        }
        Ok(None)
    }

    /// A long message is passed on in parts; nothing else may be written before its end.
    async fn finish_cut_message(&mut self, id: ClientId, mut owed: usize) -> Flow<()> {
        while owed > 0 {
            match self.message(id).await? {
                Some(Piece::Data(data)) => {
                    self.output.upstream.extend_from_slice(data.bytes());
                    owed = data.owed();
                }
                Some(Piece::Frame(_)) => {}
                None => {
                    // The rest of a message that was announced has to come from somewhere, or the
                    // server waits for it for ever.
                    self.output
                        .upstream
                        .resize(self.output.upstream.len() + owed, 0);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn fail_copy(&mut self, reason: &str) {
        Frontend::CopyFail(reason.as_bytes()).encode(&mut self.output.upstream);
    }
}
