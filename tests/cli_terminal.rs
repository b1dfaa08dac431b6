//! What a person sees and is asked on a terminal.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use postgres::{Database, Server};
use program::drydock;
use rstest::rstest;

/// A program on a terminal that `script` (of Debian's bsdutils) makes for it.
struct Terminal {
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
}

impl Terminal {
    fn start(database: &Database<'_>, words: &[&str]) -> Self {
        let like = drydock(&database.url);
        let quoted = std::iter::once(env!("CARGO_BIN_EXE_drydock"))
            .chain(words.iter().copied())
            .map(|word| format!("'{}'", word.replace('\'', "'\\''")))
            .collect::<Vec<_>>()
            .join(" ");
        let mut script = Command::new("script");
        for (name, value) in like.get_envs() {
            match value {
                Some(value) => script.env(name, value),
                None => script.env_remove(name),
            };
        }
        let mut child = script
            .env("TERM", "xterm-256color")
            .args(["--quiet", "--return", "--command", &quoted, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let shows = Arc::clone(&shown);
        let reading = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stdout.read(&mut buffer) {
                shows.lock().unwrap().extend_from_slice(&buffer[..read]);
            }
        });
        Self {
            child,
            shown,
            reading,
        }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    #[track_caller]
    fn expect(&self, words: &str) {
        let began = Instant::now();
        while !self.shown().contains(words) {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{words:?} is not in:\n{}",
                self.shown()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn enter(&mut self, keys: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Its exit code, and all that was shown.
    fn end(mut self) -> (i32, String) {
        let code = self.child.wait().unwrap().code().unwrap();
        self.reading.join().unwrap();
        let shown = String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned();
        (code, shown)
    }
}

const MIGRATION: &str = "psql \"$DATABASE_URL\" -Xq -c 'ALTER TABLE orders ADD COLUMN note text' \
                         -c 'SELECT pg_sleep(0.5)'";

#[rstest]
#[case::yes("y\r", 0, true)]
#[case::in_full("Yes\r", 0, true)]
#[case::no("n\r", 130, false)]
#[case::nothing("\r", 130, false)]
#[case::ctrl_c("\x03", 130, false)]
fn run_shows_the_report_then_asks_and_only_a_yes_upgrades(
    #[case] keys: &str,
    #[case] code: i32,
    #[case] upgraded: bool,
) {
    let database = Server::shared().database();
    database.psql("CREATE TABLE orders (id int)");
    let mut terminal = Terminal::start(&database, &["run", "--", "sh", "-c", MIGRATION]);
    terminal.expect("for real? [y/N] ");
    let before = terminal.shown();
    assert!(before.contains("PASSED"), "{before}");
    assert!(
        before.contains("ALTER TABLE orders ADD COLUMN note"),
        "{before}"
    );
    terminal.enter(keys);
    let (ended, shown) = terminal.end();
    assert_eq!(ended, code, "{shown}");
    assert_eq!(
        shown.contains("drydock: not upgraded"),
        !upgraded,
        "{shown}"
    );
    let columns = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'note'";
    assert_eq!(database.psql(columns), if upgraded { "1" } else { "0" });
}

#[test]
fn a_terminal_shows_how_far_it_is_in_one_line_that_goes_away() {
    let database = Server::shared().database();
    database.psql("CREATE TABLE orders (id int)");
    let terminal = Terminal::start(&database, &["rehearse", "--", "sh", "-c", MIGRATION]);
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    let (progress, report) = shown.split_at(shown.rfind("\x1b[2K").unwrap_or_default());
    assert!(progress.contains("rehearsing"), "{shown}");
    assert!(progress.contains("SELECT pg_sleep"), "{shown}");
    assert!(report.contains("\x1b["), "colours on a terminal: {shown}");
}
