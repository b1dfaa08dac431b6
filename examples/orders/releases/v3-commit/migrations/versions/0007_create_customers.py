"""Create customers; orders refer to them, checked at COMMIT"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("customers", sa.Column("name", sa.Text, primary_key=True))
    op.execute("INSERT INTO customers (name) SELECT DISTINCT customer FROM orders ORDER BY customer")
    op.create_foreign_key(
        "orders_customer_fkey", "orders", "customers", ["customer"], ["name"], deferrable=True, initially="DEFERRED"
    )


def downgrade() -> None:
    op.drop_constraint("orders_customer_fkey", "orders")
    op.drop_table("customers")
