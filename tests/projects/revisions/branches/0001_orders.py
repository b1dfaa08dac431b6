"""orders"""

from alembic import op

revision = "o1"
down_revision = None
branch_labels = ("orders",)


def upgrade():
    op.execute("CREATE TABLE orders (id int PRIMARY KEY)")


def downgrade():
    op.execute("DROP TABLE orders")
