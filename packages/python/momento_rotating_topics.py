"""Subscriptions to Momento topics that follow the API key of a RotatingCacheClient.

Copy this file beside momento_rotating_client.py. In the SDK an error ends a subscription for good. These subscriptions
subscribe again with the newer key, from the last item on, and deliver each item once. The rules and names are those of the npm
package momento-rotating-client.

    with subscribe(cache, "my-cache", "orders", TopicConfigurations.Default.latest()) as subscription:
        for item in subscription:
            if isinstance(item, Discontinuity):
                print("items might be missing after", item.last_sequence_number)
            else:
                print(item.sequence_number, item.value)

With asyncio, use ``await subscribe_async(...)``, ``async with`` and ``async for``.

This file opens the streams itself, with the messages that Momento publishes for Python (momento-wire-types, a dependency of the
SDK). The SDK's own subscriptions (1.29) can't be resumed: after an error their iterators read the ended stream forever, and block
the event loop of asyncio. They hide discontinuities. Their request timeout ends each subscription after 5 s.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional, Union

import grpc
from momento import CredentialProvider
from momento.config import TopicConfiguration
from momento.responses import TopicSubscriptionItem
from momento_wire_types import cachepubsub_pb2 as messages
from momento_wire_types import cachepubsub_pb2_grpc as stubs

from momento_rotating_client import (
    FIRST_BACKOFF,
    LONGEST_BACKOFF,
    REJECTED,
    ClientClosedError,
    NoKeyError,
    RotatingCacheClient,
    RotatingCacheClientAsync,
    RotatingClientError,
)

# The SDK's names of errors.
CODES = {
    grpc.StatusCode.UNAUTHENTICATED: REJECTED,
    grpc.StatusCode.NOT_FOUND: "NOT_FOUND_ERROR",
    grpc.StatusCode.PERMISSION_DENIED: "PERMISSION_ERROR",
    grpc.StatusCode.INVALID_ARGUMENT: "INVALID_ARGUMENT_ERROR",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "LIMIT_EXCEEDED_ERROR",
    grpc.StatusCode.UNAVAILABLE: "SERVER_UNAVAILABLE",
}
# A newer key and a later attempt don't change these answers.
FINAL = ("NOT_FOUND_ERROR", "PERMISSION_ERROR", "INVALID_ARGUMENT_ERROR")
ACTIONS = {
    REJECTED: "Run the rotator, or store a valid key.",
    "NOT_FOUND_ERROR": "Create the cache, or check its name.",
    "PERMISSION_ERROR": "Let the key subscribe to this topic.",
    "INVALID_ARGUMENT_ERROR": "Check the names of the cache and the topic.",
}
DEFAULT_MESSAGE_SIZE = 5_243_000  # bytes, as in the SDK


class SubscriptionError(RotatingClientError):
    """The subscription has ended, or couldn't begin. ``code`` is the SDK's name of the error."""

    def __init__(self, code: str, cache_name: str, topic_name: str) -> None:
        action = ACTIONS.get(code, "Subscribe again. If this lasts, check the endpoint and the network.")
        super().__init__(f"Topic {topic_name} of cache {cache_name} isn't subscribed ({code}). {action}")
        self.code = code


@dataclass(frozen=True)
class Discontinuity:
    """Items might be missing here: the service couldn't resume the subscription, or it skipped items."""

    # The item after which items might be missing; None if none was received.
    last_sequence_number: Optional[int]
    # The item before the next one; None if it isn't known yet. The numbers of a topic that was reset start again.
    new_sequence_number: Optional[int]


Item = Union[TopicSubscriptionItem.Text, TopicSubscriptionItem.Binary, Discontinuity]


def subscribe(
    client: RotatingCacheClient, cache_name: str, topic_name: str, configuration: TopicConfiguration
) -> RotatingSubscription:
    """Subscribes with the key of ``client``. The configuration's client timeout limits the wait for the service's first message.

    Raises SubscriptionError if Momento doesn't accept the subscription, and NoKeyError if there is no usable key.
    """
    subscription = RotatingSubscription(client, _Rules(cache_name, topic_name, configuration))
    try:
        subscription._start()
    except BaseException:
        subscription.unsubscribe()
        raise
    return subscription


