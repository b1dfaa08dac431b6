import os

from alembic import context
from sqlalchemy import create_engine

options = context.get_x_argument(as_dictionary=True)
with create_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1)).connect() as connection:
    context.configure(
        connection=connection,
        version_table=options.get("table", "alembic_version"),
        version_table_schema=options.get("schema"),
    )
    with context.begin_transaction():
        context.run_migrations()
