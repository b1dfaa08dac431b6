//! From what was read to what is proven. Pure: every fact comes in as a value.

use std::collections::BTreeSet;

use super::leftover::End;
use super::moved::Moved;
use super::reading::Reading;
use super::{Before, Bypass, Facts};
use crate::report::{CatalogueClass, CatalogueMove, Witnessed};
use crate::verdict::RollbackProof;

/// What a role without special rights cannot read. Nothing in them can be changed by a migration of
/// such a role without leaving a trace in a catalogue that it can read, passwords and comments on
/// foreign servers aside; so they are named in the report, and the proof stands.
const NOT_FOR_EVERYBODY: [&str; 6] = [
    "pg_authid",
    "pg_largeobject",
    "pg_statistic",
    "pg_statistic_ext_data",
    "pg_subscription",
    "pg_user_mapping",
];

/// Names and transactions that one sentence holds.
const NAMED: usize = 5;

/// Concludes.
pub(super) fn conclude(
    before: &Before,
    after: &Reading,
    end: &End,
    moved: Vec<Moved>,
    facts: &Facts,
) -> Witnessed {
    let suspects = suspects(&moved);
    let unchanged = before
        .catalogues
        .keys()
        .filter(|name| moved.iter().all(|moved| moved.catalogue != **name))
        .cloned()
        .collect();
    let moved: Vec<CatalogueMove> = moved
        .into_iter()
        .map(|moved| CatalogueMove {
            attributed_to: attribute(&moved, &suspects, facts),
            detail: detail(&moved),
            catalogue: moved.catalogue,
            class: moved.class,
        })
        .collect();
    let unproven = unproven(before, after, end, &moved, facts);
    let violated = !end.leftovers.is_empty()
        || end.fates.values().any(|fate| fate != "aborted")
        || moved
            .iter()
            .any(|moved| moved.class == CatalogueClass::Real && moved.attributed_to.is_none());
    // Where one did not end as it should, it is the one to speak of.
    let judged = end
        .fates
        .iter()
        .find(|(_, fate)| *fate != "aborted")
        .map(|(xid, _)| *xid)
        .or_else(|| facts.xids().next());
    Witnessed {
        rollback: if violated {
            RollbackProof::Violated
        } else if unproven.is_empty() {
            RollbackProof::Verified
        } else {
            RollbackProof::Unknown
        },
        xid: judged,
        xact_status: judged.and_then(|xid| end.fates.get(&xid)).cloned(),
        unchanged,
        moved,
        not_covered: before.not_covered.clone(),
        nothing_committed_meanwhile: after.nothing_committed,
        leftovers: end.leftovers.clone(),
        unproven,
        millis: 0,
    }
}

/// Transactions that made something for the command's own role: whatever else they did is not
/// taken for somebody else's either.
fn suspects(moved: &[Moved]) -> BTreeSet<u32> {
    moved
        .iter()
        .filter(|moved| moved.class == CatalogueClass::Real)
        .flat_map(|moved| &moved.new)
        .filter(|committed| committed.owned)
        .map(|committed| committed.xid)
        .collect()
}

/// Whose move it is, when it cannot be the rehearsal's.
fn attribute(moved: &Moved, suspects: &BTreeSet<u32>, facts: &Facts) -> Option<String> {
    let temporary = moved.class == CatalogueClass::Temporary;
    let suspected = moved.new.iter().any(|one| suspects.contains(&one.xid));
    if temporary || suspected || !facts.attributable() {
        return None;
    }
    let mut xids: Vec<String> = moved
        .new
        .iter()
        .take(NAMED)
        .map(|committed| committed.xid.to_string())
        .collect();
    if moved.new.len() > NAMED {
        xids.push(format!("{} more", moved.new.len() - NAMED));
    }
    Some(match xids.len() {
        0 => "another session".to_owned(),
        1 => format!("another session in transaction {}", xids.join("")),
        _ => format!("other sessions in transactions {}", xids.join(", ")),
    })
}

/// How much moved, and which relations it is about.
fn detail(moved: &Moved) -> String {
    let rows: i64 = moved.new.iter().map(|committed| committed.rows).sum();
    let mut names: Vec<&str> = moved
        .new
        .iter()
        .flat_map(|committed| committed.names.iter().map(String::as_str))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(NAMED);
    let mut parts = Vec::new();
    if rows > 0 {
        let named = if names.is_empty() {
            String::new()
        } else {
            format!(" ({})", names.join(", "))
        };
        parts.push(format!("{rows} new{named}"));
    }
    if moved.gone > 0 {
        parts.push(format!("{} gone", moved.gone));
    }
    parts.join(", ")
}

