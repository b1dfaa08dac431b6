"""orders are begun anew"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.execute("TRUNCATE orders")


def downgrade():
    pass
