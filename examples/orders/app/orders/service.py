"""The orders service: `GET /orders` lists orders, `GET /healthz` answers 200 while it can read them."""

import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sqlalchemy import create_engine, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from orders import RELEASE
from orders.models import Order

engine = create_engine(os.environ["DATABASE_URL"], pool_pre_ping=True, connect_args={"connect_timeout": 3})


def orders(limit: int) -> list[dict[str, object]]:
    with Session(engine) as session:
        return [order.as_json() for order in session.scalars(select(Order).order_by(Order.id).limit(limit))]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        try:
            match self.path:
                case "/healthz":
                    # Reads every column that this release maps: a schema without one of them is not healthy.
                    orders(limit=1)
                    self.answer(200, {"status": "ok", "release": RELEASE})
                case "/orders":
                    self.answer(200, orders(limit=20))
                case _:
                    self.answer(404, {"error": "not found"})
        except SQLAlchemyError as error:
            self.answer(503, {"status": "unavailable", "release": RELEASE, "error": type(error).__name__})

    def answer(self, status: int, body: object) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        """Probes every second would drown everything else."""


def main() -> None:
    server = ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Handler)
    # shutdown() waits for serve_forever(), which runs in this very thread.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"orders {RELEASE} listens on port {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
