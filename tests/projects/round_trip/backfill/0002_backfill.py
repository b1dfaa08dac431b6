"""two columns with their rows, of which the downgrade forgets one"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.execute("ALTER TABLE orders ADD COLUMN net int, ADD COLUMN tax int")
    op.execute("UPDATE orders SET net = total * 100 / 119, tax = total - total * 100 / 119")


def downgrade():
    op.execute("ALTER TABLE orders DROP COLUMN net")
