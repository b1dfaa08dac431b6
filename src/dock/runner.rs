//! Runs the user's command in its own process group and reports how it ended.
//!
//! Guarantees: a command whose run is over is not left running. In a dry run it is killed at once
//! (nothing can be lost); in an upgrade it is asked with SIGTERM and then waited for, because
//! whoever kills a committing client does not know what was committed.

mod output;
mod redaction;

use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

use super::link::{Answer, Ended, How, Order, Runner, Start};
use super::tool::alembic::is_for_several_databases;
use output::Tail;

/// How long the sidecar may take to hear of the end: it may still be busy with preparing.
const HAND_OVER: Duration = Duration::from_secs(10);

/// How long the output of a command that has ended may still be held open by its children.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// Serves one sidecar: runs the commands that it orders, one after the other, and hands each result
/// over, until it orders no more.
///
/// `output` receives the commands' standard output and error as they come; `stop` turns true when
/// this process was asked to end. Returns how the last command ended, `None` when nothing was run.
pub async fn serve(
    mut link: Runner,
    output: mpsc::Sender<Bytes>,
    mut stop: watch::Receiver<bool>,
) -> Option<Ended> {
    let mut last = None;
    loop {
        let order = tokio::select! {
            biased;
            order = link.orders.recv() => order,
            () = asked(&mut stop) => {
                if last.is_none() {
                    let ended = not_started(
                        "the command's container was stopped before the command was started",
                    );
                    hand_over(&mut link, &ended).await;
                    last = Some(ended);
                }
                return last;
            }
        };
        match order {
            Some(Order::Start(start)) => {
                let ended = run(start, &mut link, output.clone(), stop.clone()).await;
                hand_over(&mut link, &ended).await;
                last = Some(ended);
            }
            Some(Order::Look { files }) => {
                let for_several = written_for_several(files);
                // A sidecar that is gone orders no more either.
                let _ = link.answers.send(Answer::Looked { for_several }).await;
            }
            Some(Order::NothingToRun { reason }) => {
                tracing::info!(reason, "nothing to run");
                return last;
            }
            Some(Order::Stop | Order::Received) | None => return last,
        }
    }
}

/// The files are where the command is, which in a pod is another container than the sidecar's.
fn written_for_several(files: Vec<String>) -> Option<String> {
    files.into_iter().find(|path| {
        std::fs::read_to_string(path).is_ok_and(|source| is_for_several_databases(&source))
    })
}

fn not_started(reason: impl Into<String>) -> Ended {
    Ended {
        how: How::NotStarted {
            reason: reason.into(),
        },
        output: String::new(),
        millis: 0,
    }
}

/// A sidecar that is gone has already counted this command as lost.
async fn hand_over(link: &mut Runner, ended: &Ended) {
    if link
        .answers
        .send(Answer::Ended(ended.clone()))
        .await
        .is_ok()
    {
        let _ = tokio::time::timeout(HAND_OVER, async {
            while !matches!(link.orders.recv().await, Some(Order::Received) | None) {}
        })
        .await;
    }
}

async fn run(
    start: Start,
    link: &mut Runner,
    output: mpsc::Sender<Bytes>,
    mut stop: watch::Receiver<bool>,
) -> Ended {
    let began = Instant::now();
    let mut tail = Tail::new(start.secrets.clone(), start.question);
    let mut child = match spawn(&start) {
        Ok(child) => child,
        Err(reason) => return not_started(reason),
    };
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    let (chunks, mut heard) = mpsc::channel::<Bytes>(64);
    for pipe in [
        child.stdout.take().map(boxed),
        child.stderr.take().map(boxed),
    ]
    .into_iter()
    .flatten()
    {
        tokio::spawn(forward(pipe, chunks.clone()));
    }
    drop(chunks);
    let _ = link.answers.send(Answer::Started).await;

    let mut stopped = false;
    let mut linked = true;
    let mut output_open = true;
    let status = loop {
        tokio::select! {
            biased;
            status = child.wait() => break status,
            chunk = heard.recv(), if output_open => match chunk {
                Some(chunk) => {
                    tail.push(&chunk);
                    if !start.question {
                        let _ = output.send(chunk).await;
                    }
                }
                None => output_open = false,
            },
            order = link.orders.recv(), if linked => {
                if matches!(order, None | Some(Order::Stop)) {
                    linked = order.is_some();
                    stopped = true;
                    end(group, start.expendable);
                }
            }
            () = asked(&mut stop), if !stopped => {
                stopped = true;
                end(group, start.expendable);
            }
        }
    };
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    if start.expendable {
        // Whatever it left in the background must not outlive the rehearsal.
        end(group, true);
    }
    let deadline = tokio::time::Instant::now() + OUTPUT_GRACE;
    while let Ok(Some(chunk)) = tokio::time::timeout_at(deadline, heard.recv()).await {
        tail.push(&chunk);
        if !start.question {
            let _ = output.send(chunk).await;
        }
    }
    Ended {
        how: how(status, stopped),
        output: tail.into_text(),
        millis,
    }
}

