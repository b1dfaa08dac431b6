from decimal import Decimal

from sqlalchemy import CheckConstraint, Identity, Index, Numeric, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    __table_args__ = (
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="orders_currency_iso"),
        Index("orders_currency_idx", "currency"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    customer: Mapped[str] = mapped_column(Text)
    total: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    currency: Mapped[str] = mapped_column(Text, server_default="EUR")

    def as_json(self) -> dict[str, object]:
        return {"id": self.id, "customer": self.customer, "total": f"{self.total} {self.currency}"}
