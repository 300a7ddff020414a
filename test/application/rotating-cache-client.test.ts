import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { Configurations, NoopMomentoLoggerFactory } from '@gomomento/sdk';
import { status } from '@grpc/grpc-js';
import {
  ClientClosedError,
  file,
  InvalidOptionError,
  NoKeyError,
  secretManager,
  type RotatingCacheClient,
} from '../../packages/momento-rotating-client/src/index';
import { parseKey } from '../../packages/momento-rotating-client/src/key';
import { until } from '../until';
import { leaks } from '../leaks';
import {
  CHANNELS,
  CONNECTIONS,
  Hold,
  isItem,
  isProbe,
  isRead,
  MINUTE,
  outcome,
  REREAD_EVERY,
  TestBed,
  type Changes,
} from './support';

const HANG = { kind: 'hang', when: 'before' } as const;
let testBed: TestBed;

beforeAll(async () => {
  testBed = await TestBed.start();
});

beforeEach(() => testBed.reset());

afterEach(() => {
  const texts = testBed.events.map((event) => inspect(event, { showHidden: true }));
  expect(leaks(testBed.momento.secrets(), texts)).toEqual([]);
});

afterAll(() => testBed.stop());

/** A client with a key. Events and calls count from here. */
async function started(changes?: Changes): Promise<RotatingCacheClient> {
  const client = testBed.client(changes);
  expect(await outcome(client)).toBe('Miss');
  testBed.secretManager.faults.forget();
  testBed.momento.faults.forget();
  testBed.events.length = 0;
  return client;
}

/** The outcomes of concurrent calls. */
async function outcomes(client: RotatingCacheClient, calls: number): Promise<string[]> {
  const all = await Promise.all(Array.from({ length: calls }, () => outcome(client)));
  return [...new Set(all)];
}

/** Uses the client until the condition is true, and returns the outcomes. */
async function callsUntil(
  client: RotatingCacheClient,
  condition: () => boolean,
): Promise<Set<string>> {
  const seen = new Set<string>();
  const giveUpAt = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > giveUpAt) throw new Error(`never became true: ${condition.toString()}`);
    seen.add(await outcome(client));
  }
  return seen;
}

/** Uses the client until its due read has ended. */
async function callsDuringRead(client: RotatingCacheClient): Promise<Set<string>> {
  const reads = testBed.reads('latest');
  return callsUntil(client, () => testBed.reads('latest') > reads && !testBed.isReading);
}

/** Uses the client for as long as a read takes to arrive. */
async function someCalls(client: RotatingCacheClient): Promise<Set<string>> {
  let calls = 0;
  return callsUntil(client, () => (calls += 1) > 50);
}

const types = (): string[] => testBed.noted.map(({ type }) => type);

