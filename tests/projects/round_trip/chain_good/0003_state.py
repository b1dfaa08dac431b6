"""a type for the state"""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade():
    op.execute("CREATE TYPE state AS ENUM ('new', 'paid')")
    op.execute("ALTER TABLE orders ALTER state TYPE state USING lower(state)::state")


def downgrade():
    op.execute("ALTER TABLE orders ALTER state TYPE text USING initcap(state::text)")
    op.execute("DROP TYPE state")
