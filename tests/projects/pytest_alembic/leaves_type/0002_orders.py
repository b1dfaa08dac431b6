"""orders, and a type that stays"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.execute(
        """DO $$ BEGIN
        CREATE TYPE state AS ENUM ('open', 'paid');
        EXCEPTION WHEN duplicate_object THEN NULL;
        END $$"""
    )
    op.execute("CREATE TABLE orders (id int PRIMARY KEY)")


def downgrade():
    op.execute("DROP TABLE orders")
