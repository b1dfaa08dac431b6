//! What Prometheus sees. The series of a Migration go when it goes.

use std::collections::BTreeSet;

use kube::ResourceExt;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::api::{MigrationStatus, Past, PastPhase, Run, RunPhase, condition, is_true, job_name};
use crate::operator::pipeline::{Figures, World};

/// All metrics. Cloning shares them.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    registry: Registry,
    condition: IntGaugeVec,
    gated_pods: IntGaugeVec,
    released_images: IntGaugeVec,
    last_dry_run: GaugeVec,
    dry_runs: IntCounterVec,
    upgrades: IntCounterVec,
    last_wait: GaugeVec,
    dry_run_duration: HistogramVec,
    upgrade_duration: HistogramVec,
    apply_to_gate: HistogramVec,
    errors: IntCounterVec,
}

const OBJECT: [&str; 2] = ["namespace", "migration"];

/// From a second to an hour.
const SECONDS: [f64; 11] = [
    1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 900.0, 3600.0,
];

impl Metrics {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let with = |more: &[&'static str]| -> Vec<&'static str> {
            OBJECT.into_iter().chain(more.iter().copied()).collect()
        };
        let metrics = Self {
            registry: Registry::new(),
            condition: IntGaugeVec::new(
                Opts::new(
                    "drydock_migration_condition",
                    "1 for the present status and reason of each condition of a Migration.",
                ),
                &with(&["type", "status", "reason"]),
            )?,
            gated_pods: IntGaugeVec::new(
                Opts::new(
                    "drydock_gated_pods",
                    "Pods that wait for the migration of their image.",
                ),
                &with(&[]),
            )?,
            released_images: IntGaugeVec::new(
                Opts::new("drydock_released_images", "Images whose pods may start."),
                &with(&[]),
            )?,
            last_dry_run: GaugeVec::new(
                Opts::new(
                    "drydock_last_dry_run_timestamp_seconds",
                    "When the verdict of the latest dry run was known.",
                ),
                &with(&[]),
            )?,
            dry_runs: IntCounterVec::new(
                Opts::new("drydock_dry_runs_total", "Dry runs by how they ended."),
                &with(&["reason"]),
            )?,
            upgrades: IntCounterVec::new(
                Opts::new("drydock_upgrades_total", "Upgrades by how they ended."),
                &with(&["reason"]),
            )?,
            last_wait: GaugeVec::new(
                Opts::new(
                    "drydock_last_dry_run_longest_wait_seconds",
                    "The longest that another session waited behind the latest dry run.",
                ),
                &with(&[]),
            )?,
            dry_run_duration: seconds(
                "drydock_dry_run_duration_seconds",
                "From a dry run's beginning in its pod to its verdict.",
            )?,
            upgrade_duration: seconds(
                "drydock_upgrade_duration_seconds",
                "From an upgrade's beginning in its pod to its verdict.",
            )?,
            apply_to_gate: seconds(
                "drydock_apply_to_gate_seconds",
                "From the start of a run to its image's release.",
            )?,
            errors: IntCounterVec::new(
                Opts::new(
                    "drydock_reconcile_errors_total",
                    "Reconciliations that ended with an error, by what failed.",
                ),
                &["category"],
            )?,
        };
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.condition.clone()))?;
        registry.register(Box::new(metrics.gated_pods.clone()))?;
        registry.register(Box::new(metrics.released_images.clone()))?;
        registry.register(Box::new(metrics.last_dry_run.clone()))?;
        registry.register(Box::new(metrics.dry_runs.clone()))?;
        registry.register(Box::new(metrics.upgrades.clone()))?;
        registry.register(Box::new(metrics.last_wait.clone()))?;
        registry.register(Box::new(metrics.dry_run_duration.clone()))?;
        registry.register(Box::new(metrics.upgrade_duration.clone()))?;
        registry.register(Box::new(metrics.apply_to_gate.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        Ok(metrics)
    }

    /// The page that Prometheus scrapes.
    pub(super) fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    pub(super) fn count_error(&self, category: &str) {
        self.errors.with_label_values(&[category]).inc();
    }

    /// Counts what ended between two statuses.
    pub(super) fn count(&self, world: &World, old: &MigrationStatus, new: &MigrationStatus) {
        let (namespace, name) = names(world);
        // From the history: the run may be another one by now.
        let known = |past: &Past| {
            old.history.iter().any(|earlier| {
                (earlier.attempt, earlier.phase) == (past.attempt, past.phase)
                    && earlier.input_digest == past.input_digest
                    && earlier.reason == past.reason
            })
        };
        for past in new.history.iter().filter(|past| !known(past)) {
            let (phase, counter, duration) = match past.phase {
                PastPhase::DryRun => (RunPhase::DryRun, &self.dry_runs, &self.dry_run_duration),
                PastPhase::Upgrade => (RunPhase::Upgrade, &self.upgrades, &self.upgrade_duration),
            };
            counter
                .with_label_values(&[&namespace, &name, &past.reason])
                .inc();
            let job = job_name(&name, phase, &past.input_digest, past.attempt);
            if let Some(took) = world.reports.get(&job).and_then(|of| of.figures.duration) {
                duration
                    .with_label_values(&[&namespace, &name])
                    .observe(took.as_secs_f64());
            }
        }
        let run = new.run.as_ref();
        let Some(run) = run.filter(|run| run.image == world.migration.spec.image) else {
            return;
        };
        let open = |status: &MigrationStatus| is_true(status.condition(condition::GATE_OPEN));
        if open(new) && !open(old) {
            let took = world.now.duration_since(run.started).as_secs_f64();
            self.apply_to_gate
                .with_label_values(&[&namespace, &name])
                .observe(took);
        }
    }

    /// Shows how a Migration stands.
    pub(super) fn show(&self, world: &World, status: &MigrationStatus) {
        let (namespace, name) = names(world);
        let present: Vec<Vec<String>> = status
            .conditions
            .iter()
            .map(|c| [&namespace, &name, &c.type_, &c.status, &c.reason].map(Clone::clone))
            .map(Vec::from)
            .collect();
        // The new ones first: a scrape in between must not miss a condition.
        for labels in &present {
            self.condition.with_label_values(labels).set(1);
        }
        self.drop_conditions(&namespace, &name, &present);
        let count = |amount: usize| i64::try_from(amount).unwrap_or(i64::MAX);
        let gated = world.app_pods.iter().filter(|pod| pod.gate.is_some());
        let object = [namespace.as_str(), name.as_str()];
        self.gated_pods
            .with_label_values(&object)
            .set(count(gated.count()));
        self.released_images
            .with_label_values(&object)
            .set(count(status.released.len()));
        if let Some(run) = &status.run
            && let Some(outcome) = run.outcome(RunPhase::DryRun)
        {
            self.last_dry_run
                .with_label_values(&object)
                .set(outcome.at.as_duration().as_secs_f64());
            match figures(world, run, RunPhase::DryRun).longest_wait {
                Some(wait) => self
                    .last_wait
                    .with_label_values(&object)
                    .set(wait.as_secs_f64()),
                // An earlier dry run's figure says nothing about this one.
                None => drop(self.last_wait.remove_label_values(&object)),
            }
        }
    }

    /// The Migration is gone.
    pub(super) fn forget(&self, namespace: &str, name: &str) {
        self.drop_conditions(namespace, name, &[]);
        let object = [namespace, name];
        // An error only says that there was no such series.
        let _ = self.gated_pods.remove_label_values(&object);
        let _ = self.released_images.remove_label_values(&object);
        let _ = self.last_dry_run.remove_label_values(&object);
        let _ = self.last_wait.remove_label_values(&object);
        for histogram in [
            &self.dry_run_duration,
            &self.upgrade_duration,
            &self.apply_to_gate,
        ] {
            let _ = histogram.remove_label_values(&object);
        }
        for counter in [&self.dry_runs, &self.upgrades] {
            for labels in series(counter, namespace, name) {
                let values: Vec<&str> = labels.iter().map(String::as_str).collect();
                let _ = counter.remove_label_values(&values);
            }
        }
    }

    /// Forgets the Migrations that do not exist any more.
    pub(super) fn keep_only(&self, exists: impl Fn(&str, &str) -> bool) {
        let mut shown = BTreeSet::new();
        for family in self.registry.gather() {
            for metric in family.get_metric() {
                if let [namespace, name] = OBJECT.map(|label| value(metric, label))
                    && !name.is_empty()
                {
                    shown.insert((namespace, name));
                }
            }
        }
        for (namespace, name) in shown {
            if !exists(&namespace, &name) {
                self.forget(&namespace, &name);
            }
        }
    }

    fn drop_conditions(&self, namespace: &str, name: &str, but: &[Vec<String>]) {
        for labels in series(&self.condition, namespace, name) {
            if !but.contains(&labels) {
                let _ = self.condition.remove_label_values(&labels);
            }
        }
    }
}

/// A histogram of seconds for each Migration.
fn seconds(name: &str, help: &str) -> Result<HistogramVec, prometheus::Error> {
    HistogramVec::new(
        HistogramOpts::new(name, help).buckets(SECONDS.to_vec()),
        &OBJECT,
    )
}

/// What the report of one of the run's Jobs says that it took.
fn figures(world: &World, run: &Run, phase: RunPhase) -> Figures {
    let report = run
        .job(phase)
        .and_then(|record| world.reports.get(&record.name));
    report.map_or_else(Figures::default, |report| report.figures)
}

fn names(world: &World) -> (String, String) {
    (
        world.migration.namespace().unwrap_or_default(),
        world.migration.name_any(),
    )
}

fn value(metric: &prometheus::proto::Metric, label: &str) -> String {
    metric
        .get_label()
        .iter()
        .find(|pair| pair.name() == label)
        .map(|pair| pair.value().to_owned())
        .unwrap_or_default()
}

/// The label values, in the order of registration, of all series of one Migration.
fn series(
    vector: &impl prometheus::core::Collector,
    namespace: &str,
    name: &str,
) -> Vec<Vec<String>> {
    let order: Vec<String> = vector
        .desc()
        .iter()
        .flat_map(|desc| desc.variable_labels.clone())
        .collect();
    let mut found = Vec::new();
    for family in vector.collect() {
        for metric in family.get_metric() {
            if value(metric, "namespace") == namespace && value(metric, "migration") == name {
                found.push(order.iter().map(|label| value(metric, label)).collect());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
