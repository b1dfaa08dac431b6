"""invoices"""

from alembic import op

revision = "b1"
down_revision = None
branch_labels = ("billing",)


def upgrade():
    op.execute("CREATE TABLE invoices (id int PRIMARY KEY)")


def downgrade():
    op.execute("DROP TABLE invoices")
