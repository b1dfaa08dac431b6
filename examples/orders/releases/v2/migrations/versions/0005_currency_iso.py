"""A currency is an ISO 4217 code"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_check_constraint("orders_currency_iso", "orders", "currency ~ '^[A-Z]{3}$'")


def downgrade() -> None:
    op.drop_constraint("orders_currency_iso", "orders")