/// What would have to be known for a proof, and is not.
fn unproven(
    before: &Before,
    after: &Reading,
    end: &End,
    moved: &[CatalogueMove],
    facts: &Facts,
) -> Vec<String> {
    let mut unproven: Vec<String> = before
        .not_covered
        .iter()
        .filter(|name| !NOT_FOR_EVERYBODY.contains(&name.as_str()))
        .map(|name| format!("this role cannot read {name}"))
        .collect();
    unproven.extend(
        facts
            .xids()
            .filter(|xid| !end.fates.contains_key(xid))
            .map(|xid| format!("the server does not know the fate of transaction {xid}")),
    );
    // Rows of the application's tables leave no trace in any catalogue.
    if facts.bypass == Bypass::Seen && !after.nothing_committed {
        unproven.push(
            "a session of the command went around the rehearsal, and transactions were committed \
             meanwhile; they may be its own, and may have changed rows"
                .to_owned(),
        );
    }
    for moved in moved {
        // A TRUNCATE looks the same as VACUUM FULL, so it is not nothing.
        if moved.class == CatalogueClass::FileOnly && moved.attributed_to.is_none() {
            unproven.push(format!(
                "files behind {} were replaced by somebody",
                moved.catalogue
            ));
        }
    }
    unproven
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use rstest::rstest;

    use super::super::Taken;
    use super::super::moved::Committed;
    use super::super::reading::Exact;
    use super::*;
    use crate::report::RunId;

    fn before() -> Before {
        let exact = Exact {
            rows: 1,
            sum: "1".to_owned(),
            temporary: String::new(),
            structure: None,
        };
        Before {
            taken: Timestamp::UNIX_EPOCH,
            major: 18,
            snapshot: "7:7:".to_owned(),
            recent: BTreeSet::new(),
            catalogues: ["pg_class", "pg_depend"]
                .into_iter()
                .map(|name| (name.to_owned(), exact.clone()))
                .collect::<BTreeMap<_, _>>(),
            not_covered: vec!["pg_authid".to_owned()],
            prepared: BTreeSet::new(),
            slots: BTreeSet::new(),
            figures: None,
        }
    }

    fn facts() -> Facts {
        Facts {
            run: RunId("r".to_owned()),
            transactions: vec![taken(Some(7))],
            gapless: true,
            bypass: Bypass::None,
        }
    }

    fn taken(xid: Option<u64>) -> Taken {
        Taken {
            xid,
            backend_pid: Some(1),
        }
    }

    fn fates(fates: &[(u64, &str)]) -> End {
        End {
            fates: fates
                .iter()
                .map(|(xid, fate)| (*xid, (*fate).to_owned()))
                .collect(),
            leftovers: vec![],
        }
    }

    fn aborted() -> End {
        fates(&[(7, "aborted")])
    }

    fn moved(catalogue: &str, class: CatalogueClass, xid: u32, owned: bool) -> Moved {
        Moved {
            catalogue: catalogue.to_owned(),
            class,
            new: vec![Committed {
                xid,
                rows: 2,
                owned,
                names: vec!["orders".to_owned()],
            }],
            gone: 1,
        }
    }

    fn concluded(end: &End, moved: Vec<Moved>, facts: &Facts) -> Witnessed {
        conclude(&before(), &Reading::default(), end, moved, facts)
    }

    #[test]
    fn an_aborted_transaction_and_nothing_else_is_a_proof() {
        let seen = concluded(&aborted(), vec![], &facts());
        assert_eq!(seen.rollback, RollbackProof::Verified);
        assert_eq!(seen.unchanged, vec!["pg_class", "pg_depend"]);
        assert_eq!(seen.not_covered, vec!["pg_authid"]);
    }

    #[rstest]
    #[case(Some(7), Some("aborted"), RollbackProof::Verified)]
    #[case(Some(7), Some("committed"), RollbackProof::Violated)]
    #[case(Some(7), Some("in progress"), RollbackProof::Violated)]
    #[case(Some(7), None, RollbackProof::Unknown)]
    #[case(None, None, RollbackProof::Verified)]
    fn the_fate_of_the_transaction_counts(
        #[case] xid: Option<u64>,
        #[case] fate: Option<&str>,
        #[case] proof: RollbackProof,
    ) {
        let end = fate.map_or_else(End::default, |fate| fates(&[(7, fate)]));
        let facts = Facts {
            transactions: vec![taken(xid)],
            ..facts()
        };
        assert_eq!(concluded(&end, vec![], &facts).rollback, proof);
    }

    #[rstest]
    #[case("aborted", RollbackProof::Verified, 7)]
    #[case("committed", RollbackProof::Violated, 9)]
    fn the_fate_of_every_transaction_counts(
        #[case] fate: &str,
        #[case] proof: RollbackProof,
        #[case] spoken_of: u64,
    ) {
        let facts = Facts {
            transactions: vec![taken(Some(7)), taken(Some(9))],
            ..facts()
        };
        let end = fates(&[(7, "aborted"), (9, fate)]);
        let seen = concluded(&end, vec![], &facts);
        assert_eq!((seen.rollback, seen.xid), (proof, Some(spoken_of)));
        let seen = concluded(&aborted(), vec![], &facts);
        assert_eq!(seen.rollback, RollbackProof::Unknown);
    }

    #[rstest]
    #[case::somebody_else(
        CatalogueClass::Real,
        false,
        true,
        Bypass::None,
        RollbackProof::Verified
    )]
    #[case::own_role(
        CatalogueClass::Real,
        true,
        true,
        Bypass::None,
        RollbackProof::Violated
    )]
    #[case::gap(
        CatalogueClass::Real,
        false,
        false,
        Bypass::None,
        RollbackProof::Violated
    )]
    #[case::bypass(
        CatalogueClass::Real,
        false,
        true,
        Bypass::Possible,
        RollbackProof::Violated
    )]
    #[case::files(
        CatalogueClass::FileOnly,
        true,
        true,
        Bypass::None,
        RollbackProof::Verified
    )]
    #[case::files_gap(
        CatalogueClass::FileOnly,
        false,
        false,
        Bypass::None,
        RollbackProof::Unknown
    )]
    #[case::files_bypass(
        CatalogueClass::FileOnly,
        false,
        true,
        Bypass::Possible,
        RollbackProof::Unknown
    )]
    #[case::temporary(
        CatalogueClass::Temporary,
        true,
        false,
        Bypass::Possible,
        RollbackProof::Verified
    )]
    fn moved_rows_are_somebody_elses_only_when_they_cannot_be_ours(
        #[case] class: CatalogueClass,
        #[case] owned: bool,
        #[case] gapless: bool,
        #[case] bypass: Bypass,
        #[case] proof: RollbackProof,
    ) {
        let facts = Facts {
            gapless,
            bypass,
            ..facts()
        };
        let seen = concluded(&aborted(), vec![moved("pg_class", class, 9, owned)], &facts);
        assert_eq!(seen.rollback, proof);
        assert_eq!(seen.unchanged, vec!["pg_depend"]);
    }

    #[rstest]
    #[case(Bypass::Seen, false, RollbackProof::Unknown)]
    #[case::nobody_wrote(Bypass::Seen, true, RollbackProof::Verified)]
    #[case::the_servers_other_traffic(Bypass::None, false, RollbackProof::Verified)]
    #[case::not_seen(Bypass::Possible, false, RollbackProof::Verified)]
    fn a_session_that_went_around_may_have_changed_rows_when_anything_was_committed(
        #[case] bypass: Bypass,
        #[case] nothing_committed: bool,
        #[case] proof: RollbackProof,
    ) {
        let after = Reading {
            nothing_committed,
            ..Reading::default()
        };
        let facts = Facts { bypass, ..facts() };
        let seen = conclude(&before(), &after, &aborted(), vec![], &facts);
        assert_eq!(seen.rollback, proof);
    }

    #[test]
    fn a_transaction_that_made_something_of_ours_is_ours_in_every_catalogue() {
        let real = CatalogueClass::Real;
        let seen = concluded(
            &aborted(),
            vec![
                moved("pg_class", real, 9, true),
                moved("pg_depend", real, 9, false),
                moved("pg_proc", real, 10, false),
            ],
            &facts(),
        );
        let whose: Vec<_> = seen
            .moved
            .iter()
            .map(|moved| &moved.attributed_to)
            .collect();
        assert_eq!(
            whose,
            [
                &None,
                &None,
                &Some("another session in transaction 10".to_owned())
            ]
        );
    }

    #[test]
    fn a_move_is_told_in_figures_and_names() {
        let seen = concluded(
            &aborted(),
            vec![moved("pg_class", CatalogueClass::Real, 9, false)],
            &facts(),
        );
        assert_eq!(seen.moved[0].detail, "2 new (orders), 1 gone");
    }

    #[test]
    fn what_is_left_outweighs_what_is_unknown() {
        let end = End {
            leftovers: vec!["session 1".to_owned()],
            ..End::default()
        };
        let seen = concluded(&end, vec![], &facts());
        assert_eq!(seen.rollback, RollbackProof::Violated);
        assert_eq!(seen.leftovers, vec!["session 1"]);
    }

    #[test]
    fn a_catalogue_that_everybody_can_read_must_be_read() {
        let before = Before {
            not_covered: vec!["pg_proc".to_owned()],
            ..before()
        };
        let seen = conclude(&before, &Reading::default(), &aborted(), vec![], &facts());
        assert_eq!(seen.rollback, RollbackProof::Unknown);
        assert_eq!(seen.unproven, vec!["this role cannot read pg_proc"]);
    }
}
