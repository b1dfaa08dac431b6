"""which all of them must have"""

from alembic import op

revision = "b2"
down_revision = "a1"


def upgrade():
    op.alter_column("bookings", "code", nullable=False)