describe('reads a payload when it is', () => {
  const bare = (format: 'v1' | 'legacy'): string => testBed.momento.issueKey({ format }).apiKey;
  const v2 = (): ReturnType<typeof testBed.momento.issueV2Key> => testBed.momento.issueV2Key();
  const json = (fields: object): string => JSON.stringify(fields);
  const HERE = 'cell-1.momento.invalid';
  const CONFIGURED = 'cell-2.momento.invalid';
  const ELSEWHERE = 'cell-3.momento.invalid';

  it.each<[string, () => string, string]>([
    ["the console's JSON, v1", () => testBed.momento.issueKey().consoleJson, HERE],
    ['the same from an older console', () => json({ authToken: bare('v1') }), HERE],
    ["the console's JSON, legacy", () => json({ apiToken: bare('legacy') }), HERE],
    ["the console's JSON, v2", () => v2().consoleJson, HERE],
    ['JSON with an endpoint', () => json({ apiKey: v2().apiKey, endpoint: ELSEWHERE }), ELSEWHERE],
    ["the API's JSON", () => v2().apiJson, CONFIGURED],
    ['a bare v1 key', () => bare('v1'), HERE],
    ['a bare legacy key', () => bare('legacy'), HERE],
    ['a bare v2 key', () => v2().apiKey, CONFIGURED],
    ['a bare key in white space', () => `\n${v2().apiKey}\n`, CONFIGURED],
    ['white space everywhere', () => ` ${json({ api_key: ` ${v2().apiKey}\n` })}\n`, CONFIGURED],
    ['behind a byte order mark', () => `\ufeff${v2().consoleJson}`, HERE],
  ])('%s', (_, payload, endpoint) => {
    const { id, credentialProvider } = parseKey(Buffer.from(payload()), 'it', CONFIGURED);
    expect(testBed.momento.accepts(id.split(' ')[0] ?? '')).toBe(true);
    expect(credentialProvider.getCacheEndpoint()).toBe(`cache.${endpoint}`);
  });

  it.each<[string, object]>([
    ['validUntil in seconds', { validUntil: 1_800_000_000 }],
    ['validUntil in milliseconds, as a string', { validUntil: '1800000000000' }],
    ['key_info', { key_info: { expires_at_epoch_seconds: 1_800_000_000 } }],
  ])('JSON with its expiry in %s', (_, fields) => {
    const { apiKey } = testBed.momento.issueV2Key({ lifetimeSeconds: 'never' });
    const payload = json({ apiKey, ...fields });
    expect(parseKey(payload, 'it', HERE).expiresAt).toBe(1_800_000_000_000);
  });

  it.each<[string, () => string]>([
    ['text', () => 'text'],
    ['half of a JSON', () => testBed.momento.issueKey().consoleJson.slice(0, 99)],
    ['JSON without a key', () => '{"refreshToken": "a token", "validUntil": 1}'],
    ['JSON with another kind of key', () => '{"apiKey": {"a": 1}}'],
    ['a list', () => '["a"]'],
    ['bytes', () => '\u0000\ufffd'],
  ])('a key, and not %s', (_, payload) => {
    expect(() => parseKey(payload(), 'it', HERE)).toThrow(NoKeyError);
  });
});

describe('after a rotation the client', () => {
  it("reads the secret on use when the key is old enough, and calls don't wait", async () => {
    const first = testBed.rotate();
    const client = await started();
    testBed.rotate();
    testBed.advance(0.79 * REREAD_EVERY);
    expect(await someCalls(client)).toEqual(new Set(['Miss']));
    expect(testBed.reads('latest')).toBe(0);
    const reading = new Hold(testBed.secretManager, 'before', isRead);
    testBed.advance(0.21 * REREAD_EVERY);
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    await until(() => reading.calls === 1);
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    reading.release();
    await callsUntil(client, () => testBed.events.length > 0);
    expect(testBed.events).toEqual([{ type: 'rotated', version: 2, previousVersion: 1 }]);
    first.revoke();
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    expect(testBed.reads('latest')).toBe(1);
  });

  it('gives a new client no calls before it has connected', async () => {
    testBed.rotate();
    const client = await started();
    const { revoke } = testBed.rotate();
    const connecting = testBed.holdConnections();
    testBed.advance(REREAD_EVERY);
    await callsUntil(client, () => testBed.connections === CONNECTIONS + CHANNELS);
    // It would fail if the new client got one of these.
    revoke();
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    connecting.release();
    expect(await callsUntil(client, () => types().includes('readFailed'))).toEqual(
      new Set(['Miss']),
    );
  });

  it('closes the old client when its calls have ended', async () => {
    testBed.rotate();
    const client = await started({ timeoutMs: 1000 });
    testBed.rotate();
    testBed.advance(REREAD_EVERY);
    const item = new Hold(testBed.momento, 'before', isItem);
    const underWay = outcomes(client, 200);
    await until(() => item.calls === 200 && testBed.events.length > 0);
    expect(testBed.connections).toBe(2 * CONNECTIONS);
    item.release();
    expect(await underWay).toEqual(['Miss']);
    await until(() => testBed.connections === CONNECTIONS);
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    expect(testBed.connections).toBe(CONNECTIONS);
  });

  it('returns the new credential provider when the old one is rejected', async () => {
    const keys = [testBed.momento.issueV2Key(), testBed.momento.issueV2Key()].map(
      (key) => key.apiKey,
    );
    testBed.store(keys[0] ?? '');
    const client = await started();
    const first = await client.credentialProvider();
    testBed.store(keys[1] ?? '');
    expect(await client.credentialProvider()).toBe(first);
    const second = await client.credentialProvider({ rejected: first });
    expect([first, second].map((key) => keys.indexOf(key.getAuthToken()))).toEqual([0, 1]);
  });

  it('keeps its connection when the new version contains the same key', async () => {
    const { apiKey } = testBed.momento.issueV2Key();
    testBed.store(apiKey);
    const client = await started();
    testBed.store(`${apiKey}\n`);
    testBed.advance(REREAD_EVERY);
    await callsDuringRead(client);
    expect([testBed.connections, testBed.events]).toEqual([CONNECTIONS, []]);
  });
});

