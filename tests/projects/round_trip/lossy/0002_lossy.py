"""a column goes and comes back empty"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.execute("ALTER TABLE orders DROP COLUMN total")


def downgrade():
    op.execute("ALTER TABLE orders ADD COLUMN total int")
