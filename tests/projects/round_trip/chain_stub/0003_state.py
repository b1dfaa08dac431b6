"""a type, and a downgrade that does nothing"""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade():
    op.execute("CREATE TYPE state AS ENUM ('new', 'paid')")
    op.execute("ALTER TABLE orders ALTER state TYPE state USING lower(state)::state")


def downgrade():
    pass
