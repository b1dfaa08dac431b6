"""The database of this suite is a rehearsal on the one that DATABASE_URL names: its real rows, migrated to head by the
code that is tested. Nothing of it can be committed, and a suite after which anything is left has failed."""

import os
import signal
import subprocess

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

REHEARSE = ["drydock", "rehearse", "--listen", "127.0.0.1:0", "--duration", "15m", "--quiet"]
# Should this process be killed, the kernel interrupts drydock, which then rolls back.
INTERRUPTED_WITH_US = ["setpriv", "--pdeathsig", "INT"]


@pytest.fixture(scope="session")
def dry_dock():
    # In a process group of its own: Ctrl-C ends the tests first.
    dock = subprocess.Popen(INTERRUPTED_WITH_US + REHEARSE, stdout=subprocess.PIPE, text=True, process_group=0)
    first = dock.stdout.readline().strip()
    if first.startswith("postgresql"):
        yield first
        first = ""
        dock.send_signal(signal.SIGINT)
    report, _ = dock.communicate()
    if dock.returncode != 0:
        pytest.fail(f"drydock ended with {dock.returncode}:\n{first}\n{report}", pytrace=False)


@pytest.fixture(scope="session")
def engine(dry_dock):
    subprocess.run(["alembic", "upgrade", "head"], env=os.environ | {"DATABASE_URL": dry_dock}, check=True)
    engine = create_engine(dry_dock)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine):
    """What a test does, and what the code under test commits, is gone after the test."""
    with engine.connect() as connection, connection.begin() as transaction:
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            yield session
        transaction.rollback()