describe('when a key is revoked the client', () => {
  it('reads once and fails no call when the key was rotated at the same time', async () => {
    const { revoke } = testBed.rotate();
    const client = await started();
    const calls = outcomes(client, 300);
    testBed.rotate();
    revoke();
    expect(await calls).toEqual(['Miss']);
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    expect([testBed.reads('latest'), testBed.reads('2')]).toEqual([1, 0]);
  });

  it('reads the next version by number when `latest` is stale', async () => {
    const { revoke } = testBed.rotate();
    const client = await started();
    testBed.secretManager.staleLatest = 1;
    testBed.rotate();
    revoke();
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    expect([testBed.reads('latest'), testBed.reads('2')]).toEqual([1, 1]);
  });

  it('reads the next version by number when a read was in progress', async () => {
    const { revoke } = testBed.rotate();
    const client = await started();
    const reading = new Hold(testBed.secretManager, 'after', isRead);
    testBed.advance(REREAD_EVERY);
    expect(await outcome(client)).toBe('Miss');
    await until(() => reading.calls === 1);
    testBed.rotate();
    revoke();
    let answers = 0;
    const calls = Array.from({ length: 100 }, () =>
      client.use(async (momento) => {
        const answer = await momento.get('cache', 'item');
        answers += 1;
        return answer;
      }),
    );
    await until(() => answers === 100);
    reading.release();
    const answered = await Promise.all(calls);
    expect(new Set(answered.map(({ type }) => type))).toEqual(new Set(['Miss']));
    expect([testBed.reads('latest'), testBed.reads('2')]).toEqual([1, 1]);
  });

  it('reads once for all calls and doubles the wait when there is no newer key', async () => {
    const { revoke } = testBed.rotate();
    const client = await started();
    revoke();
    expect(await outcomes(client, 300)).toEqual(['AUTHENTICATION_ERROR']);
    expect(testBed.reads('latest')).toBe(1);
    for (const [reads, seconds] of [1, 2, 4, 8].entries()) {
      testBed.advance(0.79 * seconds * 1000);
      expect(await someCalls(client)).toEqual(new Set(['AUTHENTICATION_ERROR']));
      expect(testBed.reads('latest')).toBe(1 + reads);
      testBed.advance(0.21 * seconds * 1000);
      expect(await outcomes(client, 10)).toEqual(['AUTHENTICATION_ERROR']);
      expect(testBed.reads('latest')).toBe(2 + reads);
    }
    expect(testBed.noted).toEqual([{ type: 'rejected', version: 1 }]);
    testBed.rotate();
    testBed.advance(16_000);
    expect(await outcomes(client, 10)).toEqual(['Miss']);
    expect(types()).toEqual(['rejected', 'rotated']);
  });

  it('uses the key again when Momento rejected it only for a moment', async () => {
    testBed.rotate();
    const client = await started();
    const rejected = { kind: 'error', code: status.UNAUTHENTICATED, when: 'before' } as const;
    for (const nth of [1, 3, 5, 7]) testBed.momento.faults.inject('Get', nth, rejected);
    const seen = await callsUntil(client, () => testBed.momento.faults.calls.length >= 20);
    expect(seen).toEqual(new Set(['Miss', 'AUTHENTICATION_ERROR']));
    expect(testBed.reads('latest')).toBe(1);
    testBed.advance(1000);
    testBed.momento.faults.forget();
    expect(await someCalls(client)).toEqual(new Set(['Miss', 'AUTHENTICATION_ERROR']));
    expect(testBed.reads('latest')).toBe(2);
    expect(new Set(types())).toEqual(new Set(['rejected']));
  });
});

