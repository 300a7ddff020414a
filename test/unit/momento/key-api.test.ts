import { inspect } from 'node:util';
import { deflateSync, gzipSync } from 'node:zlib';
import { systemClock, type Clock } from '../../../src/clock';
import { deadlineExceeded, RotationError } from '../../../src/errors';
import { KeyApi, PRIORITY, type WaitingLists } from '../../../src/momento/key-api';
import type { RateLimiter, RateLimitedCall } from '../../../src/rate-limiter';
import type { CallLimits } from '../../../src/rotation/ports';
import { NOW, piecesIn, SECOND, testClock } from '../support';
import type { VirtualClock } from '../../virtual-clock';
import { http, RawServer, type Reaction } from './http-server';
import { keyInfo, limits, SECRET, unlimited, v2Key, v2RefreshToken } from './support';

const KEY = v2Key('management');
const REQUEST = {
  secret: 'projects/p/secrets/s',
  role: 'r-viewer',
  description: 'ours',
  expiresAt: NOW + 999,
};
const MINTED = { api_key: v2Key('key-1', NOW + 1), key_info: keyInfo() };
const REFRESHED = { ...MINTED, refresh_token: v2RefreshToken('key-1') };
const MANAGEMENT_SECRET = 'projects/p/secrets/management';

let server: RawServer;
let api: KeyApi;
let deadline: CallLimits;

beforeAll(async () => {
  server = await RawServer.start();
});
afterAll(() => server.stop());

beforeEach(() => {
  deadline = limits();
  api = keyApi();
});
afterEach(() => api.close());

function keyApi(
  options: {
    emulator?: string;
    clock?: Clock;
    limiter?: RateLimiter;
    maxBytes?: number;
    waitingLists?: WaitingLists;
  } = {},
): KeyApi {
  const { emulator = server.host, clock = systemClock, maxBytes, waitingLists } = options;
  const { limiter = unlimited(clock) } = options;
  return new KeyApi({
    emulator,
    refreshPath: '/some/refresh',
    limiter,
    clock,
    managementSecret: MANAGEMENT_SECRET,
    waitingLists,
    http: { maxBytes },
  });
}

const NEW_KEY = { priority: PRIORITY.verifyNew, mustList: false };
const CALLS = {
  mint: () => api.mint(KEY, REQUEST, deadline),
  refresh: () => api.refresh(REFRESHED.refresh_token, deadline),
  list: () => api.list(KEY, deadline),
  revoke: () => api.revoke(KEY, 'a/b?c', deadline),
  check: () => api.check(KEY, NEW_KEY, deadline),
};
type Call = keyof typeof CALLS;

const EVERY = Object.keys(CALLS) as Call[];
/** The calls that change something. */
const CHANGES = new Set<Call>(['mint', 'refresh', 'revoke']);

