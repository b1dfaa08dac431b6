"""Checks as a team writes them: functions that assert, and an exit code. `check.py before`, `check.py after`."""

import os
import sys
import traceback

import psycopg


def ask(sql):
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        return connection.execute(sql).fetchall()


def before_there_is_a_name():
    assert ask("SELECT count(*) FROM orders WHERE customer IS NOT NULL") != [(0,)]


def after_every_order_is_there():
    assert ask("SELECT count(*) FROM orders WHERE id < 0") == [(2,)], "an order was lost"


def after_every_order_has_a_customer():
    assert ask("SELECT count(*) FROM orders LEFT JOIN customers c ON c.id = customer_id WHERE c.id IS NULL") == [(0,)]


def after_an_order_can_be_made():
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("INSERT INTO customers (name) VALUES ('Grace')")
        connection.execute("INSERT INTO orders (customer_id, total) SELECT max(id), 1 FROM customers")
    assert ask("SELECT count(*) FROM customers WHERE name = 'Grace'") == [(1,)]


failed = 0
for name, test in list(globals().items()):
    if name.startswith(sys.argv[1]):
        try:
            test()
            print("ok", name)
        except AssertionError:
            failed += 1
            print("FAILED", name)
            traceback.print_exc()
sys.exit(1 if failed else 0)
