"""What must run outside a transaction"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.create_index(
            "entry_account_idx",
            "entry",
            ["account_id"],
            schema="ledger",
            # With pg8000 SQLAlchemy's AUTOCOMMIT still opens a transaction.
            postgresql_concurrently=op.get_bind().dialect.driver != "pg8000",
        )
        op.execute("ALTER TYPE ledger.account_kind ADD VALUE 'equity'")


def downgrade() -> None:
    op.drop_index("entry_account_idx", "entry", schema="ledger")
