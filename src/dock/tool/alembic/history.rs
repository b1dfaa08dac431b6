//! What `alembic history --verbose` prints, as a graph.

use std::collections::{BTreeMap, BTreeSet};

/// One revision as Alembic describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revision {
    /// Its identifier.
    pub id: String,
    /// The revisions that it follows; several for a merge, none for a base.
    pub parents: Vec<String>,
    /// `depends_on` as it was written: identifiers, their beginnings, or labels.
    pub depends_on: Vec<String>,
    /// Branch labels, inherited ones too.
    pub labels: Vec<String>,
    /// Its file.
    pub path: String,
    /// The first paragraph of its file, on one line.
    pub message: String,
    /// Whether no other revision follows it.
    pub head: bool,
}

/// All revisions, newest first, as Alembic lists them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revisions {
    list: Vec<Revision>,
}

/// Longer messages are cut: they are for one line.
const MESSAGE: usize = 200;

/// What Alembic writes behind an identifier.
const MARKS: [&str; 4] = [" (current)", " (mergepoint)", " (branchpoint)", " (head)"];

impl Revisions {
    /// Reads the list. Lines that are not Alembic's, such as warnings, are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut list: Vec<Revision> = Vec::new();
        let mut message = Message::Before;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("Rev: ") {
                list.push(begun(rest));
                message = Message::Before;
                continue;
            }
            let Some(revision) = list.last_mut() else {
                continue;
            };
            // What the file says is indented by four, whatever it looks like.
            if let Some(said) = line.strip_prefix("    ") {
                message = message.and(&mut revision.message, said.trim());
            } else if let Some(parents) = after(line, &["Parent: ", "Merges: "]) {
                revision.parents = listed(parents);
                revision.parents.retain(|parent| parent != "<base>");
            } else if let Some(others) = after(line, &["Also depends on: "]) {
                revision.depends_on = listed(others);
            } else if let Some(labels) = after(line, &["Branch names: "]) {
                revision.labels = listed(labels);
                revision.labels.sort_unstable();
            } else if let Some(path) = after(line, &["Path: "]) {
                path.clone_into(&mut revision.path);
            }
        }
        Self { list }
    }

    /// All, newest first.
    #[must_use]
    pub fn all(&self) -> &[Revision] {
        &self.list
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Revision> {
        self.list.iter().find(|revision| revision.id == id)
    }

    /// Those that no other follows.
    pub fn heads(&self) -> impl Iterator<Item = &Revision> {
        self.list.iter().filter(|revision| revision.head)
    }

    /// Those that follow no other.
    pub fn bases(&self) -> impl Iterator<Item = &Revision> {
        self.list
            .iter()
            .filter(|revision| revision.parents.is_empty())
    }

    /// What an upgrade to `target` arrives at; `None` when that depends on where it begins, or when
    /// Alembic would refuse.
    #[must_use]
    pub fn arrives_at(&self, target: &str) -> Option<Vec<&Revision>> {
        let (label, symbol) = match target.split_once('@') {
            Some((label, symbol)) => (Some(label), symbol),
            None => (None, target),
        };
        if matches!(symbol, "head" | "heads") {
            let heads: Vec<&Revision> = self
                .heads()
                .filter(|head| label.is_none_or(|label| head.labels.iter().any(|it| it == label)))
                .collect();
            return (symbol == "heads" || heads.len() == 1).then_some(heads);
        }
        self.named(symbol).map(|revision| vec![revision])
    }

    /// These revisions and everything that has to be applied before them.
    #[must_use]
    pub fn with_ancestors<'a>(&'a self, from: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
        let by_id: BTreeMap<&str, &Revision> = self
            .list
            .iter()
            .map(|revision| (revision.id.as_str(), revision))
            .collect();
        let mut open: Vec<&str> = from.filter(|id| by_id.contains_key(id)).collect();
        let mut found = BTreeSet::new();
        while let Some(id) = open.pop() {
            if !found.insert(id) {
                continue;
            }
            if let Some(revision) = by_id.get(id) {
                open.extend(revision.parents.iter().map(String::as_str));
                open.extend(
                    revision
                        .depends_on
                        .iter()
                        .filter_map(|other| self.named(other))
                        .map(|other| other.id.as_str()),
                );
            }
        }
        found
    }

    /// By identifier, by the beginning of one, or by label.
    fn named(&self, name: &str) -> Option<&Revision> {
        if let Some(revision) = self.get(name) {
            return Some(revision);
        }
        let mut begin = self.list.iter().filter(|it| it.id.starts_with(name));
        match (begin.next(), begin.next()) {
            (Some(only), None) if name.len() >= 4 => Some(only),
            // The oldest with the label is the one that introduced it.
            _ => self
                .list
                .iter()
                .rfind(|it| it.labels.iter().any(|label| label == name)),
        }
    }
}

