"""Rows with every kind of parameter, read back and changed in Python"""

import datetime
from decimal import Decimal

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

kind = sa.Enum("asset", "liability", name="account_kind", schema="ledger", create_type=False)
account = sa.table(
    "account", sa.column("id", sa.BigInteger), sa.column("name", sa.Text), sa.column("kind", kind), schema="ledger"
)
entry = sa.table(
    "entry",
    sa.column("id", sa.BigInteger),
    sa.column("account_id", sa.BigInteger),
    sa.column("amount", sa.Numeric(14, 2)),
    sa.column("memo", sa.Text),
    sa.column("tags", sa.ARRAY(sa.Text)),
    sa.column("details", sa.JSON),
    sa.column("receipt", sa.LargeBinary),
    sa.column("booked", sa.Date),
    schema="ledger",
)


def upgrade() -> None:
    connection = op.get_bind()
    # The entry comes before its account: only a check that waits for the end of the transaction lets it pass.
    connection.execute(sa.insert(entry).values(account_id=1, amount=Decimal("12.50"), memo="Zürich; 'quoted' \\ $$"))
    op.bulk_insert(account, [{"name": f"account {n}", "kind": "asset" if n % 2 else "liability"} for n in range(250)])
    connection.execute(
        sa.insert(entry),
        [
            {
                "account_id": 1 + n % 250,
                "amount": Decimal(n) / 100,
                "memo": None,
                "tags": ["a", "b,c", '"d"'],
                "details": {"n": n, "nested": [True, None]},
                "receipt": bytes(range(n % 256)),
                "booked": datetime.date(2026, 1, 1) + datetime.timedelta(days=n),
            }
            for n in range(250)
        ],
    )
    for identity, amount in connection.execute(sa.select(entry.c.id, entry.c.amount).order_by(entry.c.id)).all()[:20]:
        connection.execute(sa.update(entry).where(entry.c.id == identity).values(amount=amount * 2))


def downgrade() -> None:
    op.execute("TRUNCATE ledger.entry, ledger.account")
