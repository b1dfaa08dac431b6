import os

from alembic import context
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine

# What the models say: `-x models=good` what the good revision makes, `-x models=ahead` one column more.
models = context.get_x_argument(as_dictionary=True).get("models")
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
