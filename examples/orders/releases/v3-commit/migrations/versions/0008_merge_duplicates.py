"""ACME is Acme Ltd; its orders are forgotten"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DELETE FROM customers WHERE name = 'ACME'")


def downgrade() -> None:
    op.execute("INSERT INTO customers (name) VALUES ('ACME')")
