import { TopicConfigurations, TopicSubscribe, NoopMomentoLoggerFactory } from '@gomomento/sdk';
import { status } from '@grpc/grpc-js';
import {
  subscribe,
  type Discontinuity,
  type RotatingCacheClient,
  type RotatingSubscription,
  type SubscribeOptions,
} from '../../packages/momento-rotating-client/src/index';
import { until } from '../until';
import { Hold, TestBed } from './support';

const TOPIC = 'topic';
const CONFIGURATION = TopicConfigurations.Default.latest(new NoopMomentoLoggerFactory());
const HANG = { kind: 'hang', when: 'before' } as const;
const UNAVAILABLE = { kind: 'error', code: status.UNAVAILABLE, when: 'before' } as const;

let testBed: TestBed;
let items: string[];
let gaps: Discontinuity[];
let errors: string[];
let client: RotatingCacheClient;
let subscriptions: RotatingSubscription[];
let published: number;

beforeAll(async () => {
  testBed = await TestBed.start();
});

beforeEach(async () => {
  await testBed.reset();
  testBed.momento.topics.retained = Infinity;
  [items, gaps, errors, subscriptions, published] = [[], [], [], [], 0];
  client = testBed.client();
});

afterEach(() => {
  for (const subscription of subscriptions) subscription.unsubscribe();
  // A topic of its own for each test.
  testBed.momento.topics.reset('cache', TOPIC);
});

afterAll(() => testBed.stop());

/** Publishes items with consecutive numbers as their text. */
function publish(count: number): void {
  for (let left = count; left > 0; left -= 1) {
    published += 1;
    testBed.momento.publish('cache', TOPIC, String(published));
  }
}

const upTo = (last: number): string[] => Array.from({ length: last }, (_, index) => `${index + 1}`);

const streams = (): number =>
  testBed.momento.faults.calls.filter(({ method }) => method === 'Subscribe').length;

/** The request of the newest stream. */
function newestRequest(): { sequence_page: number } {
  const call = testBed.momento.faults.calls.findLast(({ method }) => method === 'Subscribe');
  return call?.request as { sequence_page: number };
}

const isOpen = (): boolean => testBed.momento.topics.subscribers('cache', TOPIC) === 1;

function begin(
  options: Partial<SubscribeOptions> = {},
  cache = 'cache',
): Promise<RotatingSubscription | TopicSubscribe.Error> {
  return subscribe(client, cache, TOPIC, {
    configuration: CONFIGURATION,
    onItem: (item) => void items.push(item.valueString()),
    onDiscontinuity: (gap) => void gaps.push(gap),
    onError: (error) => void errors.push(error.errorCode()),
    ...options,
  });
}

async function begun(options?: Partial<SubscribeOptions>): Promise<RotatingSubscription> {
  const answer = await begin(options);
  if (answer instanceof TopicSubscribe.Error) throw new Error(answer.errorCode());
  subscriptions.push(answer);
  return answer;
}

