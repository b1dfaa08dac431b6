from decimal import Decimal

from sqlalchemy import Identity, Numeric, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    customer: Mapped[str] = mapped_column(Text)
    total: Mapped[Decimal] = mapped_column(Numeric(12, 2))

    def as_json(self) -> dict[str, object]:
        return {"id": self.id, "customer": self.customer, "total": str(self.total)}
