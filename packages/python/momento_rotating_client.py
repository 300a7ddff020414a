"""A Momento cache client that follows its API key while the key is rotated in Google Cloud Secret Manager.

Copy this file. It needs ``momento>=1.29`` and ``google-cloud-secret-manager``, and Python 3.10 or newer.

Momento's SDK reads a key once, when a client is created. So each new key gets a new client. The new client connects and verifies
the key before it gets calls. The old client is closed when its calls have ended. The rules and names are those of the npm package
momento-rotating-client.

    cache = RotatingCacheClient(
        source=SecretManagerSource("projects/PROJECT/secrets/momento-api-key"),
        cache="my-cache",
        endpoint="cell-4-us-west-2-1.prod.a.momentohq.com",  # for v2 keys that are stored without an endpoint
        configuration=Configurations.InRegion.Default.latest(),
        default_ttl=timedelta(hours=1),
    )
    answer = cache.use(lambda client: client.get("my-cache", "key"))
    cache.close()

With asyncio, use RotatingCacheClientAsync: ``await cache.use(lambda client: client.get("my-cache", "key"))``.
For topics, copy momento_rotating_topics.py as well.
"""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import json
import random
import re
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Awaitable, Callable, Optional, Protocol, TypeVar, Union

from google.api_core import exceptions as google
from google.auth.exceptions import GoogleAuthError
from google.cloud import secretmanager
from momento import CacheClient, CacheClientAsync, CredentialProvider
from momento.config import Configuration
from momento.errors import SdkException
from momento.responses.response import Response

# The SDK's answer to a call. Any other return value of a call is a type error: an authentication error would go unnoticed in it.
Answer = TypeVar("Answer", bound=Response)

REJECTED = "AUTHENTICATION_ERROR"
# Answers that Momento gives only to accepted keys. A key without access to the cache gets PERMISSION_ERROR.
ACCEPTED = ("", "NOT_FOUND_ERROR", "LIMIT_EXCEEDED_ERROR", "PERMISSION_ERROR")
FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 60.0
FIRST_PROBE_DELAY = 0.1
LONGEST_PROBE_DELAY = 0.5
ATTEMPT_TIMEOUT = 5.0
# How long close() waits for calls in progress.
CLOSE_TIMEOUT = 30.0
# A call is repeated with a newer key this often: two rotations can follow each other closely.
ATTEMPTS = 3


class RotatingClientError(Exception):
    """The class of every error of this file. Messages state the problem and the action, and contain no secret."""

    code = ""


class NoKeyError(RotatingClientError):
    """No key could be read, or Momento doesn't accept the key. ``code`` distinguishes the cases."""

    def __init__(self, code: str, problem: str, action: str) -> None:
        super().__init__(f"{problem} {action}")
        self.code = code


class ClientClosedError(RotatingClientError):
    """The client was used after ``close()``."""

    code = "CLIENT_CLOSED"

    def __init__(self) -> None:
        super().__init__("The Momento client is closed. Create a new client, or close a client only after its last call.")


class InvalidOptionError(RotatingClientError):
    """An option is missing or invalid."""

    code = "INVALID_OPTION"


@dataclass(frozen=True)
class StoredPayload:
    payload: Union[str, bytes] = field(repr=False)
    version: Optional[int] = None


class KeySource(Protocol):
    """Where the key is stored. ``name`` is for errors and must not contain a secret. Each call has a thread of its own."""

    name: str

    def read_newest(self) -> StoredPayload: ...

    def read_version(self, version: int) -> Optional[StoredPayload]:
        """Reads one version without lag; None if there is no such version."""


