import { status } from '@grpc/grpc-js';
import { NoKey, type RotatingCacheClient } from '../../examples/application/rotating-cache-client';
import { until } from '../until';
import { leaks } from '../leaks';
import {
  CHANNELS,
  CONNECTIONS,
  Hold,
  isItem,
  isRead,
  MINUTE,
  outcome,
  REREAD_EVERY,
  World,
  type Changes,
} from './support';

// A thousand calls at once take a while where everything is in one process.
jest.setTimeout(20_000);

let world: World;

beforeAll(async () => {
  world = await World.start();
});

beforeEach(() => world.reset());

afterEach(() => {
  const texts = world.logged.map(({ message }) => message);
  expect(leaks(world.momento.secrets(), texts)).toEqual([]);
});

afterAll(() => world.stop());

/** A client that has a key. Nothing is logged or counted before. */
async function started(changes?: Changes): Promise<RotatingCacheClient> {
  const client = world.client(changes);
  expect(await outcome(client)).toBe('Miss');
  world.secretManager.faults.forget();
  world.momento.faults.forget();
  world.logged.length = 0;
  return client;
}

/** What becomes of calls that are made at once. */
async function outcomes(client: RotatingCacheClient, calls: number): Promise<string[]> {
  const all = await Promise.all(Array.from({ length: calls }, () => outcome(client)));
  return [...new Set(all)];
}

/** Uses the client until something has become so, and returns what became of the calls. */
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

/** Uses the client, which is due to read the secret, until it has done so. */
async function callsDuringRead(client: RotatingCacheClient): Promise<Set<string>> {
  const reads = world.reads('latest');
  return callsUntil(client, () => world.reads('latest') > reads && !world.isReading);
}

/** Uses the client for as long as a read of the secret would take to arrive. */
async function someCalls(client: RotatingCacheClient): Promise<Set<string>> {
  let calls = 0;
  return callsUntil(client, () => (calls += 1) > 50);
}

const severities = (): string[] => world.logged.map(({ severity }) => severity);

describe('the forms of a payload', () => {
  const bare = (format: 'v1' | 'legacy'): string => world.momento.issueKey({ format }).apiKey;
  const v2 = (): ReturnType<typeof world.momento.issueV2Key> => world.momento.issueV2Key();
  const json = (fields: object): string => JSON.stringify(fields);
  const HERE = 'cell-1.momento.invalid';
  const CONFIGURED = 'cell-2.momento.invalid';
  const ELSEWHERE = 'cell-3.momento.invalid';

  it.each<[string, () => string, string]>([
    ["the console's JSON, v1", () => world.momento.issueKey().consoleJson, HERE],
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
  ])('%s', async (_, payload, endpoint) => {
    world.store(payload());
    expect(await outcome(world.client())).toBe('Miss');
    expect(world.endpoints).toEqual([`cache.${endpoint}`]);
  });
});

