"""customers have names"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.execute("ALTER TABLE customers ALTER COLUMN name SET NOT NULL")


def downgrade():
    op.execute("ALTER TABLE customers ALTER COLUMN name DROP NOT NULL")
