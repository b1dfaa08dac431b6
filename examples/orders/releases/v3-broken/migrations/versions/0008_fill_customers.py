"""Fill customers from the orders"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("INSERT INTO customers (name) SELECT DISTINCT customer FROM orders ORDER BY customer")


def downgrade() -> None:
    op.execute("DELETE FROM customers")
