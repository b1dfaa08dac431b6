"""what is booked twice is cancelled, and all bookings have a code"""

import sqlalchemy as sa
from alembic import op

revision = "g1"
down_revision = None


def upgrade():
    op.add_column("bookings", sa.Column("code", sa.Text))
    op.execute(
        "UPDATE bookings b SET code = 'B' || id, cancelled = cancelled OR EXISTS (SELECT FROM bookings other"
        " WHERE other.id < b.id AND NOT other.cancelled AND (lower(other.email) = lower(b.email)"
        " OR other.during && b.during))"
    )
    op.alter_column("bookings", "code", nullable=False)
