"""a note that stays"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.execute("ALTER TABLE customers ADD COLUMN IF NOT EXISTS note text")


def downgrade():
    op.execute("COMMENT ON TABLE customers IS NULL")
