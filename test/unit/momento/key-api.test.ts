import { execFile } from 'node:child_process';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:tls';
import { inspect, promisify } from 'node:util';
import { RotationError } from '../../../src/errors';
import { HttpClient } from '../../../src/momento/http-client';
import { KeyApi } from '../../../src/momento/key-api';
import { Pace } from '../../../src/momento/pace';
import { fakeClock, NOW, piecesIn, SECOND } from '../support';
import { http, RawServer, type Reaction } from './http-server';
import { SELF_SIGNED } from './self-signed';
import { keyInfo, SECRET, v2Key, v2RefreshToken } from './support';

const KEY = v2Key('management');
const REQUEST = { role: 'r-viewer', description: 'ours', expiresAt: NOW + 999 };
const MINTED = { api_key: v2Key('key-1', NOW + 1), key_info: keyInfo() };
const REFRESHED = { ...MINTED, refresh_token: v2RefreshToken('key-1') };

let server: RawServer;
let api: KeyApi;

beforeAll(async () => {
  server = await RawServer.start();
});
afterAll(() => server.stop());

beforeEach(() => {
  api = keyApi();
});
afterEach(() => api.close());

function keyApi(options: { emulator?: string; timeoutMs?: number; pace?: Pace } = {}): KeyApi {
  const clock = fakeClock();
  const { emulator = server.host, timeoutMs = 5_000, pace = new Pace(clock) } = options;
  return new KeyApi({
    emulator,
    refreshPath: '/some/refresh',
    pace,
    now: () => clock.now(),
    bounds: { timeoutMs },
  });
}

const CALLS = {
  mint: () => api.mint(KEY, REQUEST),
  refresh: () => api.refresh(REFRESHED.refresh_token),
  list: () => api.list(KEY),
  revoke: () => api.revoke(KEY, 'a/b?c'),
  verify: () => api.verify(KEY),
};
type Call = keyof typeof CALLS;

const EVERY = Object.keys(CALLS) as Call[];
/** What may have changed something, if only its answer is missing. */
const CHANGES = new Set<Call>(['mint', 'refresh', 'revoke']);

async function failure(call: Call, reaction: Reaction): Promise<RotationError> {
  server.answers(reaction);
  const thrown: unknown = await CALLS[call]().then(
    (answer) => new Error(`${call} gave ${inspect(answer)}`),
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(RotationError);
  const error = thrown as RotationError;
  const everything = inspect(error, { depth: null, showHidden: true });
  expect(piecesIn(everything, SECRET)).toEqual([]);
  return error;
}

describe('what is sent', () => {
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
    ['verify', { key_info: [] }, 'GET /api-keys?limit=1', KEY, undefined],
  ])('%s', async (call, answer, line, authorization, body) => {
    server.answers(http(200, answer));
    await CALLS[call]();
    const [head = '', sent = ''] = server.requests[0]?.split('\r\n\r\n') ?? [];
    expect(head).toMatch(new RegExp(`^${line.replace(/[?]/g, '\\$&')} HTTP/1.1\r\n`));
    expect(head.split('\r\n')).toContain(`authorization: ${authorization}`);
    expect(head.includes('content-type: application/json')).toBe(body !== undefined);
    expect(sent === '' ? undefined : JSON.parse(sent)).toEqual(body);
  });

  test('calls of one session share a connection, and close lets it go', async () => {
    server.answers(http(200, { key_info: [] }));
    await api.list(KEY);
    await api.list(KEY);
    const [socket, ...others] = server.sockets;
    expect(others).toEqual([]);
    const closed = new Promise((resolve) => socket?.once('close', resolve));
    api.close();
    await closed;
  });
});