async def subscribe_async(
    client: RotatingCacheClientAsync, cache_name: str, topic_name: str, configuration: TopicConfiguration
) -> RotatingSubscriptionAsync:
    """``subscribe`` for asyncio."""
    subscription = RotatingSubscriptionAsync(client, _Rules(cache_name, topic_name, configuration))
    try:
        await subscription._start()
    except BaseException:
        await subscription.unsubscribe()
        raise
    return subscription


class _StreamEnded(Exception):
    def __init__(self, code: str) -> None:
        self.code = code


class _Position(NamedTuple):
    """The last item that was received or skipped. A topic that is reset gets another page, and numbers from 1 again."""

    page: int
    number: int


class _Rules:
    """The rules that both subscriptions share, for the start of a stream, the delivery of items and errors. No method waits."""

    def __init__(self, cache_name: str, topic_name: str, configuration: TopicConfiguration) -> None:
        self.cache_name, self.topic_name = cache_name, topic_name
        self.transport = configuration.get_transport_strategy().get_grpc_configuration()
        self.first_message_timeout = self.transport.get_deadline().total_seconds()
        # Received, and not delivered yet.
        self.ready: deque[Item] = deque()
        # The key of the current stream, and the key that Momento rejected last.
        self.used: Optional[CredentialProvider] = None
        self.rejected: Optional[CredentialProvider] = None
        self._position: Optional[_Position] = None
        # Whether the service has sent a message: in the current stream, and in any stream.
        self.is_streaming = self._has_begun = False
        # Whether an earlier stream has begun, and the current stream began without a position.
        self._has_gap = False
        self._failures = 0
        self._started_at = 0.0

    def open(self, grpc_module: Any, key: CredentialProvider) -> tuple[Any, Any]:
        """A channel and a stream that begins at the position. ``grpc_module`` is grpc or grpc.aio."""
        self.used, self._started_at, self.is_streaming = key, time.monotonic(), False
        self._has_gap = self._has_begun and self._position is None
        at = self._position
        # The service starts at the newest item if the number is 0.
        request = messages._SubscriptionRequest(
            cache_name=self.cache_name,
            topic=self.topic_name,
            resume_at_topic_sequence_number=at.number + 1 if at else 0,
            sequence_page=at.page if at else 0,
        )
        if key.port == 443:
            channel = grpc_module.secure_channel(key.cache_endpoint, grpc.ssl_channel_credentials(), self._channel_options())
        else:
            channel = grpc_module.insecure_channel(f"{key.cache_endpoint}:{key.port}", self._channel_options())
        headers = (("authorization", key.auth_token), ("agent", "python:topic:momento-rotating-client"))
        return channel, stubs.PubsubStub(channel).Subscribe(request, metadata=headers)

    def _channel_options(self) -> list[tuple[str, int]]:
        transport = self.transport
        keepalive_time, keepalive_timeout = transport.get_keepalive_time(), transport.get_keepalive_timeout()
        options = {
            "grpc.max_receive_message_length": transport.get_max_receive_message_length() or DEFAULT_MESSAGE_SIZE,
            "grpc.service_config_disable_resolution": 1,
            "grpc.keepalive_permit_without_calls": transport.get_keepalive_permit_without_calls(),
            "grpc.keepalive_time_ms": keepalive_time and round(keepalive_time.total_seconds() * 1000),
            "grpc.keepalive_timeout_ms": keepalive_timeout and round(keepalive_timeout.total_seconds() * 1000),
        }
        return [(name, value) for name, value in options.items() if value is not None]

    def receive(self, message: messages._SubscriptionItem) -> None:
        self.is_streaming = self._has_begun = True
        kind = message.WhichOneof("kind")
        if kind == "item":
            page, number = message.item.sequence_page, message.item.topic_sequence_number
            if self._has(_Position(page, number)):
                return
            self._skip_to(_Position(page, number - 1))
            self._position = _Position(page, number)
            value = message.item.value
            if value.WhichOneof("kind") == "binary":
                self.ready.append(TopicSubscriptionItem.Binary(value.binary, number, page))
            else:
                self.ready.append(TopicSubscriptionItem.Text(value.text, number, page))
        elif kind == "discontinuity":
            to = message.discontinuity
            self._skip_to(_Position(to.new_sequence_page, to.new_topic_sequence))
        elif self._has_gap:
            self._report_gap(None)

    def _has(self, position: _Position) -> bool:
        """Whether everything up to this position was received or reported."""
        held = self._position
        return held is not None and position.page == held.page and position.number <= held.number

    def _skip_to(self, next: _Position) -> None:
        """Moves the position to ``next``, and reports the items in between as missing."""
        if self._has(next):
            return
        # The subscription begins at the first position that the service names, so no item is missing before it.
        if self._position is not None or self._has_gap:
            self._report_gap(next.number)
        self._position = next

    def _report_gap(self, new_sequence_number: Optional[int]) -> None:
        self._has_gap = False
        self.ready.append(Discontinuity(self._position.number if self._position else None, new_sequence_number))

    def wait_after(self, error: Exception, is_first: bool = False) -> float:
        """How long to wait before the next attempt. Raises the error if another attempt doesn't help."""
        if isinstance(error, _StreamEnded):
            is_newly_rejected = error.code == REJECTED and self.rejected is not self.used
            self.rejected = self.used if error.code == REJECTED else None
            if is_newly_rejected:
                return 0.0
            if is_first or error.code in FINAL:
                raise SubscriptionError(error.code, self.cache_name, self.topic_name) from None
        elif is_first:
            raise error
        if time.monotonic() - self._started_at > LONGEST_BACKOFF:
            self._failures = 0
        wait = min(FIRST_BACKOFF * 2 ** (self._failures - 1), LONGEST_BACKOFF) if self._failures > 0 else 0.0
        self._failures += 1
        # Jitter: many processes that are rejected together must not subscribe together.
        return wait * (1 - random.random() / 5)


