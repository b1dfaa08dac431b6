"""states in small letters"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.execute("UPDATE orders SET state = lower(state)")


def downgrade():
    op.execute("UPDATE orders SET state = initcap(state)")