describe('what is read', () => {
  test('a minted key', async () => {
    server.answers(http(200, { ...MINTED, more: 1 }));
    expect(await api.mint(KEY, REQUEST)).toEqual(MINTED);
  });

  test('a refreshed key, also where it is not described as expected', async () => {
    server.answers(http(200, { ...REFRESHED, previous_key_id: 'key-0' }));
    expect(await api.refresh(SECRET)).toEqual(REFRESHED);
    server.answers(http(200, { ...REFRESHED, key_info: { key_id: 7 } }));
    expect(await api.refresh(SECRET)).toEqual({ ...REFRESHED, key_info: undefined });
  });

  test('all pages of the list', async () => {
    const page = (id: string, next_token?: string | null) =>
      http(200, { key_info: [keyInfo({ key_id: id })], next_token });
    const pages = [page('a', 'x&y'), page('b', 'z'), page('c', null)];
    server.answers((socket) => socket.write(pages.shift() ?? ''));
    expect((await api.list(KEY)).map(({ key_id }) => key_id)).toEqual(['a', 'b', 'c']);
    expect(server.requests.map((request) => request.split(' ')[1])).toEqual([
      '/api-keys?limit=100',
      '/api-keys?limit=100&next_token=x%26y',
      '/api-keys?limit=100&next_token=z',
    ]);
  });

  test.each([[{ key_info: [] }], [{ key_info: null }], [{ key_info: [], next_token: '' }]])(
    'the empty list %j',
    async (answer) => {
      server.answers(http(200, answer));
      expect(await api.list(KEY)).toEqual([]);
    },
  );

  test('a list without an end', async () => {
    const endless = http(200, { key_info: [], next_token: 'more' });
    expect(await failure('list', endless)).toMatchObject({ code: 'INTERNAL' });
    expect(server.requests).toHaveLength(100);
  });

  test.each([200, 404])('%d to a revocation: the key has ended', async (status) => {
    server.answers(http(status, {}));
    await expect(api.revoke(KEY, 'key-1')).resolves.toBe(true);
  });

  test('a revocation is not sent where it is not to be any more', async () => {
    const before = [...server.requests];
    await expect(api.revoke(KEY, 'key-1', () => Promise.resolve(false))).resolves.toBe(false);
    expect(server.requests).toEqual(before);
  });

  test.each([
    [200, 'accepted'],
    [403, 'accepted'],
    [401, 'rejected'],
    [400, 'unclear'],
    [404, 'unclear'],
    [302, 'unclear'],
  ])('%d to a look with a new key: %s', async (status, verdict) => {
    server.answers(http(status, 'whatever'));
    expect(await api.verify(KEY)).toBe(verdict);
  });
});

