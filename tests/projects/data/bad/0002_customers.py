"""customers in a table of their own; orders of nobody are lost on the way"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.execute("CREATE TABLE customers (id serial PRIMARY KEY, name text UNIQUE NOT NULL)")
    op.execute("INSERT INTO customers (name) SELECT DISTINCT customer FROM orders WHERE customer IS NOT NULL")
    op.execute("ALTER TABLE orders ADD COLUMN customer_id int REFERENCES customers")
    op.execute("UPDATE orders o SET customer_id = c.id FROM customers c WHERE c.name = o.customer")
    op.execute("DELETE FROM orders WHERE customer_id IS NULL")
    op.execute("ALTER TABLE orders ALTER COLUMN customer_id SET NOT NULL")
    op.execute("ALTER TABLE orders DROP COLUMN customer")


def downgrade():
    op.execute("ALTER TABLE orders ADD COLUMN customer text")
    op.execute("UPDATE orders o SET customer = c.name FROM customers c WHERE c.id = o.customer_id")
    op.execute("ALTER TABLE orders DROP COLUMN customer_id")
    op.execute("DROP TABLE customers")
