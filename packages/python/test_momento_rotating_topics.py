"""Run with pytest. Each test runs for threads and for asyncio."""

import asyncio
import threading
import time
from datetime import timedelta

import pytest
from conftest import EventLoop, until
from momento.config import TopicConfigurations
from momento_rotating_client import ClientClosedError, NoKeyError, RotatingCacheClient, RotatingCacheClientAsync
from momento_rotating_topics import Discontinuity, SubscriptionError, subscribe, subscribe_async

CONFIGURATION = TopicConfigurations.Default.latest().with_client_timeout(timedelta(seconds=15))


class Threads:
    """Collects the items of one subscription."""

    def __init__(self, options):
        self.client = RotatingCacheClient(**options)
        self.items, self.error, self.subscription = [], None, None
        self.thread = None

    def subscribe(self, topic, cache="cache", configuration=CONFIGURATION):
        self.subscription = subscribe(self.client, cache, topic, configuration)
        self.thread = threading.Thread(target=self._collect, daemon=True)
        self.thread.start()

    def _collect(self):
        try:
            for item in self.subscription:
                self.items.append(item if isinstance(item, Discontinuity) else item.value)
        except Exception as error:
            self.error = error

    def credential_provider(self):
        return self.client.credential_provider()

    def unsubscribe(self):
        self.subscription.unsubscribe()

    def close(self):
        self.client.close()

    @property
    def has_ended(self):
        return not self.thread.is_alive()

    def stop(self):
        self.client.close()
        if self.thread:
            self.thread.join(10)
            assert self.has_ended


class Asyncio:
    """The same in an event loop."""

    def __init__(self, options):
        self.client = RotatingCacheClientAsync(**options)
        self.items, self.error, self.subscription = [], None, None
        self.loop, self.task = EventLoop(), None

    def subscribe(self, topic, cache="cache", configuration=CONFIGURATION):
        self.subscription = self.loop.run(subscribe_async(self.client, cache, topic, configuration))
        self.task = self.loop.start(self._collect())

    async def _collect(self):
        try:
            async for item in self.subscription:
                self.items.append(item if isinstance(item, Discontinuity) else item.value)
        except Exception as error:
            self.error = error

    def credential_provider(self):
        return self.loop.run(self.client.credential_provider())

    def unsubscribe(self):
        self.loop.run(self.subscription.unsubscribe())

    def close(self):
        self.loop.run(self.client.close())

    @property
    def has_ended(self):
        return self.task.done()

    def stop(self):
        self.close()
        if self.task:
            self.task.result(10)
        self.loop.stop()


class TestBed:
    """An application with one subscription to a topic of its own."""

    __test__ = False

    def __init__(self, emulators, kind):
        self.emulators = emulators
        self.topic = emulators.secret
        self.now = 1_000_000.0
        self.published = 0
        self.application = kind(emulators.options(now=lambda: self.now))

    def publish(self, count):
        """Publishes items with consecutive numbers as their text."""
        texts = [str(self.published + n) for n in range(1, count + 1)]
        self.published += count
        self.emulators.publish(self.topic, texts)

    def subscribe(self, **options):
        self.application.subscribe(self.topic, **options)

    def begin(self, **options):
        """Subscribes with a first key, and receives the first item."""
        self.emulators.rotate()
        self.subscribe(**options)
        self.publish(1)
        self.receives(1)

    @property
    def items(self):
        return self.application.items

    def receives(self, count):
        until(lambda: len(self.items) >= count)

    def is_open(self):
        return self.emulators.subscribers(self.topic) > 0

    def streams(self):
        return self.emulators.calls("Subscribe")


def up_to(last):
    return [str(n) for n in range(1, last + 1)]


@pytest.fixture(params=[Threads, Asyncio])
def test_bed(request, emulators):
    test_bed = TestBed(emulators, request.param)
    yield test_bed
    test_bed.application.stop()
    until(lambda: not test_bed.is_open())


