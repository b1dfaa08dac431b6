"""A team's own tests of its data, which pytest runs on the migrated database inside the rehearsal."""

import os

import psycopg
import pytest


@pytest.fixture
def ask():
    def ask(sql):
        with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
            return connection.execute(sql).fetchone()[0]

    return ask


def test_every_order_is_there(ask):
    assert ask("SELECT count(*) FROM orders WHERE id < 0") == 2, "an order was lost"


def test_every_order_has_a_customer(ask):
    assert ask("SELECT count(*) FROM orders LEFT JOIN customers c ON c.id = customer_id WHERE c.id IS NULL") == 0


def test_an_order_can_be_made(ask):
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("INSERT INTO customers (name) VALUES ('Grace')")
        connection.execute("INSERT INTO orders (customer_id, total) SELECT max(id), 1 FROM customers")
    assert ask("SELECT count(*) FROM customers WHERE name = 'Grace'") == 1
