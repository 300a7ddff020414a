import { inspect } from 'node:util';
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { systemClock, type Clock } from '../../../src/clock';
import { RotationError } from '../../../src/errors';
import { KeyApi, PRIORITY } from '../../../src/momento/key-api';
import type { RateLimiter, RateLimitedCall } from '../../../src/rate-limiter';
import type { CallLimits } from '../../../src/rotation/ports';
import { ManualClock } from '../manual-clock';
import { NOW, piecesIn, SECOND } from '../support';
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
  options: { emulator?: string; clock?: Clock; limiter?: RateLimiter; maxBytes?: number } = {},
): KeyApi {
  const { emulator = server.host, clock = systemClock, maxBytes } = options;
  const { limiter = unlimited(clock) } = options;
  return new KeyApi({
    emulator,
    refreshPath: '/some/refresh',
    limiter,
    clock,
    managementSecret: MANAGEMENT_SECRET,
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
  test.each<[Call, unknown, string, string, unknown]>([
    [
      'mint',
      MINTED,
      'POST /api-keys',
      KEY,
      {
        role_id: 'r-viewer',
        description: 'ours',
        expiry: NOW / SECOND,
        exclude_refresh_token: true,
      },
    ],
    ['refresh', REFRESHED, 'POST /some/refresh', REFRESHED.refresh_token, {}],
    ['list', { key_info: [] }, 'GET /api-keys?limit=100', KEY, undefined],
    ['revoke', {}, 'DELETE /api-keys/a%2Fb%3Fc', KEY, undefined],
    ['check', { key_info: [] }, 'GET /api-keys?limit=1', KEY, undefined],
  ])('%s has the documented method, path, key and body', async (call, answer, line, key, body) => {
    server.answers(http(200, answer));
    await CALLS[call]();
    const [head = '', sent = ''] = server.requests[0]?.split('\r\n\r\n') ?? [];
    expect(head).toMatch(new RegExp(`^${line.replace(/[?]/g, '\\$&')} HTTP/1.1\r\n`));
    expect(head.split('\r\n')).toContain(`authorization: ${key}`);
    expect(head.split('\r\n')).toContain('accept-encoding: identity');
    expect(head.includes('content-type: application/json')).toBe(body !== undefined);
    expect(sent === '' ? undefined : JSON.parse(sent)).toEqual(body);
  });

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

  test.each<[string, Buffer]>([
    ['identity', body],
    ['gzip', gzipSync(body)],
    ['x-gzip', gzipSync(body)],
    ['GZIP', gzipSync(body)],
    ['br', brotliCompressSync(body)],
    ['deflate', deflateSync(body)],
    ['deflate', deflateRawSync(body)],
    ['deflate, gzip', gzipSync(deflateSync(body))],
    ['identity', Buffer.concat([Buffer.from('\uFEFF'), body])],
    ['gzip', gzipSync(Buffer.concat([Buffer.from('\uFEFF'), body]))],
  ])(
    'is decoded if it is compressed or starts with a byte order mark (%s, %#)',
    async (name, bytes) => {
      server.answers(encoded(name, bytes));
      expect(await CALLS.refresh()).toEqual(REFRESHED);
    },
  );

  test('is read if it has 10 MB of unknown fields', async () => {
    const more = 'x'.repeat(10 * 1024 * 1024);
    server.answers(http(200, { ...REFRESHED, more }));
    expect(await CALLS.refresh()).toEqual({ ...REFRESHED, more });
  });

  test.each<[string, Reaction, string]>([
    ['an unknown encoding', encoded('zstd2', body), 'has a content encoding that fails'],
    ['a wrong encoding', encoded('gzip', body), 'has a content encoding that fails'],
    ['a decompression bomb', encoded('gzip', gzipSync(Buffer.alloc(2_000_000))), 'that fails'],
    [
      'more than the limit',
      http(200, { ...REFRESHED, more: 'x'.repeat(2_000_000) }),
      'is too long',
    ],
    ['a page of a proxy', http(200, `<html>${SECRET}</html>`), "isn't a JSON object"],
    ['nothing', http(200, ''), "isn't a JSON object"],
    ['no content', 'HTTP/1.1 204 X\r\n\r\n', "isn't a JSON object"],
    ...['null', '[]', '7', `"${SECRET}"`, `{"api_key": "${SECRET}`].map(
      (text): [string, Reaction, string] => [text, http(200, text), "isn't a JSON object"],
    ),
  ])('with %s is no key, and not worth another attempt', async (_name, reaction, problem) => {
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
  });

  test.each([200, 204, 404])('%d to a revocation means that the key is gone', async (status) => {
    server.answers(status === 204 ? 'HTTP/1.1 204 X\r\n\r\n' : http(status, {}));
    await expect(CALLS.revoke()).resolves.toBeUndefined();
  });

  const rejected = () => ({ verdict: 'rejected', host: server.host, byIssuer: true });
  const unclear = (status: number) => () => ({
    verdict: 'inconclusive',
    problem: `${server.host} answered HTTP ${status}`,
  });
  const accepted = () => ({ verdict: 'accepted' });

  test.each<[number, boolean, () => object]>([
    [200, false, accepted],
    [200, true, accepted],
    [401, false, rejected],
    [401, true, rejected],
    // Most keys can't list keys, and only a key that Momento accepts is told so.
    [403, false, accepted],
    // A new management key must be able to.
    [403, true, rejected],
    [400, false, unclear(400)],
    [404, true, unclear(404)],
  ])('%d to a check (of a management key: %s) is a verdict', async (status, mustList, expected) => {
    server.answers(http(status, { code: 'PermissionDenied' }));
    expect(await api.check(KEY, { ...NEW_KEY, mustList }, deadline)).toEqual(expected());
  });

  test.each([false, true])(
    "403 without Momento's error is no verdict about a key (of a management key: %s)",
    async (mustList) => {
      server.answers(http(403, '<html>Blocked</html>'));
      expect(await api.check(KEY, { ...NEW_KEY, mustList }, deadline)).toEqual({
        verdict: 'inconclusive',
        problem: `${server.host} answered HTTP 403 without Momento's error`,
      });
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

  test.each([[{ key_info: [] }], [{ key_info: null }], [{ key_info: [], next_token: '' }]])(
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

  test.each<[string, unknown]>([
    ['an expiry in milliseconds', keyInfo({ expires_at_epoch_seconds: NOW })],
    ['an empty role', keyInfo({ role_id: '' })],
    ['no role', keyInfo({ role_id: undefined })],
    ['a role of two lines', keyInfo({ role_id: `r\n${SECRET}` })],
    ['a description that is a number', keyInfo({ description: 7 })],
    ['a description that is an object', keyInfo({ description: {} })],
    ['an issue after its expiry', keyInfo({ issued_at_epoch_seconds: 2e9 })],
    ['an issue in words', keyInfo({ issued_at_epoch_seconds: 'now' })],
    ['a time with a fraction', keyInfo({ expires_at_epoch_seconds: 1796083200.5 })],
    ['an id that is a number', keyInfo({ key_id: 7 })],
    ['an id of two lines', keyInfo({ key_id: 'a\nb' })],
    ['no id', keyInfo({ key_id: undefined })],
    ['a contradiction to another entry', keyInfo({ key_id: 'a', role_id: 'r-owner' })],
    ['only a text', SECRET],
    ['null', null],
    ['a list', []],
  ])('skips and counts an entry with %s', async (_name, entry) => {
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
  ])('fails if a page is not one: %j', async (answer) => {
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
    let pages = 0;
    server.answers((socket) => {
      pages += 1;
      if (pages === 3) deadlineOver = true;
      socket.write(page([], `page-${pages}`));
    });
    let deadlineOver = false;
    const clock: Clock = {
      ...systemClock,
      monotonic: () => systemClock.monotonic() + (deadlineOver ? 60_000 : 0),
    };
    api = keyApi({ clock });
    const error = await failureOf(api.list(KEY, deadline));
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

  test.each(
    EVERY.flatMap((call) => [300, 301, 302, 303, 304, 307, 308].map((n) => [call, n] as const)),
  )('%s does not follow a redirect (%d), and can be repeated', async (call, status) => {
    const location = `http://${server.host}/elsewhere`;
    const error = await failure(call, http(status, status === 304 ? '' : {}, { location }));
    expect(error).toMatchObject({
      code: 'MOMENTO_UNAVAILABLE',
      retryable: true,
      outcomeUnknown: CHANGES.has(call),
    });
    expect(error.problem).toContain(`redirect (HTTP ${status})`);
    expect(server.requests).toHaveLength(1);
  });

  test.each(EVERY.flatMap((call) => [408, 425, 500, 502, 503, 504].map((n) => [call, n] as const)))(
    '%s can be repeated after %d',
    async (call, status) => {
      const error = await failure(call, http(status, '<html>Bad gateway</html>'));
      expect(error).toMatchObject({
        code: 'MOMENTO_UNAVAILABLE',
        retryable: true,
        outcomeUnknown: CHANGES.has(call),
      });
      expect(error.message).not.toContain('html');
      expect(error.problem).toContain(`${server.host} answered`);
    },
  );

  test.each([
    ['7', 7 * SECOND],
    ['0', 0],
    ['soon', 0],
    ['', 0],
    ['9'.repeat(400), 0],
  ])('429 with Retry-After %j says how long to wait', async (retryAfter, retryAfterMs) => {
    for (const call of EVERY) {
      const error = await failure(call, http(429, {}, { 'retry-after': retryAfter }));
      expect(error).toMatchObject({
        code: 'MOMENTO_LIMIT_EXCEEDED',
        quota: true,
        outcomeUnknown: false,
        retryAfterMs,
      });
    }
  });

  test.each([
    [90 * SECOND, 90 * SECOND],
    [-90 * SECOND, 0],
  ])('429 with a date as Retry-After (%d ms from now)', async (fromNow, retryAfterMs) => {
    api = keyApi({ clock: { ...systemClock, now: () => NOW } });
    const date = new Date(NOW + fromNow).toUTCString();
    const error = await failure('list', http(429, {}, { 'retry-after': date }));
    expect(error.retryAfterMs).toBe(retryAfterMs);
  });

  test.each(['mint', 'refresh'] as const)(
    '429 to a %s names both causes and both remedies',
    async (call) => {
      const { problem, action } = await failure(call, http(429, {}));
      expect(problem).toContain('calls too often');
      expect(problem).toContain('limit of API keys');
      expect(action).toContain('rotate fewer secrets at once');
      expect(action).toContain('revoke unused keys');
    },
  );

  test('503 with Retry-After says how long to wait', async () => {
    const error = await failure('mint', http(503, {}, { 'retry-after': '7' }));
    expect(error).toMatchObject({ code: 'MOMENTO_UNAVAILABLE', retryAfterMs: 7 * SECOND });
  });

  test('names the role that does not exist, its secret, and the setting', async () => {
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

  test('names the path that does not exist, and its setting', async () => {
    const { problem, action } = await failure('refresh', http(404, {}));
    expect(problem).toContain('/some/refresh (HTTP 404)');
    expect(problem).toContain("wasn't used");
    expect(action).toContain('MOMENTO_REFRESH_PATH');
  });
});

describe('no complete answer', () => {
  const whole = http(200, REFRESHED);
  const cases: [string, Reaction, string][] = [
    ['the connection is reset', (socket) => socket.resetAndDestroy(), 'ECONNRESET'],
    ['the connection is closed', (socket) => socket.end(), 'ECONNRESET'],
    ['half an answer', (socket) => socket.end(whole.slice(0, -20)), 'ECONNRESET'],
    [
      'half a chunk',
      (socket) => socket.end(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{"`),
      'ECONNRESET',
    ],
    ['half the headers', (socket) => socket.end(whole.slice(0, 20)), 'ECONNRESET'],
    ['no HTTP', (socket) => socket.end(`${SECRET}\r\n\r\n`), 'HPE_'],
    ['101 without an upgrade', (socket) => socket.write('HTTP/1.1 101 X\r\n\r\n'), 'HTTP 101'],
    [
      'another protocol',
      (socket) =>
        socket.write('HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n'),
      'HTTP 101',
    ],
  ];

  test.each(
    EVERY.flatMap((call) => cases.map(([name, ...rest]) => [call, name, ...rest] as const)),
  )('%s fails when there is %s', async (call, _name, reaction, cause) => {
    const error = await failure(call, reaction);
    expect(error).toMatchObject({
      code: 'MOMENTO_UNAVAILABLE',
      outcomeUnknown: CHANGES.has(call),
    });
    expect(error.problem).toContain(server.host);
    expect(error.problem).toContain(cause);
    expect(error.problem).not.toContain("couldn't be reached");
    expect(server.requests).toHaveLength(1);
  });

  test('might have had its effect when the connection of an earlier call is gone', async () => {
    server.answers(http(200, { key_info: [] }));
    await CALLS.list();
    const [socket] = server.sockets;
    const error = await failure('mint', (same) => {
      expect(same).toBe(socket);
      same.resetAndDestroy();
    });
    expect(error).toMatchObject({ code: 'MOMENTO_UNAVAILABLE', outcomeUnknown: true });
  });

  test.each<[string, Reaction]>([
    ['silent', () => undefined],
    ['silent after the headers', (socket) => socket.write(whole.slice(0, -20))],
    ['silent after 103', (socket) => socket.write('HTTP/1.1 103 X\r\n\r\n')],
    [
      'dripping',
      (socket) => {
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n');
        const drip = (): void => {
          if (!socket.destroyed) socket.write(' ', () => setImmediate(drip));
        };
        drip();
      },
    ],
  ])('fails at its own deadline when the server is %s', async (_name, reaction) => {
    for (const call of EVERY) {
      const clock = new ManualClock();
      api.close();
      api = keyApi({ clock });
      deadline = { deadline: clock.monotonic() + 60_000 };
      const arrived = new Promise<void>((resolve) => {
        server.answers((socket) => {
          if (typeof reaction === 'function') reaction(socket);
          resolve();
        });
      });
      let isOver = false;
      const error = failureOf(CALLS[call]()).finally(() => (isOver = true));
      await arrived;
      await clock.advance(9_999);
      expect(isOver).toBe(false);
      await clock.advance(1);
      expect(await error).toMatchObject({
        code: 'MOMENTO_UNAVAILABLE',
        outcomeUnknown: CHANGES.has(call),
        problem: `${server.host} didn't answer in time.`,
      });
    }
  });

  test("fails at the run's deadline if that comes earlier", async () => {
    const clock = new ManualClock();
    api = keyApi({ clock });
    deadline = { deadline: clock.monotonic() + 3_000 };
    const arrived = new Promise<void>((resolve) => server.answers(() => resolve()));
    const error = failureOf(CALLS.revoke());
    await arrived;
    await clock.advance(3_000);
    expect(await error).toMatchObject({ code: 'MOMENTO_UNAVAILABLE', outcomeUnknown: true });
  });

  test.each(['mint', 'refresh'] as const)(
    "doesn't fail at the run's latest issue when a %s has begun before it",
    async (call) => {
      const clock = new ManualClock();
      api = keyApi({ clock });
      deadline = { deadline: clock.monotonic() + 1_000 };
      let answer: (() => void) | undefined;
      const arrived = new Promise<void>((resolve) => {
        server.answers((socket) => {
          answer = () => socket.write(http(200, REFRESHED));
          resolve();
        });
      });
      const issued = CALLS[call]();
      issued.catch(() => undefined);
      await arrived;
      await clock.advance(9_000);
      answer?.();
      expect(await issued).toEqual(REFRESHED);
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
