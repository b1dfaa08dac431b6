"""a room is booked once, and by one address"""

import sqlalchemy as sa
from alembic import op

revision = "g2"
down_revision = "g1"


def upgrade():
    op.create_index(
        "one_each",
        "bookings",
        [sa.text("lower(email)")],
        unique=True,
        postgresql_where=sa.text("NOT cancelled"),
    )
    op.create_exclude_constraint("no_overlap", "bookings", ("during", "&&"), where="NOT cancelled", using="gist")
