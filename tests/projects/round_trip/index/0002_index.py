"""an index"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.create_index("orders_by_state", "orders", ["state"])


def downgrade():
    op.drop_index("orders_by_state", "orders")