/// Ends when the process is asked to stop; never, when nobody is left who could ask.
async fn asked(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

fn spawn(start: &Start) -> Result<Child, String> {
    let Some((program, arguments)) = start.command.split_first() else {
        return Err("no command was given".to_owned());
    };
    let mut command = Command::new(program);
    for name in &start.unset {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .envs(start.set.iter().map(|(name, value)| (name, value)))
        // A command outside the terminal's foreground group would be stopped if it read from it.
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(start.expendable);
    command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("`{program}` was not found; is it installed and on PATH?")
        }
        std::io::ErrorKind::PermissionDenied => format!("`{program}` is not executable"),
        _ => format!("`{program}` could not be started: {error}"),
    })
}

fn how(status: std::io::Result<std::process::ExitStatus>, stopped: bool) -> How {
    use std::os::unix::process::ExitStatusExt;
    match status {
        Err(_) => How::Lost,
        Ok(status) => match (status.code(), status.signal()) {
            // A command that ends with 0 after it was asked to stop has done its work.
            (Some(0), _) => How::Exited { code: 0 },
            _ if stopped => How::Stopped,
            (Some(code), _) => How::Exited { code },
            (None, Some(signal)) => How::Signalled { signal },
            (None, None) => How::Lost,
        },
    }
}

fn end(group: Option<Pid>, at_once: bool) {
    let signal = if at_once { Signal::KILL } else { Signal::TERM };
    if let Some(group) = group {
        // The only error is that the group is gone already.
        let _ = kill_process_group(group, signal);
    }
}

fn boxed(pipe: impl AsyncRead + Send + Unpin + 'static) -> Box<dyn AsyncRead + Send + Unpin> {
    Box::new(pipe)
}

