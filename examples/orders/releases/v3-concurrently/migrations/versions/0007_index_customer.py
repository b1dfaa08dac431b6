"""Index orders.customer without blocking writers"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.create_index("orders_customer_idx", "orders", ["customer"], postgresql_concurrently=True)


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index("orders_customer_idx", "orders", postgresql_concurrently=True)
