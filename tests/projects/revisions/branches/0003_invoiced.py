"""an order on each invoice"""

from alembic import op

revision = "b2"
down_revision = "b1"
depends_on = "o1"


def upgrade():
    op.execute("ALTER TABLE invoices ADD COLUMN order_id int REFERENCES orders")


def downgrade():
    op.execute("ALTER TABLE invoices DROP COLUMN order_id")
