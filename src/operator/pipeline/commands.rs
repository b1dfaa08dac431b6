//! The commands that a message ends with.

use super::world::World;
use crate::api::{ACCEPT_ANNOTATION, Outcome, RELEASE_ANNOTATION, RETRY_ANNOTATION};

/// The commands that a message ends with.
pub(super) struct Commands {
    name: String,
    namespace: String,
    pub(super) report: String,
    pub(super) describe: String,
    pub(super) resume: String,
}

impl Commands {
    pub(super) fn of(world: &World) -> Self {
        let meta = &world.migration.metadata;
        let name = meta.name.clone().unwrap_or_default();
        let namespace = meta.namespace.clone().unwrap_or_default();
        Self {
            report: format!("drydock report {name} --namespace {namespace}"),
            describe: format!("kubectl --namespace {namespace} describe migration {name}"),
            resume: format!(
                "kubectl --namespace {namespace} patch migration {name} --type merge --patch '{{\"spec\":{{\"suspend\":false}}}}'"
            ),
            name,
            namespace,
        }
    }

    fn retry(&self) -> String {
        format!(
            "kubectl --namespace {} annotate --overwrite migration {} {RETRY_ANNOTATION}=\"$(date +%s)\"",
            self.namespace, self.name
        )
    }

    pub(super) fn release(&self, image: &str) -> String {
        format!(
            "kubectl --namespace {} annotate --overwrite migration {} {RELEASE_ANNOTATION}={image}",
            self.namespace, self.name
        )
    }

    pub(super) fn accept(&self, state: &str) -> String {
        format!(
            "kubectl --namespace {} annotate --overwrite migration {} {ACCEPT_ANNOTATION}={state}",
            self.namespace, self.name
        )
    }

    pub(super) fn job(&self, job: &str) -> String {
        format!("kubectl --namespace {} describe job {job}", self.namespace)
    }

    pub(super) fn pods(&self, job: &str) -> String {
        format!(
            "kubectl --namespace {} describe pods --selector job-name={job}",
            self.namespace
        )
    }

    pub(super) fn next(&self, outcome: &Outcome) -> String {
        let retry = self.retry();
        if outcome.report.is_some() {
            format!("the report: {}; to try again: {retry}", self.report)
        } else {
            format!("to try again: {retry}")
        }
    }
}
