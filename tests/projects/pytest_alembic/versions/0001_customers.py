"""customers"""

from alembic import op

revision = "0001"
down_revision = None


def upgrade():
    op.execute("CREATE TABLE customers (id int PRIMARY KEY, name text)")


def downgrade():
    op.execute("DROP TABLE customers")
