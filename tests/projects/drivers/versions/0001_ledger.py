"""A schema, an enum type, a deferred foreign key"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA ledger")
    op.create_table(
        "account",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("kind", sa.Enum("asset", "liability", name="account_kind", schema="ledger"), nullable=False),
        sa.Column("opened", sa.DateTime(timezone=True), server_default=sa.text("'2026-01-01 00:00+00'"), nullable=False),
        schema="ledger",
    )
    op.create_table(
        "entry",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column(
            "account_id",
            sa.BigInteger,
            sa.ForeignKey("ledger.account.id", name="entry_account_fkey", deferrable=True, initially="DEFERRED"),
            nullable=False,
        ),
        sa.Column("amount", sa.Numeric(14, 2), nullable=False),
        sa.Column("memo", sa.Text),
        sa.Column("tags", sa.ARRAY(sa.Text)),
        sa.Column("details", sa.JSON),
        sa.Column("receipt", sa.LargeBinary),
        sa.Column("booked", sa.Date),
        schema="ledger",
    )


def downgrade() -> None:
    op.drop_table("entry", schema="ledger")
    op.drop_table("account", schema="ledger")
    op.execute("DROP SCHEMA ledger CASCADE")
