"""when it was paid"""

from alembic import op

revision = "b2"
down_revision = "a1"


def upgrade():
    op.execute("ALTER TABLE orders ADD COLUMN paid_at timestamptz")


def downgrade():
    op.execute("ALTER TABLE orders DROP COLUMN paid_at")