def test_delivers_each_item_once_when_keys_are_rotated_and_revoked(test_bed, emulators):
    emulators.rotate()
    test_bed.subscribe()
    assert emulators.began_at() == [0, 0]
    for rotation in range(1, 6):
        test_bed.publish(20)
        emulators.rotate()
        emulators.revoke(rotation)
        # The subscription has ended.
        test_bed.publish(20)
        until(lambda: test_bed.streams() == rotation + 1 and test_bed.is_open())
        test_bed.publish(20)
    test_bed.receives(300)
    assert test_bed.items == up_to(300)


def test_resumes_with_the_key_that_comes_later_when_there_is_no_newer_key(test_bed, emulators):
    test_bed.begin()
    emulators.revoke(1)
    test_bed.publish(1)
    until(lambda: emulators.calls("AccessSecretVersion") >= 3)
    emulators.rotate()

    def receives_later():
        # The client waits on this clock before it reads the secret again.
        test_bed.now += 1
        return len(test_bed.items) == 2

    until(receives_later)
    assert test_bed.items == up_to(2)


def test_reports_the_items_that_the_service_no_longer_has(test_bed, emulators):
    emulators.rotate()
    test_bed.subscribe()
    test_bed.publish(3)
    test_bed.receives(3)
    emulators.retain(2)
    emulators.rotate()
    emulators.revoke(1)
    test_bed.publish(5)
    test_bed.receives(6)
    assert test_bed.items == ["1", "2", "3", Discontinuity(3, 6), "7", "8"]
    assert emulators.began_at() == [4, 1]


def test_reports_a_topic_that_was_reset_and_delivers_its_items(test_bed, emulators):
    emulators.rotate()
    test_bed.subscribe()
    test_bed.publish(3)
    test_bed.receives(3)
    emulators.rotate()
    emulators.revoke(1)
    emulators.reset_topic(test_bed.topic)
    test_bed.publish(2)
    test_bed.receives(6)
    assert test_bed.items == ["1", "2", "3", Discontinuity(3, 0), "4", "5"]


def test_reports_that_items_might_be_missing_when_it_ended_before_the_first_item(test_bed, emulators):
    emulators.rotate()
    test_bed.subscribe()
    emulators.rotate()
    emulators.revoke(1)
    test_bed.receives(1)
    test_bed.publish(1)
    test_bed.receives(2)
    assert test_bed.items == [Discontinuity(None, None), "1"]


def test_delivers_nothing_twice_when_the_service_sends_items_again(test_bed, emulators):
    emulators.rotate()
    test_bed.subscribe()
    test_bed.publish(3)
    test_bed.receives(3)
    emulators.send_again(test_bed.topic)
    test_bed.publish(1)
    test_bed.receives(4)
    assert test_bed.items == up_to(4)


def test_resumes_at_the_last_item_when_the_connection_ends(test_bed, emulators):
    test_bed.begin()
    emulators.drop_connections()
    until(lambda: test_bed.streams() == 2)
    test_bed.publish(1)
    test_bed.receives(2)
    assert test_bed.items == up_to(2)


def test_delivers_empty_items(test_bed, emulators):
    emulators.rotate()
    test_bed.subscribe()
    emulators.publish(test_bed.topic, [""])
    test_bed.receives(1)
    assert test_bed.items == [""]


def test_subscribes_again_when_momento_is_away_while_it_resumes(test_bed, emulators):
    test_bed.begin()
    emulators.inject("Subscribe", 2, "UNAVAILABLE")
    emulators.rotate()
    emulators.revoke(1)
    test_bed.publish(1)
    test_bed.receives(2)
    assert test_bed.items == up_to(2)
    assert test_bed.streams() == 3


def test_ends_with_an_error_when_the_newer_key_has_no_permission(test_bed, emulators):
    emulators.rotate()
    test_bed.subscribe()
    emulators.inject("Subscribe", 2, "PERMISSION_DENIED")
    emulators.rotate()
    emulators.revoke(1)
    until(lambda: test_bed.application.has_ended)
    assert test_bed.application.error.code == "PERMISSION_ERROR"
    assert "Let the key subscribe" in str(test_bed.application.error)
    assert not test_bed.application.subscription.is_subscribed


