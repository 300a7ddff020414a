"""Run with pytest. The tests with services start the emulators of this repository, so they need Node.js and `npm ci`."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
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

ROOT = Path(__file__).parents[2]
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
        rules.done(rules.current, NoKeyError("SOURCE_UNAVAILABLE", "a", "b"))
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


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
@pytest.mark.parametrize("fault", ["none", "stale", "garbage"])
def test_no_call_fails_while_keys_are_rotated(kind, fault):
    node = ROOT / "node_modules/.bin/node"
    if not node.exists():
        pytest.skip("node_modules is missing: run npm ci")
    command = [node, "--import", "tsx", "packages/load/run.ts", "--short", "--only", fault]
    run = subprocess.run(
        [*command, "--python", sys.executable],
        cwd=ROOT,
        env={**os.environ, "CLIENT": kind},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr
