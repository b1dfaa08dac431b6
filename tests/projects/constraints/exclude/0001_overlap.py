"""a room is booked once"""

from alembic import op

revision = "a1"
down_revision = None


def upgrade():
    op.create_exclude_constraint(
        "no_overlap", "bookings", ("during", "&&"), where="NOT cancelled", using="gist"
    )
