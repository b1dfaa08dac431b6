//! The independent look at the end, on connections that took no part in what they judge.

use super::before::{self, Before};
use super::decide::After;
use super::lease::application_name;
use super::record::DryRun;
use super::trouble::chain;
use crate::postgres::connect::{self, Client, StartupSettings};
use crate::postgres::url::Target;
use crate::report::{Ledger, RunId, Witnessed};
use crate::schema::Difference;
use crate::witness::{self, Facts};

/// Has the witness look whether the rehearsal left nothing behind.
///
/// # Errors
/// Says why it could not look.
pub async fn rollback(
    target: &Target,
    run: &RunId,
    before: &Before,
    record: &DryRun,
) -> Result<(Witnessed, Ledger), String> {
    let mut client = connect(target, run).await?;
    let major = client.major().unwrap_or(before.database.major);
    let facts = Facts {
        run: run.clone(),
        xid: record.rehearsal.xid,
        gapless: record.rehearsal.gapless,
        backend_pid: record.rehearsal.backend_pid,
        bypass: record.may_have_gone_around(),
    };
    witness::verify(&mut client, major, &before.witness, &facts)
        .await
        .map_err(|error| chain(&error))
}

/// Reads the database after an upgrade.
///
/// # Errors
/// Says why it could not be read.
pub async fn after(target: &Target, run: &RunId, before: &Before) -> Result<After, String> {
    let mut client = connect(target, run).await?;
    let (snapshot, state) =
        before::read(&mut client, before.database.major, &before.version_tables)
            .await
            .map_err(|error| chain(&error))?;
    Ok(After {
        before: before.state.clone(),
        state,
        difference: Difference::between(&before.snapshot, &snapshot),
    })
}

async fn connect(target: &Target, run: &RunId) -> Result<Client, String> {
    connect::client(target, &StartupSettings::first(&application_name(run)))
        .await
        .map_err(|error| chain(&error))
}