/// Where in a file's own words the reading is.
#[derive(Clone, Copy)]
enum Message {
    Before,
    Inside,
    Over,
}

impl Message {
    fn and(self, message: &mut String, said: &str) -> Self {
        match self {
            Self::Over => Self::Over,
            Self::Inside if said.is_empty() => Self::Over,
            _ if said.is_empty() => self,
            _ => {
                if !message.is_empty() {
                    message.push(' ');
                }
                let room = MESSAGE.saturating_sub(message.chars().count());
                message.extend(said.chars().take(room));
                Self::Inside
            }
        }
    }
}

fn begun(line: &str) -> Revision {
    let mut id = line.trim_end();
    let mut head = false;
    while let Some((mark, shorter)) = MARKS
        .iter()
        .find_map(|mark| id.strip_suffix(mark).map(|shorter| (*mark, shorter)))
    {
        head |= mark == " (head)";
        id = shorter;
    }
    Revision {
        id: id.to_owned(),
        head,
        ..Revision::default()
    }
}

fn after<'a>(line: &'a str, labels: &[&str]) -> Option<&'a str> {
    labels.iter().find_map(|label| line.strip_prefix(label))
}

fn listed(text: &str) -> Vec<String> {
    text.split(", ")
        .map(|word| word.trim().to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Alembic 1.20's own words for a branch with a label, its merge, and what depends on it.
    const BRANCHES: &str = "\
UserWarning: something in between
Rev: ffff (head)
Parent: dddd
Also depends on: eeee
Branch names: billing
Path: /app/versions/ffff_x.py

    f
    
    Revision ID: ffff

Rev: eeee (head)
Parent: dddd
Branch names: billing
Path: /app/versions/eeee_x.py

    e

Rev: dddd (branchpoint) (mergepoint)
Merges: bbbb, cccc
Branches into: eeee, ffff
Branch names: billing
Path: /app/versions/dddd_x.py

    merge

Rev: bbbb
Parent: aaaa
Branch names: billing
Path: /app/versions/bbbb_x.py

    b, with commas (head)

Rev: cccc
Parent: aaaa
Path: /app/versions/cccc_x.py

    two lines
    of one paragraph

Rev: aaaa (branchpoint)
Parent: <base>
Branches into: cccc, bbbb
Path: /app/versions/aaaa_x.py

    
    first
    
    second paragraph
    Rev: fake
    Path: /etc/passwd

";

    fn ids<'a>(revisions: impl Iterator<Item = &'a Revision>) -> Vec<&'a str> {
        revisions.map(|revision| revision.id.as_str()).collect()
    }

    #[test]
    fn every_revision_is_read_and_nothing_that_only_looks_like_one() {
        let revisions = Revisions::parse(BRANCHES);
        assert_eq!(
            ids(revisions.all().iter()),
            ["ffff", "eeee", "dddd", "bbbb", "cccc", "aaaa"]
        );
        assert_eq!(ids(revisions.heads()), ["ffff", "eeee"]);
        assert_eq!(ids(revisions.bases()), ["aaaa"]);
        let first = revisions.get("aaaa").unwrap();
        assert_eq!(first.message, "first");
        assert_eq!(first.path, "/app/versions/aaaa_x.py");
        assert_eq!(
            revisions.get("bbbb").unwrap().message,
            "b, with commas (head)"
        );
        assert_eq!(
            revisions.get("cccc").unwrap().message,
            "two lines of one paragraph"
        );
        assert_eq!(revisions.get("dddd").unwrap().parents, ["bbbb", "cccc"]);
        assert_eq!(revisions.get("ffff").unwrap().depends_on, ["eeee"]);
    }

    #[test]
    fn ancestors_are_parents_and_what_is_depended_on() {
        let revisions = Revisions::parse(BRANCHES);
        let of = |id: &'static str| revisions.with_ancestors([id].into_iter());
        assert_eq!(
            of("ffff").into_iter().collect::<Vec<_>>(),
            ["aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff"]
        );
        assert_eq!(of("bbbb").len(), 2);
        assert!(of("unknown").is_empty());
    }

    #[test]
    fn a_target_is_a_head_a_label_or_the_beginning_of_an_identifier() {
        let revisions = Revisions::parse(BRANCHES);
        let at = |target: &str| {
            revisions
                .arrives_at(target)
                .map(|found| ids(found.into_iter()).join(" "))
        };
        assert_eq!(at("heads").as_deref(), Some("ffff eeee"));
        assert_eq!(at("head"), None, "Alembic refuses");
        assert_eq!(at("dddd").as_deref(), Some("dddd"));
        assert_eq!(at("billing").as_deref(), Some("bbbb"));
        assert_eq!(at("billing@heads").as_deref(), Some("ffff eeee"));
        assert_eq!(at("+1"), None);
    }

    #[test]
    fn a_project_without_revisions_has_none() {
        assert_eq!(Revisions::parse("").all(), []);
    }
}
