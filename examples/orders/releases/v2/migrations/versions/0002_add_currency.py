"""Add orders.currency"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("orders", sa.Column("currency", sa.Text, server_default="EUR", nullable=True))


def downgrade() -> None:
    op.drop_column("orders", "currency")
