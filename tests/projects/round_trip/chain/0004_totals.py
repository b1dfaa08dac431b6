"""greater totals"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade():
    op.execute("UPDATE orders SET total = total + 1")


def downgrade():
    op.execute("UPDATE orders SET total = total - 1")
