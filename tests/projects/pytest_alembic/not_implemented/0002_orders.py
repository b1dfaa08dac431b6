"""orders, and no downgrade"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.execute("CREATE TABLE orders (id int PRIMARY KEY)")


def downgrade():
    raise NotImplementedError
