"""An application under load, in its own process: the Python side of packages/load/run.ts. CLIENT is `threads` or `asyncio`."""

import asyncio
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from local_services import local_momento, local_secret_manager
from momento import CacheClient, CacheClientAsync
from momento.config import Configurations

from momento_rotating_client import RotatingCacheClient, RotatingCacheClientAsync, SecretManagerSource

RATE = float(os.environ["RATE"])
SECONDS = float(os.environ["SECONDS"])
TICK = 0.005


class Counter:
    """Counts the clients that are open."""

    open = most_open = 0

    @classmethod
    def watch(cls, kind, leave):
        enter, original = kind.__init__, getattr(kind, leave)

        def entered(self, *args, **kwargs):
            cls.open += 1
            cls.most_open = max(cls.most_open, cls.open)
            enter(self, *args, **kwargs)

        def left(self, *args):
            cls.open -= 1
            return original(self, *args)

        kind.__init__ = entered
        setattr(kind, leave, left)


Counter.watch(CacheClient, "__exit__")
Counter.watch(CacheClientAsync, "__aexit__")

events, failed = [], {}
state = {"paused": False, "calls": 0, "in_progress": 0}
OPTIONS = {
    "source": SecretManagerSource(os.environ["SECRET"], local_secret_manager(os.environ["SECRET_MANAGER_HOST"])),
    "cache": "cache",
    "endpoint": "cell-1.momento.invalid",
    "configuration": Configurations.InRegion.Default.latest().with_client_timeout(timedelta(seconds=15)),
    "default_ttl": timedelta(seconds=60),
    "reread_every": float(os.environ["REREAD_EVERY_SECONDS"]),
    "redirect": local_momento(os.environ["MOMENTO_HOST"]),
    "on_event": lambda event: events.append(repr(event)),
}


def note(answer=None, error=None):
    code = getattr(answer, "error_code", None)
    text = str(error) if error is not None else code.name if code is not None else ""
    if text:
        failed[text] = failed.get(text, 0) + 1
    state["in_progress"] -= 1


def obey():
    for line in sys.stdin:
        state["paused"] = line.strip() == "pause"
        while state["paused"] and state["in_progress"] > 0:
            time.sleep(0.001)
        print(line.strip(), flush=True)


def ticks():
    """Yields how many calls are due. A process that was paused or frozen doesn't catch up."""
    threading.Thread(target=obey, daemon=True).start()
    print("ready", flush=True)
    end, last, due = time.monotonic() + SECONDS, time.monotonic(), 0.0
    while time.monotonic() < end:
        now = time.monotonic()
        due += 0 if state["paused"] else min(now - last, 1) * RATE
        last = now
        yield 0 if state["paused"] else int(due)
        due -= 0 if state["paused"] else int(due)


def begin():
    state["calls"] += 1
    state["in_progress"] += 1


def run_threads():
    client = RotatingCacheClient(**OPTIONS)

    def call():
        try:
            note(client.use(lambda momento: momento.get("cache", "item")))
        except Exception as error:
            note(error=error)

    begin()
    call()
    with ThreadPoolExecutor(128) as pool:
        for count in ticks():
            for _ in range(count):
                begin()
                pool.submit(call)
            time.sleep(TICK)
    client.close()


async def run_asyncio():
    client = RotatingCacheClientAsync(**OPTIONS)

    async def call():
        try:
            note(await client.use(lambda momento: momento.get("cache", "item")))
        except Exception as error:
            note(error=error)

    begin()
    await call()
    tasks = set()
    for count in ticks():
        for _ in range(count):
            begin()
            task = asyncio.ensure_future(call())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.sleep(TICK)
    await asyncio.gather(*tasks)
    await client.close()


if os.environ.get("CLIENT") == "asyncio":
    asyncio.run(run_asyncio())
else:
    run_threads()
print(
    json.dumps(
        {"calls": state["calls"], "failed": failed, "mostOpen": Counter.most_open, "events": events}
    ),
    flush=True,
)
os._exit(0)
