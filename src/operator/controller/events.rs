//! Events on a Migration.

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

use crate::api::{Migration, RunPhase};
use crate::operator::pipeline::{Severity, Transition};

/// The API server refuses longer notes.
const NOTE_LIMIT: usize = 1024;

pub(super) struct Events {
    client: Client,
    reporter: Reporter,
}

impl Events {
    pub(super) fn new(client: Client) -> Self {
        let reporter = Reporter {
            controller: "drydock".to_owned(),
            instance: None,
        };
        Self { client, reporter }
    }

    /// Events are news for people; one that cannot be written changes nothing.
    pub(super) async fn tell(&self, migration: &Migration, transition: &Transition) {
        let mut note = transition.message.clone();
        note.truncate(note.floor_char_boundary(NOTE_LIMIT));
        let event = Event {
            type_: match transition.severity {
                Severity::Normal => EventType::Normal,
                Severity::Warning => EventType::Warning,
            },
            reason: transition.reason.clone(),
            note: Some(note),
            action: match transition.phase {
                Some(RunPhase::DryRun) => "DryRun".to_owned(),
                Some(RunPhase::Upgrade) => "Upgrade".to_owned(),
                None => "Gate".to_owned(),
            },
            secondary: None,
        };
        // A recorder takes an event with the reason of an earlier one for its repetition and keeps
        // that one's note: the second dry run would be announced under the name of the first Job.
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        if let Err(error) = recorder.publish(&event, &migration.object_ref(&())).await {
            tracing::warn!(%error, "cannot write an event");
        }
    }
}
