"""notes"""

from alembic import op

revision = "m1"
down_revision = None


def upgrade() -> None:
    op.execute("CREATE TABLE order_notes ()")


def downgrade() -> None:
    op.execute("DROP TABLE order_notes")
