import os

from alembic import context
from sqlalchemy import create_engine

# As Alembic's template: each database is migrated in turn, and only one of them is the rehearsal's.
variables = {"orders": "DATABASE_URL", "billing": "BILLING_URL"}
names = [name.strip() for name in context.config.get_main_option("databases").split(",")]
for name in names:
    url = os.environ[variables[name]].replace("postgresql://", "postgresql+psycopg://", 1)
    with create_engine(url).connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            if len(names) > 1:
                context.run_migrations(engine_name=name)
            else:
                context.run_migrations()
