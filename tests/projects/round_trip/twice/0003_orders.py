"""orders that come twice"""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade():
    op.execute("INSERT INTO orders (id, state, total) SELECT 1001 + max(id), 'New', 1 FROM orders")


def downgrade():
    op.execute("DELETE FROM orders WHERE id > 1000")
