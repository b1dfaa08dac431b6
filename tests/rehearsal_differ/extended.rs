//! Scenarios in the extended protocol, and mixed with the simple one.

use crate::client::{
    bind, close, copy_data, copy_done, copy_fail, describe, execute, extended, flush,
    function_call, message, parse, query, sync,
};
use crate::{Say, Scenario};

/// `int4pl` and `int4div`, with the OIDs that they have always had.
const ADD: u32 = 177;
const DIVIDE: u32 = 154;

fn scenario(name: &str, batches: Vec<Vec<Vec<u8>>>) -> Scenario {
    Scenario {
        name: name.to_owned(),
        says: batches
            .into_iter()
            .map(|batch| Say::Bytes(batch.concat()))
            .collect(),
    }
}

/// Statements through the unnamed statement, each with its own Sync, heard before the next.
fn one_by_one(statements: &[&str]) -> Scenario {
    Scenario {
        name: format!("extended: {}", statements.join(" / ")),
        says: statements
            .iter()
            .flat_map(|sql| {
                let batch = [extended(sql), sync()].concat();
                [Say::Bytes(batch), Say::Until(b'Z')]
            })
            .collect(),
    }
}

/// All of them in front of one Sync.
fn pipelined(statements: &[&str]) -> Scenario {
    let mut batch: Vec<_> = statements.iter().map(|sql| extended(sql)).collect();
    batch.push(sync());
    scenario(
        &format!("pipelined: {}", statements.join(" / ")),
        vec![batch],
    )
}

pub(crate) fn scenarios() -> Vec<Scenario> {
    STATEMENTS
        .iter()
        .flat_map(|statements| [one_by_one(statements), pipelined(statements)])
        .chain(special())
        .collect()
}

const STATEMENTS: &[&[&str]] = &[
    &[
        "BEGIN",
        "ALTER TABLE parent ADD COLUMN code text",
        "ALTER TABLE parent ADD UNIQUE (note)",
        "ALTER TABLE parent ALTER code SET NOT NULL",
        "SELECT 1",
        "COMMIT",
        "SELECT * FROM parent",
    ],
    &[
        "ALTER TABLE parent ADD UNIQUE (note)",
        "CREATE UNIQUE INDEX ON parent ((id / 2))",
        "INSERT INTO child VALUES (1, 77)",
    ],
    &[
        "INSERT INTO parent VALUES (10)",
        "ALTER TABLE parent ADD UNIQUE (note)",
        "INSERT INTO child VALUES (1, 77)",
        "SELECT * FROM child",
    ],
    &["SELECT 1", "SELECT 2"],
    &["", "SELECT 1"],
    &["SELECT 1; SELECT 2"],
    &["SELEKT 1", "SELECT 2"],
    &["SELECT 1/0", "SELECT 2"],
    &[
        "BEGIN",
        "CREATE TABLE t (a int)",
        "COMMIT",
        "SELECT * FROM t",
    ],
    &[
        "BEGIN",
        "INSERT INTO parent VALUES (10)",
        "ROLLBACK",
        "SELECT count(*) FROM parent",
    ],
    &[
        "INSERT INTO parent VALUES (10)",
        "BEGIN",
        "INSERT INTO parent VALUES (11)",
        "ROLLBACK",
        "SELECT count(*) FROM parent",
    ],
    &["BEGIN", "SELECT 1/0", "SELECT 2", "COMMIT", "SELECT 3"],
    &[
        "BEGIN",
        "SAVEPOINT a",
        "SELECT 1/0",
        "ROLLBACK TO a",
        "SELECT 3",
        "COMMIT",
    ],
    &[
        "BEGIN",
        "SAVEPOINT a",
        "INSERT INTO parent VALUES (10)",
        "ROLLBACK TO SAVEPOINT a",
        "RELEASE a",
        "COMMIT",
        "SELECT count(*) FROM parent",
    ],
    &["BEGIN", "COMMIT", "BEGIN", "COMMIT", "COMMIT"],
    &["BEGIN", "BEGIN", "ROLLBACK", "ROLLBACK"],
    &[
        "BEGIN",
        "COMMIT AND CHAIN",
        "SELECT 1",
        "ROLLBACK AND CHAIN",
        "ROLLBACK",
    ],
    &["COMMIT AND CHAIN", "SELECT 1"],
    &["SAVEPOINT a", "SELECT 1"],
    &["BEGIN READ ONLY", "CREATE TABLE t (a int)", "ROLLBACK"],
    &[
        "BEGIN",
        "SET TRANSACTION READ ONLY",
        "INSERT INTO parent VALUES (10)",
        "ROLLBACK",
    ],
    &["BEGIN FOR LUNCH", "SELECT 1"],
    &["COMMIT; SELECT 1", "SELECT 2"],
    &[
        "SET work_mem = '8MB'",
        "SHOW work_mem",
        "SET LOCAL work_mem = '9MB'",
        "SHOW work_mem",
    ],
    &[
        "BEGIN",
        "SET LOCAL work_mem = '9MB'",
        "COMMIT",
        "SHOW work_mem",
    ],
    &["SET application_name = 'x'", "SHOW application_name"],
    &["SET standard_conforming_strings = off", "SELECT 'a\\'b'"],
    &["INSERT INTO child VALUES (1, 77)", "SELECT * FROM child"],
    &[
        "BEGIN",
        "INSERT INTO child VALUES (1, 77)",
        "COMMIT",
        "SELECT * FROM child",
    ],
    &[
        "BEGIN",
        "SET CONSTRAINTS ALL IMMEDIATE",
        "INSERT INTO child VALUES (1, 77)",
        "ROLLBACK",
    ],
    &[
        "BEGIN",
        "SET CONSTRAINTS ALL DEFERRED",
        "INSERT INTO later VALUES (1), (1)",
        "COMMIT",
    ],
    &[
        "INSERT INTO parent VALUES (10)",
        "INSERT INTO parent VALUES (1)",
    ],
    &[
        "BEGIN",
        "DECLARE c CURSOR FOR SELECT generate_series(1, 3)",
        "FETCH 1 FROM c",
        "COMMIT",
        "FETCH 1 FROM c",
    ],
    &["DECLARE c CURSOR FOR SELECT 1"],
    &[
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "FETCH c",
        "CLOSE ALL",
        "FETCH c",
    ],
    &[
        "PREPARE s AS SELECT 1",
        "EXECUTE s",
        "DEALLOCATE s",
        "EXECUTE s",
    ],
    &["DISCARD ALL"],
    &["DEALLOCATE ALL", "DISCARD PLANS", "CLOSE ALL"],
    &["SELECT chatty(2)", "SELECT fail()"],
    &["VACUUM", "SELECT 1"],
    &["BEGIN", "VACUUM", "ROLLBACK"],
    &["COPY parent TO STDOUT", "SELECT 1"],
    &["LOCK TABLE parent"],
    &[
        "CREATE TEMP TABLE t (a int) ON COMMIT DROP",
        "SELECT * FROM t",
    ],
    &["LISTEN a", "UNLISTEN *"],
    &["SELECT $1::int"],
    &[
        "SELECT repeat('x', 300000)",
        "SELECT generate_series(1, 5000)",
    ],
    &[
        "BEGIN",
        "CREATE TABLE t (a int)",
        "ALTER TABLE t ADD COLUMN b int",
        "DROP TABLE t",
        "COMMIT",
    ],
    &["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SELECT 1"],
    &[
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "SELECT 1",
        "COMMIT",
    ],
];

