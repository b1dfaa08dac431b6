"""What pytest-alembic needs of a project: its configuration, and a database that each check finds empty."""

import os

import alembic.config
import pytest
from pytest_alembic.config import Config
from sqlalchemy import create_engine, text

kind = os.environ["KIND"]


@pytest.fixture
def alembic_config():
    config = alembic.config.Config("alembic.ini", ini_section=kind)
    rows = {"0002": [{"__tablename__": "customers", "id": 1, "name": None}]} if kind == "rows" else {}
    return Config(config_options={}, alembic_config=config, before_revision_data=rows)


@pytest.fixture
def alembic_engine():
    engine = create_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    yield engine
    engine.dispose()
