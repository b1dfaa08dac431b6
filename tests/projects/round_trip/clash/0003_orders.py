"""orders whose keys are taken the second time"""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade():
    op.execute("INSERT INTO orders (id, state, total) VALUES (1001, 'New', 1)")


def downgrade():
    op.execute("DELETE FROM orders WHERE id > 1000")
