//! How long the command's transactions last and pause, as the server's `transaction_timeout` and
//! `idle_in_transaction_session_timeout` would count it (manual, "Client Connection Defaults"). In a
//! rehearsal they are off.
//!
//! A pause is from ReadyForQuery inside a transaction block to the client's next word, and counts if
//! a statement of the same block follows: a client that leaves has lost nothing. What a client waits
//! for its turn is the rehearsal's doing, and counts as nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::rehearsal::transaction::{ClientId, StatementId};

/// How long something lasted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lasted {
    /// How long.
    pub time: Duration,
    /// The last statement before its end, counted from 1 over all clients; 0 for none.
    pub statement: u64,
}

/// The longest of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Longest {
    pub pause: Option<Lasted>,
    pub transaction: Option<Lasted>,
}

/// What is going on, and what was longest so far.
#[derive(Debug, Default)]
pub(super) struct Lasting {
    blocks: BTreeMap<ClientId, Block>,
    running: BTreeMap<StatementId, Running>,
    longest: Longest,
    /// The command has timeouts of its own: nobody knows which are in force.
    over: bool,
}

/// A client's transaction block.
#[derive(Debug)]
struct Block {
    number: u32,
    since: Instant,
    /// Its statement that ended last.
    behind: u64,
    /// Since when the client may speak.
    ready: Option<Instant>,
    /// When it did, and after what pause.
    spoke: Option<(Instant, Duration)>,
}

#[derive(Debug)]
struct Running {
    client: ClientId,
    /// Counts from 1.
    number: u64,
    transaction: Option<u32>,
    since: Instant,
}

impl Lasting {
    /// The command has set such timeouts itself: from now on nothing counts.
    pub(super) fn end(&mut self) {
        self.over = true;
        self.blocks.clear();
        self.running.clear();
    }

    /// A client may speak.
    pub(super) fn ready(&mut self, client: ClientId, transaction: Option<u32>, now: Instant) {
        match transaction {
            Some(number) => {
                let Some(block) = self.block(client, number, now) else {
                    return;
                };
                block.ready = Some(now);
                // It was answered without a statement of its own, e.g. to a Parse: it has gone on.
                let pause = block.spoke.take().map(|(_, time)| Lasted {
                    time,
                    statement: block.behind,
                });
                if let Some(pause) = pause {
                    longer(&mut self.longest.pause, pause);
                }
            }
            None => {
                self.blocks.remove(&client);
            }
        }
    }

    /// A client speaks.
    pub(super) fn spoke(&mut self, client: ClientId, now: Instant) {
        if let Some(block) = self.blocks.get_mut(&client)
            && let Some(since) = block.ready.take()
        {
            block.spoke = Some((now, now.duration_since(since)));
        }
    }

    /// A statement was sent, the `number`th, counted from 1.
    pub(super) fn begun(
        &mut self,
        statement: StatementId,
        number: u64,
        client: ClientId,
        transaction: Option<u32>,
        now: Instant,
    ) {
        if self.over {
            return;
        }
        let running = Running {
            client,
            number,
            transaction,
            since: now,
        };
        self.running.insert(statement, running);
        let Some(block) = transaction.and_then(|number| self.block(client, number, now)) else {
            return;
        };
        block.ready = None;
        if let Some((when, pause)) = block.spoke.take() {
            // What lies between was waiting for others.
            block.since += now.duration_since(when);
            let pause = Lasted {
                time: pause,
                statement: block.behind,
            };
            longer(&mut self.longest.pause, pause);
        }
    }

    /// It ended.
    pub(super) fn ended(&mut self, statement: StatementId, now: Instant) {
        let Some(running) = self.running.remove(&statement) else {
            return;
        };
        let since = match running.transaction {
            None => running.since,
            Some(number) => {
                let block = self.blocks.get_mut(&running.client);
                let Some(block) = block.filter(|block| block.number == number) else {
                    return;
                };
                block.behind = running.number;
                block.since
            }
        };
        let transaction = Lasted {
            time: now.duration_since(since),
            statement: running.number,
        };
        longer(&mut self.longest.transaction, transaction);
    }

    /// It runs in another form, which says nothing of how long the real one takes.
    pub(super) fn substituted(&mut self, statement: StatementId) {
        self.running.remove(&statement);
    }

    /// What was longest.
    pub(super) fn longest(&self) -> Longest {
        self.longest
    }

    fn block(&mut self, client: ClientId, number: u32, now: Instant) -> Option<&mut Block> {
        if self.over {
            return None;
        }
        let begins = || Block {
            number,
            since: now,
            behind: 0,
            ready: None,
            spoke: None,
        };
        let block = self.blocks.entry(client).or_insert_with(begins);
        if block.number != number {
            *block = begins();
        }
        Some(block)
    }
}

