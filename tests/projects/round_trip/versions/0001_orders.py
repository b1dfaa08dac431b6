"""orders"""

from alembic import op

revision = "0001"
down_revision = None


def upgrade():
    op.execute("CREATE TABLE orders (id serial PRIMARY KEY, state text NOT NULL, total int)")
    op.execute("INSERT INTO orders (state, total) SELECT 'New', n FROM generate_series(1, 100) n")


def downgrade():
    op.execute("DROP TABLE orders")
