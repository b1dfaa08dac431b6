"""Create orders, with the orders of the old system"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
        sa.Column("customer", sa.Text, nullable=False),
        sa.Column("total", sa.Numeric(12, 2), nullable=False),
    )
    op.execute("""
        INSERT INTO orders (customer, total)
        SELECT (ARRAY['Acme Ltd', 'ACME', 'Globex', 'Initech', 'Umbrella'])[1 + n % 5], 10 + n % 90
        FROM generate_series(1, 1000) AS n
    """)


def downgrade() -> None:
    op.drop_table("orders")