class RotatingSubscription:
    """For threads. Iterate in one thread. ``unsubscribe()`` of any thread and ``close()`` of the client end the iteration."""

    def __init__(self, client: RotatingCacheClient, rules: _Rules) -> None:
        self._client, self._rules = client, rules
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._channel: Any = None
        self._stream: Any = None

    @property
    def is_subscribed(self) -> bool:
        """Whether items are received, or the subscription is being resumed."""
        return not self._end.is_set()

    def unsubscribe(self) -> None:
        self._client.on_close.discard(self.unsubscribe)
        self._end.set()
        self._disconnect()

    def __enter__(self) -> RotatingSubscription:
        return self

    def __exit__(self, *_: Any) -> None:
        self.unsubscribe()

    def __iter__(self) -> RotatingSubscription:
        return self

    def __next__(self) -> Item:
        """Waits for the next item. Raises SubscriptionError if a newer key and later attempts don't help."""
        while self.is_subscribed:
            if self._rules.ready:
                return self._rules.ready.popleft()
            self._advance()
        raise StopIteration

    def _start(self) -> None:
        self._client.on_close.add(self.unsubscribe)
        while not self._rules.is_streaming:
            self._advance(is_first=True)
            if not self.is_subscribed:
                raise ClientClosedError()

    def _advance(self, is_first: bool = False) -> None:
        """Opens a stream if no stream is open. Otherwise receives one message."""
        try:
            if self._stream is None:
                self._open()
            else:
                self._receive()
        except (_StreamEnded, NoKeyError) as error:
            self._disconnect()
            if not self.is_subscribed:
                return
            try:
                wait = self._rules.wait_after(error, is_first)
            except RotatingClientError:
                self.unsubscribe()
                raise
            self._end.wait(wait)
        except ClientClosedError:
            self.unsubscribe()

    def _open(self) -> None:
        key = self._client.credential_provider(self._rules.rejected)
        with self._lock:
            if self.is_subscribed:
                self._channel, self._stream = self._rules.open(grpc, key)

    def _receive(self) -> None:
        stream = self._stream
        if stream is None:
            return  # unsubscribe() in another thread
        # A message can't have a deadline in gRPC.
        timer = threading.Timer(self._rules.first_message_timeout, stream.cancel)
        timer.daemon = True
        try:
            if not self._rules.is_streaming:
                timer.start()
            message = next(stream)
        except StopIteration:
            raise _StreamEnded("SERVER_UNAVAILABLE") from None
        except grpc.RpcError as error:
            # Only the timer of the first message and unsubscribe() cancel a stream.
            raise _StreamEnded(CODES.get(error.code(), "TIMEOUT_ERROR" if stream.cancelled() else "UNKNOWN_ERROR")) from None
        finally:
            timer.cancel()
        self._rules.receive(message)

    def _disconnect(self) -> None:
        with self._lock:
            channel, self._channel, self._stream = self._channel, None, None
        if channel is not None:
            channel.close()


