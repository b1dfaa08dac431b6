//! Live progress on a terminal, sparse plain lines elsewhere; always on standard error.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use bytes::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::dock::console::{Console, Progress, Step};
use crate::report::units::{count, millis};

/// How often a terminal's line is drawn anew.
const REDRAW: Duration = Duration::from_millis(100);
/// How long a statement runs before a plain log mentions it.
const SLOW: Duration = Duration::from_secs(10);

/// The watching ends of a [`Console`].
pub(super) struct Display {
    done: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Display {
    /// Opens a display and gives the ends that a run holds.
    pub(super) fn open(quiet: bool, stop: watch::Receiver<bool>) -> (Self, Console) {
        let (output, chunks) = mpsc::channel(64);
        let (progress, moments) = watch::channel(Progress::default());
        let (done, ended) = oneshot::channel();
        // On a thread of its own: whoever reads standard error may be slow, and the rehearsal and
        // its guard must not wait for that.
        let runtime = tokio::runtime::Handle::current();
        let task = tokio::task::spawn_blocking(move || {
            if quiet {
                runtime.block_on(swallow(chunks, ended));
            } else if std::io::stderr().is_terminal() {
                runtime.block_on(live(chunks, moments, ended));
            } else {
                runtime.block_on(plain(chunks, moments, ended));
            }
        });
        (
            Self { done, task },
            Console {
                output,
                progress,
                stop,
            },
        )
    }

    /// Shows what is still to be shown and clears the line.
    pub(super) async fn close(self) {
        let _ = self.done.send(());
        let _ = self.task.await;
    }
}

async fn swallow(mut chunks: mpsc::Receiver<Bytes>, mut ended: oneshot::Receiver<()>) {
    loop {
        tokio::select! {
            chunk = chunks.recv() => if chunk.is_none() { break },
            _ = &mut ended => break,
        }
    }
}

async fn live(
    mut chunks: mpsc::Receiver<Bytes>,
    moments: watch::Receiver<Progress>,
    mut ended: oneshot::Receiver<()>,
) {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {wide_msg}") {
        bar.set_style(style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
    }
    let mut lines = Lines::default();
    let mut tick = tokio::time::interval(REDRAW);
    loop {
        tokio::select! {
            chunk = chunks.recv() => match chunk {
                Some(chunk) => lines.push(&chunk, |line| bar.suspend(|| write(line))),
                None => break,
            },
            _ = tick.tick() => {
                bar.set_message(describe(&moments.borrow()));
                bar.tick();
            }
            _ = &mut ended => break,
        }
    }
    while let Ok(chunk) = chunks.try_recv() {
        lines.push(&chunk, |line| bar.suspend(|| write(line)));
    }
    bar.finish_and_clear();
    lines.finish();
}

async fn plain(
    mut chunks: mpsc::Receiver<Bytes>,
    mut moments: watch::Receiver<Progress>,
    mut ended: oneshot::Receiver<()>,
) {
    let mut said = None;
    let mut slow_said: Option<Instant> = None;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut watching = true;
    loop {
        tokio::select! {
            chunk = chunks.recv() => match chunk {
                Some(chunk) => write(&chunk),
                None => break,
            },
            changed = moments.changed(), if watching => {
                watching = changed.is_ok();
                let step = moments.borrow().step;
                if said != Some(step) {
                    said = Some(step);
                    write(format!("drydock: {}\n", name(step)).as_bytes());
                }
            }
            _ = tick.tick() => {
                let moment = moments.borrow().clone();
                if let Some((_, since)) = &moment.current
                    && since.elapsed() > SLOW
                    && slow_said != Some(*since)
                {
                    slow_said = Some(*since);
                    write(format!("drydock: {}\n", describe(&moment)).as_bytes());
                }
            }
            _ = &mut ended => break,
        }
    }
    while let Ok(chunk) = chunks.try_recv() {
        write(&chunk);
    }
}

fn name(step: Step) -> &'static str {
    match step {
        Step::Prepare => "connecting and taking the state before",
        Step::Fixtures => "putting the fixtures in",
        Step::Check => "running the checks",
        Step::Rehearse => "rehearsing",
        Step::Predict => "reading the predicted state and rolling back",
        Step::RoundTrip => "going back and forth again",
        Step::Verify => "verifying the rollback",
        Step::Upgrade => "upgrading",
        Step::Compare => "comparing with the predicted state",
    }
}

fn describe(progress: &Progress) -> String {
    let mut parts = vec![name(progress.step).to_owned()];
    if let Some(address) = &progress.open_at {
        parts.push(format!("open at {address}, Ctrl-C ends it"));
    }
    if progress.statements > 0 {
        parts.push(count(progress.statements, "statement"));
    }
    if let Some((strongest, others)) = progress.held.split_first() {
        let more = match others.len() {
            0 => String::new(),
            number => format!(" and {number} more"),
        };
        parts.push(format!("holds {strongest}{more}"));
    }
    if progress.blocked > 0 {
        parts.push(format!(
            "{} blocked",
            count(progress.blocked as u64, "session")
        ));
    }
    if let Some((text, since)) = &progress.current {
        let age = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        parts.push(format!("{} in {text}", millis(age)));
    }
    parts.join(" · ")
}

/// Standard error may be closed; then nobody reads it.
fn write(bytes: &[u8]) {
    let _ = std::io::stderr().lock().write_all(bytes);
}

/// Whole lines only, so that the live line never cuts one in two.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn push(&mut self, chunk: &[u8], show: impl Fn(&[u8])) {
        self.rest.extend_from_slice(chunk);
        if let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') {
            let whole: Vec<u8> = self.rest.drain(..=end).collect();
            show(&whole);
        }
    }

    fn finish(self) {
        if !self.rest.is_empty() {
            write(&self.rest);
            write(b"\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_what_runs_for_how_long_what_is_held_and_who_waits() {
        let began = Instant::now().checked_sub(Duration::from_secs(90)).unwrap();
        let progress = Progress {
            step: Step::Rehearse,
            statements: 17,
            current: Some((
                "ALTER TABLE orders\n  ADD COLUMN note text".to_owned(),
                began,
            )),
            held: vec![
                "AccessExclusiveLock on orders".to_owned(),
                "ShareLock on customers".to_owned(),
                "ShareLock on lines".to_owned(),
            ],
            blocked: 2,
            open_at: None,
        };
        assert_eq!(
            describe(&progress),
            "rehearsing · 17 statements · holds AccessExclusiveLock on orders and 2 more · \
             2 sessions blocked · 1 min 30 s in ALTER TABLE orders ADD COLUMN note text"
        );
    }

    #[test]
    fn a_line_says_nothing_of_what_there_is_none_of() {
        assert_eq!(
            describe(&Progress::default()),
            "connecting and taking the state before"
        );
        let open = Progress {
            step: Step::Rehearse,
            statements: 1,
            held: vec!["ShareLock on orders".to_owned()],
            blocked: 1,
            open_at: Some("postgresql://app@127.0.0.1:6543/shop".to_owned()),
            current: None,
        };
        assert_eq!(
            describe(&open),
            "rehearsing · open at postgresql://app@127.0.0.1:6543/shop, Ctrl-C ends it · \
             1 statement · holds ShareLock on orders · 1 session blocked"
        );
    }
}