class SecretManagerSource:
    """A secret, ``projects/P/secrets/S``, or ``projects/P/locations/L/secrets/S`` for a regional one."""

    def __init__(self, name: str, create_client: Optional[Callable[[], Any]] = None) -> None:
        match = re.fullmatch(r"projects/[^/]+(?:/locations/([a-z0-9-]+))?/secrets/[\w-]+", name)
        if match is None:
            raise InvalidOptionError(
                "The name of the secret is invalid. Use projects/PROJECT/secrets/SECRET or "
                "projects/PROJECT/locations/LOCATION/secrets/SECRET."
            )
        location = match[1]
        options = {"api_endpoint": f"secretmanager.{location}.rep.googleapis.com"} if location else None
        self.name = name
        self._create = create_client or (
            lambda: secretmanager.SecretManagerServiceClient(client_options=options)
        )

    def read_newest(self) -> StoredPayload:
        try:
            return self._access("latest")
        except google.NotFound:
            raise NoKeyError(
                "SECRET_NOT_FOUND",
                f"{self.name} doesn't exist or has no version (NOT_FOUND).",
                "Check its name, and let the rotator or a person add a version.",
            ) from None
        except google.FailedPrecondition:
            raise NoKeyError(
                "SECRET_VERSION_DISABLED",
                f"The newest version of {self.name} is disabled, destroyed or encrypted with a disabled key.",
                "Enable it, or run the rotator, which adds a new version.",
            ) from None

    def read_version(self, version: int) -> Optional[StoredPayload]:
        try:
            return self._access(str(version))
        except (google.NotFound, google.FailedPrecondition):
            return None

    def _access(self, version: str) -> StoredPayload:
        final = (google.NotFound, google.FailedPrecondition)
        try:
            try:
                return self._access_once(version)
            except (google.PermissionDenied, google.Unauthenticated, GoogleAuthError, *final):
                raise
            except Exception:
                # The connection of a process that was suspended might be dead.
                return self._access_once(version)
        except google.PermissionDenied:
            raise NoKeyError(
                "SECRET_ACCESS_DENIED",
                f"The application can't access {self.name} (PERMISSION_DENIED).",
                "Grant roles/secretmanager.secretAccessor on the secret to the application's service account.",
            ) from None
        except (google.Unauthenticated, GoogleAuthError):
            raise NoKeyError(
                "GOOGLE_CREDENTIALS_MISSING",
                f"There are no usable Google Cloud credentials to access {self.name}.",
                "Run the application with a service account, or run `gcloud auth application-default login`.",
            ) from None
        except final:
            raise
        except Exception as error:
            raise NoKeyError(
                "SOURCE_UNAVAILABLE",
                f"{self.name} couldn't be read ({type(error).__name__}).",
                "The client reads it again. If this lasts, check the network and the status of Secret Manager.",
            ) from None

    def _access_once(self, version: str) -> StoredPayload:
        client = self._create()
        try:
            found = client.access_secret_version(
                name=f"{self.name}/versions/{version}", timeout=ATTEMPT_TIMEOUT, retry=None
            )
            return StoredPayload(found.payload.data, int(found.name.rsplit("/", 1)[1]))
        finally:
            client.transport.close()


class FileSource:
    """A mounted file: a secret volume of Cloud Run, the CSI driver, GKE's add-on, External Secrets."""

    def __init__(self, path: str) -> None:
        self.name = path

    def read_newest(self) -> StoredPayload:
        try:
            with open(self.name, "rb") as opened:
                return StoredPayload(opened.read())
        except OSError as error:
            raise NoKeyError(
                "SECRET_NOT_FOUND" if isinstance(error, FileNotFoundError) else "SOURCE_UNAVAILABLE",
                f"The file {self.name} couldn't be read ({type(error).__name__}).",
                "Mount the secret at this path, and let the process read it.",
            ) from None

    def read_version(self, version: int) -> Optional[StoredPayload]:
        return None


@dataclass(frozen=True)
class Key:
    id: str = field(repr=False)
    credential_provider: CredentialProvider = field(repr=False)
    expires_at: float  # epoch seconds


@dataclass(frozen=True)
class Event:
    """``rotated``: a key is used from now on. ``rejected``: Momento rejected a call with the key in use, once for each key.
    ``readFailed``: a read brought no usable key, and the key in use stays in use."""

    type: str
    version: Optional[int] = None
    previous_version: Optional[int] = None
    error: Optional[RotatingClientError] = None


