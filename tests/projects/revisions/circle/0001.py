"""one"""

from alembic import op

revision = "e5"
down_revision = "f6"


def upgrade():
    op.execute("SELECT 1")


def downgrade():
    op.execute("SELECT 1")