fn longer(longest: &mut Option<Lasted>, other: Lasted) {
    if longest.is_none_or(|longest| longest.time < other.time) {
        *longest = Some(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ClientId = ClientId(1);

    struct Course {
        lasting: Lasting,
        now: Instant,
        statements: usize,
    }

    impl Course {
        fn begin() -> Self {
            Self {
                lasting: Lasting::default(),
                now: Instant::now(),
                statements: 0,
            }
        }

        fn pass(&mut self, millis: u64) {
            self.now += Duration::from_millis(millis);
        }

        /// A statement that is waited for as long as `waits`, and runs as long as `runs`.
        fn statement(&mut self, transaction: Option<u32>, waits: u64, runs: u64) {
            self.lasting.spoke(ONE, self.now);
            self.pass(waits);
            let id = self.statements;
            self.statements += 1;
            let number = self.statements as u64;
            self.lasting.begun(id, number, ONE, transaction, self.now);
            self.pass(runs);
            self.lasting.ended(id, self.now);
        }

        fn ready(&mut self, transaction: Option<u32>) {
            self.lasting.ready(ONE, transaction, self.now);
        }

        fn pause(&self) -> Option<(u128, u64)> {
            let pause = self.lasting.longest().pause;
            pause.map(|it| (it.time.as_millis(), it.statement))
        }

        fn transaction(&self) -> Option<(u128, u64)> {
            let transaction = self.lasting.longest().transaction;
            transaction.map(|it| (it.time.as_millis(), it.statement))
        }
    }

    #[test]
    fn the_longest_pause_between_two_statements_of_one_block_is_kept_with_where_it_was() {
        let mut course = Course::begin();
        for (pause, runs) in [(0, 5), (40, 5), (300, 5), (20, 5)] {
            course.pass(pause);
            course.statement(Some(1), 0, runs);
            course.ready(Some(1));
        }
        assert_eq!(course.pause(), Some((300, 2)));
        assert_eq!(course.transaction(), Some((380, 4)));
    }

    #[test]
    fn pauses_outside_of_a_block_and_between_two_blocks_are_none() {
        let mut course = Course::begin();
        course.statement(None, 0, 5);
        course.ready(None);
        course.pass(500);
        course.statement(Some(1), 0, 5);
        course.ready(None);
        course.pass(500);
        course.statement(Some(2), 0, 7);
        course.ready(None);
        assert_eq!(course.pause(), None);
        assert_eq!(course.transaction(), Some((7, 3)));
    }

    #[test]
    fn a_client_that_only_prepares_behind_a_pause_has_gone_on() {
        let mut course = Course::begin();
        course.statement(Some(1), 0, 5);
        course.ready(Some(1));
        course.pass(500);
        course.lasting.spoke(ONE, course.now);
        course.ready(Some(1));
        course.statement(Some(1), 0, 5);
        assert_eq!(course.pause(), Some((500, 1)));
    }

    #[test]
    fn a_statement_that_runs_is_no_pause() {
        let mut course = Course::begin();
        course.statement(Some(1), 0, 5);
        course.ready(Some(1));
        // The next one came in the same piece, so nobody was seen to speak.
        course.lasting.begun(1, 2, ONE, Some(1), course.now);
        course.pass(700);
        course.statement(Some(1), 0, 5);
        assert_eq!(course.pause(), None);
    }

    #[test]
    fn a_client_that_says_goodbye_behind_a_pause_has_lost_nothing_by_it() {
        let mut course = Course::begin();
        course.statement(Some(1), 0, 5);
        course.ready(Some(1));
        course.pass(500);
        course.lasting.spoke(ONE, course.now);
        assert_eq!(course.pause(), None);
    }

    #[test]
    fn what_a_client_waits_for_its_turn_is_neither_pause_nor_part_of_its_transaction() {
        let mut course = Course::begin();
        course.statement(Some(1), 0, 5);
        course.ready(Some(1));
        course.pass(30);
        course.statement(Some(1), 500, 5);
        assert_eq!(course.pause(), Some((30, 1)));
        assert_eq!(course.transaction(), Some((40, 2)));
    }

    #[test]
    fn a_statement_in_another_form_says_nothing_of_how_long_the_real_one_takes() {
        let mut course = Course::begin();
        course.lasting.begun(0, 1, ONE, None, course.now);
        course.lasting.substituted(0);
        course.pass(500);
        course.lasting.ended(0, course.now);
        assert_eq!(course.transaction(), None);
    }

    #[test]
    fn nothing_counts_once_the_command_has_timeouts_of_its_own() {
        let mut course = Course::begin();
        course.statement(Some(1), 0, 5);
        course.lasting.end();
        course.ready(Some(1));
        course.pass(500);
        course.statement(Some(1), 0, 5);
        assert_eq!(course.pause(), None);
        assert_eq!(course.transaction(), Some((5, 1)));
    }
}
