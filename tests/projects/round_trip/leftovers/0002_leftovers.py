"""more than the downgrade remembers"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.execute("CREATE TYPE priority AS ENUM ('low', 'high')")
    op.execute("ALTER TABLE orders ADD COLUMN priority priority")
    op.execute("CREATE INDEX orders_state ON orders (state)")
    op.execute("CREATE SEQUENCE invoices")
    op.execute("CREATE FUNCTION paid(int) RETURNS bool LANGUAGE sql AS 'SELECT true'")
    op.execute("GRANT SELECT ON orders TO PUBLIC")


def downgrade():
    op.execute("ALTER TABLE orders DROP COLUMN priority")
