//! Releasing an image: the act that opens gates.

use jiff::Timestamp;

use super::world::World;
use crate::api::{MigrationStatus, RELEASE_ANNOTATION, Released, Run};
use crate::operator::gate;
use crate::verdict::Verified;

/// Why an image may be released. There is no way to release one without saying it.
#[derive(Debug)]
pub(super) enum Grounds<'a> {
    /// Its migration was rehearsed, proven, and applied or found to have nothing to do.
    Migrated(&'a Run, Verified),
    /// Its pods already ran when the Migration was created.
    Adopted,
    /// A person accepted the state that its upgrade left.
    Accepted(&'a Run),
    /// A person said so in the annotation `drydock.dev/release`.
    ByHand,
}

/// How many released images are kept at least.
const KEPT: usize = 10;

pub(super) fn release(
    status: &mut MigrationStatus,
    image: &str,
    grounds: &Grounds<'_>,
    now: Timestamp,
) {
    let ran = |run: &Run| Released {
        image: image.to_owned(),
        admitted: run.admitted.clone().filter(|admitted| admitted != image),
        digest: run
            .image_id
            .as_deref()
            .and_then(gate::digest)
            .map(str::to_owned),
        commands: Some(run.commands.clone()),
        evidence: None,
        at: now,
    };
    let entry = match grounds {
        Grounds::Migrated(run, verified) => Released {
            evidence: Some(verified.evidence().clone()),
            ..ran(run)
        },
        Grounds::Accepted(run) => ran(run),
        Grounds::Adopted | Grounds::ByHand => Released {
            image: image.to_owned(),
            admitted: None,
            digest: None,
            commands: None,
            evidence: None,
            at: now,
        },
    };
    status.released.retain(|known| known.image != image);
    status.released.push(entry);
}

/// Whether the image was released with these commands.
pub(super) fn is_released(status: &MigrationStatus, image: &str, commands: &str) -> bool {
    status
        .released
        .iter()
        .any(|r| r.image == image && r.commands.as_deref().is_none_or(|c| c == commands))
}

/// Forgets the oldest images beyond [`KEPT`], but none that a live pod uses or waits for.
pub(super) fn forget(status: &mut MigrationStatus, world: &World) {
    let used = |entry: &Released| {
        world
            .app_pods
            .iter()
            .filter(|pod| !pod.leaving)
            .flat_map(|pod| &pod.images)
            .any(|image| *image == entry.image || Some(image) == entry.admitted.as_ref())
    };
    let mut surplus = status.released.len().saturating_sub(KEPT);
    status.released.retain(|entry| {
        let forgotten = surplus > 0 && entry.image != world.migration.spec.image && !used(entry);
        surplus -= usize::from(forgotten);
        !forgotten
    });
}

/// The images of the Migration's repository in pods that already run, were not held back, and are
/// Ready: on the first look they are released, so that taking an application into care needs no
/// outage.
pub(super) fn adoptable(world: &World) -> Vec<String> {
    let repository = gate::repository(&world.migration.spec.image);
    let mut images: Vec<String> = world
        .app_pods
        .iter()
        .filter(|pod| pod.ready && pod.gate.is_none() && !pod.leaving)
        .flat_map(|pod| &pod.images)
        .filter(|image| gate::repository(image) == repository)
        .cloned()
        .collect();
    images.sort();
    images.dedup();
    images
}

/// Whether a person has released the present image by hand.
pub(super) fn by_hand(world: &World) -> bool {
    world
        .migration
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(RELEASE_ANNOTATION))
        .is_some_and(|image| *image == world.migration.spec.image)
}
