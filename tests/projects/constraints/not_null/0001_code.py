"""a code for each booking, in a revision of its own"""

import sqlalchemy as sa
from alembic import op

revision = "a1"
down_revision = None


def upgrade():
    op.add_column("bookings", sa.Column("code", sa.Text))
    op.execute("UPDATE bookings SET code = 'B' || id WHERE customer IS NOT NULL")
