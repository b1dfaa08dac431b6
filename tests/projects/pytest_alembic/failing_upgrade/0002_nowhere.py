"""a table that is not there"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.execute("ALTER TABLE nowhere ADD COLUMN note text")


def downgrade():
    op.execute("ALTER TABLE nowhere DROP COLUMN note")
