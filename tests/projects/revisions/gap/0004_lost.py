"""follows what is not there"""

from alembic import op

revision = "d4"
down_revision = "ffff"


def upgrade():
    op.execute("SELECT 1")


def downgrade():
    op.execute("SELECT 1")