def parse_key(payload: Union[str, bytes], payload_name: str, endpoint: Optional[str]) -> Key:
    """Reads every payload that the rotator writes. Errors never quote the payload."""
    text = payload.decode("utf-8", "replace") if isinstance(payload, bytes) else payload
    text = text.strip().lstrip("\ufeff").strip()
    fields = _object(text) if text.startswith("{") else {"apiKey": text}
    names = ("apiKey", "authToken", "apiToken", "api_key")
    api_key = _text(next((fields[name] for name in names if name in fields), None))
    jwt = _text(_object(_base64(api_key)).get("api_key")) or api_key
    claims = _object(_base64(jwt.split(".")[1] if "." in jwt else ""))
    rest = re.match(r"https://api\.cache\.([^/]+)", _text(fields.get("restEndpoint")))
    host = _text(fields.get("endpoint")) or (rest[1] if rest else "") or endpoint or ""
    is_v2 = claims.get("t") == "g"
    if is_v2 and not host:
        raise NoKeyError(
            "ENDPOINT_MISSING",
            f"{payload_name} contains a v2 key without an endpoint.",
            "Set `endpoint` to the host of your cache, such as cell-4-us-west-2-1.prod.a.momentohq.com.",
        )
    try:
        provider = (
            CredentialProvider.from_api_key_v2(api_key, host)
            if is_v2
            else CredentialProvider.from_disposable_token(api_key)
        )
    except Exception:
        raise NoKeyError(
            "PAYLOAD_INVALID",
            f"{payload_name} contains no Momento API key.",
            "Store the bare key, the JSON file of Momento's console, or the JSON of Momento's API.",
        ) from None
    info = fields.get("key_info")
    told = claims.get("exp", fields.get("validUntil"))
    if told is None and isinstance(info, dict):
        told = info.get("expires_at_epoch_seconds")
    return Key(f"{api_key} {host}", provider, _expiry(told))


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _base64(text: str) -> str:
    try:
        padded = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
        return base64.b64decode(padded).decode("utf-8", "replace")
    except ValueError:
        return ""


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _expiry(value: Any) -> float:
    try:
        moment = float(value)
    except (TypeError, ValueError):
        return float("inf")
    if moment <= 0:
        return float("inf")
    return moment / 1000 if moment > 1e11 else moment


def _code(answer: Any) -> str:
    code = getattr(answer, "error_code", None)
    return str(getattr(code, "name", code)) if code is not None else ""


def _checked(answer: Answer) -> Answer:
    if isinstance(answer, Response):
        return answer
    raise TypeError(
        f"The call that was passed to use() returned {type(answer).__name__}, in which an authentication error would go unnoticed. "
        "Return the SDK's answer unchanged."
    )


class _Backoff:
    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._due_at = float("-inf")
        self._failures = 0
        self._failed_at = 0.0

    @property
    def is_due(self) -> bool:
        return self._now() >= self._due_at

    def fail(self) -> None:
        wait = min(FIRST_BACKOFF * 2**self._failures, LONGEST_BACKOFF)
        self._failures += 1
        self._failed_at = self._now()
        self._due_at = self._failed_at + wait * (1 - random.random() / 5)

    def shorten(self) -> None:
        self._failures = 0
        self._due_at = min(self._due_at, self._failed_at + FIRST_BACKOFF)

    def reset(self, wait: float = 0.0) -> None:
        self._failures = 0
        self._due_at = self._now() + wait


class _Generation:
    """A key in use and its client. ``uses`` counts calls in progress, and one for being current."""

    def __init__(self, key: Key, version: Optional[int], client: Any) -> None:
        self.key, self.version, self.client = key, version, client
        self.uses = 1
        self.rejected = False
        self.reported = False


