"""Semicolons inside bodies: a function, a trigger, a DO block"""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION ledger.touch() RETURNS trigger LANGUAGE plpgsql AS $body$
        BEGIN
            -- a comment with 'a quote; and a semicolon
            NEW.memo = coalesce(NEW.memo, 'COMMIT; ROLLBACK;');
            RETURN NEW;
        END
        $body$
    """)
    op.execute("CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON ledger.entry FOR EACH ROW EXECUTE FUNCTION ledger.touch()")
    op.execute("DO $$ BEGIN UPDATE ledger.entry SET amount = amount + 1 WHERE id % 2 = 0; END $$")


def downgrade() -> None:
    op.execute("DROP TRIGGER touch ON ledger.entry")
    op.execute("DROP FUNCTION ledger.touch()")
