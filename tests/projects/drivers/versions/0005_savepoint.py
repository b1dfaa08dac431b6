"""Savepoints: released, rolled back, and rolled back after an error"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

insert = sa.text("INSERT INTO ledger.account (name, kind) VALUES (:name, 'asset')")


def upgrade() -> None:
    connection = op.get_bind()
    with connection.begin_nested():
        connection.execute(insert, {"name": "kept"})
    undone = connection.begin_nested()
    connection.execute(insert, {"name": "undone"})
    undone.rollback()
    # pg8000 itself refuses ROLLBACK TO SAVEPOINT in a failed transaction.
    if connection.dialect.driver != "pg8000":
        try:
            with connection.begin_nested():
                connection.execute(insert, {"name": "kept"})
        except sa.exc.IntegrityError:
            connection.execute(sa.text("UPDATE ledger.account SET opened = 'epoch' WHERE name = 'kept'"))


def downgrade() -> None:
    op.execute("DELETE FROM ledger.account WHERE name = 'kept'")