class _Rules:
    """The options, backoffs and rules that both clients share. Only methods that read the source wait."""

    def __init__(
        self,
        source: KeySource,
        cache: str,
        configuration: Configuration,
        default_ttl: timedelta,
        endpoint: Optional[str] = None,
        reread_every: float = 300.0,
        read_timeout: float = 15.0,
        new_key_timeout: float = 5.0,
        eager_connection_timeout: float = 5.0,
        on_event: Optional[Callable[[Event], None]] = None,
        redirect: Callable[[CredentialProvider], CredentialProvider] = lambda same: same,
        now: Callable[[], float] = time.time,
    ) -> None:
        if not cache:
            raise InvalidOptionError("The option `cache` is missing. Set it to the name of a cache.")
        if not re.fullmatch(r"[A-Za-z0-9.-]*", endpoint or ""):
            raise InvalidOptionError(
                "The option `endpoint` is invalid. Set it to a host without scheme, port or path."
            )
        # With a timeout of 0 the SDK (1.29) raises UnboundLocalError.
        if min(reread_every, read_timeout, new_key_timeout, eager_connection_timeout) <= 0:
            raise InvalidOptionError(
                "One of the options `reread_every`, `read_timeout`, `new_key_timeout` and `eager_connection_timeout` "
                "is invalid. Set each of them to a number of seconds above 0."
            )
        self.source, self.cache, self.endpoint = source, cache, endpoint
        self.configuration, self.default_ttl = configuration, default_ttl
        self.reread_every, self.read_timeout, self.new_key_timeout = reread_every, read_timeout, new_key_timeout
        self.eager_connection_timeout = timedelta(seconds=eager_connection_timeout)
        self.on_event, self.redirect, self.now = on_event, redirect, now
        self.periodic = _Backoff(now)
        # Separate: failed periodic reads must not delay the read that an authentication error needs.
        self.rescue = _Backoff(now)
        self.current: Optional[_Generation] = None
        self.last_error: Optional[RotatingClientError] = None
        self.closed = False

    def find(self, held: Optional[_Generation]) -> Optional[tuple[Key, Optional[int]]]:
        """The newest key; None if there is no newer version than the one in use."""
        newest = self.read(self.source.read_newest)
        try:
            held_version = held.version if held else None
            if newest.version is None or held_version is None or newest.version > held_version:
                return self.parse(newest), newest.version
        except NoKeyError:
            other = self._neighbour(held, newest)
            if other is None:
                raise
            return other
        return self._neighbour(held, newest)

    def _neighbour(
        self, held: Optional[_Generation], newest: StoredPayload
    ) -> Optional[tuple[Key, Optional[int]]]:
        """After Momento rejected the key in use: a newer version that ``read_newest`` doesn't show, because it lags or the
        newest version is unusable."""
        if held is None or not held.rejected or held.version is None or newest.version is None:
            return None
        above = newest.version > held.version
        candidates = (newest.version - 1, newest.version + 1) if above else (held.version + 1,)
        for version in candidates:
            stored = self.read(self.source.read_version, version) if version > held.version else None
            try:
                if stored is not None:
                    return self.parse(stored), version
            except NoKeyError:
                pass  # The error of the newest version is the one to report.
        return None

    def after_rejection(self, key: Key, version: Optional[int], error: NoKeyError) -> tuple[Key, Optional[int]]:
        """After Momento rejected the newest key: the key to try next. It is a newer one if the source lagged, or if the key was
        replaced meanwhile."""
        if error.code != "KEY_REJECTED":
            raise error
        known = _Generation(key, version, None)
        known.rejected = True
        try:
            newer = self.find(known)
        except Exception:
            newer = None
        return newer or (key, version)

    def read(self, call: Callable[..., Any], *args: Any) -> Any:
        """Calls the source in a thread. If the call takes too long, the thread is abandoned: Python can't end a thread."""
        answer: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def run() -> None:
            try:
                answer.set_result(call(*args))
            except BaseException as error:
                answer.set_exception(error)

        # A daemon thread doesn't keep the process alive.
        threading.Thread(target=run, daemon=True).start()
        try:
            return answer.result(self.read_timeout)
        except concurrent.futures.TimeoutError:
            raise NoKeyError(
                "SOURCE_UNAVAILABLE",
                f"{self.source.name} couldn't be read within {self.read_timeout:g} s.",
                "The client reads it again. If this lasts, check the network and what the source needs.",
            ) from None

    def parse(self, stored: StoredPayload) -> Key:
        name = self.source.name
        payload_name = name if stored.version is None else f"Version {stored.version} of {name}"
        key = parse_key(stored.payload, payload_name, self.endpoint)
        return Key(key.id, self.redirect(key.credential_provider), key.expires_at)

    def swap(self, held: Optional[_Generation], taken: _Generation) -> None:
        self.current = taken
        self.emit(Event("rotated", taken.version, held.version if held else None))

    def done(self, held: Optional[_Generation], is_rescue: bool, error: Optional[RotatingClientError]) -> None:
        """Records the result of a read. ``is_rescue``: the read began after Momento rejected the key."""
        self.last_error = error
        if error is not None:
            self.emit(Event("readFailed", held.version if held else None, error=error))
        if self.current is not held:
            self.rescue.reset()
        elif is_rescue:
            self.rescue.fail()
        if error is not None:
            self.periodic.fail()
            return
        left = (self.current.key.expires_at if self.current else float("inf")) - self.now()
        wait = min(self.reread_every, max(left / 2, FIRST_BACKOFF)) if left > 0 else self.reread_every
        # Jitter: many processes that start together must not read together.
        self.periodic.reset(wait * (1 - random.random() / 5))

    def reject(self, generation: _Generation) -> None:
        generation.rejected = True
        if not generation.reported:
            generation.reported = True
            self.emit(Event("rejected", generation.version))

    def accept(self, generation: _Generation, is_reading: bool) -> None:
        # During a read, success doesn't show that the key works now: the call might have begun before the key was revoked.
        if not is_reading and generation.rejected and generation is self.current:
            # Momento accepts the key after all. The next rejection must not wait for a long backoff.
            generation.rejected = False
            self.rescue.shorten()

    def in_use(self) -> _Generation:
        if self.closed:
            raise ClientClosedError()
        if self.current is None:
            raise self.last_error or self.as_error(None)
        return self.current

    def as_error(self, error: Optional[BaseException]) -> RotatingClientError:
        if isinstance(error, RotatingClientError):
            return error
        # Errors of other libraries can quote the payload.
        return NoKeyError(
            "SOURCE_UNAVAILABLE",
            f"{self.source.name} couldn't be read.",
            "The client reads it again. If this lasts, check that the source works, for instance its network and permissions.",
        )

    def not_accepted(self, version: Optional[int], code: str) -> NoKeyError:
        key = "the key" if version is None else f"the key of version {version}"
        if code == REJECTED:
            return NoKeyError(
                "KEY_REJECTED",
                f"Momento rejects {key} ({code}).",
                "Check whether it is revoked, expired or for another endpoint. Run the rotator, or store a valid key.",
            )
        return NoKeyError(
            "MOMENTO_UNAVAILABLE",
            f"Momento couldn't verify {key} ({code}).",
            "The client tries again. If this lasts, check the endpoint and the network.",
        )

    def emit(self, event: Event) -> None:
        try:
            if self.on_event is not None:
                self.on_event(event)
        except Exception:
            pass  # A broken hook must not fail the calls of the application.


