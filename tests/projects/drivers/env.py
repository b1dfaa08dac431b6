import asyncio
import os

from alembic import context
from sqlalchemy import create_engine, make_url, pool
from sqlalchemy.ext.asyncio import create_async_engine

url = make_url(os.environ["DATABASE_URL"])


def migrate(connection) -> None:
    context.configure(
        connection=connection,
        transaction_per_migration="per-migration" in context.get_x_argument(as_dictionary=True),
    )
    with context.begin_transaction():
        context.run_migrations()


async def migrate_async() -> None:
    engine = create_async_engine(url, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


if url.get_driver_name() == "asyncpg":
    asyncio.run(migrate_async())
else:
    with create_engine(url, poolclass=pool.NullPool).connect() as connection:
        migrate(connection)
