"""Statements that all succeed, and a deferred constraint that does not hold at COMMIT"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("UPDATE ledger.entry SET account_id = -1 WHERE id = 1")


def downgrade() -> None:
    pass
