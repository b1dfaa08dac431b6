"""orders, each with its customer's name"""

from alembic import op

revision = "0001"
down_revision = None


def upgrade():
    op.execute("CREATE TABLE orders (id serial PRIMARY KEY, customer text, total int NOT NULL)")
    op.execute("INSERT INTO orders (customer, total) SELECT 'customer ' || n % 7, n FROM generate_series(1, 100) n")


def downgrade():
    op.execute("DROP TABLE orders")
