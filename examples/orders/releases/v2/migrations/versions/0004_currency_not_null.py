"""Every order has a currency"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("orders", "currency", nullable=False)


def downgrade() -> None:
    op.alter_column("orders", "currency", nullable=True)