class RotatingSubscriptionAsync:
    """For asyncio. ``unsubscribe()`` and ``close()`` of the client end the iteration. Cancelling a wait for an item loses no item."""

    def __init__(self, client: RotatingCacheClientAsync, rules: _Rules) -> None:
        self._client, self._rules = client, rules
        self._end = asyncio.Event()
        self._channel: Any = None
        self._stream: Any = None
        # The read in progress. It outlives a cancelled wait, because cancelling it would end the stream.
        self._reading: Optional[asyncio.Task[Any]] = None

    @property
    def is_subscribed(self) -> bool:
        """Whether items are received, or the subscription is being resumed."""
        return not self._end.is_set()

    async def unsubscribe(self) -> None:
        self._client.on_close.discard(self.unsubscribe)
        self._end.set()
        await self._disconnect()

    async def __aenter__(self) -> RotatingSubscriptionAsync:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.unsubscribe()

    def __aiter__(self) -> RotatingSubscriptionAsync:
        return self

    async def __anext__(self) -> Item:
        """Waits for the next item. Raises SubscriptionError if a newer key and later attempts don't help."""
        while self.is_subscribed:
            if self._rules.ready:
                return self._rules.ready.popleft()
            await self._advance()
        raise StopAsyncIteration

    async def _start(self) -> None:
        self._client.on_close.add(self.unsubscribe)
        while not self._rules.is_streaming:
            await self._advance(is_first=True)
            if not self.is_subscribed:
                raise ClientClosedError()

    async def _advance(self, is_first: bool = False) -> None:
        """Opens a stream if no stream is open. Otherwise receives one message."""
        try:
            if self._stream is None:
                await self._open()
            else:
                await self._receive()
        except (_StreamEnded, NoKeyError) as error:
            await self._disconnect()
            if not self.is_subscribed:
                return
            try:
                wait = self._rules.wait_after(error, is_first)
            except RotatingClientError:
                await self.unsubscribe()
                raise
            try:
                await asyncio.wait_for(self._end.wait(), wait)
            except asyncio.TimeoutError:
                pass
        except ClientClosedError:
            await self.unsubscribe()

    async def _open(self) -> None:
        key = await self._client.credential_provider(self._rules.rejected)
        if self.is_subscribed:
            self._channel, self._stream = self._rules.open(grpc.aio, key)

    async def _receive(self) -> None:
        reading = self._reading = self._reading or asyncio.ensure_future(self._stream.read())
        await asyncio.wait({reading}, timeout=None if self._rules.is_streaming else self._rules.first_message_timeout)
        if not reading.done() or reading.cancelled():
            raise _StreamEnded("TIMEOUT_ERROR")
        self._reading = None
        try:
            message = reading.result()
        except grpc.RpcError as error:
            raise _StreamEnded(CODES.get(error.code(), "UNKNOWN_ERROR")) from None
        if message is grpc.aio.EOF:
            raise _StreamEnded("SERVER_UNAVAILABLE")
        self._rules.receive(message)

    async def _disconnect(self) -> None:
        reading, self._reading = self._reading, None
        channel, self._channel, self._stream = self._channel, None, None
        if reading is not None:
            reading.cancel()
        if channel is not None:
            await channel.close()
