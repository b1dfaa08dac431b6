"""Reports ask by currency"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("orders_currency_idx", "orders", ["currency"])


def downgrade() -> None:
    op.drop_index("orders_currency_idx", "orders")
