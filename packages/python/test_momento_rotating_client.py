"""Run with pytest. The tests with services start the emulators of this repository, so they need Node.js and `npm ci`."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from conftest import NODE, ROOT, EventLoop, until
from momento import CredentialProvider
from momento.config import Configurations
from momento_rotating_client import (
    ClientClosedError,
    FileSource,
    InvalidOptionError,
    NoKeyError,
    RotatingCacheClient,
    RotatingCacheClientAsync,
    SecretManagerSource,
    StoredPayload,
    _Backoff,
    _Generation,
    _Rules,
    parse_key,
)

ENDPOINT = "cell-1.momento.invalid"


def jwt(**claims):
    import base64

    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'HS256'})}.{part(claims)}.c2lnbmF0dXJl"


V2 = jwt(t="g", jti="a")


def v1():
    import base64

    inner = {"endpoint": ENDPOINT, "api_key": jwt(sub="s", exp=2_000_000_000)}
    return base64.b64encode(json.dumps(inner).encode()).decode()


@pytest.mark.parametrize(
    "payload",
    [
        v1(),
        V2,
        f"\n{V2}\n",
        f"\ufeff{V2}",
        f"\ufeff{V2}".encode(),
        json.dumps({"apiKey": V2, "endpoint": ENDPOINT}),
        "\ufeff" + json.dumps({"apiKey": V2, "restEndpoint": f"https://api.cache.{ENDPOINT}"}),
        json.dumps({"authToken": v1()}),
        json.dumps({"apiToken": v1()}),
        json.dumps({"api_key": f" {V2}\n", "key_info": {"expires_at_epoch_seconds": 2_000_000_000}}),
    ],
)
def test_reads_every_payload_format(payload):
    key = parse_key(payload, "The payload", ENDPOINT)
    assert key.credential_provider.cache_endpoint == f"cache.{ENDPOINT}"


@pytest.mark.parametrize("payload", ["text", "{", "[]", '{"apiKey": {"a": 1}}', b"\x00\xff", V2[:30]])
def test_refuses_other_payloads_and_quotes_nothing(payload):
    with pytest.raises(NoKeyError) as caught:
        parse_key(payload, "Version 3", ENDPOINT)
    assert caught.value.code == "PAYLOAD_INVALID"
    assert "Store the bare key" in str(caught.value)
    assert V2[:7] not in str(caught.value)


def test_asks_for_an_endpoint():
    with pytest.raises(NoKeyError) as caught:
        parse_key(V2, "Version 3", None)
    assert caught.value.code == "ENDPOINT_MISSING"


@pytest.mark.parametrize("value", [2_000_000_000, "2000000000", 2_000_000_000_000, "2000000000000"])
def test_reads_the_expiry_in_seconds_and_milliseconds(value):
    payload = json.dumps({"apiKey": V2, "validUntil": value})
    assert parse_key(payload, "The payload", ENDPOINT).expires_at == 2_000_000_000


def test_backs_off_and_forgets_it():
    now = [0.0]
    backoff = _Backoff(lambda: now[0])
    for wait in (1, 2, 4):
        assert backoff.is_due
        backoff.fail()
        now[0] += 0.79 * wait
        assert not backoff.is_due
        now[0] += 0.21 * wait
    backoff.fail()
    backoff.shorten()
    now[0] += 1
    assert backoff.is_due


class Versions:
    """A secret whose `latest` can lag."""

    name = "projects/p/secrets/s"

    def __init__(self, *payloads, lag=0):
        self.payloads, self.lag, self.reads = list(payloads), lag, []

    def read_newest(self):
        number = len(self.payloads) - self.lag
        self.reads.append("latest")
        return StoredPayload(self.payloads[number - 1], number)

    def read_version(self, version):
        self.reads.append(version)
        return StoredPayload(self.payloads[version - 1], version) if version <= len(self.payloads) else None


def options(source, **changes):
    configuration = Configurations.InRegion.Default.latest()
    return {
        "source": source,
        "cache": "cache",
        "endpoint": ENDPOINT,
        "configuration": configuration,
        "default_ttl": timedelta(seconds=60),
        **changes,
    }


def held(rules, version, rejected):
    generation = _Generation(rules.parse(StoredPayload(V2, version)), version, None)
    generation.rejected = rejected
    return generation


@pytest.mark.parametrize(
    ("payloads", "lag", "version", "rejected", "expected", "reads"),
    [
        ((V2, V2), 0, 1, False, 2, ["latest"]),
        ((V2, V2), 1, 1, False, None, ["latest"]),
        ((V2, V2), 1, 1, True, 2, ["latest", 2]),
        ((V2, V2), 1, 2, True, None, ["latest", 3]),
        ((V2, V2, "garbage"), 0, 1, True, 2, ["latest", 2]),
        ((V2, "garbage", V2), 1, 1, True, 3, ["latest", 3]),
    ],
)
def test_finds_a_newer_version_and_never_a_lower_one(payloads, lag, version, rejected, expected, reads):
    source = Versions(*payloads, lag=lag)
    rules = _Rules(**options(source))
    found = rules.find(held(rules, version, rejected))
    assert (found and found[1]) == expected
    assert source.reads == reads


def test_failed_periodic_reads_do_not_delay_the_read_after_a_rejection():
    rules = _Rules(**options(Versions(V2), now=lambda: 0.0))
    rules.current = held(rules, 1, False)
    for _ in range(9):
        rules.done(rules.current, False, NoKeyError("SOURCE_UNAVAILABLE", "a", "b"))
    assert not rules.periodic.is_due
    assert rules.rescue.is_due


def test_is_closed_for_good():
    client = RotatingCacheClient(**options(Versions(V2)))
    client.close()
    with pytest.raises(ClientClosedError):
        client.use(lambda momento: None)

    async def run():
        async with RotatingCacheClientAsync(**options(Versions(V2))) as other:
            pass
        with pytest.raises(ClientClosedError):
            await other.use(lambda momento: None)

    asyncio.run(run())


@pytest.mark.parametrize(
    "create",
    [
        lambda: SecretManagerSource("my-secret"),
        lambda: RotatingCacheClient(**options(Versions(V2), endpoint="https://momento.invalid")),
        lambda: RotatingCacheClient(**options(Versions(V2), cache="")),
        lambda: RotatingCacheClient(**options(Versions(V2), eager_connection_timeout=0)),
    ],
)
def test_refuses_invalid_options(create):
    with pytest.raises(InvalidOptionError):
        create()


def test_explains_a_missing_file():
    client = RotatingCacheClient(**options(FileSource("/none")))
    with pytest.raises(NoKeyError) as caught:
        client.use(lambda momento: None)
    assert caught.value.code == "SECRET_NOT_FOUND"
    client.close()


class Asyncio:
    """RotatingCacheClientAsync with the methods of RotatingCacheClient."""

    def __init__(self, **options):
        self._client, self._loop = RotatingCacheClientAsync(**options), EventLoop()

    def use(self, call):
        return self._loop.run(self._client.use(call))

    def credential_provider(self, rejected=None):
        return self._loop.run(self._client.credential_provider(rejected))

    def close(self, timeout=30.0):
        self._loop.run(self._client.close(timeout))


each_kind = pytest.mark.parametrize("kind", [RotatingCacheClient, Asyncio])


def get(momento):
    return momento.get("cache", "item")


class Hanging:
    """A source in memory. While it hangs, its reads return when the test ends."""

    name = "the source"

    def __init__(self, stored):
        self.stored, self.is_hanging = stored, False
        self.end = threading.Event()

    def read_newest(self):
        if self.is_hanging:
            self.end.wait(60)
        return self.stored

    def read_version(self, version):
        return None


@each_kind
def test_the_first_call_fails_when_the_source_never_returns_and_a_later_one_does_not(kind, emulators):
    now = [0.0]
    emulators.rotate()
    settings = emulators.options(read_timeout=1.0, now=lambda: now[0])
    settings["source"] = source = Hanging(settings["source"].read_newest())
    client = kind(**settings)
    source.is_hanging = True
    with pytest.raises(NoKeyError) as caught:
        client.use(get)
    assert caught.value.code == "SOURCE_UNAVAILABLE"
    assert "within 1 s" in str(caught.value)
    source.is_hanging = False
    now[0] += 2
    assert type(client.use(get)).__name__ == "Miss"
    source.end.set()
    client.close()


@each_kind
def test_a_read_that_never_returns_does_not_prevent_the_read_after_a_rejection(kind, emulators):
    now = [0.0]
    emulators.rotate()
    settings = emulators.options(read_timeout=1.0, now=lambda: now[0])
    secret = settings["source"]
    settings["source"] = source = Hanging(secret.read_newest())
    client = kind(**settings)
    client.use(get)
    # The periodic read hangs from here on.
    source.is_hanging = True
    now[0] += 1000
    client.use(get)
    emulators.rotate()
    source.stored = secret.read_newest()
    source.is_hanging = False
    emulators.revoke(1)
    assert type(client.use(get)).__name__ == "Miss"
    source.end.set()
    client.close()


@each_kind
def test_says_that_momento_is_unavailable_when_it_does_not_answer(kind, emulators):
    emulators.rotate()
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def redirect(provider):
            provider.cache_endpoint = provider.control_endpoint = "127.0.0.1"
            provider.port = silent.getsockname()[1]
            return provider

        client = kind(**emulators.options(redirect=redirect, eager_connection_timeout=0.2))
        with pytest.raises(NoKeyError) as caught:
            client.use(get)
        assert caught.value.code == "MOMENTO_UNAVAILABLE"
        client.close()


@each_kind
def test_close_waits_only_for_its_timeout_and_fails_no_call(kind, emulators):
    emulators.rotate()
    client = kind(**emulators.options())
    client.use(get)
    calls = emulators.calls("Get")
    emulators.hold("Get")
    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(client.use, get)
        until(lambda: emulators.calls("Get") > calls)
        client.close(timeout=0.1)
        emulators.release()
        assert type(calling.result(10)).__name__ == "Miss"


@each_kind
def test_gives_a_newer_key_when_momento_rejected_the_key_in_use(kind, emulators):
    emulators.rotate()
    client = kind(**emulators.options())
    first = client.credential_provider()
    assert isinstance(first, CredentialProvider)
    assert client.credential_provider(rejected=first) is first
    emulators.rotate()
    until(lambda: client.credential_provider(rejected=first) is not first)
    client.close()


@each_kind
def test_refuses_a_call_that_does_not_return_the_answer_of_the_sdk(kind, emulators):
    async def wrapped(momento):
        return [await momento.get("cache", "item")]

    emulators.rotate()
    client = kind(**emulators.options())
    with pytest.raises(TypeError, match="Return the SDK's answer unchanged"):
        client.use(wrapped if kind is Asyncio else lambda momento: [momento.get("cache", "item")])
    client.close()


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
@pytest.mark.parametrize("fault", ["none", "stale", "garbage"])
def test_no_call_fails_while_keys_are_rotated(kind, fault):
    if not NODE.exists():
        pytest.skip("node_modules is missing: run npm ci")
    command = [NODE, "--import", "tsx", "packages/load/run.ts", "--short", "--only", fault]
    run = subprocess.run(
        [*command, "--client", kind, "--python", sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr
