"""What drydock costs on one machine: each figure is a ratio or a difference within one run.

    python benches/local.py DRYDOCK POSTGRES_BIN LAB

Direct and rehearsed runs alternate, in another order each time, so that a busy minute hits both. A figure is the median
of what the rounds say, each of which compares runs of the same moment; the times beside it are the median of all runs,
and between what the middle half of them lies.
"""

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

import project

REVISIONS = 60
ROUNDS = 11
ROUND_TRIPS = 1_000
BLOCKS = 21
COPIES = 7
TRIPS = 5
TABLES = 10_000
OBJECTS = 20
COPY_BYTES = 1 << 30
COPY_CHUNK = ("x" * 1022 + "\n").encode() * 64

drydock, binaries, lab = sys.argv[1:4]
alembic = str(Path(sys.executable).parent / "alembic")
rows: list[tuple[str, str, str, str, bool]] = []


def report(what: str, direct: str, docked: str, figure: str, holds: bool) -> None:
    rows.append((what, direct, docked, figure, holds))
    print(f"{'ok  ' if holds else 'MISS'} {what}: {figure} (direct {direct}, drydock {docked})", flush=True)


@contextmanager
def server():
    """A throw-away server that ends with this process; fsync stays on."""
    folder = Path(tempfile.mkdtemp(prefix="drydock-bench-"))
    folder.chmod(0o755)
    port = random.randrange(20_000, 30_000)
    (folder / "postgresql.conf").write_text(
        "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nshared_buffers = '512MB'\nmax_wal_size = '8GB'\n"
    )
    (folder / "pg_hba.conf").write_text("host all all 127.0.0.1/32 trust\n")
    supervisor = subprocess.Popen(
        [f"{lab}/postgres-server.sh", binaries, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    print(f"start {port}", file=supervisor.stdin, flush=True)
    if supervisor.stdout.readline() != "ok\n":
        sys.exit("PostgreSQL did not start")
    base = f"postgresql://postgres@127.0.0.1:{port}"
    try:
        with psycopg.connect(f"{base}/postgres") as connection:
            connection.execute("CREATE ROLE onlooker LOGIN SUPERUSER")
        yield base
    finally:
        supervisor.stdin.close()
        supervisor.wait()


@contextmanager
def database(base: str):
    name = f"bench_{random.randrange(1 << 32):x}"
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        connection.execute("CHECKPOINT")
        try:
            yield f"{base}/{name}"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def onlooker(url: str) -> str:
    """For connections to the server while it is rehearsed on: one of the command's own role would be taken for the
    command going around the rehearsal as soon as autovacuum commits anything."""
    return url.replace("//postgres@", "//onlooker@")


@contextmanager
def rehearsal(url: str):
    """An open dry dock: the URL to connect to, and its process."""
    process = subprocess.Popen(
        [drydock, "rehearse", "--listen", "127.0.0.1:0", "--database-url", url],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    address = process.stdout.readline().strip()
    try:
        yield address, process.pid
    finally:
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
        if process.wait() != 0:
            sys.exit(f"the rehearsal of a benchmark ended with {process.returncode}:\n{said}")


@contextmanager
def relay(url: str):
    """A relay that looks at nothing, for one connection: the URL to connect to."""
    with tempfile.TemporaryDirectory(prefix="drydock-bench-") as folder:
        program = f"{folder}/relay"
        subprocess.run(["cc", "-O2", "-o", program, Path(__file__).with_name("relay.c")], check=True)
        address = urlsplit(url)
        process = subprocess.Popen([program, str(address.port)], stdout=subprocess.PIPE, text=True)
        try:
            yield url.replace(f":{address.port}/", f":{process.stdout.readline().strip()}/")
        finally:
            process.kill()
            process.wait()


def seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def run(command: list[str], url: str, folder: Path) -> None:
    environment = os.environ | {"DATABASE_URL": url.replace("postgresql://", "postgresql+psycopg://", 1)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stderr[-4000:]}")


def spread(values: list[float], form: str) -> str:
    """The median, and between what the middle half of the values lies."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:{form}} ({low:{form}}–{high:{form}})"


def ratio(direct: list[float], docked: list[float]) -> float:
    return statistics.median(after / before for before, after in zip(direct, docked, strict=True))


def difference(direct: list[float], docked: list[float]) -> float:
    return statistics.median(after - before for before, after in zip(direct, docked, strict=True))


def in_any_order(*actions) -> None:
    for action in random.sample(actions, len(actions)):
        action()


def migrations(base: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="drydock-bench-project-"))
    shutil.rmtree(folder)
    project.generate(folder, REVISIONS)
    command = [alembic, "upgrade", "head"]
    direct, docked, whole = [], [], []

    def directly() -> None:
        with database(base) as url:
            direct.append(seconds(lambda: run(command, url, folder)))

    def through_the_rehearsal() -> None:
        with database(base) as url, rehearsal(url) as (address, _):
            docked.append(seconds(lambda: run(command, address, folder)))

    def as_a_whole() -> None:
        with database(base) as url:
            whole.append(seconds(lambda: run([drydock, "rehearse", "--no-round-trip", "--", *command], url, folder)))

    directly()  # compiles the project's Python
    direct.clear()
    for _ in range(ROUNDS):
        in_any_order(directly, through_the_rehearsal, as_a_whole)
    shutil.rmtree(folder)
    slower, more = ratio(direct, docked), difference(docked, whole)
    report(
        f"Alembic, {REVISIONS} revisions: the command through the rehearsal",
        f"{spread(direct, '.2f')} s", f"{spread(docked, '.2f')} s", f"{slower:.2f} times", slower <= 1.15,
    )
    report(
        f"Alembic, {REVISIONS} revisions: all of `drydock rehearse`",
        f"{spread(direct, '.2f')} s", f"{spread(whole, '.2f')} s", f"{more:+.2f} s on top of the command",
        statistics.median(whole) <= 1.15 * statistics.median(direct) + 1,
    )


def there_and_back(base: str) -> None:
    """The second transaction: upgrade, check, upgrade, downgrade, upgrade, each with a start of Alembic's own."""
    folder = Path(tempfile.mkdtemp(prefix="drydock-bench-project-"))
    shutil.rmtree(folder)
    project.generate(folder, REVISIONS)
    command = [alembic, "upgrade", "head"]
    direct, starts, whole, ratios = [], [], [], []
    for round in range(TRIPS + 1):
        with database(base) as url:
            direct.append(seconds(lambda: run(command, url, folder)))
            # Nothing is left to do, so this is the start alone.
            starts.append(seconds(lambda: run(command, url, folder)))
        with database(base) as url:
            environment = os.environ | {"DATABASE_URL": url.replace("postgresql://", "postgresql+psycopg://", 1)}
            done = subprocess.run(
                [drydock, "rehearse", "--quiet", "--round-trip", "-o", "json", "--", *command],
                cwd=folder, env=environment, capture_output=True, text=True,
            )
            if done.returncode != 0:
                sys.exit(f"the rehearsal ended with {done.returncode}:\n{done.stderr[-4000:]}")
            trip = json.loads(done.stdout)["roundTrip"]
            if trip["cut"] or len(trip["steps"]) != 5:
                sys.exit(f"the round trip was not gone: {trip['cut']}")
            whole.append(trip["millis"] / 1000)
        if round == 0:  # compiles the project's Python
            for values in (direct, starts, whole):
                values.clear()
            continue
        ratios.append((whole[-1] - 5 * starts[-1]) / (direct[-1] - starts[-1]))
    shutil.rmtree(folder)
    times = statistics.median(ratios)
    report(
        f"Alembic, {REVISIONS} revisions: the round trip without five starts of Alembic's",
        f"{spread(direct, '.2f')} s, a start {spread(starts, '.2f')} s", f"{spread(whole, '.2f')} s",
        f"{times:.2f} times the upgrade without its start", times <= 2.3,
    )


def round_trips(base: str) -> None:
    def microseconds(link, protocol: str) -> float:
        ask = {"simple": lambda: link.exec_(b"SELECT 1"), "extended": lambda: link.exec_params(b"SELECT 1", None)}[protocol]
        times = []
        for _ in range(ROUND_TRIPS):
            start = time.perf_counter_ns()
            ask()
            times.append(time.perf_counter_ns() - start)
        return statistics.median(times) / 1000

    with (
        database(base) as url,
        rehearsal(url) as (address, _),
        relay(onlooker(url)) as relayed,
        psycopg.connect(onlooker(url), autocommit=True) as straight,
        psycopg.connect(address, autocommit=True) as through,
        psycopg.connect(relayed, autocommit=True) as bare,
    ):
        for protocol in ("simple", "extended"):
            direct, docked, floor = [], [], []
            for _ in range(BLOCKS):
                in_any_order(
                    lambda: direct.append(microseconds(straight.pgconn, protocol)),
                    lambda: docked.append(microseconds(through.pgconn, protocol)),
                    lambda: floor.append(microseconds(bare.pgconn, protocol)),
                )
            more = difference(direct, docked)
            report(
                f"`SELECT 1`, one round trip, {protocol} query",
                f"{spread(direct, '.0f')} µs", f"{spread(docked, '.0f')} µs",
                f"{more:+.0f} µs; a relay that looks at nothing: {difference(direct, floor):+.0f} µs", more <= 80,
            )


def copy(base: str) -> None:
    def load(url: str) -> tuple[float, float]:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE bulk (line text)")

            def come_in() -> None:
                with connection.cursor().copy("COPY bulk FROM STDIN") as stream:
                    for _ in range(COPY_BYTES // len(COPY_CHUNK)):
                        stream.write(COPY_CHUNK)

            def go_out() -> None:
                with connection.cursor().copy("COPY bulk TO STDOUT") as stream:
                    total = sum(len(block) for block in stream)
                if abs(total - COPY_BYTES) > len(COPY_CHUNK):
                    sys.exit(f"COPY gave {total} bytes back")

            times = seconds(come_in), seconds(go_out)
            connection.rollback()
            return times

    direct, docked, peaks = [], [], []

    def directly() -> None:
        with database(base) as url:
            direct.append(load(url))

    def through_the_rehearsal() -> None:
        with database(base) as url, rehearsal(url) as (address, pid):
            docked.append(load(address))
            status = Path(f"/proc/{pid}/status").read_text()
            peaks.append(int(next(l for l in status.splitlines() if l.startswith("VmHWM")).split()[1]))

    for _ in range(COPIES):
        in_any_order(directly, through_the_rehearsal)
    for straight, through, way in zip(zip(*direct), zip(*docked), ("in", "out")):
        speed = ratio(through, straight)
        report(
            f"COPY of 1 GiB {way}",
            f"{spread(straight, '.2f')} s", f"{spread(through, '.2f')} s", f"{speed:.2f} of the direct speed", speed >= 0.8,
        )
    peak = max(peaks)
    report("memory of drydock during COPY", "–", f"{peak / 1024:.0f} MiB", "at the peak", peak <= 64 * 1024)


def large_schema(base: str) -> None:
    """How long a changed table stays locked for the prediction, on a schema of many tables."""
    with database(base) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                f"""DO $$ BEGIN FOR n IN 1..{TABLES} LOOP
                EXECUTE format('CREATE TABLE t%s (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text NOT NULL
                    DEFAULT ''x'', amount numeric(12, 2) CHECK (amount >= 0), at timestamptz DEFAULT now())', n);
                EXECUTE format('CREATE INDEX ON t%s (name)', n);
                IF n % 100 = 0 THEN COMMIT; END IF;
                END LOOP; END $$"""
            )
            connection.execute("VACUUM ANALYZE")
        # Python takes its time to end, which is no share of drydock's: what comes last is quick.
        command = ["sh", "-c", '"$PYTHON" -c "$CHANGE" && exec date +%s.%N > "$ENDED"']
        times = []
        for _ in range(ROUNDS):
            with tempfile.NamedTemporaryFile() as file:
                # The command's last act is to write the time; the locks go with the rollback.
                environment = os.environ | {
                    "DATABASE_URL": url, "ENDED": file.name, "PYTHON": sys.executable, "CHANGE": CHANGE,
                }
                with psycopg.connect(onlooker(url), autocommit=True) as observer:
                    process = subprocess.Popen(
                        [drydock, "rehearse", "--", *command], env=environment,
                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                    )
                    while not Path(file.name).read_text().endswith("\n"):
                        if process.poll() is not None:
                            sys.exit(f"the rehearsal ended with {process.returncode}")
                        time.sleep(0.001)
                    while observer.execute(HELD).fetchone() != (0,):
                        time.sleep(0.001)
                    times.append(time.time() - float(Path(file.name).read_text()))
                errors = process.communicate()[1]
                if process.returncode != 0:
                    sys.exit(f"the rehearsal ended with {process.returncode}:\n{errors[-4000:]}")
    report(
        f"{OBJECTS} tables altered among {TABLES}: locks held after the command's end",
        "–", f"{spread(times, '.3f')} s", "until the rollback", statistics.median(times) <= 0.1,
    )


HELD = "SELECT count(*) FROM pg_locks WHERE relation = 't1'::regclass AND mode = 'AccessExclusiveLock'"

CHANGE = """
import os, psycopg
with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    for n in range(1, OBJECTS + 1):
        connection.execute(f"ALTER TABLE t{n} ADD COLUMN note text")
""".replace("OBJECTS", str(OBJECTS))

measures = {
    "migrations": migrations, "there_and_back": there_and_back, "round_trips": round_trips, "copy": copy,
    "large_schema": large_schema,
}
with server() as base:
    print(f"{os.cpu_count()} CPUs, {psycopg.connect(f'{base}/postgres').execute('SHOW server_version').fetchone()[0]}")
    wanted = sys.argv[4:] or list(measures)
    for name in wanted:
        measures[name](base)

print("\n| what | directly | with drydock | |\n|---|---|---|---|")
for what, direct, docked, figure, _ in rows:
    print(f"| {what} | {direct} | {docked} | {figure} |")
sys.exit(0 if all(holds for *_, holds in rows) else 1)
