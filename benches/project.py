"""Generates an Alembic project of many revisions, as a team of some years has one."""

from pathlib import Path

ENV = '''
import os

from alembic import context
from sqlalchemy import create_engine, pool

with create_engine(os.environ["DATABASE_URL"], poolclass=pool.NullPool).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
'''

REVISION = '''
import sqlalchemy as sa
from alembic import op

revision = "{revision:04}"
down_revision = {down_revision}
branch_labels = None
depends_on = None


def upgrade() -> None:
{body}


def downgrade() -> None:
{back}
'''


def body(n: int) -> str:
    """The statements of revision `n`: a new table each time, and work on the older ones."""
    older = max(1, n - 1 - n % 7)
    lines = [
        f"""op.create_table(
        "t{n}",
        sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
        sa.Column("parent", sa.Integer),
        sa.Column("name", sa.Text, nullable=False, server_default="none"),
        sa.Column("amount", sa.Numeric(12, 2)),
    )""",
        f"""op.execute("INSERT INTO t{n} (parent, amount) SELECT n, n FROM generate_series(1, 200) AS n")""",
        f"""op.execute("UPDATE t{n} SET name = 'row ' || id WHERE id % 2 = 0")""",
        f"""op.create_index("t{n}_name_idx", "t{n}", ["name"])""",
        f"""op.add_column("t{n}", sa.Column("note", sa.Text))""",
        f"""op.create_check_constraint("t{n}_amount", "t{n}", "amount >= 0")""",
    ]
    if n > 1:
        lines += [
            f"""op.create_foreign_key("t{n}_parent_fkey", "t{n}", "t{older}", ["parent"], ["id"])""",
            f"""op.execute("UPDATE t{older} SET amount = amount + 1 WHERE id < 50")""",
            f"""op.add_column("t{older}", sa.Column("since_{n}", sa.Integer, server_default="0", nullable=False))""",
            f"""op.execute("CREATE VIEW v{n} AS SELECT id, name FROM t{n} WHERE amount > 10")""",
        ]
    return "\n".join("    " + line for line in lines)


def back(n: int) -> str:
    """The statements that undo them."""
    older = max(1, n - 1 - n % 7)
    lines = [f"""op.drop_table("t{n}")"""]
    if n > 1:
        lines = [
            f"""op.execute("DROP VIEW v{n}")""",
            f"""op.drop_column("t{older}", "since_{n}")""",
            f"""op.execute("UPDATE t{older} SET amount = amount - 1 WHERE id < 50")""",
        ] + lines
    return "\n".join("    " + line for line in lines)


def generate(folder: Path, revisions: int) -> None:
    versions = folder / "versions"
    versions.mkdir(parents=True)
    (folder / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s\npath_separator = os\n")
    (folder / "env.py").write_text(ENV)
    for n in range(1, revisions + 1):
        down_revision = repr(f"{n - 1:04}") if n > 1 else "None"
        text = REVISION.format(revision=n, down_revision=down_revision, body=body(n), back=back(n))
        (versions / f"{n:04}_revision.py").write_text(text)
