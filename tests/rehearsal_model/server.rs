//! A server in miniature: the protocol, transaction blocks with savepoints, one setting. It reads
//! every text under the setting that is in force in it at that moment, and remembers what it
//! committed. It plays both parts: the one behind the rehearsal, and the one to compare with.

use std::collections::BTreeMap;

use crate::scanner::cut;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    /// Nothing is under way, or only an implicit transaction.
    None,
    Open,
    Failed,
}

/// What a savepoint, or the beginning of the transaction, would bring back.
#[derive(Debug, Clone)]
struct Level {
    name: String,
    conforming: bool,
    writes: usize,
}

/// An error, by its SQLSTATE.
type Answer<T> = Result<T, &'static str>;

/// Several commands where one is allowed.
const SEVERAL: &str = "several";

#[derive(Debug)]
pub(crate) struct Server {
    conforming: bool,
    /// As the client was told last.
    reported: bool,
    block: Block,
    /// The first one is the transaction's own; none while nothing is under way.
    levels: Vec<Level>,
    writes: usize,
    skipping: bool,
    statements: BTreeMap<String, Vec<Vec<String>>>,
    portals: BTreeMap<String, Vec<Vec<String>>>,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Writes that were committed.
    pub(crate) committed: usize,
    /// Transaction blocks that ended, in whatever way.
    pub(crate) ended: usize,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self {
            conforming: true,
            reported: true,
            block: Block::None,
            levels: Vec::new(),
            writes: 0,
            skipping: false,
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
            input: Vec::new(),
            output: Vec::new(),
            committed: 0,
            ended: 0,
        }
    }

    /// Hears bytes, and answers what is complete.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.input.extend_from_slice(bytes);
        while let Some(length) = self.input.get(1..5) {
            let end = u32::from_be_bytes(length.try_into().unwrap()) as usize + 1;
            if self.input.len() < end {
                break;
            }
            let frame: Vec<u8> = self.input.drain(..end).collect();
            self.message(frame[0], &frame[5..]);
        }
        std::mem::take(&mut self.output)
    }

    fn say(&mut self, tag: u8, body: &[u8]) {
        let length = u32::try_from(body.len() + 4).unwrap();
        self.output.push(tag);
        self.output.extend(length.to_be_bytes());
        self.output.extend_from_slice(body);
    }

    fn complain(&mut self, code: &str) {
        // The routine tells several commands in a Parse from any other syntax error.
        let (code, routine) = match code {
            SEVERAL => ("42601", "exec_parse_message"),
            other => (other, "model"),
        };
        let body = format!("SERROR\0VERROR\0C{code}\0Mmodel\0R{routine}\0\0");
        self.say(b'E', body.as_bytes());
        if self.block == Block::Open {
            self.block = Block::Failed;
        } else if self.block == Block::None {
            self.undo_all();
        }
    }

    fn message(&mut self, tag: u8, body: &[u8]) {
        if self.skipping && !matches!(tag, b'S' | b'X') {
            return;
        }
        let mut strings = body.split(|byte| *byte == 0);
        let mut string = || String::from_utf8(strings.next().unwrap().to_vec()).unwrap();
        let answered = match tag {
            b'Q' => {
                self.query(&string());
                return;
            }
            b'S' => {
                self.skipping = false;
                self.end_implicit();
                self.ready();
                return;
            }
            b'P' => self.parse(string(), &string()),
            b'B' => self.bind(string(), &string()),
            b'E' => self.execute(&string()),
            b'D' => self.describe(body[0], &String::from_utf8_lossy(&body[1..body.len() - 1])),
            b'C' => {
                let name = String::from_utf8_lossy(&body[1..body.len() - 1]).into_owned();
                if body[0] == b'S' {
                    self.statements.remove(&name);
                } else {
                    self.portals.remove(&name);
                }
                self.say(b'3', b"");
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(code) = answered {
            self.complain(code);
            self.skipping = true;
        }
    }

    fn query(&mut self, text: &str) {
        self.portals.remove("");
        self.statements.remove("");
        self.begin_implicit();
        match self.read(text) {
            Ok(statements) if statements.is_empty() => self.say(b'I', b""),
            Ok(statements) => {
                for statement in statements {
                    self.begin_implicit();
                    let mut done = self.allowed(&statement).map(|()| "");
                    if done.is_ok() {
                        if statement[0] == "select" {
                            self.say(b'T', &[0, 0]);
                        }
                        done = self.run(&statement);
                    }
                    match done {
                        Ok(tag) => self.say(b'C', format!("{tag}\0").as_bytes()),
                        Err(code) => {
                            self.complain(code);
                            break;
                        }
                    }
                }
            }
            Err(code) => self.complain(code),
        }
        self.end_implicit();
        self.ready();
    }

    /// A grammar of a handful of statements.
    fn read(&self, text: &str) -> Answer<Vec<Vec<String>>> {
        let statements = cut(text, self.conforming).ok_or("42601")?;
        let known = |words: &Vec<String>| {
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            matches!(
                words[..],
                ["select" | "insert" | "do", ..]
                    | ["begin" | "commit" | "rollback" | "end" | "abort"]
                    | ["begin", "isolation", ..]
                    | ["start", "transaction"]
                    | ["commit" | "rollback", "and", "chain"]
                    | ["savepoint", _]
                    | ["release", "savepoint", _]
                    | ["release", _]
                    | ["rollback", "to", "savepoint", _]
                    | ["rollback", "to", _]
                    | ["set", "standard_conforming_strings", "=", "on" | "off"]
            )
        };
        statements
            .iter()
            .all(known)
            .then_some(statements)
            .ok_or("42601")
    }

    /// In a failed block only what ends it.
    fn allowed(&self, words: &[String]) -> Answer<()> {
        let ends = words
            .first()
            .is_none_or(|word| ["commit", "rollback", "end", "abort"].contains(&word.as_str()));
        if self.block == Block::Failed && !ends {
            return Err("25P02");
        }
        Ok(())
    }

    fn one(&self, text: &str) -> Answer<Vec<Vec<String>>> {
        let statements = self.read(text)?;
        if statements.len() > 1 {
            return Err(SEVERAL);
        }
        self.allowed(statements.first().map_or(&[], |words| words))?;
        Ok(statements)
    }

    fn parse(&mut self, name: String, text: &str) -> Answer<()> {
        self.begin_implicit();
        let statement = self.one(text)?;
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err("42P05");
        }
        self.statements.insert(name, statement);
        self.say(b'1', b"");
        Ok(())
    }

    fn bind(&mut self, portal: String, statement: &str) -> Answer<()> {
        self.begin_implicit();
        let text = self.statements.get(statement).ok_or("26000")?.clone();
        if text.is_empty() && self.block == Block::Failed {
            return Err("25P02");
        }
        self.allowed(text.first().map_or(&[], |words| words))?;
        if !portal.is_empty() && self.portals.contains_key(&portal) {
            return Err("42P03");
        }
        self.portals.insert(portal, text);
        self.say(b'2', b"");
        Ok(())
    }

    fn describe(&mut self, kind: u8, name: &str) -> Answer<()> {
        self.begin_implicit();
        let text = if kind == b'S' {
            self.statements.get(name).ok_or("26000")?
        } else {
            self.portals.get(name).ok_or("34000")?
        };
        let rows = text.first().is_some_and(|words| words[0] == "select");
        if rows && self.block == Block::Failed {
            return Err("25P02");
        }
        if kind == b'S' {
            self.say(b't', &[0, 0]);
        }
        if rows {
            self.say(b'T', &[0, 0]);
        } else {
            self.say(b'n', b"");
        }
        Ok(())
    }

    fn execute(&mut self, portal: &str) -> Answer<()> {
        self.begin_implicit();
        let text = self.portals.get(portal).ok_or("34000")?.clone();
        let Some(words) = text.first() else {
            self.say(b'I', b"");
            return Ok(());
        };
        self.allowed(words)?;
        let tag = self.run(words)?;
        self.say(b'C', format!("{tag}\0").as_bytes());
        Ok(())
    }

    fn run(&mut self, words: &[String]) -> Answer<&'static str> {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let open = self.block != Block::None;
        match words[..] {
            ["begin", ..] | ["start", ..] => {
                self.block = Block::Open;
                Ok(if words[0] == "begin" {
                    "BEGIN"
                } else {
                    "START TRANSACTION"
                })
            }
            ["commit" | "end", ref rest @ ..] => {
                let chain = !rest.is_empty();
                if chain && !open {
                    return Err("25P01");
                }
                let failed = self.block == Block::Failed;
                if failed {
                    self.undo_all();
                }
                self.close(chain);
                Ok(if failed { "ROLLBACK" } else { "COMMIT" })
            }
            ["rollback", "to", .., name] => {
                if !open {
                    return Err("25P01");
                }
                let place = self.place(name)?;
                self.levels.truncate(place + 1);
                self.back_to(place);
                self.block = Block::Open;
                Ok("ROLLBACK")
            }
            ["rollback" | "abort", ref rest @ ..] => {
                let chain = !rest.is_empty();
                if chain && !open {
                    return Err("25P01");
                }
                self.undo_all();
                self.close(chain);
                Ok("ROLLBACK")
            }
            ["savepoint", name] => {
                if !open {
                    return Err("25P01");
                }
                self.levels.push(self.level(name));
                Ok("SAVEPOINT")
            }
            ["release", .., name] => {
                if !open {
                    return Err("25P01");
                }
                let place = self.place(name)?;
                self.levels.truncate(place);
                Ok("RELEASE")
            }
            ["set", _, _, value] => {
                self.conforming = value == "on";
                Ok("SET")
            }
            ["select", "fail"] => Err("22012"),
            ["select", "tighten"] => {
                self.conforming = true;
                Ok("SELECT 1")
            }
            ["do", ..] => Ok("DO"),
            ["insert", ..] => {
                self.writes += 1;
                Ok("INSERT 0 1")
            }
            _ => {
                if words.contains(&"set_config") {
                    self.conforming = !words.contains(&"loosen");
                }
                // The rehearsal's own question at virtual ends.
                if words.contains(&"pg_current_xact_id_if_assigned") {
                    let mut row = vec![0, 4];
                    for column in ["700", "t", "t", "f"] {
                        row.extend(u32::try_from(column.len()).unwrap().to_be_bytes());
                        row.extend(column.as_bytes());
                    }
                    self.say(b'D', &row);
                }
                Ok("SELECT 1")
            }
        }
    }

    fn level(&self, name: &str) -> Level {
        Level {
            name: name.to_owned(),
            conforming: self.conforming,
            writes: self.writes,
        }
    }

    fn place(&self, name: &str) -> Answer<usize> {
        (1..self.levels.len())
            .rev()
            .find(|place| self.levels[*place].name == name)
            .ok_or("3B001")
    }

    fn back_to(&mut self, place: usize) {
        let level = &self.levels[place];
        (self.conforming, self.writes) = (level.conforming, level.writes);
    }

    fn undo_all(&mut self) {
        if !self.levels.is_empty() {
            self.back_to(0);
            self.levels.truncate(1);
        }
    }

    /// Commits what is left of the transaction, and opens the next one of a chain.
    fn close(&mut self, chain: bool) {
        if self.block != Block::None {
            self.ended += 1;
        }
        self.committed += self.writes;
        self.writes = 0;
        self.levels.clear();
        self.portals.clear();
        self.block = if chain { Block::Open } else { Block::None };
        if chain {
            self.levels.push(self.level(""));
        }
    }

    fn begin_implicit(&mut self) {
        if self.levels.is_empty() {
            self.levels.push(self.level(""));
        }
    }

    fn end_implicit(&mut self) {
        if self.block == Block::None && !self.levels.is_empty() {
            self.close(false);
        }
    }

    fn ready(&mut self) {
        if self.reported != self.conforming {
            self.reported = self.conforming;
            let value: &[u8] = if self.conforming { b"on" } else { b"off" };
            self.say(
                b'S',
                &[b"standard_conforming_strings\0", value, b"\0"].concat(),
            );
        }
        self.say(
            b'Z',
            match self.block {
                Block::None => b"I",
                Block::Open => b"T",
                Block::Failed => b"E",
            },
        );
    }
}