describe('a subscription', () => {
  it('delivers each item once when keys are rotated and revoked', async () => {
    let { revoke } = testBed.rotate();
    await begun();
    for (let rotation = 1; rotation <= 5; rotation += 1) {
      publish(20);
      const next = testBed.rotate();
      revoke();
      // The subscription has ended.
      publish(20);
      await until(() => streams() === rotation + 1 && isOpen());
      ({ revoke } = next);
      publish(20);
    }
    await until(() => items.length >= published);
    expect(items).toEqual(upTo(300));
    expect([gaps, errors]).toEqual([[], []]);
  });

  it('resumes with the key that comes later when there is no newer key', async () => {
    const { revoke } = testBed.rotate();
    await begun();
    publish(1);
    await until(() => items.length === 1);
    revoke();
    publish(1);
    await until(() => testBed.reads('latest') === 2);
    testBed.rotate();
    testBed.advance(2000);
    await until(() => items.length === 2);
    expect(items).toEqual(upTo(2));
    expect([gaps, errors]).toEqual([[], []]);
  });

  it('reports the items that the service no longer has', async () => {
    const { revoke } = testBed.rotate();
    await begun();
    publish(3);
    await until(() => items.length === 3);
    testBed.momento.topics.retained = 2;
    testBed.rotate();
    revoke();
    publish(5);
    await until(() => items.length === 5);
    expect(items).toEqual(['1', '2', '3', '7', '8']);
    expect(gaps).toEqual([{ lastSequenceNumber: 3, newSequenceNumber: 6 }]);
    expect(newestRequest()).toMatchObject({ resume_at_topic_sequence_number: 4 });
    expect(newestRequest().sequence_page).toBeGreaterThan(0);
  });

  it('reports a topic that was reset, and delivers its items', async () => {
    const { revoke } = testBed.rotate();
    await begun();
    publish(3);
    await until(() => items.length === 3);
    testBed.rotate();
    revoke();
    testBed.momento.topics.reset('cache', TOPIC);
    publish(2);
    await until(() => items.length === 5);
    expect(items).toEqual(upTo(5));
    expect(gaps).toEqual([{ lastSequenceNumber: 3, newSequenceNumber: 0 }]);
  });

  it('reports that items might be missing when it ended before the first item', async () => {
    const { revoke } = testBed.rotate();
    await begun();
    testBed.rotate();
    revoke();
    await until(() => gaps.length === 1);
    expect(gaps).toEqual([{ lastSequenceNumber: undefined, newSequenceNumber: undefined }]);
    publish(1);
    await until(() => items.length === 1);
    expect(gaps).toHaveLength(1);
  });

  it('delivers nothing twice when the service sends items again', async () => {
    testBed.rotate();
    await begun();
    publish(3);
    await until(() => items.length === 3);
    testBed.momento.topics.sendAgain('cache', TOPIC);
    publish(1);
    await until(() => items.length === 4);
    expect(items).toEqual(upTo(4));
    expect(gaps).toEqual([]);
  });

  it('resumes at the last item when the connection ends', async () => {
    testBed.rotate();
    await begun();
    publish(1);
    await until(() => items.length === 1);
    testBed.dropConnections();
    await until(() => !isOpen());
    publish(1);
    await until(() => items.length === 2);
    expect([items, gaps]).toEqual([upTo(2), []]);
  });

  it('subscribes again when Momento is away while it resumes', async () => {
    const { revoke } = testBed.rotate();
    await begun();
    publish(1);
    await until(() => items.length === 1);
    testBed.momento.faults.inject('Subscribe', 2, UNAVAILABLE);
    testBed.rotate();
    revoke();
    publish(1);
    await until(() => items.length === 2);
    expect([items, errors]).toEqual([upTo(2), []]);
    expect(streams()).toBe(3);
  });

  it('subscribes again when the service sends no first message', async () => {
    const { revoke } = testBed.rotate();
    await begun({ configuration: CONFIGURATION.withClientTimeoutMillis(2000) });
    publish(1);
    await until(() => items.length === 1);
    testBed.momento.faults.inject('Subscribe', 2, HANG);
    testBed.rotate();
    revoke();
    publish(1);
    await until(() => items.length === 2);
    expect([items, errors, gaps]).toEqual([upTo(2), [], []]);
    expect(streams()).toBe(3);
  });

  it('waits before the next stream when Momento ends each stream after its first message', async () => {
    testBed.rotate();
    const beganAt = performance.now();
    testBed.momento.faults.inject('Subscribe', 'every', {
      kind: 'error',
      code: status.UNAUTHENTICATED,
      when: 'after',
    });
    await begun();
    await until(() => streams() === 4);
    // Jitter makes 1 s and 2 s up to 20 % shorter.
    expect(performance.now() - beganAt).toBeGreaterThan(2400);
    expect(errors).toEqual([]);
  });

  it('delivers nothing of a stream that was abandoned before its first message', async () => {
    const { revoke } = testBed.rotate();
    await begun({ configuration: CONFIGURATION.withClientTimeoutMillis(2000) });
    publish(1);
    await until(() => items.length === 1);
    const late = new Hold(
      testBed.momento,
      'before',
      ({ method, n }) => method === 'Subscribe' && n === 2,
    );
    testBed.rotate();
    revoke();
    await until(() => streams() === 3 && isOpen());
    late.release();
    publish(1);
    await until(() => items.length === 2);
    await until(isOpen);
    expect([items, errors, gaps]).toEqual([upTo(2), [], []]);
    expect(late.calls).toBe(1);
  });

  it('ends with an error when the newer key has no permission', async () => {
    const { revoke } = testBed.rotate();
    const subscription = await begun();
    testBed.momento.faults.inject('Subscribe', 2, {
      kind: 'error',
      code: status.PERMISSION_DENIED,
      when: 'before',
    });
    testBed.rotate();
    revoke();
    await until(() => errors.length === 1);
    expect(errors).toEqual(['PERMISSION_ERROR']);
    expect(subscription.isSubscribed).toBe(false);
  });

  it.each<[string, (subscription: RotatingSubscription, abort: () => void) => void]>([
    ['it is unsubscribed', (subscription) => subscription.unsubscribe()],
    ['its signal is aborted', (_, abort) => abort()],
    ['the client is closed', () => void client.close()],
  ])('ends when %s', async (_, end) => {
    testBed.rotate();
    const controller = new AbortController();
    const subscription = await begun({ signal: controller.signal });
    await until(isOpen);
    end(subscription, () => controller.abort());
    expect(subscription.isSubscribed).toBe(false);
    await until(() => !isOpen());
    publish(1);
    expect([items, errors]).toEqual([[], []]);
  });
});

describe('the first attempt', () => {
  it('uses the newer key when the key in use is revoked', async () => {
    const { revoke } = testBed.rotate();
    await client.credentialProvider();
    testBed.rotate();
    revoke();
    await begun();
    publish(1);
    await until(() => items.length === 1);
    expect(gaps).toEqual([]);
  });

  it("returns the SDK's error when the cache doesn't exist", async () => {
    testBed.rotate();
    const answer = await begin({}, 'other');
    expect(answer).toBeInstanceOf(TopicSubscribe.Error);
    expect((answer as TopicSubscribe.Error).errorCode()).toBe('NOT_FOUND_ERROR');
  });

  it("returns the SDK's error when the service sends no first message", async () => {
    testBed.rotate();
    testBed.momento.faults.inject('Subscribe', 'every', HANG);
    const answer = await begin({ configuration: CONFIGURATION.withClientTimeoutMillis(200) });
    expect((answer as TopicSubscribe.Error).errorCode()).toBe('TIMEOUT_ERROR');
  });

  it('throws NoKeyError when there is no key', async () => {
    await expect(begin()).rejects.toMatchObject({ code: 'SECRET_NOT_FOUND' });
  });
});
