import os

from alembic import context
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine

names = {name.strip() for name in context.config.get_main_option("models").split(",") if name.strip()}
metadata = MetaData()
if names:
    columns = [Column("id", Integer, primary_key=True), Column("name", Text, nullable="required" not in names)]
    if "notes" in names:
        columns.append(Column("note", Text))
    Table("customers", metadata, *columns)
for name in names & {"orders", "discounts"}:
    Table(name, metadata, Column("id", Integer, primary_key=True))

# pytest-alembic hands over an engine of its own; `alembic` on a command line does not.
engine = context.config.attributes.get("connection")
if engine is None:
    engine = create_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1))
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()
