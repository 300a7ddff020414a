"""Starts the emulators of this repository, which need Node.js and `npm ci`."""

import asyncio
import json
import subprocess
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from local_services import local_momento, local_secret_manager
from momento.config import Configurations
from momento_rotating_client import SecretManagerSource

ROOT = Path(__file__).parents[2]
NODE = ROOT / "node_modules/.bin/node"


def until(is_true, within=10):
    """Waits for a condition. The time is long for local processes."""
    give_up_at = time.monotonic() + within
    while not is_true():
        assert time.monotonic() < give_up_at, "never became true"
        time.sleep(0.001)


class EventLoop:
    """An event loop in a thread of its own, so that one test covers threads and asyncio."""

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def start(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine):
        return self.start(coroutine).result(30)

    def stop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Emulators:
    """Each method is a command of emulators.ts."""

    def __init__(self):
        command = [NODE, "--import", "tsx", "packages/python/emulators.ts"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._lock = threading.Lock()
        self._secrets = 0
        self._hosts = self.hosts()

    def __getattr__(self, name):
        def run(*args):
            with self._lock:
                self._process.stdin.write(json.dumps([name, *args]) + "\n")
                return json.loads(self._process.stdout.readline())

        return run

    def begin(self):
        """A secret for each test."""
        self._secrets += 1
        self.secret = f"projects/p/secrets/s{self._secrets}"
        self.createSecret(self.secret)

    def options(self, **changes):
        """Options of a client."""
        timeout = timedelta(seconds=15)
        return {
            "source": SecretManagerSource(self.secret, local_secret_manager(self._hosts["secretManager"])),
            "cache": "cache",
            "endpoint": "cell-1.momento.invalid",
            "configuration": Configurations.InRegion.Default.latest().with_client_timeout(timeout),
            "default_ttl": timedelta(seconds=60),
            "new_key_timeout": 0.05,
            "redirect": local_momento(self._hosts["momento"]),
            **changes,
        }

    def stop(self):
        self._process.stdin.close()
        self._process.wait(10)


@pytest.fixture(scope="session")
def started_emulators():
    if not NODE.exists():
        pytest.skip("node_modules is missing: run npm ci")
    emulators = Emulators()
    yield emulators
    emulators.stop()


@pytest.fixture
def emulators(started_emulators):
    started_emulators.begin()
    return started_emulators