describe('a status that is an error', () => {
  const managementKey = { 401: 'MANAGEMENT_KEY_REFUSED', 403: 'MANAGEMENT_KEY_REFUSED' };
  const EXPECTED: Partial<Record<Call, Record<number, string>>> = {
    mint: {
      ...managementKey,
      ...codes('MINT_REFUSED', 300, 302, 307, 308, 304, 400, 404, 405, 409, 413, 418),
    },
    refresh: {
      ...codes('REFRESH_REFUSED', 302, 307, 400, 401, 403, 409, 410),
      ...codes('REFRESH_PATH_UNKNOWN', 404, 405),
    },
    list: { ...managementKey, ...codes('INTERNAL', 302, 307, 400, 404, 405) },
    revoke: { ...managementKey, ...codes('INTERNAL', 302, 307, 400, 405, 409) },
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
  )('%s: %d is %s, at once', async (call, status, code) => {
    const body = { code: 'PermissionDenied', message: SECRET, err: SECRET };
    const error = await failure(
      call,
      // Nobody may follow this, least of all with the management key.
      http(status, status === 304 ? '' : body, { location: `http://${server.host}/elsewhere` }),
    );
    expect(error).toMatchObject({ code, retryable: false, mayHaveHadEffect: false });
    expect(error.message).toContain(`HTTP ${status}${status === 304 ? '' : ', PermissionDenied'}`);
    expect(server.requests).toHaveLength(1);
  });

  test.each(
    EVERY.flatMap((call) => [408, 500, 502, 503, 504].map((status) => [call, status] as const)),
  )('%s: %d may pass', async (call, status) => {
    const error = await failure(call, http(status, '<html>Bad gateway</html>'));
    expect(error).toMatchObject({
      code: 'MOMENTO_UNAVAILABLE',
      retryable: true,
      mayHaveHadEffect: CHANGES.has(call),
    });
    expect(error.message).not.toContain('html');
  });

  test.each([
    ['7', 7 * SECOND],
    ['0', 0],
    [new Date(NOW + 90 * SECOND).toUTCString(), 90 * SECOND],
    [new Date(NOW - 90 * SECOND).toUTCString(), 0],
    ['soon', 0],
    ['', 0],
    ['9'.repeat(400), 0],
  ])('429 with Retry-After %j', async (retryAfter, retryAfterMs) => {
    for (const call of EVERY) {
      const error = await failure(call, http(429, {}, { 'retry-after': retryAfter }));
      expect(error).toMatchObject({
        code: 'MOMENTO_LIMIT_EXCEEDED',
        quota: true,
        mayHaveHadEffect: false,
        retryAfterMs,
      });
    }
  });

  test('401 and 403 are told apart, and so is 404 to a mint', async () => {
    const message = async (status: number) => (await failure('mint', http(status, {}))).message;
    expect(await message(401)).toContain('does not accept the management key');
    expect(await message(403)).toContain('its role may not manage keys');
    expect(await message(404)).toContain('no such role');
  });

  test.each(EVERY)('%s: 503 with Retry-After', async (call) => {
    const error = await failure(call, http(503, {}, { 'retry-after': '7' }));
    expect(error).toMatchObject({ code: 'MOMENTO_UNAVAILABLE', retryAfterMs: 7 * SECOND });
  });

  test('an unknown path is told by the name of its variable', async () => {
    const { message } = await failure('refresh', http(404, {}));
    expect(message).toContain('Set MOMENTO_REFRESH_PATH');
    expect(message).toContain('spent nothing');
  });

  test.each(['two words', SECRET, 'a'.repeat(41), 7, null, ['Word']])(
    'what the service calls it is not repeated if it is %j',
    async (code) => {
      const { message } = await failure('mint', http(400, { code }));
      expect(message).toContain('(HTTP 400)');
    },
  );
});

describe('an answer that says nothing that can be used', () => {
  const without = (name: string, ...of: object[]) =>
    of.map((answer) => Object.fromEntries(Object.entries(answer).filter(([key]) => key !== name)));
  const odd: unknown[] = ['', 'null', '[]', '7', `"${SECRET}"`, '{}', `{"api_key": "${SECRET}`];
  const html = `<html><body>Sign in to the proxy ${SECRET}</body></html>`;
  const more = SECRET.repeat((10 * 1024 * 1024) / SECRET.length);
  const info = (changes: object) => ({ ...REFRESHED, key_info: keyInfo({ ...changes }) });

  test.each<[string, unknown[]]>([
    ['odd JSON', odd],
    ['a page of a proxy', [html]],
    ['what is right but for its 10 MB', [{ ...REFRESHED, more }]],
    [
      'keys of other types',
      [7, null, {}, '', `${SECRET} é`].map((api_key) => ({ ...REFRESHED, api_key })),
    ],
  ])('%s: neither a mint nor a refresh', async (_name, answers) => {
    for (const call of ['mint', 'refresh'] as const) {
      for (const answer of answers) {
        const error = await failure(call, http(200, answer));
        expect(error).toMatchObject({ code: 'ISSUED_CREDENTIAL_INVALID', mayHaveHadEffect: true });
      }
    }
  });

  test.each<[string, object]>([
    ['nothing about it', without('key_info', MINTED)[0] ?? {}],
    ['a role of two lines', info({ role_id: `r-viewer\n${SECRET}` })],
    ['a role that is a number', info({ role_id: 7 })],
    ['no id', info({ key_id: undefined })],
    ['a description that is an object', info({ description: {} })],
    ['times in words', info({ issued_at_epoch_seconds: 'now' })],
    ['times in milliseconds', info({ expires_at_epoch_seconds: NOW })],
    ['times with fractions', info({ expires_at_epoch_seconds: 1796083200.5 })],
  ])('a minted key with %s', async (_name, answer) => {
    expect(await failure('mint', http(200, answer))).toMatchObject({
      code: 'ISSUED_CREDENTIAL_INVALID',
      mayHaveHadEffect: true,
    });
  });

  test.each([undefined, null, '', 7, `${SECRET} é`])(
    'a refreshed key with the refresh token %j',
    async (refresh_token) => {
      expect(await failure('refresh', http(200, { ...REFRESHED, refresh_token }))).toMatchObject({
        code: 'ISSUED_CREDENTIAL_INVALID',
        mayHaveHadEffect: true,
      });
    },
  );

  test.each([
    ...odd,
    html,
    { key_info: [], more },
    { key_info: {} },
    { key_info: [SECRET] },
    { key_info: [keyInfo({ key_id: 'a\nb' })] },
    { key_info: [keyInfo({ role_id: undefined })] },
    { key_info: [], next_token: 7 },
  ])('a list (%#)', async (answer) => {
    expect(await failure('list', http(200, answer))).toMatchObject({
      code: 'INTERNAL',
      retryable: false,
    });
  });
});

