"""a note, and a downgrade that holds its lock for long"""

import os
import pathlib

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.execute("ALTER TABLE orders ADD COLUMN note text")


def downgrade():
    op.execute("ALTER TABLE orders DROP COLUMN note")
    pathlib.Path(os.environ["HOLDS"]).write_text("now")
    op.execute("SELECT pg_sleep(20)")