async function failureOf(call: Promise<unknown>): Promise<RotationError> {
  const thrown: unknown = await call.then(
    (answer) => new Error(`no failure but ${inspect(answer)}`),
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(RotationError);
  const error = thrown as RotationError;
  const everything = inspect(error, { depth: null, showHidden: true });
  expect(piecesIn(everything, SECRET)).toEqual([]);
  return error;
}

function failure(call: Call, reaction: Reaction): Promise<RotationError> {
  server.answers(reaction);
  return failureOf(CALLS[call]());
}

describe('a request', () => {
  const MINT = {
    role_id: 'r-viewer',
    description: 'ours',
    expiry: NOW / SECOND,
    exclude_refresh_token: true,
  };

  test.each<[Call, unknown, string, string, unknown]>([
    ['mint', MINTED, 'POST /api-keys', KEY, MINT],
    ['refresh', REFRESHED, 'POST /some/refresh', REFRESHED.refresh_token, {}],
    ['list', { key_info: [] }, 'GET /api-keys?limit=100', KEY, undefined],
    ['revoke', {}, 'DELETE /api-keys/a%2Fb%3Fc', KEY, undefined],
    ['check', { key_info: [] }, 'GET /api-keys?limit=1', KEY, undefined],
  ])(
    'to %s has the documented method, path, key and body',
    async (call, answer, line, key, body) => {
      server.answers(http(200, answer));
      await CALLS[call]();
      const [head = '', sent = ''] = server.requests[0]?.split('\r\n\r\n') ?? [];
      expect(head).toMatch(new RegExp(`^${line.replace(/[?]/g, '\\$&')} HTTP/1.1\r\n`));
      expect(head.split('\r\n')).toContain(`authorization: ${key}`);
      expect(head.split('\r\n')).toContain('accept-encoding: identity');
      expect(head.includes('content-type: application/json')).toBe(body !== undefined);
      expect(sent === '' ? undefined : JSON.parse(sent)).toEqual(body);
    },
  );

  test('shares the connection of its session until close', async () => {
    server.answers(http(200, { key_info: [] }));
    await CALLS.list();
    await CALLS.list();
    const [socket, ...others] = server.sockets;
    expect(others).toEqual([]);
    const closed = new Promise((resolve) => socket?.once('close', resolve));
    api.close();
    await closed;
  });

  test.each<[Call, number[], number]>([
    ['mint', [PRIORITY.issue], 1],
    ['refresh', [PRIORITY.issue], 1],
    ['list', [PRIORITY.list, PRIORITY.list], 2],
    ['check', [PRIORITY.verifyNew], 1],
    // The session waits for the turns of a batch.
    ['revoke', [], 1],
  ])(
    '%s waits for its turn, with its priority and deadline',
    async (call, priorities, requests) => {
      const turns: RateLimitedCall[] = [];
      const limiter = {
        acquire: (call: RateLimitedCall) => Promise.resolve(void turns.push(call)),
      };
      api = keyApi({ limiter: limiter as unknown as RateLimiter });
      const answers = [{ ...REFRESHED, key_info: [], next_token: 'next' }, { key_info: [] }];
      server.answers((socket) => socket.write(http(200, answers.shift())));
      await CALLS[call]();
      expect(turns).toEqual(priorities.map((priority) => ({ priority, ...deadline })));
      expect(server.requests).toHaveLength(requests);
    },
  );

  test('is not sent if its turn would come after its deadline', async () => {
    api = keyApi();
    server.answers(http(200, {}));
    deadline = { deadline: systemClock.monotonic() - 1 };
    for (const call of ['mint', 'refresh', 'list', 'check'] as const) {
      expect(await failureOf(CALLS[call]())).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    }
    expect(server.requests).toEqual([]);
  });
});

describe('an answer', () => {
  test.each<['mint' | 'refresh', object]>([
    ['mint', { ...MINTED, more: 1 }],
    ['refresh', { ...REFRESHED, previous_key_id: 'key-0' }],
  ])('of a %s is read with all of its fields', async (call, answer) => {
    server.answers(http(200, answer));
    expect(await CALLS[call]()).toEqual(answer);
  });

  const body = Buffer.from(JSON.stringify(REFRESHED));
  const encoded = (encoding: string, bytes: Buffer): Reaction => {
    const head = `HTTP/1.1 200 OK\r\ncontent-encoding: ${encoding}\r\ncontent-length: ${bytes.length}\r\n\r\n`;
    return (socket) => socket.write(Buffer.concat([Buffer.from(head), bytes]));
  };

  // malformed-answers.test.ts verifies the other encodings.
  test.each<[string, Buffer]>([
    ['x-gzip', gzipSync(body)],
    ['GZIP', gzipSync(body)],
    ['deflate, gzip', gzipSync(deflateSync(body))],
  ])('is decoded if its encoding is %s', async (name, bytes) => {
    server.answers(encoded(name, bytes));
    expect(await CALLS.refresh()).toEqual(REFRESHED);
  });

  test('is read if it has 10 MB of unknown fields', async () => {
    const more = 'x'.repeat(10 * 1024 * 1024);
    server.answers(http(200, { ...REFRESHED, more }));
    expect(await CALLS.refresh()).toEqual({ ...REFRESHED, more });
  });

  test.each<[string, Reaction, string]>([
    ['an unknown encoding', encoded('zstd2', body), "can't be decompressed"],
    ['a wrong encoding', encoded('gzip', body), "can't be decompressed"],
    [
      'a decompression bomb',
      encoded('gzip', gzipSync(Buffer.alloc(2_000_000))),
      "can't be decompressed",
    ],
    ['more than the limit', http(200, { more: 'x'.repeat(2_000_000) }), 'is too long'],
    ['a page of a proxy', http(200, `<html>${SECRET}</html>`), "isn't a JSON object"],
    ['nothing', http(200, ''), "isn't a JSON object"],
    ['no content', 'HTTP/1.1 204 X\r\n\r\n', "isn't a JSON object"],
    ...['null', '[]', '7', `"${SECRET}"`, `{"api_key": "${SECRET}`].map(
      (text): [string, Reaction, string] => [text, http(200, text), "isn't a JSON object"],
    ),
  ])(
    'with %s is an invalid key, and the call is not repeated',
    async (_name, reaction, problem) => {
      api.close();
      api = keyApi({ maxBytes: 1_000_000 });
      for (const call of ['mint', 'refresh'] as const) {
        const error = await failure(call, reaction);
        expect(error).toMatchObject({
          code: 'ISSUED_CREDENTIAL_INVALID',
          outcomeUnknown: true,
          retryable: false,
        });
        expect(error.problem).toContain(problem);
      }
      expect(await failure('list', reaction)).toMatchObject({
        code: 'MOMENTO_UNAVAILABLE',
        outcomeUnknown: false,
      });
    },
  );

  test.each([200, 204, 404])(
    'a revocation succeeds when the answer has status %d',
    async (status) => {
      server.answers(status === 204 ? 'HTTP/1.1 204 X\r\n\r\n' : http(status, {}));
      await expect(CALLS.revoke()).resolves.toBeUndefined();
    },
  );

  const rejected = () => ({ verdict: 'rejected', host: server.host, byIssuer: true });
  const unclear = (status: string) => () => ({
    verdict: 'inconclusive',
    problem: `${server.host} answered HTTP ${status}`,
  });
  const accepted = () => ({ verdict: 'accepted' });
  const DENIED = { code: 'PermissionDenied' };
  const BLOCKED = '<html>Blocked</html>';

  test.each<[number, boolean, unknown, () => object]>([
    [200, false, {}, accepted],
    [200, true, {}, accepted],
    [401, false, {}, rejected],
    [401, true, {}, rejected],
    // Most keys can't list keys, and Momento tells so only about a key that it accepts.
    [403, false, DENIED, accepted],
    // A new management key must be able to.
    [403, true, DENIED, rejected],
    [403, false, BLOCKED, unclear("403 without Momento's error")],
    [403, true, BLOCKED, unclear("403 without Momento's error")],
    [400, false, {}, unclear('400')],
    [404, true, {}, unclear('404')],
  ])(
    'the status %d of a check (of a management key: %s) decides the verdict (%j)',
    async (status, mustList, body, expected) => {
      server.answers(http(status, body));
      expect(await api.check(KEY, { ...NEW_KEY, mustList }, deadline)).toEqual(expected());
    },
  );
});

describe('the list of keys', () => {
  const page = (infos: object[], next_token?: string | null) =>
    http(200, { key_info: infos, next_token });

  test('has the keys of all pages', async () => {
    const pages = [
      page([keyInfo({ key_id: 'a' })], 'x&y'),
      page([keyInfo({ key_id: 'b', expires_at_epoch_seconds: null, description: null })], 'z'),
      page([keyInfo({ key_id: 'c', expires_at_epoch_seconds: undefined })], null),
    ];
    server.answers((socket) => socket.write(pages.shift() ?? ''));
    const { keys, skipped } = await api.list(KEY, deadline);
    expect([...keys.keys()]).toEqual(['a', 'b', 'c']);
    expect(skipped).toBe(0);
    expect(keys.get('a')).toEqual({
      keyId: 'a',
      role: 'r-viewer',
      description: 'made by hand',
      issuedAt: NOW,
      expiresAt: NOW + 864_000_000,
    });
    expect(keys.get('b')).toMatchObject({ description: undefined, expiresAt: Infinity });
    expect(server.requests.map((request) => request.split(' ')[1])).toEqual([
      '/api-keys?limit=100',
      '/api-keys?limit=100&next_token=x%26y',
      '/api-keys?limit=100&next_token=z',
    ]);
  });

  test('is shared by callers that wait for the rate limiter, and by no later caller', async () => {
    const begins: (() => void)[] = [];
    const acquire = () => new Promise<void>((begin) => begins.push(begin));
    const limiter = { acquire } as unknown as RateLimiter;
    const waitingLists: WaitingLists = new Map();
    const apis = [0, 1].map(() => keyApi({ limiter, waitingLists }));
    server.answers(page([]));
    const list = (key = KEY) => apis.map((each) => each.list(key, deadline));
    const [first, second] = list();
    expect([first === second, list('another key')[0] === first]).toEqual([true, false]);
    for (const begin of begins.splice(0)) begin();
    await first;
    const [later] = list();
    expect(later).not.toBe(first);
    for (const begin of begins.splice(0)) begin();
    await later;
    expect(server.requests).toHaveLength(3);
    for (const each of apis) each.close();
  });

  test('is read again after a failure', async () => {
    const waitingLists: WaitingLists = new Map();
    const acquire = () => Promise.reject(deadlineExceeded('Too late.'));
    const limiter = { acquire } as unknown as RateLimiter;
    const busy = keyApi({ limiter, waitingLists });
    await expect(busy.list(KEY, deadline)).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect(waitingLists.size).toBe(0);
    busy.close();
  });

  test.each([{ key_info: [] }, { key_info: null }, { key_info: [], next_token: '' }])(
    'is empty if the answer is %j',
    async (answer) => {
      server.answers(http(200, answer));
      expect(await api.list(KEY, deadline)).toEqual({ keys: new Map(), skipped: 0 });
    },
  );

  test('has more than 10,000 keys', async () => {
    let pages = 0;
    server.answers((socket) => {
      const first = pages * 100;
      pages += 1;
      const infos = [...Array(100).keys()].map((n) => keyInfo({ key_id: `key-${first + n}` }));
      socket.write(page(infos, pages < 105 ? `page-${pages}` : undefined));
    });
    const { keys, skipped } = await api.list(KEY, deadline);
    expect([keys.size, skipped]).toEqual([10_500, 0]);
  });

  const good = [keyInfo({ key_id: 'a' }), keyInfo({ key_id: 'z' })] as const;

  test.each<unknown>([
    keyInfo({ expires_at_epoch_seconds: NOW }),
    keyInfo({ expires_at_epoch_seconds: 1796083200.5 }),
    keyInfo({ issued_at_epoch_seconds: 'now' }),
    // After its expiry.
    keyInfo({ issued_at_epoch_seconds: 2e9 }),
    keyInfo({ role_id: '' }),
    keyInfo({ role_id: undefined }),
    keyInfo({ description: 7 }),
    keyInfo({ key_id: 7 }),
    keyInfo({ key_id: undefined }),
    // A contradiction to another entry.
    keyInfo({ key_id: 'a', role_id: 'r-owner' }),
    SECRET,
    null,
    [],
  ])('skips and counts an entry that is %j', async (entry) => {
    server.answers(http(200, { key_info: [good[0], entry, good[1]] }));
    const { keys, skipped } = await api.list(KEY, deadline);
    expect([...keys.keys()]).toEqual(['a', 'z']);
    expect(keys.get('a')?.role).toBe('r-viewer');
    expect(skipped).toBe(1);
  });

  test('has a key once if pages overlap', async () => {
    const pages = [page([...good], 'next'), page([...good])];
    server.answers((socket) => socket.write(pages.shift() ?? ''));
    const { keys, skipped } = await api.list(KEY, deadline);
    expect([keys.size, skipped]).toEqual([2, 0]);
  });

  test.each([
    {},
    { key_info: {} },
    { key_info: SECRET },
    { key_info: [], next_token: 7 },
    { key_info: [], next_token: 'x'.repeat(5000) },
  ])('fails if a page is invalid: %j', async (answer) => {
    expect(await failure('list', http(200, answer))).toMatchObject({
      code: 'MOMENTO_UNAVAILABLE',
      retryable: true,
      outcomeUnknown: false,
    });
  });

  test('fails if a page token is repeated', async () => {
    const tokens = ['a', 'b', 'a'];
    const error = await failure('list', (socket) => socket.write(page([], tokens.shift())));
    expect(error.code).toBe('MOMENTO_UNAVAILABLE');
    expect(error.problem).toContain("doesn't end");
    expect(server.requests).toHaveLength(3);
  });

  test('repeats a page that failed, without reading the ones before again', async () => {
    const pages = [page([good[0]], 'next'), http(503, {}), http(429, {}), page([good[1]])];
    server.answers((socket) => socket.write(pages.shift() ?? ''));
    const { keys } = await api.list(KEY, deadline);
    expect([...keys.keys()]).toEqual(['a', 'z']);
    expect(server.requests).toHaveLength(4);
  });

  test('ends at the deadline, however many pages follow', async () => {
    const clock = testClock();
    api = keyApi({ clock });
    deadline = { deadline: clock.monotonic() + 5 * SECOND };
    let pages = 0;
    const error = await failure('list', (socket) => {
      pages += 1;
      if (pages === 3) clock.advance(5 * SECOND);
      socket.write(page([], `page-${pages}`));
    });
    expect(['DEADLINE_EXCEEDED', 'MOMENTO_UNAVAILABLE']).toContain(error.code);
    expect(pages).toBe(3);
  });
});

describe('a status that is an error', () => {
  const managementKey = { 401: 'MANAGEMENT_KEY_REFUSED', 403: 'MANAGEMENT_KEY_REFUSED' };
  const EXPECTED: Partial<Record<Call, Record<number, string>>> = {
    mint: { ...managementKey, ...codes('MINT_REFUSED', 400, 404, 405, 409, 413, 418) },
    refresh: {
      ...codes('REFRESH_REFUSED', 400, 401, 403, 409, 410),
      ...codes('REFRESH_PATH_UNKNOWN', 404, 405),
    },
    list: { ...managementKey, ...codes('MOMENTO_UNAVAILABLE', 400, 404, 405) },
    revoke: { ...managementKey, ...codes('MOMENTO_UNAVAILABLE', 400, 405, 409) },
  };

  function codes(code: string, ...statuses: number[]): Record<number, string> {
    return Object.fromEntries(statuses.map((status) => [status, code]));
  }

  test.each(
    Object.entries(EXPECTED).flatMap(([call, byStatus]) =>
      Object.entries(byStatus).map(
        ([status, code]) => [call as Call, Number(status), code] as const,
      ),
    ),
  )('%s fails at %d with %s, and repeats nothing of the body', async (call, status, code) => {
    const word = 'Planted';
    const body = { code: word, message: `${word} ${SECRET}`, err: word };
    const error = await failure(call, http(status, body));
    expect(error).toMatchObject({ code, outcomeUnknown: false });
    expect(error.message).toContain(`HTTP ${status}`);
    expect(error.message).not.toContain(word);
    expect(server.requests).toHaveLength(1);
  });

  const REDIRECTS = [300, 301, 302, 303, 304, 307, 308];
  const TRANSIENT = [408, 425, 500, 502, 503, 504];

  test.each(
    EVERY.flatMap((call) => [...REDIRECTS, ...TRANSIENT].map((status) => [call, status] as const)),
  )('%s can be repeated after %d, and follows no redirect', async (call, status) => {
    const location = `http://${server.host}/elsewhere`;
    const body = status === 304 ? '' : '<html>Bad gateway</html>';
    const error = await failure(call, http(status, body, { location }));
    expect(error).toMatchObject({
      code: 'MOMENTO_UNAVAILABLE',
      retryable: true,
      outcomeUnknown: CHANGES.has(call),
    });
    expect(error.message).not.toContain('html');
    expect(error.problem).toContain(`${server.host} answered`);
    expect(error.problem).toContain(
      REDIRECTS.includes(status) ? `redirect (HTTP ${status})` : `HTTP ${status}`,
    );
    expect(server.requests).toHaveLength(1);
  });

  test.each([
    ['7', 7 * SECOND],
    ['soon', 0],
    ['', 0],
    ['9'.repeat(400), 0],
    [new Date(NOW + 90 * SECOND).toUTCString(), 90 * SECOND],
    [new Date(NOW - 90 * SECOND).toUTCString(), 0],
  ])('429 with Retry-After %j sets the time to wait to %d ms', async (retryAfter, retryAfterMs) => {
    api = keyApi({ clock: { ...systemClock, now: () => NOW } });
    for (const call of EVERY) {
      const error = await failure(call, http(429, {}, { 'retry-after': retryAfter }));
      const expected = { code: 'MOMENTO_LIMIT_EXCEEDED', quota: true, outcomeUnknown: false };
      expect(error).toMatchObject({ ...expected, retryAfterMs });
    }
  });

  test('503 with Retry-After sets the time to wait', async () => {
    const error = await failure('mint', http(503, {}, { 'retry-after': '7' }));
    expect(error).toMatchObject({ code: 'MOMENTO_UNAVAILABLE', retryAfterMs: 7 * SECOND });
  });

  test('names the role, its secret and the setting when the role does not exist', async () => {
    const error = await failure('mint', http(404, {}));
    expect(error.problem).toContain('The role r-viewer');
    expect(error.problem).toContain(REQUEST.secret);
    expect(error.action).toContain(`'role' of ${REQUEST.secret} in SECRETS`);
  });

  test.each([
    [401, 'it is unknown, revoked or expired'],
    [403, "its role can't manage keys"],
  ])('names the secret with the management key at %d', async (status, cause) => {
    for (const call of ['mint', 'list', 'revoke'] as const) {
      const { problem, action } = await failure(call, http(status, {}));
      expect(problem).toContain(`the management key in ${MANAGEMENT_SECRET}`);
      expect(problem).toContain(cause);
      expect(action).toContain(MANAGEMENT_SECRET);
    }
  });

  test('names the path and its setting when the path does not exist', async () => {
    const { problem, action } = await failure('refresh', http(404, {}));
    expect(problem).toContain('/some/refresh (HTTP 404)');
    expect(problem).toContain("wasn't used");
    expect(action).toContain('MOMENTO_REFRESH_PATH');
  });
});

describe('no complete answer', () => {
  const whole = http(200, REFRESHED);
  const upgrade = 'HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n';
  const halfChunk = `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{"`;
  const cases: [string, Reaction, string][] = [
    ['a reset connection', (socket) => socket.resetAndDestroy(), 'ECONNRESET'],
    ['a closed connection', (socket) => socket.end(), 'ECONNRESET'],
    ['half an answer', (socket) => socket.end(whole.slice(0, -20)), 'ECONNRESET'],
    ['half a chunk', (socket) => socket.end(halfChunk), 'ECONNRESET'],
    ['half the headers', (socket) => socket.end(whole.slice(0, 20)), 'ECONNRESET'],
    ['no HTTP', (socket) => socket.end(`${SECRET}\r\n\r\n`), 'HPE_'],
    ['101 without an upgrade', 'HTTP/1.1 101 X\r\n\r\n', 'HTTP 101'],
    ['another protocol', upgrade, 'HTTP 101'],
  ];

  test.each(
    EVERY.flatMap((call) => cases.map(([name, ...rest]) => [call, name, ...rest] as const)),
  )('%s fails when there is %s', async (call, _name, reaction, cause) => {
    const error = await failure(call, reaction);
    const expected = { code: 'MOMENTO_UNAVAILABLE', outcomeUnknown: CHANGES.has(call) };
    expect(error).toMatchObject(expected);
    expect(error.problem).toContain(server.host);
    expect(error.problem).toContain(cause);
    expect(error.problem).not.toContain("couldn't be reached");
    expect(server.requests).toHaveLength(1);
  });

  test('has an unknown outcome when the connection of an earlier call is reset', async () => {
    server.answers(http(200, { key_info: [] }));
    await CALLS.list();
    const [socket] = server.sockets;
    const error = await failure('mint', (same) => {
      expect(same).toBe(socket);
      same.resetAndDestroy();
    });
    expect(error).toMatchObject({ code: 'MOMENTO_UNAVAILABLE', outcomeUnknown: true });
  });

  let clock: VirtualClock;

  /** The failure of a call, and after how long. The deadline of the run is a minute away unless `runEnds` differs. */
  async function timeOut(call: Call, reaction: Reaction, runEnds = 60 * SECOND) {
    clock = testClock();
    api.close();
    api = keyApi({ clock });
    const start = clock.monotonic();
    deadline = { deadline: start + runEnds };
    const error = await failure(call, reaction);
    return { error, took: clock.monotonic() - start };
  }

  const drip: Reaction = (socket) => {
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n');
    const next = (): void => {
      if (!socket.destroyed) socket.write(' ', () => void clock.sleep(SECOND).then(next));
    };
    next();
  };

  test.each<[string, Reaction]>([
    ['silent', () => undefined],
    ['silent after the headers', whole.slice(0, -20)],
    ['silent after 103', 'HTTP/1.1 103 X\r\n\r\n'],
    ['dripping', drip],
  ])('fails after 10 s, or 60 s for an issue, when the server is %s', async (_name, reaction) => {
    for (const call of EVERY) {
      const { error, took } = await timeOut(call, reaction);
      // An answer to an issue that arrives later is a lost key.
      expect(took).toBe((call === 'mint' || call === 'refresh' ? 60 : 10) * SECOND);
      expect(error).toMatchObject({
        code: 'MOMENTO_UNAVAILABLE',
        outcomeUnknown: CHANGES.has(call),
        problem: `${server.host} didn't answer in time.`,
      });
    }
  });

  test("fails at the run's deadline if that comes earlier", async () => {
    const { error, took } = await timeOut('revoke', '', 3 * SECOND);
    expect(took).toBe(3 * SECOND);
    expect(error).toMatchObject({ code: 'MOMENTO_UNAVAILABLE', outcomeUnknown: true });
  });

  test.each(['mint', 'refresh'] as const)(
    "doesn't fail at the run's latest issue when a %s has begun before it",
    async (call) => {
      const clock = testClock();
      api = keyApi({ clock });
      deadline = { deadline: clock.monotonic() + SECOND };
      server.answers((socket) => {
        void clock.sleep(9 * SECOND).then(() => socket.write(http(200, REFRESHED)));
      });
      expect(await CALLS[call]()).toEqual(REFRESHED);
    },
  );

  test.each([
    ['127.0.0.1:1', 'ECONNREFUSED'],
    ['nobody.invalid:80', 'ENOTFOUND'],
  ])('names %s and the cause %s, and nothing was sent', async (emulator, cause) => {
    api = keyApi({ emulator });
    const error = await failure('mint', '');
    expect(error).toMatchObject({ code: 'MOMENTO_UNAVAILABLE', outcomeUnknown: false });
    const known = cause === 'ENOTFOUND' ? '(ENOTFOUND|EAI_AGAIN)' : cause;
    expect(error.problem).toMatch(
      new RegExp(`${emulator.replace(':80', '')}(:80)? couldn't be reached \\(${known}\\)`),
    );
  });
});