class _Read:
    """One read in progress, which any number of threads wait for."""

    def __init__(self) -> None:
        self.done = threading.Event()


class RotatingCacheClient:
    """For threads. The options are those of ``_Rules``; times are in seconds."""

    def __init__(self, **options: Any) -> None:
        self._rules = _Rules(**options)
        self._lock = threading.RLock()
        self._reading: Optional[_Read] = None
        self._open: set[_Generation] = set()
        self._all_closed = threading.Condition(self._lock)
        # Called by close(). Subscriptions to topics end with their client.
        self.on_close: set[Callable[[], None]] = set()

    def use(self, call: Callable[[CacheClient], Answer]) -> Answer:
        """Makes one call, which must return the SDK's answer unchanged, and repeats it if Momento rejects the key."""
        rules = self._rules
        self._ready()
        for attempt in range(1, ATTEMPTS + 1):
            with self._lock:
                generation = rules.in_use()
                generation.uses += 1
            try:
                answer = _checked(call(generation.client))
            finally:
                self._release(generation)
            if _code(answer) != REJECTED:
                rules.accept(generation, self._reading is not None)
                break
            if attempt == ATTEMPTS or not self._find_newer_than(generation):
                break
        return answer

    def credential_provider(self, rejected: Optional[CredentialProvider] = None) -> CredentialProvider:
        """The key in use, for clients other than CacheClient. If Momento rejected a key, pass it to get a newer one. Returns the
        same key if there is no newer one."""
        self._ready()
        generation = self._rules.in_use()
        if rejected is generation.key.credential_provider:
            self._find_newer_than(generation)
        return self._rules.in_use().key.credential_provider

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Ends the subscriptions, waits for the calls in progress, and closes all clients. A call that takes longer than ``timeout``
        seconds doesn't fail: its client is closed later."""
        rules = self._rules
        with self._lock:
            if rules.closed:
                return
            rules.closed = True
            current, rules.current = rules.current, None
        for unsubscribe in list(self.on_close):
            unsubscribe()
        if current is not None:
            self._release(current)
        with self._lock:
            self._all_closed.wait_for(lambda: not self._open, timeout)

    def __enter__(self) -> RotatingCacheClient:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _ready(self) -> None:
        """Waits for the first key. Later it starts a periodic read if that is due, and doesn't wait for it."""
        rules = self._rules
        if rules.closed:
            raise ClientClosedError()
        # Reads start on use and not by a timer, because Cloud Run gives no CPU between requests.
        read = self._start_read() if rules.periodic.is_due else self._reading
        if rules.current is None and read is not None:
            read.done.wait()

    def _find_newer_than(self, rejected: _Generation) -> bool:
        rules = self._rules
        with self._lock:
            rules.reject(rejected)
            read = self._reading
        if read is not None:
            # A read that is in progress might have begun before the rotation.
            read.done.wait()
        with self._lock:
            is_needed = rules.current is rejected and rules.rescue.is_due
            read = self._start_read() if is_needed else None
        if read is not None:
            read.done.wait()
        return rules.current is not None and rules.current is not rejected

    def _start_read(self) -> _Read:
        with self._lock:
            if self._reading is None:
                self._reading = _Read()
                threading.Thread(target=self._read, args=(self._reading,), daemon=True).start()
            return self._reading

    def _read(self, read: _Read) -> None:
        rules = self._rules
        held = rules.current
        is_rescue = held is not None and held.rejected
        error: Optional[RotatingClientError] = None
        taken: Optional[_Generation] = None
        try:
            found = rules.find(held)
            if found is not None and held is not None and found[0].id == held.key.id:
                held.version = found[1]
            elif found is not None:
                taken = self._connect_newest(*found)
        except Exception as caught:
            error = rules.as_error(caught)
        with self._lock:
            self._reading = None
            # close() has released the key in use.
            unused = taken if rules.closed else held if taken is not None else None
            if not rules.closed:
                if taken is not None:
                    rules.swap(held, taken)
                rules.done(held, is_rescue, error)
        if unused is not None:
            self._release(unused)
        read.done.set()

    def _connect_newest(self, key: Key, version: Optional[int]) -> _Generation:
        try:
            return self._connect(key, version)
        except NoKeyError as error:
            return self._connect(*self._rules.after_rejection(key, version, error))

    def _connect(self, key: Key, version: Optional[int]) -> _Generation:
        rules = self._rules
        try:
            client = CacheClient.create(
                rules.configuration, key.credential_provider, rules.default_ttl, rules.eager_connection_timeout
            )
        except SdkException as error:
            raise rules.not_accepted(version, _code(error)) from None
        generation = _Generation(key, version, client)
        with self._lock:
            self._open.add(generation)
        # The other half of the time is for a newer version.
        give_up_at = time.monotonic() + rules.new_key_timeout / 2
        delay = FIRST_PROBE_DELAY
        while True:
            code = _code(client.get(rules.cache, "momento-rotating-client"))
            if code in ACCEPTED:
                return generation
            if time.monotonic() + delay > give_up_at or rules.closed:
                self._release(generation)
                raise rules.not_accepted(version, code)
            # A new key can be unknown to some of Momento's servers for a moment.
            time.sleep(delay)
            delay = min(2 * delay, LONGEST_PROBE_DELAY)

    def _release(self, generation: _Generation) -> None:
        with self._lock:
            generation.uses -= 1
            if generation.uses > 0:
                return
            self._open.discard(generation)
            self._all_closed.notify_all()
        # CacheClient has no close().
        generation.client.__exit__(None, None, None)


class RotatingCacheClientAsync:
    """For asyncio. The options are those of ``_Rules``; times are in seconds. A source is read in a thread."""

    def __init__(self, **options: Any) -> None:
        self._rules = _Rules(**options)
        self._reading: Optional[asyncio.Task[None]] = None
        self._open: set[_Generation] = set()
        self._all_closed = asyncio.Event()
        # Called by close(). Subscriptions to topics end with their client.
        self.on_close: set[Callable[[], Awaitable[None]]] = set()

    async def use(self, call: Callable[[CacheClientAsync], Awaitable[Answer]]) -> Answer:
        """Makes one call, which must return the SDK's answer unchanged, and repeats it if Momento rejects the key."""
        rules = self._rules
        await self._ready()
        for attempt in range(1, ATTEMPTS + 1):
            generation = rules.in_use()
            generation.uses += 1
            try:
                answer = _checked(await call(generation.client))
            finally:
                await self._release(generation)
            if _code(answer) != REJECTED:
                rules.accept(generation, self._reading is not None)
                break
            if attempt == ATTEMPTS or not await self._find_newer_than(generation):
                break
        return answer

    async def credential_provider(self, rejected: Optional[CredentialProvider] = None) -> CredentialProvider:
        """The key in use, for clients other than CacheClientAsync. If Momento rejected a key, pass it to get a newer one. Returns
        the same key if there is no newer one."""
        await self._ready()
        generation = self._rules.in_use()
        if rejected is generation.key.credential_provider:
            await self._find_newer_than(generation)
        return self._rules.in_use().key.credential_provider

    async def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Ends the subscriptions, waits for the calls in progress, and closes all clients. A call that takes longer than ``timeout``
        seconds doesn't fail: its client is closed later."""
        rules = self._rules
        if rules.closed:
            return
        rules.closed = True
        current, rules.current = rules.current, None
        for unsubscribe in list(self.on_close):
            await unsubscribe()
        if current is not None:
            await self._release(current)
        if self._open:
            try:
                await asyncio.wait_for(self._all_closed.wait(), timeout)
            except asyncio.TimeoutError:
                pass

    async def __aenter__(self) -> RotatingCacheClientAsync:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    async def _ready(self) -> None:
        """Waits for the first key. Later it starts a periodic read if that is due, and doesn't wait for it."""
        rules = self._rules
        if rules.closed:
            raise ClientClosedError()
        # Reads start on use and not by a timer, because Cloud Run gives no CPU between requests.
        read = self._start_read() if rules.periodic.is_due else self._reading
        if rules.current is None and read is not None:
            await asyncio.shield(read)

    async def _find_newer_than(self, rejected: _Generation) -> bool:
        rules = self._rules
        rules.reject(rejected)
        if self._reading is not None:
            # A read that is in progress might have begun before the rotation.
            await asyncio.shield(self._reading)
        if rules.current is rejected and rules.rescue.is_due:
            await asyncio.shield(self._start_read())
        return rules.current is not None and rules.current is not rejected

    def _start_read(self) -> asyncio.Task[None]:
        # The caller's cancellation must not end a read that others wait for, hence shield().
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read())
        return self._reading

    async def _read(self) -> None:
        rules = self._rules
        held = rules.current
        is_rescue = held is not None and held.rejected
        error: Optional[RotatingClientError] = None
        taken: Optional[_Generation] = None
        try:
            found = await asyncio.to_thread(rules.find, held)
            if found is not None and held is not None and found[0].id == held.key.id:
                held.version = found[1]
            elif found is not None:
                taken = await self._connect_newest(*found)
        except Exception as caught:
            error = rules.as_error(caught)
        self._reading = None
        if rules.closed:
            if taken is not None:
                await self._release(taken)
            return
        if taken is not None:
            rules.swap(held, taken)
        rules.done(held, is_rescue, error)
        if taken is not None and held is not None:
            await self._release(held)

    async def _connect_newest(self, key: Key, version: Optional[int]) -> _Generation:
        try:
            return await self._connect(key, version)
        except NoKeyError as error:
            found = await asyncio.to_thread(self._rules.after_rejection, key, version, error)
            return await self._connect(*found)

    async def _connect(self, key: Key, version: Optional[int]) -> _Generation:
        rules = self._rules
        try:
            client = await CacheClientAsync.create(
                rules.configuration, key.credential_provider, rules.default_ttl, rules.eager_connection_timeout
            )
        except SdkException as error:
            raise rules.not_accepted(version, _code(error)) from None
        generation = _Generation(key, version, client)
        self._open.add(generation)
        # The other half of the time is for a newer version.
        give_up_at = time.monotonic() + rules.new_key_timeout / 2
        delay = FIRST_PROBE_DELAY
        while True:
            code = _code(await client.get(rules.cache, "momento-rotating-client"))
            if code in ACCEPTED:
                return generation
            if time.monotonic() + delay > give_up_at or rules.closed:
                await self._release(generation)
                raise rules.not_accepted(version, code)
            # A new key can be unknown to some of Momento's servers for a moment.
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_PROBE_DELAY)

    async def _release(self, generation: _Generation) -> None:
        generation.uses -= 1
        if generation.uses > 0:
            return
        self._open.discard(generation)
        if not self._open and self._rules.closed:
            self._all_closed.set()
        # CacheClientAsync has no close().
        await generation.client.__aexit__(None, None, None)