describe('a rotation', () => {
  it('is followed on use, when the key at hand is old enough, without waiting for it', async () => {
    const first = world.rotate();
    const client = await started();
    world.rotate();
    world.advance(0.79 * REREAD_EVERY);
    expect(await someCalls(client)).toEqual(new Set(['Miss']));
    expect(world.reads('latest')).toBe(0);
    const reading = new Hold(world.secretManager, 'before', isRead);
    world.advance(0.21 * REREAD_EVERY);
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    await until(() => reading.calls === 1);
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    reading.release();
    await callsUntil(client, () => world.logged.length > 0);
    expect(world.logged).toEqual([
      { severity: 'INFO', message: expect.stringContaining('version in use: 2') as string },
    ]);
    first.revoke();
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    expect(world.reads('latest')).toBe(1);
  });

  it('gives the new key no calls before its client has connected', async () => {
    world.rotate();
    const client = await started();
    const { revoke } = world.rotate();
    const connecting = world.holdConnections();
    world.advance(REREAD_EVERY);
    await callsUntil(client, () => world.connections === CONNECTIONS + CHANNELS);
    // It would fail if the new client got one of these.
    revoke();
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    connecting.release();
    expect(await callsUntil(client, () => severities().includes('WARNING'))).toEqual(
      new Set(['Miss']),
    );
  });

  it('lets the calls of the old key end, then closes its client', async () => {
    world.rotate();
    const client = await started({ timeoutMs: 1000 });
    world.rotate();
    world.advance(REREAD_EVERY);
    const item = new Hold(world.momento, 'before', isItem);
    const underWay = outcomes(client, 200);
    await until(() => item.calls === 200 && world.logged.length > 0);
    item.release();
    expect(await underWay).toEqual(['Miss']);
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    expect(world.connections).toBe(2 * CONNECTIONS);
    await until(() => world.connections === CONNECTIONS, 10_000);
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    expect(world.connections).toBe(CONNECTIONS);
  });

  it('tells of each key, for what else is made with it', async () => {
    const tokens: string[] = [];
    const keys = [world.momento.issueV2Key(), world.momento.issueV2Key()].map((key) => key.apiKey);
    const client = world.client({
      onNewKey: (credentials) => void tokens.push(credentials.getAuthToken()),
    });
    world.store(keys[0] ?? '');
    await outcome(client);
    world.store(keys[1] ?? '');
    world.advance(REREAD_EVERY);
    await callsUntil(client, () => tokens.length === 2);
    expect(tokens.every((token, index) => token === keys[index])).toBe(true);
  });

  it('that adds the same key again changes nothing', async () => {
    const { apiKey } = world.momento.issueV2Key();
    world.store(apiKey);
    const client = await started();
    world.store(`${apiKey}\n`);
    world.advance(REREAD_EVERY);
    await callsDuringRead(client);
    expect([world.connections, world.logged]).toEqual([CONNECTIONS, []]);
  });
});

describe('a key that is revoked', () => {
  it('in the moment of its rotation costs one read, and no call', async () => {
    const { revoke } = world.rotate();
    const client = await started();
    const calls = outcomes(client, 1000);
    world.rotate();
    revoke();
    expect(await calls).toEqual(['Miss']);
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    expect([world.reads('latest'), world.reads('2')]).toEqual([1, 0]);
  });

  it('while `latest` still means it costs one more read', async () => {
    const { revoke } = world.rotate();
    const client = await started();
    world.secretManager.staleLatest = 1;
    world.rotate();
    revoke();
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    expect([world.reads('latest'), world.reads('2')]).toEqual([1, 1]);
  });

  it('while the secret is being read costs another read, which cannot have missed the new one', async () => {
    const { revoke } = world.rotate();
    const client = await started();
    const reading = new Hold(world.secretManager, 'after', isRead);
    world.advance(REREAD_EVERY);
    expect(await outcome(client)).toBe('Miss');
    await until(() => reading.calls === 1);
    world.rotate();
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
    expect(world.reads('latest')).toBe(2);
  });

  it('without another in its place lets a herd read once, and then wait twice as long each time', async () => {
    const { revoke } = world.rotate();
    const client = await started();
    revoke();
    expect(await outcomes(client, 1000)).toEqual(['AUTHENTICATION_ERROR']);
    expect(world.reads('latest')).toBe(1);
    for (const [reads, seconds] of [1, 2, 4, 8].entries()) {
      world.advance(0.79 * seconds * 1000);
      expect(await someCalls(client)).toEqual(new Set(['AUTHENTICATION_ERROR']));
      expect(world.reads('latest')).toBe(1 + reads);
      world.advance(0.21 * seconds * 1000);
      expect(await outcomes(client, 10)).toEqual(['AUTHENTICATION_ERROR']);
      expect(world.reads('latest')).toBe(2 + reads);
    }
    expect(world.logged).toEqual([
      {
        severity: 'ERROR',
        message: expect.stringContaining('in use: 1; Momento rejects it') as string,
      },
    ]);
    world.rotate();
    world.advance(16_000);
    expect(await outcomes(client, 10)).toEqual(['Miss']);
    expect(severities()).toEqual(['ERROR', 'INFO']);
  });

  it('for a moment only is used again, and the secret is not read more often for it', async () => {
    world.rotate();
    const client = await started();
    const rejected = { kind: 'error', code: status.UNAUTHENTICATED, when: 'before' } as const;
    for (const nth of [1, 3, 5, 7]) world.momento.faults.inject('Get', nth, rejected);
    const seen = await callsUntil(client, () => world.momento.faults.calls.length >= 20);
    expect(seen).toEqual(new Set(['Miss', 'AUTHENTICATION_ERROR']));
    expect(world.reads('latest')).toBe(1);
    for (const seconds of [1, 2]) {
      world.advance(seconds * 1000);
      expect(await callsDuringRead(client)).toEqual(new Set(['Miss']));
    }
    expect(severities()).toEqual(['ERROR', 'INFO']);
  });
});

describe('a key that expires', () => {
  it('is replaced before that, however long the secret need not be read', async () => {
    world.rotate(600);
    const client = world.client({ rereadEvery: 1000 * MINUTE });
    expect(await outcome(client)).toBe('Miss');
    world.rotate();
    world.advance(5 * MINUTE);
    const seen = await callsUntil(client, () => world.logged.length === 2);
    world.advance(5 * MINUTE);
    expect([...seen, ...(await outcomes(client, 100))]).toEqual(['Miss', 'Miss']);
  });

  it('before its successor comes is replaced then', async () => {
    world.rotate(600);
    const client = await started();
    world.advance(10 * MINUTE);
    expect(await outcomes(client, 10)).toEqual(['AUTHENTICATION_ERROR']);
    world.rotate();
    world.advance(1000);
    expect(await outcomes(client, 100)).toEqual(['Miss']);
  });

  it.each<[string, (expiry: number) => object]>([
    ['validUntil in seconds', (expiry) => ({ validUntil: expiry })],
    ['validUntil in milliseconds, as a string', (expiry) => ({ validUntil: `${expiry}000` })],
    ['key_info', (expiry) => ({ key_info: { expires_at_epoch_seconds: expiry } })],
  ])('says so in %s', async (_, fields) => {
    const { apiKey } = world.momento.issueV2Key({ lifetimeSeconds: 'never' });
    const expiry = Math.floor(world.now() / 1000) + 600;
    world.store(JSON.stringify({ apiKey, ...fields(expiry) }));
    const client = world.client({ rereadEvery: 1000 * MINUTE });
    await outcome(client);
    for (const minutes of [5, 6]) {
      world.advance(minutes * MINUTE);
      await callsDuringRead(client);
    }
    // It has not expired after all, so there is no hurry any more.
    world.advance(500 * MINUTE);
    expect(await someCalls(client)).toEqual(new Set(['Miss']));
    expect(world.reads('latest')).toBe(3);
  });
});

