"""customers who left"""

from alembic import op

revision = "a1"
down_revision = None


def upgrade():
    op.execute("DELETE FROM customers WHERE id > 60")