describe('no whole answer', () => {
  const whole = http(200, REFRESHED);
  const cases: [string, Reaction][] = [
    ['a connection that is reset', (socket) => socket.resetAndDestroy()],
    ['a connection that is closed', (socket) => socket.end()],
    ['half an answer', (socket) => socket.end(whole.slice(0, -20))],
    [
      'half a chunk',
      (socket) => socket.end(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{"`),
    ],
    ['half the headers', (socket) => socket.end(whole.slice(0, 20))],
    ['no HTTP', (socket) => socket.end(`${SECRET}\r\n\r\n`)],
  ];

  test.each(
    EVERY.flatMap((call) => cases.map(([name, reaction]) => [call, name, reaction] as const)),
  )('%s: %s', async (call, _name, reaction) => {
    expect(await failure(call, reaction)).toMatchObject({
      code: 'MOMENTO_UNAVAILABLE',
      mayHaveHadEffect: CHANGES.has(call),
    });
    expect(server.requests).toHaveLength(1);
  });

  test('a connection of an earlier call that is gone may have taken the request along', async () => {
    server.answers(http(200, { key_info: [] }));
    await api.list(KEY);
    const [socket] = server.sockets;
    const error = await failure('mint', (same) => {
      expect(same).toBe(socket);
      same.resetAndDestroy();
    });
    expect(error).toMatchObject({ code: 'MOMENTO_UNAVAILABLE', mayHaveHadEffect: true });
  });

  test.each<[string, Reaction]>([
    ['none', () => undefined],
    ['the headers alone', (socket) => socket.write(whole.slice(0, -20))],
  ])('%s in time', async (_name, reaction) => {
    api = keyApi({ timeoutMs: 50 });
    const error = await failure('mint', reaction);
    expect(error).toMatchObject({ code: 'MOMENTO_UNAVAILABLE', mayHaveHadEffect: true });
  });

  test('an answer that drips is cut off at the whole time, however lively it is', async () => {
    api = keyApi({ timeoutMs: 100 });
    const drip = (socket: { destroyed: boolean; write(text: string): unknown }): void => {
      if (socket.destroyed) return;
      socket.write(' ');
      setTimeout(() => drip(socket), 5);
    };
    const error = await failure('list', (socket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n');
      drip(socket);
    });
    expect(error.code).toBe('MOMENTO_UNAVAILABLE');
  });

  test.each([
    ['nobody listens', '127.0.0.1:1'],
    ['nobody has that name', 'nobody.invalid:80'],
  ])('%s: nothing can have had an effect', async (_name, emulator) => {
    api = keyApi({ emulator });
    const error = await failure('mint', '');
    expect(error).toMatchObject({ code: 'MOMENTO_UNAVAILABLE', mayHaveHadEffect: false });
  });
});

describe('a server whose certificate nobody vouches for', () => {
  const tls = createServer(SELF_SIGNED);
  const received: string[] = [];
  tls.on('secureConnection', (socket) =>
    socket.on('data', (data: Buffer) => received.push(data.toString())),
  );
  tls.on('tlsClientError', () => undefined);

  const REVOCATION = { method: 'DELETE', path: '/api-keys/key-1', authorization: KEY } as const;
  const address = () => `https://localhost:${(tls.address() as AddressInfo).port}`;

  beforeAll(() => new Promise<void>((resolve) => tls.listen(0, '127.0.0.1', resolve)));
  afterAll(() => new Promise((resolve) => tls.close(resolve)));

  test('gets nothing', async () => {
    const client = new HttpClient(new URL(address()));
    await expect(client.send(REVOCATION)).rejects.toMatchObject({
      code: 'MOMENTO_UNAVAILABLE',
      mayHaveHadEffect: false,
      message: expect.stringContaining('SELF_SIGNED') as string,
    });
    client.close();
    expect(received).toEqual([]);
  });

  test('gets nothing where the environment says to trust everybody', async () => {
    // In a process of its own: Node does not look at the environment that a test sees.
    const send = `
      import { HttpClient } from './src/momento/http-client';
      const client = new HttpClient(new URL('${address()}'));
      client.send(${JSON.stringify(REVOCATION)}).catch(({ message }) => console.log(message));
    `;
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--import', 'tsx', '--input-type=module', '--eval', send],
      { env: { ...process.env, NODE_TLS_REJECT_UNAUTHORIZED: '0' } },
    );
    expect(stdout).toContain('SELF_SIGNED');
    expect(received).toEqual([]);
  });
});

describe('the pace', () => {
  /** When calls begin that are all asked for at once. */
  async function begins(pace: Pace, waits: number[], calls: number): Promise<number[]> {
    waits.length = 0;
    for (let call = 0; call < calls; call += 1) await pace.turn();
    return [...Array<number>(calls - waits.length).fill(0), ...waits];
  }

  test('no more than 5 calls begin in any 1.1 s, and none waits longer for it than it must', async () => {
    const waits: number[] = [];
    let now = NOW;
    const sleep = (ms: number) => Promise.resolve(void waits.push(ms));
    const pace = new Pace({ now: () => now, sleep });
    expect(await begins(pace, waits, 12)).toEqual([
      ...[0, 0, 0, 0, 0],
      ...[1100, 1100, 1100, 1100, 1100],
      ...[2200, 2200],
    ]);
    now += 2500;
    // Of the last five, three began 1.4 s ago and two 0.3 s ago.
    expect(await begins(pace, waits, 5)).toEqual([0, 0, 0, 800, 800]);
    now += 10_000;
    expect(await begins(pace, waits, 5)).toEqual([0, 0, 0, 0, 0]);
  });

  test('is kept to by every call', async () => {
    server.answers(http(200, REFRESHED));
    const asleep: number[] = [];
    const sleep = (ms: number) => Promise.resolve(void asleep.push(ms));
    const pace = new Pace({ now: () => NOW, sleep });
    api = keyApi({ pace });
    await Promise.all([...Array(5).keys()].map(() => api.mint(KEY, REQUEST)));
    expect(asleep).toEqual([]);
    // Another session is held to the same.
    api.close();
    api = keyApi({ pace });
    for (const call of EVERY) await CALLS[call]().catch(() => undefined);
    expect(asleep).toEqual(EVERY.map(() => 1100));
  });
});