describe('a secret', () => {
  it('that cannot be read leaves the key at hand in use, with one warning', async () => {
    const { revoke } = world.rotate();
    const client = await started();
    world.secretManager.faults.inject('AccessSecretVersion', 'every', {
      kind: 'error',
      code: status.UNAVAILABLE,
      when: 'before',
    });
    world.rotate();
    world.advance(REREAD_EVERY);
    const seen = await callsUntil(client, () => {
      world.advance(50);
      return world.reads('latest') >= 4;
    });
    expect(seen).toEqual(new Set(['Miss']));
    expect(world.logged).toEqual([
      {
        severity: 'WARNING',
        message: expect.stringMatching(/in use: 1; 14 UNAVAILABLE/) as string,
      },
    ]);
    world.secretManager.faults.clear();
    world.advance(REREAD_EVERY);
    await callsUntil(client, () => world.logged.length === 2);
    revoke();
    expect(await outcomes(client, 100)).toEqual(['Miss']);
  });

  it('that cannot be read once is read again at once', async () => {
    world.rotate();
    world.secretManager.faults.inject('AccessSecretVersion', 1, { kind: 'drop', when: 'before' });
    expect(await outcome(world.client())).toBe('Miss');
    expect(severities()).toEqual(['INFO']);
  });

  it.each<[string, () => string]>([
    ['text', () => 'no key at all'],
    ['half of a key', () => world.momento.issueV2Key().apiKey.slice(0, 99)],
    ['half of a JSON', () => world.momento.issueKey().consoleJson.slice(0, 99)],
    ['JSON without a key', () => '{"refreshToken": "a token", "validUntil": 1}'],
    ['JSON with another kind of key', () => '{"apiKey": {"a": 1}}'],
    ['a list', () => '["a"]'],
    ['bytes', () => '\u0000\ufffd'],
    ['a key that Momento does not know', () => revoked(world.momento.issueV2Key().apiKey)],
  ])('that holds %s leaves the key at hand in use, with one warning', async (_, garbage) => {
    world.rotate();
    const client = await started();
    world.store(garbage());
    world.advance(REREAD_EVERY);
    const seen = await callsUntil(client, () => {
      world.advance(50);
      return world.reads('latest') >= 4;
    });
    expect(seen).toEqual(new Set(['Miss']));
    expect(severities()).toEqual(['WARNING']);
    await until(() => world.connections === CONNECTIONS);
    world.rotate();
    world.advance(REREAD_EVERY);
    await callsUntil(client, () => world.logged.length === 2);
    expect(severities()).toEqual(['WARNING', 'INFO']);
  });

  it.each<[string, status, string[]]>([
    ['says that it may not read the cache', status.PERMISSION_DENIED, ['WARNING']],
    ['gives no clear answer', status.UNAVAILABLE, ['WARNING']],
    ['says that the cache does not exist', status.NOT_FOUND, ['INFO']],
    ['says that there are too many calls', status.RESOURCE_EXHAUSTED, ['INFO']],
  ])('with a new key of which Momento %s', async (_, code, expected) => {
    world.rotate();
    const client = await started();
    world.rotate();
    world.momento.faults.intercept = (call, when) =>
      isItem(call) ? undefined : { kind: 'error', code, when };
    world.advance(REREAD_EVERY);
    const seen = await callsUntil(client, () => world.logged.length > 0);
    expect([...seen, ...severities()]).toEqual(['Miss', ...expected]);
  });

  it('without a key that works lets calls fail until it has one', async () => {
    const client = world.client();
    const failures = await Promise.allSettled(Array.from({ length: 100 }, () => outcome(client)));
    expect(failures.every(({ status }) => status === 'rejected')).toBe(true);
    await expect(outcome(client)).rejects.toThrow(NoKey);
    expect(world.secretManager.faults.calls).toHaveLength(2);
    world.rotate().revoke();
    world.advance(1000);
    await expect(outcome(client)).rejects.toThrow(NoKey);
    world.rotate();
    await expect(outcome(client)).rejects.toThrow(NoKey);
    world.advance(2000);
    expect(await outcomes(client, 100)).toEqual(['Miss']);
    expect(severities()).toEqual(['ERROR', 'INFO']);
  });
});

describe('a process', () => {
  it('that slept while it read the secret reads it again, and warns of nothing', async () => {
    world.rotate();
    const client = await started();
    const awake = Promise.withResolvers<undefined>();
    let reads = 0;
    world.secretManager.faults.intercept = async () => {
      reads += 1;
      await awake.promise;
      return { kind: 'drop', when: 'before' };
    };
    world.advance(REREAD_EVERY);
    await callsUntil(client, () => reads === 1);
    world.advance(10 * MINUTE);
    awake.resolve(undefined);
    await callsUntil(client, () => reads > 2);
    world.secretManager.faults.clear();
    world.rotate();
    expect(await callsUntil(client, () => world.logged.length > 0)).toEqual(new Set(['Miss']));
    expect(severities()).toEqual(['INFO']);
  });

  it('that ends closes what it has, and what it is about to have', async () => {
    world.rotate();
    const client = await started();
    const reading = new Hold(world.secretManager, 'before', isRead);
    world.rotate();
    world.advance(REREAD_EVERY);
    expect(await outcome(client)).toBe('Miss');
    await until(() => reading.calls === 1);
    client.close();
    await until(() => world.connections === 0);
    world.momento.faults.forget();
    reading.release();
    await until(() => world.momento.faults.calls.some(({ method }) => method === 'Get'));
    await until(() => world.connections === 0);
    await expect(outcome(client)).rejects.toThrow(NoKey);
    expect(world.logged).toEqual([]);
  });
});

function revoked(apiKey: string): string {
  world.momento.revoke(apiKey);
  return apiKey;
}
