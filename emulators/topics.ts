import { pubsub } from '@gomomento/generated-types';
import { status } from '@grpc/grpc-js';
import { Refusal, type Stream } from './grpc-host';

const { _Discontinuity, _Heartbeat, _SubscriptionItem, _TopicItem } = pubsub.cache_client.pubsub;

type Request = InstanceType<typeof pubsub.cache_client.pubsub._SubscriptionRequest>;
type Value = InstanceType<typeof pubsub.cache_client.pubsub._TopicValue>;
type Item = InstanceType<typeof _TopicItem>;

interface Subscriber {
  readonly stream: Stream<object>;
  /** Whether the service still accepts the key that the subscription began with. */
  readonly isAccepted: () => boolean;
}

interface Topic {
  /** Identifies a series of sequence numbers. A reset starts another page. */
  page: number;
  last: number;
  /** The newest items, from which a subscription can resume. */
  items: Item[];
  readonly subscribers: Set<Subscriber>;
}

/** The topics of a local Momento, by cache and name. The semantics are those of Momento's cachepubsub.proto. */
export class Topics {
  /** How many items of a topic the service keeps for subscriptions that resume. */
  retained = Infinity;

  readonly #topics = new Map<string, Topic>();

  publish(cache: string, name: string, value: Value): void {
    this.endRejected();
    const topic = this.#topic(cache, name);
    topic.last += 1;
    const item = new _TopicItem({
      topic_sequence_number: topic.last,
      sequence_page: topic.page,
      value,
    });
    topic.items.push(item);
    topic.items.splice(0, topic.items.length - this.retained);
    for (const { stream } of topic.subscribers) stream.send(new _SubscriptionItem({ item }));
  }

  subscribe(request: Request, stream: Stream<object>, isAccepted: () => boolean): void {
    const { cache_name, topic: name, resume_at_topic_sequence_number: from } = request;
    const topic = this.#topic(cache_name, name);
    // Momento's SDK counts a subscription as successful when the first message arrives.
    stream.send(new _SubscriptionItem({ heartbeat: new _Heartbeat() }));
    if (from > 0) this.#resume(topic, from, request.sequence_page, stream);
    const subscriber = { stream, isAccepted };
    topic.subscribers.add(subscriber);
    stream.onEnd(() => topic.subscribers.delete(subscriber));
  }

  /** Deletes the topic's items, and numbers new items from 1. */
  reset(cache: string, name: string): void {
    const topic = this.#topic(cache, name);
    Object.assign(topic, { page: topic.page + 1, last: 0, items: [] });
  }

  /** Sends the newest item to all subscribers once more. */
  sendAgain(cache: string, name: string): void {
    const { items, subscribers } = this.#topic(cache, name);
    for (const item of items.slice(-1)) {
      for (const { stream } of subscribers) stream.send(new _SubscriptionItem({ item }));
    }
  }

  /** Closes the subscriptions of keys that Momento rejects. */
  endRejected(): void {
    for (const { subscribers } of this.#topics.values()) {
      for (const subscriber of subscribers) {
        if (subscriber.isAccepted()) continue;
        subscribers.delete(subscriber);
        subscriber.stream.fail(new Refusal(status.UNAUTHENTICATED, 'Invalid API key'));
      }
    }
  }

  subscribers(cache: string, name: string): number {
    return this.#topic(cache, name).subscribers.size;
  }

  #resume(topic: Topic, from: number, page: number, stream: Stream<object>): void {
    const isSamePage = page === topic.page;
    const items = topic.items.filter((item) => !isSamePage || item.topic_sequence_number >= from);
    const next = items[0]?.topic_sequence_number ?? topic.last + 1;
    if (!isSamePage || next > from) {
      const discontinuity = new _Discontinuity({
        last_topic_sequence: from - 1,
        new_topic_sequence: next - 1,
        new_sequence_page: topic.page,
      });
      stream.send(new _SubscriptionItem({ discontinuity }));
    }
    for (const item of items) stream.send(new _SubscriptionItem({ item }));
  }

  #topic(cache: string, name: string): Topic {
    const address = `${cache}/${name}`;
    const known = this.#topics.get(address);
    if (known) return known;
    const topic: Topic = { page: 1, last: 0, items: [], subscribers: new Set() };
    this.#topics.set(address, topic);
    return topic;
  }
}
