"""two"""

from alembic import op

revision = "f6"
down_revision = "e5"


def upgrade():
    op.execute("SELECT 1")


def downgrade():
    op.execute("SELECT 1")
