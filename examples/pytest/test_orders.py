"""Tests of examples/orders, release v2, on the rows that release v1 has left."""

import pytest
from orders.models import Order
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError


def test_globex_pays_in_dollars_and_nobody_else_does(session):
    currencies = session.execute(select(Order.customer, Order.currency).distinct()).all()
    assert dict(currencies)["Globex"] == "USD"
    assert {currency for customer, currency in currencies if customer != "Globex"} == {"EUR"}


@pytest.mark.parametrize("time", ["first", "second"])
def test_what_is_committed_is_gone_after_the_test(session, time):
    assert not session.scalars(select(Order).where(Order.customer == time)).all()
    assert not session.scalars(select(Order).where(Order.customer == "anybody")).all()
    session.add(Order(customer="anybody", total=1))
    session.commit()
    assert session.scalar(select(func.count()).where(Order.customer == "anybody")) == 1


def test_a_currency_has_three_letters(session):
    session.add(Order(customer="Acme Ltd", total=1, currency="euro"))
    with pytest.raises(IntegrityError, match="orders_currency_iso"):
        session.commit()