fn special() -> Vec<Scenario> {
    let int = |number: i32| number.to_be_bytes();
    let (two, three, zero) = (int(2), int(3), int(0));
    let rows = "SELECT generate_series(1, 5)";
    let unique = "ALTER TABLE parent ADD UNIQUE (note)";
    vec![
        scenario(
            "a statement that checks rows is run by two portals, and by one again",
            vec![
                vec![
                    parse("s", unique),
                    bind("", "s", &[]),
                    bind("p", "s", &[]),
                    execute("", 0),
                    describe(b'P', ""),
                    execute("p", 0),
                    sync(),
                ],
                vec![bind("", "s", &[]), execute("", 0), execute("", 0), sync()],
                vec![
                    bind("p", "s", &[]),
                    execute("p", 0),
                    execute("p", 0),
                    sync(),
                ],
                vec![query(
                    "SELECT conname FROM pg_constraint WHERE conname LIKE 'parent_n%' ORDER BY 1",
                )],
            ],
        ),
        scenario(
            "a statement that checks rows fails behind one that does",
            vec![vec![
                extended(unique),
                extended("ALTER TABLE parent ALTER note SET NOT NULL"),
                extended(unique),
                sync(),
                query(
                    "SELECT conname FROM pg_constraint WHERE conname LIKE 'parent_n%' ORDER BY 1",
                ),
            ]],
        ),
        scenario(
            "a statement is described before it is bound",
            vec![vec![
                parse("s", "SELECT $1::int AS a, $2::text AS b FROM parent"),
                describe(b'S', "s"),
                flush(),
                bind("p", "s", &["1", "x"]),
                describe(b'P', "p"),
                execute("p", 0),
                close(b'P', "p"),
                close(b'S', "s"),
                sync(),
            ]],
        ),
        scenario(
            "a statement is used again and again",
            vec![
                vec![parse("s", "SELECT $1::int + 1"), sync()],
                vec![
                    bind("", "s", &["1"]),
                    execute("", 0),
                    bind("", "s", &["2"]),
                    execute("", 0),
                    sync(),
                ],
                vec![bind("", "s", &["x"]), execute("", 0), sync()],
                vec![query("EXECUTE s(4)"), query("DEALLOCATE s")],
                vec![bind("", "s", &["1"]), sync()],
            ],
        ),
        scenario(
            "a name is taken",
            vec![vec![
                parse("s", "SELECT 1"),
                parse("s", "SELECT 2"),
                sync(),
                bind("", "s", &[]),
                execute("", 0),
                sync(),
            ]],
        ),
        scenario(
            "nothing is known by that name",
            vec![
                vec![bind("", "nowhere", &[]), sync()],
                vec![describe(b'S', "nowhere"), sync()],
                vec![describe(b'P', "nowhere"), sync()],
                vec![execute("nowhere", 0), sync()],
                vec![execute("", 0), sync()],
                vec![close(b'S', "nowhere"), close(b'P', "nowhere"), sync()],
            ],
        ),
        scenario(
            "a portal gives its rows in parts",
            vec![
                vec![
                    query("BEGIN"),
                    parse("", rows),
                    bind("p", "", &[]),
                    execute("p", 2),
                    sync(),
                ],
                vec![execute("p", 2), flush()],
                vec![execute("p", 2), execute("p", 2), sync()],
                vec![
                    query("FETCH 1 FROM p"),
                    query("COMMIT"),
                    execute("p", 1),
                    sync(),
                ],
            ],
        ),
        scenario(
            "a portal ends with its implicit transaction",
            vec![
                vec![
                    parse("", rows),
                    bind("p", "", &[]),
                    execute("p", 2),
                    execute("p", 1),
                    sync(),
                ],
                vec![execute("p", 2), sync()],
            ],
        ),
        scenario(
            "a portal of a table does not outlive its transaction",
            vec![
                vec![
                    parse("", "SELECT * FROM parent"),
                    bind("p", "", &[]),
                    execute("p", 1),
                    sync(),
                ],
                vec![query("ALTER TABLE parent ADD COLUMN x int")],
            ],
        ),
        scenario(
            "the unnamed portal, twice",
            vec![vec![
                parse("", "SELECT 1"),
                bind("", "", &[]),
                execute("", 0),
                execute("", 0),
                sync(),
            ]],
        ),
        scenario(
            "the unnamed statement outlives a Sync",
            vec![
                vec![parse("", "SELECT 7"), sync()],
                vec![
                    bind("", "", &[]),
                    describe(b'P', ""),
                    execute("", 0),
                    sync(),
                ],
                vec![describe(b'S', ""), sync()],
                vec![query("BEGIN"), bind("", "", &[]), execute("", 0), sync()],
                vec![query("COMMIT")],
            ],
        ),
        scenario(
            "the unnamed statement outlives transactions",
            vec![
                vec![parse("", "SELECT 7"), sync()],
                vec![extended("BEGIN")[..].to_vec(), sync()],
                vec![bind("", "", &[]), execute("", 0), sync()],
            ],
        ),
        scenario(
            "a COMMIT is prepared and used twice",
            vec![
                vec![
                    parse("b", "BEGIN"),
                    parse("c", "COMMIT"),
                    describe(b'S', "c"),
                    sync(),
                ],
                vec![
                    bind("", "b", &[]),
                    execute("", 0),
                    bind("", "c", &[]),
                    execute("", 0),
                    sync(),
                ],
                vec![bind("", "c", &[]), execute("", 0), sync()],
                vec![bind("", "b", &[]), execute("", 0), sync()],
                vec![query("SELECT 1/0")],
                vec![
                    bind("", "c", &[]),
                    describe(b'P', ""),
                    execute("", 0),
                    sync(),
                ],
            ],
        ),
        scenario(
            "a failed block refuses what is bound in it",
            vec![
                vec![parse("s", "SELECT 1"), parse("r", "ROLLBACK"), sync()],
                vec![query("BEGIN"), query("SELECT 1/0")],
                vec![bind("", "s", &[]), sync()],
                vec![describe(b'S', "s"), sync()],
                vec![parse("", "SELECT 1"), sync()],
                vec![parse("", "ROLLBACK"), sync()],
                vec![bind("", "r", &[]), execute("", 0), sync()],
            ],
        ),
        scenario(
            "flushes between messages",
            vec![vec![
                parse("", "SELECT 1"),
                flush(),
                bind("", "", &[]),
                flush(),
                describe(b'P', ""),
                flush(),
                execute("", 0),
                flush(),
                sync(),
            ]],
        ),
        scenario(
            "an error skips to the Sync",
            vec![vec![
                parse("", "SELECT 1/0"),
                bind("", "", &[]),
                execute("", 0),
                parse("x", "SELECT 1"),
                flush(),
                query("SELECT 'skipped'"),
                function_call(ADD, &[&two, &three]),
                sync(),
                bind("", "x", &[]),
                sync(),
            ]],
        ),
        scenario(
            "a Query in the middle of a batch",
            vec![
                vec![
                    parse("", "INSERT INTO parent VALUES (10)"),
                    bind("", "", &[]),
                    execute("", 0),
                    query("SELECT count(*) FROM parent"),
                ],
                vec![sync()],
            ],
        ),
        scenario(
            "Syncs for nothing",
            vec![vec![sync(), sync(), flush(), sync()]],
        ),
        scenario(
            "COPY in",
            vec![
                vec![
                    extended("COPY parent FROM STDIN"),
                    flush(),
                    copy_data("10\tten\n"),
                    copy_done(),
                    sync(),
                ],
                vec![query("SELECT count(*) FROM parent")],
            ],
        ),
        scenario(
            "COPY in, and a Sync before the data",
            vec![
                vec![
                    extended("COPY parent FROM STDIN"),
                    sync(),
                    copy_data("10\tten\n"),
                    copy_done(),
                    sync(),
                ],
                vec![query("SELECT count(*) FROM parent")],
            ],
        ),
        scenario(
            "COPY in, given up",
            vec![
                vec![
                    extended("COPY parent FROM STDIN"),
                    copy_data("10\tten\n"),
                    copy_fail("no more"),
                    sync(),
                ],
                vec![query("SELECT count(*) FROM parent")],
            ],
        ),
        scenario(
            "COPY in, wrong data",
            vec![
                vec![
                    extended("COPY parent FROM STDIN"),
                    copy_data("ten\n"),
                    copy_data("11\tb\n"),
                    copy_done(),
                    sync(),
                ],
                vec![query("SELECT count(*) FROM parent")],
            ],
        ),
        scenario(
            "COPY in, interrupted by a Parse",
            vec![
                vec![
                    extended("COPY parent FROM STDIN"),
                    copy_data("10\tten\n"),
                    parse("", "SELECT 1"),
                    sync(),
                ],
                vec![query("SELECT count(*) FROM parent")],
            ],
        ),
        scenario(
            "COPY in, in a block",
            vec![
                vec![
                    extended("BEGIN"),
                    extended("COPY child FROM STDIN"),
                    copy_data("10\t77\n"),
                    copy_done(),
                    sync(),
                ],
                vec![extended("COMMIT"), sync()],
            ],
        ),
        scenario(
            "COPY data for nobody",
            vec![vec![
                copy_data("x"),
                copy_done(),
                copy_fail("x"),
                query("SELECT 1"),
            ]],
        ),
        scenario(
            "COPY out, with more behind",
            vec![vec![
                extended("COPY parent TO STDOUT"),
                extended("SELECT 1"),
                sync(),
            ]],
        ),
        scenario(
            "a function is called",
            vec![
                vec![function_call(ADD, &[&two, &three])],
                vec![function_call(DIVIDE, &[&two, &zero]), query("SELECT 1")],
                vec![
                    query("BEGIN"),
                    function_call(ADD, &[&two, &three]),
                    function_call(DIVIDE, &[&two, &zero]),
                    function_call(ADD, &[&two, &three]),
                    query("ROLLBACK"),
                ],
                vec![function_call(999_999, &[])],
            ],
        ),
        scenario(
            "a deferred constraint fails at Sync, behind all completions",
            vec![
                vec![
                    extended("INSERT INTO child VALUES (1, 77)"),
                    extended("SELECT 2"),
                    sync(),
                ],
                vec![query("SELECT count(*) FROM child")],
            ],
        ),
        scenario(
            "an implicit transaction is committed by a COMMIT in the batch",
            vec![
                vec![
                    extended("INSERT INTO parent VALUES (10)"),
                    extended("COMMIT"),
                    extended("SELECT 1/0"),
                    sync(),
                ],
                vec![query("SELECT count(*) FROM parent")],
            ],
        ),
        scenario(
            "a block begins in the middle of a batch",
            vec![
                vec![
                    extended("INSERT INTO parent VALUES (10)"),
                    extended("BEGIN"),
                    extended("INSERT INTO parent VALUES (11)"),
                    sync(),
                ],
                vec![query("ROLLBACK"), query("SELECT count(*) FROM parent")],
            ],
        ),
        scenario(
            "a batch with parameters and a result in parts",
            vec![vec![
                parse("", "SELECT * FROM generate_series(1, $1::int)"),
                bind("", "", &["7"]),
                execute("", 3),
                execute("", 3),
                execute("", 3),
                sync(),
            ]],
        ),
        scenario(
            "a cursor by name as a portal",
            vec![
                vec![query(
                    "BEGIN; DECLARE c CURSOR FOR SELECT generate_series(1, 5)",
                )],
                vec![
                    describe(b'P', "c"),
                    execute("c", 2),
                    execute("c", 0),
                    close(b'P', "c"),
                    sync(),
                ],
                vec![query("FETCH c"), query("ROLLBACK")],
            ],
        ),
        scenario(
            "an insert that returns, in parts",
            vec![
                vec![
                    query("BEGIN"),
                    parse(
                        "",
                        "INSERT INTO parent SELECT generate_series(10, 14) RETURNING id",
                    ),
                    bind("p", "", &[]),
                    execute("p", 2),
                    execute("p", 0),
                    sync(),
                    query("COMMIT"),
                ],
                vec![query("SELECT count(*) FROM parent")],
            ],
        ),
        scenario(
            "settings reported in a batch that fails",
            vec![
                vec![
                    extended("SET application_name = 'x'"),
                    extended("SELECT 1/0"),
                    sync(),
                ],
                vec![query("SHOW application_name")],
            ],
        ),
        scenario(
            "a wrong number of values",
            vec![
                vec![parse("", "SELECT $1::int"), bind("", "", &[]), sync()],
                vec![
                    parse("", "SELECT $1::int"),
                    bind("", "", &["1", "2"]),
                    sync(),
                ],
            ],
        ),
        scenario(
            "a Bind that is cut short",
            vec![vec![
                query("BEGIN"),
                message(b'B', b"\0\0\0\0\0\x01"),
                sync(),
            ]],
        ),
        scenario(
            "a Describe of neither kind",
            vec![vec![message(b'D', b"xa\0"), sync()]],
        ),
        scenario(
            "a statement changes its meaning between Parse and Bind",
            vec![
                vec![parse("s", "SELECT * FROM parent"), sync()],
                vec![query("ALTER TABLE parent ADD COLUMN x int")],
                vec![bind("", "s", &[]), execute("", 0), sync()],
            ],
        ),
    ]
}
