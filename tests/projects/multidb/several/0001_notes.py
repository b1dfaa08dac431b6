"""notes in both"""

from alembic import op

revision = "m1"
down_revision = None


def upgrade(engine_name: str) -> None:
    globals()[f"upgrade_{engine_name}"]()


def downgrade(engine_name: str) -> None:
    globals()[f"downgrade_{engine_name}"]()


def upgrade_orders() -> None:
    op.execute("CREATE TABLE order_notes ()")


def downgrade_orders() -> None:
    op.execute("DROP TABLE order_notes")


def upgrade_billing() -> None:
    op.execute("CREATE TABLE invoice_notes ()")


def downgrade_billing() -> None:
    op.execute("DROP TABLE invoice_notes")