describe('when a key expires the client', () => {
  it('replaces the key before its expiry when the interval is longer', async () => {
    testBed.rotate(600);
    const client = testBed.client({ rereadEveryMs: 1000 * MINUTE });
    expect(await outcome(client)).toBe('Miss');
    testBed.rotate();
    testBed.advance(5 * MINUTE);
    const seen = await callsUntil(client, () => testBed.events.length === 2);
    testBed.advance(5 * MINUTE);
    expect([...seen, ...(await outcomes(client, 100))]).toEqual(['Miss', 'Miss']);
  });

  it('replaces the key when its successor comes later', async () => {
    testBed.rotate(600);
    const client = await started();
    testBed.advance(10 * MINUTE);
    expect(await outcomes(client, 10)).toEqual(['AUTHENTICATION_ERROR']);
    testBed.rotate();
    testBed.advance(1000);
    expect(await outcomes(client, 100)).toEqual(['Miss']);
  });

  it('reads once more when only the payload names an expiry, and the key has none', async () => {
    const { apiKey } = testBed.momento.issueV2Key({ lifetimeSeconds: 'never' });
    const validUntil = Math.floor(testBed.now() / 1000) + 600;
    testBed.store(JSON.stringify({ apiKey, validUntil }));
    const client = testBed.client({ rereadEveryMs: 1000 * MINUTE });
    await outcome(client);
    for (const minutes of [5, 6]) {
      testBed.advance(minutes * MINUTE);
      await callsDuringRead(client);
    }
    // It has not expired after all, so there is no hurry any more.
    testBed.advance(500 * MINUTE);
    expect(await someCalls(client)).toEqual(new Set(['Miss']));
    expect(testBed.reads('latest')).toBe(3);
  });
});

describe('with its secret the client', () => {
  it("keeps its key when the secret can't be read", async () => {
    const { revoke } = testBed.rotate();
    const client = await started();
    testBed.secretManager.faults.inject('AccessSecretVersion', 'every', {
      kind: 'error',
      code: status.UNAVAILABLE,
      when: 'before',
    });
    testBed.rotate();
    testBed.advance(REREAD_EVERY);
    const seen = await callsUntil(client, () => {
      testBed.advance(50);
      return testBed.reads('latest') >= 4;
    });
    expect(seen).toEqual(new Set(['Miss']));
    expect(testBed.noted[0]).toEqual({
      type: 'readFailed',
      version: 1,
      code: 'SOURCE_UNAVAILABLE',
    });
    testBed.secretManager.faults.clear();
    await callsUntil(client, () => {
      testBed.advance(1000);
      return types().includes('rotated');
    });
    revoke();
    expect(await outcomes(client, 100)).toEqual(['Miss']);
  });

  it('reads again at once when one read fails', async () => {
    testBed.rotate();
    testBed.secretManager.faults.inject('AccessSecretVersion', 1, { kind: 'drop', when: 'before' });
    expect(await outcome(testBed.client())).toBe('Miss');
    expect(types()).toEqual(['rotated']);
  });

  it.each<[string, () => string]>([
    ['text', () => 'text'],
    ['a key that Momento rejects', () => revoked(testBed.momento.issueV2Key().apiKey)],
  ])('keeps its key when the secret contains %s', async (_, garbage) => {
    testBed.rotate();
    const client = await started();
    testBed.store(garbage());
    testBed.advance(REREAD_EVERY);
    const seen = await callsUntil(client, () => {
      testBed.advance(50);
      return testBed.reads('latest') >= 4;
    });
    expect(seen).toEqual(new Set(['Miss']));
    expect(new Set(types())).toEqual(new Set(['readFailed']));
    await until(() => testBed.connections === CONNECTIONS);
    testBed.rotate();
    await callsUntil(client, () => {
      testBed.advance(1000);
      return types().at(-1) === 'rotated';
    });
  });

  it.each<[string, status, string[]]>([
    ['says that it cannot read the cache', status.PERMISSION_DENIED, ['rotated']],
    ['gives no clear answer', status.UNAVAILABLE, ['readFailed']],
    ['says that the cache does not exist', status.NOT_FOUND, ['rotated']],
    ['says that there are too many calls', status.RESOURCE_EXHAUSTED, ['rotated']],
  ])('with a new key of which Momento %s', async (_, code, expected) => {
    testBed.rotate();
    const client = await started();
    testBed.rotate();
    testBed.momento.faults.intercept = (call, when) =>
      isItem(call) ? undefined : { kind: 'error', code, when };
    testBed.advance(REREAD_EVERY);
    const seen = await callsUntil(client, () => testBed.events.length > 0);
    expect([...seen, ...types()]).toEqual(['Miss', ...expected]);
  });

  it('fails calls until the secret has a key that works', async () => {
    const client = testBed.client();
    const failures = await Promise.allSettled(Array.from({ length: 100 }, () => outcome(client)));
    expect(failures.every(({ status }) => status === 'rejected')).toBe(true);
    await expect(outcome(client)).rejects.toThrow(NoKeyError);
    expect(testBed.secretManager.faults.calls).toHaveLength(1);
    testBed.rotate().revoke();
    testBed.advance(1000);
    await expect(outcome(client)).rejects.toThrow(NoKeyError);
    testBed.rotate();
    await expect(outcome(client)).rejects.toThrow(NoKeyError);
    testBed.advance(2000);
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    expect(new Set(types())).toEqual(new Set(['readFailed', 'rotated']));
  });
});

