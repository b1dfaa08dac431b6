"""Alterations of a table with rows"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("entry", sa.Column("currency", sa.CHAR(3), server_default="EUR", nullable=False), schema="ledger")
    op.alter_column("entry", "memo", new_column_name="note", existing_type=sa.Text, schema="ledger")
    op.execute("ALTER TABLE ledger.entry DISABLE TRIGGER touch")
    op.alter_column("entry", "amount", type_=sa.BigInteger, postgresql_using="(amount * 100)::bigint", schema="ledger")
    op.create_check_constraint("entry_currency", "entry", "currency = upper(currency)", schema="ledger")
    op.create_table_comment("entry", "what was booked; 'when' and how much", schema="ledger")
    op.execute("CREATE VIEW ledger.balance AS SELECT account_id, sum(amount) AS cents FROM ledger.entry GROUP BY 1")
    op.drop_column("entry", "receipt", schema="ledger")


def downgrade() -> None:
    raise NotImplementedError("the receipts are gone")
