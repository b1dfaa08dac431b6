"""Every order bears a handling fee; applied twice it would be charged twice"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("UPDATE orders SET total = total + 1")


def downgrade() -> None:
    op.execute("UPDATE orders SET total = total - 1")