describe('in its process the client', () => {
  it('reads again at once when the process slept during a read', async () => {
    testBed.rotate();
    const client = await started();
    const awake = Promise.withResolvers<undefined>();
    let reads = 0;
    testBed.secretManager.faults.intercept = async () => {
      reads += 1;
      if (reads > 1) return undefined;
      await awake.promise;
      return { kind: 'drop', when: 'before' };
    };
    testBed.advance(REREAD_EVERY);
    await callsUntil(client, () => reads === 1);
    testBed.advance(10 * MINUTE);
    testBed.rotate();
    awake.resolve(undefined);
    expect(await callsUntil(client, () => testBed.events.length > 0)).toEqual(new Set(['Miss']));
    expect(types()).toEqual(['rotated']);
  });

  it('closes all connections when it is closed during a read', async () => {
    testBed.rotate();
    const client = await started();
    const reading = new Hold(testBed.secretManager, 'before', isRead);
    testBed.rotate();
    testBed.advance(REREAD_EVERY);
    expect(await outcome(client)).toBe('Miss');
    await until(() => reading.calls === 1);
    await client.close();
    await until(() => testBed.connections === 0);
    testBed.momento.faults.forget();
    reading.release();
    await until(() => testBed.momento.faults.calls.some(({ method }) => method === 'Get'));
    await until(() => testBed.connections === 0);
    await expect(outcome(client)).rejects.toThrow(ClientClosedError);
    expect(testBed.events).toEqual([]);
  });

  it('waits for its calls when it is closed', async () => {
    testBed.rotate();
    const client = await started();
    const item = new Hold(testBed.momento, 'before', isItem);
    const calls = outcomes(client, 50);
    await until(() => item.calls === 50);
    let isClosed = false;
    const closed = client[Symbol.asyncDispose]().then(() => (isClosed = true));
    await expect(outcome(client)).rejects.toThrow(ClientClosedError);
    expect(isClosed).toBe(false);
    item.release();
    expect(await calls).toEqual(['Miss']);
    await closed;
    await until(() => testBed.connections === 0);
  });

  it('waits only for the time of close() when a call takes longer', async () => {
    testBed.rotate();
    const client = await started();
    const item = new Hold(testBed.momento, 'before', isItem);
    const call = outcome(client);
    await until(() => item.calls === 1);
    await client.close({ timeoutMs: 50 });
    item.release();
    expect(await call).toBe('Miss');
    await until(() => testBed.connections === 0);
  });
});

