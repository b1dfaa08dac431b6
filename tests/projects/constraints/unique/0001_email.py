"""one booking for each address, whatever its case"""

import sqlalchemy as sa
from alembic import op

revision = "a1"
down_revision = None


def upgrade():
    op.create_index(
        "one_each",
        "bookings",
        [sa.text("lower(email)")],
        unique=True,
        postgresql_where=sa.text("NOT cancelled"),
    )
