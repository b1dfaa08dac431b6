"""another branch"""

from alembic import op

revision = "0002b"
down_revision = "0001"


def upgrade():
    op.execute("CREATE TABLE other ()")


def downgrade():
    op.execute("DROP TABLE other")