describe('in special cases the client', () => {
  it('reads after an authentication error at once when a periodic read never ends', async () => {
    const { revoke } = testBed.rotate();
    const client = await started({ readTimeoutMs: 3000 });
    testBed.secretManager.faults.inject('AccessSecretVersion', 1, HANG);
    testBed.advance(REREAD_EVERY);
    expect(await outcome(client)).toBe('Miss');
    testBed.rotate();
    revoke();
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    expect(types()).toEqual(['rejected', 'readFailed', 'rotated']);
  });

  it('reads after an authentication error at once when periodic reads failed before', async () => {
    const { revoke } = testBed.rotate();
    const client = await started();
    testBed.secretManager.faults.inject('AccessSecretVersion', 'every', {
      kind: 'error',
      code: status.UNAVAILABLE,
      when: 'before',
    });
    testBed.advance(REREAD_EVERY);
    for (let failures = 1; failures <= 6; failures += 1) {
      await callsUntil(client, () => testBed.events.length === failures && !testBed.isReading);
      if (failures < 6) testBed.advance(2 ** failures * 1000);
    }
    testBed.secretManager.faults.clear();
    testBed.rotate();
    revoke();
    expect(await outcomes(client, 100)).toEqual(['Miss']);
  });

  it('keeps a higher version when a lower one is read', async () => {
    const { revoke } = testBed.rotate();
    const client = await started();
    testBed.secretManager.staleLatest = 1;
    testBed.rotate();
    revoke();
    expect(await outcomes(client, 10)).toEqual(['Miss']);
    testBed.advance(REREAD_EVERY);
    await callsDuringRead(client);
    expect(testBed.noted.filter(({ type }) => type !== 'rejected')).toEqual([
      { type: 'rotated', version: 2 },
    ]);
  });

  it('finds a good version when the newest one is unusable', async () => {
    const { revoke } = testBed.rotate();
    const client = await started();
    testBed.rotate();
    testBed.store('no key at all');
    revoke();
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    expect(testBed.noted.at(-1)).toEqual({ type: 'rotated', version: 2 });
  });

  it('uses a version that was added while Momento rejected the newest one', async () => {
    testBed.rotate();
    const client = await started();
    testBed.rotate().revoke();
    let isAdded = false;
    testBed.momento.faults.intercept = (call, when) => {
      if (isAdded || when !== 'before' || !isProbe(call)) return;
      isAdded = true;
      testBed.rotate();
      testBed.store('no key at all');
    };
    testBed.advance(REREAD_EVERY);
    await callsUntil(client, () => testBed.events.length > 0);
    expect(testBed.events).toEqual([{ type: 'rotated', version: 3, previousVersion: 1 }]);
  });

  it('starts and closes middlewares once when clients share them', async () => {
    const counts = { init: 0, close: 0 };
    const handler = {
      onRequestMetadata: same,
      onRequestBody: same,
      onResponseMetadata: same,
      onResponseBody: same,
      onResponseStatus: same,
    };
    const middleware = {
      onNewRequest: () => handler,
      init: () => void (counts.init += 1),
      close: () => void (counts.close += 1),
    };
    testBed.rotate();
    const client = await started({
      configuration: Configurations.InRegion.Default.latest(
        new NoopMomentoLoggerFactory(),
      ).addMiddleware(middleware),
    });
    testBed.rotate();
    testBed.advance(REREAD_EVERY);
    await callsUntil(client, () => types().includes('rotated'));
    expect(counts).toEqual({ init: 1, close: 0 });
    await client.close();
    expect(counts).toEqual({ init: 1, close: 1 });
  });

  it('reads the secret when the SDK throws the authentication error', async () => {
    const { revoke } = testBed.rotate();
    const configuration = Configurations.InRegion.Default.latest(new NoopMomentoLoggerFactory());
    const client = await started({ configuration: configuration.withThrowOnErrors(true) });
    testBed.rotate();
    revoke();
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    expect(testBed.reads('latest')).toBe(1);
  });

  it("waits for a new key when Momento doesn't know it yet", async () => {
    const { revoke } = testBed.rotate();
    const client = await started({ newKeyTimeoutMs: 10_000 });
    testBed.rotate();
    revoke();
    let rejections = 0;
    testBed.momento.faults.intercept = (call, when) =>
      isProbe(call) && when === 'before' && (rejections += 1) <= 3
        ? { kind: 'error', code: status.UNAUTHENTICATED, when }
        : undefined;
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    expect(testBed.reads('latest') + testBed.reads('2')).toBe(1);
  });
});

