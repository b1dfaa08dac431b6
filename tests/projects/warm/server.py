"""Alembic that has been imported already: most of the time of a short run is the import, and a test has ten of them.

    python server.py SOCKET

For each client (the `alembic` beside this file) a fork of this process runs Alembic's own main with the client's
arguments, environment, folder and streams. It ends when its standard input does, which its test process holds.
"""

import array
import json
import os
import signal
import socket
import sys
import threading

import alembic.autogenerate  # noqa: F401
import alembic.config
import alembic.script  # noqa: F401
import psycopg  # noqa: F401
import sqlalchemy.dialects.postgresql.psycopg  # noqa: F401


def serve(path: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    print("ready", flush=True)
    threading.Thread(target=end_with_the_test, daemon=True).start()
    while True:
        client, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            os._exit(work(client))
        client.close()


def end_with_the_test() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def work(client: socket.socket) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    streams = array.array("i")
    data, ancillary, _, _ = client.recvmsg(1 << 20, socket.CMSG_LEN(3 * streams.itemsize))
    for _, _, received in ancillary:
        streams.frombytes(received)
    while not data.endswith(b"\n"):
        data += client.recv(1 << 20)
    said = json.loads(data)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(said["environment"])
    os.chdir(said["folder"])
    sys.argv = ["alembic", *said["words"]]
    threading.Thread(target=end_with_the_client, args=(client,), daemon=True).start()
    try:
        alembic.config.main(prog="alembic")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    client.sendall(bytes([code & 0xFF]))
    return code & 0xFF


def end_with_the_client(client: socket.socket) -> None:
    client.recv(1)
    os._exit(1)


serve(sys.argv[1])
