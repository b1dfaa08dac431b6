"""orders"""

from alembic import op

revision = "a1"
down_revision = None


def upgrade():
    op.execute("CREATE TABLE orders (id int PRIMARY KEY)")


def downgrade():
    op.execute("DROP TABLE orders")
