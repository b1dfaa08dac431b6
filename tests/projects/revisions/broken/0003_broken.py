"""a revision that needs what is not installed"""

import no_such_module  # noqa: F401

revision = "f6"
down_revision = "b2"


def upgrade():
    pass


def downgrade():
    pass
