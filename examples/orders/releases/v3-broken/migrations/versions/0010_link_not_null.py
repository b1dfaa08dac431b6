"""Every order has a customer"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("orders", "customer_id", nullable=False)


def downgrade() -> None:
    op.alter_column("orders", "customer_id", nullable=True)
