"""Asks the health endpoint twenty times a second, a new connection each time, and counts."""

import collections
import http.client
import json
import signal
import sys
import time

host = sys.argv[1]
requests, failures = 0, 0
releases: collections.Counter[str] = collections.Counter()
signal.signal(signal.SIGTERM, lambda *_: sys.exit())

while True:
    for _ in range(20):
        requests += 1
        try:
            connection = http.client.HTTPConnection(host, timeout=10)
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            body = json.loads(answer.read())
            if answer.status != 200:
                raise RuntimeError(f"status {answer.status}: {body}")
            releases[body["release"]] += 1
        except Exception as error:
            failures += 1
            print("failure:", repr(error), file=sys.stderr, flush=True)
        finally:
            connection.close()
        time.sleep(0.05)
    print(json.dumps({"requests": requests, "failures": failures, "releases": releases}), flush=True)