async fn forward(mut pipe: Box<dyn AsyncRead + Send + Unpin>, chunks: mpsc::Sender<Bytes>) {
    let mut buffer = vec![0; 8 << 10];
    while let Ok(length) = pipe.read(&mut buffer).await {
        if length == 0 {
            break;
        }
        let chunk = buffer.get(..length).map(Bytes::copy_from_slice);
        if chunks.send(chunk.unwrap_or_default()).await.is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::link;
    use super::*;

    fn shell(script: &str) -> Start {
        Start {
            command: vec!["sh".into(), "-c".into(), script.into()],
            set: vec![("SEEN".into(), "by the command".into())],
            unset: vec![],
            secrets: vec!["hunter2".into()],
            expendable: true,
            question: false,
        }
    }

    async fn outcome(start: Start) -> Ended {
        let (sidecar, runner) = link::channel();
        let (output, mut heard) = mpsc::channel(16);
        let (_keep, stop) = watch::channel(false);
        tokio::spawn(async move { while heard.recv().await.is_some() {} });
        sidecar.orders.send(Order::Start(start)).await.unwrap();
        let task = tokio::spawn(serve(runner, output, stop));
        let mut answers = sidecar.answers;
        while let Some(answer) = answers.recv().await {
            if let Answer::Ended(ended) = answer {
                sidecar.orders.send(Order::Received).await.unwrap();
                drop(sidecar.orders);
                assert_eq!(task.await.unwrap(), Some(ended.clone()));
                return ended;
            }
        }
        panic!("the runner never answered");
    }

    #[tokio::test]
    async fn exit_code_and_both_outputs_arrive_and_passwords_do_not() {
        let ended = outcome(shell("echo $SEEN; echo hunter2 >&2; exit 3")).await;
        assert_eq!(ended.how, How::Exited { code: 3 });
        assert!(ended.output.contains("by the command"));
        assert!(!ended.output.contains("hunter2"));
    }

    #[tokio::test]
    async fn a_runner_runs_one_command_after_the_other_until_nothing_more_is_ordered() {
        let (mut sidecar, runner) = link::channel();
        let (output, mut heard) = mpsc::channel(16);
        let (_keep, stop) = watch::channel(false);
        tokio::spawn(async move { while heard.recv().await.is_some() {} });
        let task = tokio::spawn(serve(runner, output, stop));
        for code in [3, 0] {
            let order = Order::Start(shell(&format!("exit {code}")));
            sidecar.orders.send(order).await.unwrap();
            let ended = loop {
                if let Answer::Ended(ended) = sidecar.answers.recv().await.unwrap() {
                    break ended;
                }
            };
            assert_eq!(ended.how, How::Exited { code });
            sidecar.orders.send(Order::Received).await.unwrap();
        }
        drop(sidecar);
        let last = task.await.unwrap().map(|ended| ended.how);
        assert_eq!(last, Some(How::Exited { code: 0 }));
    }

    #[tokio::test]
    async fn a_runner_says_which_revision_file_is_for_several_databases_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name).display().to_string();
            std::fs::write(&path, text).unwrap();
            path
        };
        let one = file("one.py", "def upgrade() -> None:\n    pass\n");
        let several = file(
            "several.py",
            "def upgrade(engine_name: str) -> None:\n    pass\n",
        );
        let (mut sidecar, runner) = link::channel();
        let (output, _heard) = mpsc::channel(16);
        let (_keep, stop) = watch::channel(false);
        tokio::spawn(serve(runner, output, stop));
        for (files, expected) in [
            (vec!["no/such/file.py".to_owned(), one.clone()], None),
            (vec![one, several.clone()], Some(several)),
        ] {
            let order = Order::Look { files };
            sidecar.orders.send(order).await.unwrap();
            let answer = sidecar.answers.recv().await;
            let for_several = expected;
            assert_eq!(answer, Some(Answer::Looked { for_several }));
        }
    }

    #[tokio::test]
    async fn an_unknown_program_is_named() {
        let mut start = shell("");
        start.command = vec!["no-such-program".into()];
        let How::NotStarted { reason } = outcome(start).await.how else {
            panic!("it started");
        };
        assert_eq!(
            reason,
            "`no-such-program` was not found; is it installed and on PATH?"
        );
    }

    #[tokio::test]
    async fn a_runner_that_loses_its_sidecar_kills_the_whole_group() {
        let marker = tempfile::NamedTempFile::new().unwrap();
        let path = marker.path().display().to_string();
        let (sidecar, runner) = link::channel();
        let (output, mut heard) = mpsc::channel(16);
        let (_keep, stop) = watch::channel(false);
        sidecar
            .orders
            .send(Order::Start(shell(&format!(
                "(sleep 1; echo late > {path}) & echo up; wait"
            ))))
            .await
            .unwrap();
        let task = tokio::spawn(serve(runner, output, stop));
        heard.recv().await.unwrap();
        drop(sidecar);
        let ended = tokio::time::timeout(Duration::from_millis(900), task)
            .await
            .expect("the runner waited for a command that it should have killed")
            .unwrap();
        assert_eq!(ended.map(|ended| ended.how), Some(How::Stopped));
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(std::fs::read_to_string(marker.path()).unwrap(), "");
    }

    #[tokio::test]
    async fn a_runner_that_is_stopped_before_its_order_starts_nothing_and_says_so() {
        let (mut sidecar, runner) = link::channel();
        let (output, _heard) = mpsc::channel(16);
        let (ask, stop) = watch::channel(false);
        let task = tokio::spawn(serve(runner, output, stop));
        ask.send_replace(true);
        let Some(Answer::Ended(ended)) = sidecar.answers.recv().await else {
            panic!("no answer");
        };
        assert!(matches!(ended.how, How::NotStarted { .. }));
        // The order crosses the answer.
        let order = Order::Start(shell("exit 0"));
        sidecar.orders.send(order).await.unwrap();
        sidecar.orders.send(Order::Received).await.unwrap();
        assert_eq!(task.await.unwrap(), Some(ended));
        assert_eq!(sidecar.answers.recv().await, None);
    }

    #[tokio::test]
    async fn a_child_that_keeps_the_output_open_does_not_keep_the_run_open() {
        let began = Instant::now();
        let mut start = shell("sleep 5 & exit 0");
        start.expendable = false;
        assert_eq!(outcome(start).await.how, How::Exited { code: 0 });
        assert!(began.elapsed() < Duration::from_secs(2));
    }
}