@pytest.mark.parametrize("end", ["unsubscribe", "close"])
def test_ends_when_it_is_unsubscribed_or_the_client_is_closed(test_bed, emulators, end):
    emulators.rotate()
    test_bed.subscribe()
    until(test_bed.is_open)
    getattr(test_bed.application, end)()
    assert not test_bed.application.subscription.is_subscribed
    until(lambda: test_bed.application.has_ended and not test_bed.is_open())
    assert test_bed.application.error is None
    assert test_bed.items == []


def test_uses_the_newer_key_first_when_the_key_in_use_is_revoked(test_bed, emulators):
    emulators.rotate()
    test_bed.application.credential_provider()
    emulators.rotate()
    emulators.revoke(1)
    test_bed.subscribe()
    test_bed.publish(1)
    test_bed.receives(1)
    assert test_bed.items == up_to(1)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("NOT_FOUND", "NOT_FOUND_ERROR"),
        ("UNAVAILABLE", "SERVER_UNAVAILABLE"),
        ("UNAUTHENTICATED", "AUTHENTICATION_ERROR"),
        ("hang", "TIMEOUT_ERROR"),
    ],
)
def test_raises_an_error_when_the_first_attempt_fails(test_bed, emulators, fault, code):
    emulators.rotate()
    emulators.inject("Subscribe", "every", fault)
    seconds = 0.2 if fault == "hang" else 15
    configuration = CONFIGURATION.with_client_timeout(timedelta(seconds=seconds))
    with pytest.raises(SubscriptionError) as caught:
        test_bed.subscribe(configuration=configuration)
    assert caught.value.code == code


def test_raises_an_error_when_the_cache_does_not_exist(test_bed, emulators):
    emulators.rotate()
    with pytest.raises(SubscriptionError) as caught:
        test_bed.subscribe(cache="other")
    assert caught.value.code == "NOT_FOUND_ERROR"


def test_raises_an_error_when_there_is_no_key(test_bed):
    with pytest.raises(NoKeyError) as caught:
        test_bed.subscribe()
    assert caught.value.code == "SECRET_NOT_FOUND"


def test_raises_an_error_when_the_client_is_closed(test_bed):
    test_bed.application.close()
    with pytest.raises(ClientClosedError):
        test_bed.subscribe()


def test_subscribes_again_when_the_service_sends_no_first_message(test_bed, emulators):
    test_bed.begin(configuration=CONFIGURATION.with_client_timeout(timedelta(seconds=2)))
    emulators.inject("Subscribe", 2, "hang")
    emulators.rotate()
    emulators.revoke(1)
    test_bed.publish(1)
    test_bed.receives(2)
    assert test_bed.items == up_to(2)
    assert test_bed.streams() == 3


def test_waits_before_the_next_stream_when_momento_ends_each_stream_after_its_first_message(test_bed, emulators):
    emulators.rotate()
    began_at = time.monotonic()
    emulators.inject("Subscribe", "every", "UNAUTHENTICATED", "after")
    test_bed.subscribe()
    until(lambda: test_bed.streams() == 4)
    # Jitter makes 1 s up to 20 % shorter.
    assert time.monotonic() - began_at > 0.8
    assert test_bed.application.error is None


def test_loses_no_item_when_a_wait_is_cancelled(emulators):
    async def run():
        emulators.rotate()
        async with RotatingCacheClientAsync(**emulators.options()) as client:
            async with await subscribe_async(client, "cache", emulators.secret, CONFIGURATION) as subscription:
                for text in up_to(20):
                    waiting = asyncio.ensure_future(anext(subscription))
                    await asyncio.sleep(0)
                    emulators.publish(emulators.secret, [text])
                    waiting.cancel()
                    assert (await anext(subscription)).value == text
                assert emulators.calls("Subscribe") == 1

    asyncio.run(run())
