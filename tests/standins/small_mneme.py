"""The `mneme` command in small, for tests of the supervisor: real processes that keep its contract.

`MIGRATE_FAILS`, `SERVE_FAILS` and `SERVE_MISCONFIGURED` make that command fail; `SERVE_IS_STUBBORN` makes
`serve` ignore SIGTERM.
"""

import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import redis


class _Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()


def migrate() -> None:
    if os.environ.get("MIGRATE_FAILS"):
        sys.exit("the schema is from the future")
    print("schema is up to date")


def worker() -> None:
    broker = redis.Redis.from_url(os.environ["REDIS_URL"])
    while True:
        try:
            broker.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.1)
    subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    Path(os.environ["MNEME_READY_FILE"]).touch()
    signal.pause()


def serve() -> None:
    if os.environ.get("SERVE_MISCONFIGURED"):
        print("TELEGRAM_MODE=webhook needs TELEGRAM_WEBHOOK_SECRET", file=sys.stderr)
        sys.exit(os.EX_CONFIG)
    if os.environ.get("SERVE_FAILS"):
        sys.exit("the service has fallen over")
    if os.environ.get("SERVE_IS_STUBBORN"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["HTTP_PORT"])), _Ready).serve_forever()


def welcome() -> None:
    print(f"Open http://127.0.0.1:{os.environ['HTTP_PORT']}/")


if __name__ == "__main__":
    {"migrate": migrate, "worker": worker, "serve": serve, "welcome": welcome}[sys.argv[1]]()
