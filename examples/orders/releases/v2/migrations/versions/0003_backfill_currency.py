"""Globex has always paid in dollars"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("UPDATE orders SET currency = 'USD' WHERE customer = 'Globex'")


def downgrade() -> None:
    op.execute("UPDATE orders SET currency = 'EUR' WHERE customer = 'Globex'")
