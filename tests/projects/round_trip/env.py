import os

from alembic import context
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine

# What the models say: `-x models=good` what the good revision makes, `-x models=ahead` one column more.
options = context.get_x_argument(as_dictionary=True)
models = options.get("models")
metadata = MetaData()
columns = [Column("id", Integer, primary_key=True), Column("state", Text, nullable=False), Column("total", Integer)]
columns.append(Column("note", Text))
if models == "ahead":
    columns.append(Column("paid_at", Text))
Table("orders", metadata, *columns)

with create_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1)).connect() as connection:
    context.configure(connection=connection, target_metadata=metadata if models else None)
    with context.begin_transaction():
        context.run_migrations()
        # Rows that come with every upgrade (`-x seed=again`), or with the first (`-x seed=once`).
        upgrades = context.config.cmd_opts.cmd[0].__name__ == "upgrade"
        if "seed" in options and upgrades:
            missing = "" if options["seed"] == "again" else "WHERE NOT EXISTS (SELECT FROM orders WHERE state = 'Seed')"
            connection.exec_driver_sql(f"INSERT INTO orders (state) SELECT 'Seed' {missing}")
