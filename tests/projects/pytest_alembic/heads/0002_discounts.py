"""discounts"""

from alembic import op

revision = "0002b"
down_revision = "0001"


def upgrade():
    op.execute("CREATE TABLE discounts (id int PRIMARY KEY)")


def downgrade():
    op.execute("DROP TABLE discounts")
