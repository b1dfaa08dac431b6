//! A place in the transaction to which everything can be undone, whatever commands have committed
//! behind it: what one command breaks is not in the way of the next.
//!
//! It is a savepoint below the one of virtual transactions. So it is set and returned to only when
//! no client is there, and there is one at most: once something is written behind it, it holds a
//! transaction id of its own.

use super::control::{Control, Savepoint};
use super::event::{Place, Question, Surroundings};
use super::upstream::Point;
use super::{Flow, Transaction};

impl<S: Surroundings> Transaction<S> {
    /// The next order, once every client is gone.
    pub(super) fn next_place(&mut self) -> Option<(Question, Place)> {
        if !self.clients.is_empty() {
            return None;
        }
        self.places.pop_front()
    }

    /// Sets the place, which replaces an earlier one, or undoes all that came behind it.
    pub(super) async fn place(&mut self, question: Question, place: Place) -> Flow<()> {
        self.settle_session().await?;
        if self.upstream.savepoint != Point::Absent {
            self.control(&Control::Release(Savepoint::Virtual));
            self.upstream.savepoint = Point::Absent;
        }
        let is_set = std::mem::replace(&mut self.place_is_set, place == Place::Set);
        if is_set {
            if place == Place::Return {
                self.control(&Control::RollbackTo(Savepoint::Place));
                self.deferred.stale();
            }
            self.control(&Control::Release(Savepoint::Place));
        }
        if place == Place::Set {
            self.control(&Control::Savepoint(Savepoint::Place));
        }
        self.sync().await?;
        self.output.placed.push(question);
        Ok(())
    }
}
