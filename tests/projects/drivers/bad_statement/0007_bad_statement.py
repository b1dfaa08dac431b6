"""A statement that fails after one that succeeded"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("CREATE TABLE ledger.leftover (id int)")
    op.execute("ALTER TABLE ledger.entry ALTER COLUMN note SET NOT NULL, ADD COLUMN currency text")


def downgrade() -> None:
    op.execute("DROP TABLE ledger.leftover")