describe('throws one error with an action when', () => {
  const refused = (code: status) => (): void =>
    testBed.secretManager.faults.inject('AccessSecretVersion', 'every', {
      kind: 'error',
      code,
      when: 'before',
    });

  it.each<[string, () => void, Changes, string, RegExp]>([
    ['no secret', () => undefined, {}, 'SECRET_NOT_FOUND', /Check its name/],
    [
      'no permission',
      refused(status.PERMISSION_DENIED),
      {},
      'SECRET_ACCESS_DENIED',
      /Grant roles\/secretmanager.secretAccessor/,
    ],
    [
      'a disabled version',
      refused(status.FAILED_PRECONDITION),
      {},
      'SECRET_VERSION_DISABLED',
      /Enable it/,
    ],
    [
      'no endpoint',
      () => void testBed.rotate(),
      { endpoint: '' },
      'ENDPOINT_MISSING',
      /`endpoint`/,
    ],
    ['a wrong format', () => testBed.store('text'), {}, 'PAYLOAD_INVALID', /Store the bare key/],
    ['a revoked key', () => testBed.rotate().revoke(), {}, 'KEY_REJECTED', /Run the rotator/],
    [
      'a read that never ends',
      () => testBed.secretManager.faults.inject('AccessSecretVersion', 'every', HANG),
      { readTimeoutMs: 50 },
      'SOURCE_UNAVAILABLE',
      /couldn't be read within 0.05 s/,
    ],
    [
      'a connection to Momento that never opens',
      () => {
        testBed.rotate();
        testBed.holdConnections();
      },
      { eagerConnectTimeoutSeconds: 0.1 },
      'MOMENTO_UNAVAILABLE',
      /check the endpoint/,
    ],
    ['a missing file', () => undefined, { source: file('/none') }, 'SECRET_NOT_FOUND', /Mount/],
    [
      'a function that throws',
      () => undefined,
      { source: () => Promise.reject(new Error('quotes a secret')) },
      'SOURCE_UNAVAILABLE',
      /^((?!quotes).)*$/,
    ],
  ])('%s', async (_, prepare, changes, code, message) => {
    prepare();
    const error: unknown = await outcome(testBed.client(changes)).catch(
      (caught: unknown) => caught,
    );
    expect(error).toBeInstanceOf(NoKeyError);
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) as string });
  });

  it.each<[string, () => unknown]>([
    ['the name of a secret', () => secretManager('my-secret')],
    ['an endpoint', () => testBed.client({ endpoint: 'https://momento.invalid' })],
    ['a cache', () => testBed.client({ cache: '' })],
    ['a time', () => testBed.client({ rereadEveryMs: 0 })],
    ['a deadline', () => testBed.client({ readTimeoutMs: 0 })],
  ])('%s that is invalid', (_, create) => {
    expect(create).toThrow(InvalidOptionError);
  });

  it('ends the wait for a key when the signal is aborted', async () => {
    new Hold(testBed.secretManager, 'before', isRead);
    const abort = new AbortController();
    const waiting = testBed.client().use((client) => client.get('cache', 'item'), abort);
    abort.abort(new Error('not needed any more'));
    await expect(waiting).rejects.toThrow('not needed any more');
  });
});

describe('with other sources the client', () => {
  it('follows a mounted file when it changes', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'key-')), 'key');
    const [first, second] = [testBed.momento.issueKey(), testBed.momento.issueKey()];
    writeFileSync(path, first.consoleJson);
    const client = testBed.client({ source: file(path) });
    expect(await outcome(client)).toBe('Miss');
    writeFileSync(path, second.consoleJson);
    testBed.momento.revoke(first.apiKey);
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    expect(types()).toEqual(['rotated', 'rejected', 'rotated']);
  });

  it('calls a function when it is the source', async () => {
    const { apiKey } = testBed.momento.issueV2Key();
    const client = testBed.client({ source: () => Promise.resolve(Buffer.from(apiKey)) });
    expect(await outcome(client)).toBe('Miss');
  });
});

function same<T>(value: T): Promise<T> {
  return Promise.resolve(value);
}

function revoked(apiKey: string): string {
  testBed.momento.revoke(apiKey);
  return apiKey;
}
