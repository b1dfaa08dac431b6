"""customers who left, behind their bookings"""

from alembic import op

revision = "g3"
down_revision = "g2"


def upgrade():
    op.execute("DELETE FROM customers WHERE id > 60")
    op.execute("DELETE FROM bookings WHERE customer > 60")
