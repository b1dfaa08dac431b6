//! Reading again only what a transaction has changed; the result is the same as that of reading
//! everything.

use std::collections::BTreeSet;

use super::kind::{Kind, reads};
use super::pinned::Pinned;
use super::touched::{self, Touched, Written};
use super::{Object, assemble, collect, kinds, query, together};
use crate::postgres::ask::{Ask, AskError, Row};
use crate::schema::Snapshot;

/// What a later reading needs to know of a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Mark {
    keys: Vec<Key>,
    begun: Option<Written>,
}

/// What the identity and the definition of an object hang on.
#[derive(Debug, Clone, Copy)]
struct Key {
    catalogue: &'static str,
    oid: u32,
    /// The object's place in the snapshot.
    place: usize,
}

impl Mark {
    pub(super) fn new(objects: &[Object]) -> Self {
        let catalogues = catalogues();
        let keys = objects
            .iter()
            .enumerate()
            .filter_map(|(place, object)| {
                let (catalogue, oid) = object.key.as_ref()?.split_once(' ')?;
                Some(Key {
                    catalogue: catalogues.get(catalogue)?,
                    oid: oid.parse().ok()?,
                    place,
                })
            })
            .collect();
        Self { keys, begun: None }
    }

    /// Says that the transaction of `asker` has not changed anything yet. A later reading in it
    /// reads everything if this was not said.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn begin(&mut self, asker: &mut impl Ask) -> Result<(), AskError> {
        let mut pinned = Pinned::default();
        let begun = Written::read(asker, &mut pinned).await;
        self.begun = pinned.leave(asker, begun).await?;
        Ok(())
    }
}

/// The catalogue as a transaction has left it, not yet put together: that takes time, and the
/// transaction's locks need not be held for it.
#[derive(Debug)]
pub struct Later {
    rows: Vec<Row>,
    /// What else is as it was; `None` if everything was read.
    changed: Option<Changed>,
}

#[derive(Debug)]
struct Changed {
    touched: Touched,
    /// Kinds that were read as a whole.
    again: BTreeSet<&'static str>,
}

/// Reads what the transaction of `asker` has changed since [`Mark::begin`]. What others have changed
/// since `mark` may be in it or not.
///
/// # Errors
/// As [`super::snapshot`].
pub async fn since(asker: &mut impl Ask, major: u32, mark: &Mark) -> Result<Later, AskError> {
    let mut pinned = Pinned::default();
    let later = later(asker, &mut pinned, major, mark).await;
    pinned.leave(asker, later).await
}

async fn later(
    asker: &mut impl Ask,
    pinned: &mut Pinned,
    major: u32,
    mark: &Mark,
) -> Result<Later, AskError> {
    let touched = match &mark.begun {
        Some(begun) => touched::since(asker, pinned, begun, &catalogues()).await?,
        None => None,
    };
    let Some(touched) = touched else {
        return Ok(Later {
            rows: pinned.read(asker, &query(major)).await?,
            changed: None,
        });
    };
    let mut parts = Vec::new();
    let mut again = BTreeSet::new();
    for kind in kinds().iter().filter(|kind| kind.exists_in(major)) {
        match kind.hangs_on().map(|catalogue| touched.of(catalogue)) {
            Some([]) => {}
            Some(oids) => parts.push(kind.query(major, Some(oids))),
            None => {
                let query = kind.query(major, None);
                if reads(&query, touched.written()) {
                    again.insert(kind.name);
                    parts.push(query);
                }
            }
        }
    }
    let rows = if parts.is_empty() {
        Vec::new()
    } else {
        pinned.read(asker, &together(&parts)).await?
    };
    let changed = Some(Changed { touched, again });
    Ok(Later { rows, changed })
}

impl Later {
    /// Puts it together with what has not changed.
    ///
    /// # Errors
    /// When the server's answer does not fit what was read before.
    pub fn onto(self, before: &Snapshot, mark: &Mark) -> Result<Snapshot, AskError> {
        let objects = assemble(self.rows)?;
        let Some(Changed { touched, again }) = self.changed else {
            return Ok(collect(objects));
        };
        let gone: BTreeSet<usize> = mark
            .keys
            .iter()
            .filter(|key| touched.concerns(key.catalogue, key.oid))
            .map(|key| key.place)
            .collect();
        let mut after: Snapshot = before
            .iter()
            .enumerate()
            .filter(|(place, (id, _))| !gone.contains(place) && !again.contains(id.kind.as_str()))
            .map(|(_, (id, body))| (id.clone(), body.to_owned()))
            .collect();
        for object in objects {
            if after.get(&object.id).is_some() {
                return Err(AskError::Shape("what has changed in the catalogue"));
            }
            after.insert(object.id, object.body);
        }
        Ok(after)
    }
}

/// Catalogues on whose objects others hang.
fn catalogues() -> BTreeSet<&'static str> {
    kinds().iter().filter_map(Kind::hangs_on).collect()
}
