import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { http } from '@google-cloud/functions-framework';
import { getTestServer } from '@google-cloud/functions-framework/testing';
import type { Config } from '../../src/config';
import { Credential } from '../../src/credential';
import { RotationError, type ErrorCode } from '../../src/errors';
import { createHandler } from '../../src/handler';
import { takeOverRequests } from '../../src/http/take-over';
import type { LogEntry } from '../../src/log';
import type { SecretStore, Verdict } from '../../src/ports';
import { Rotator } from '../../src/rotator';
import {
  DAY,
  fakeClock,
  inTurn,
  NOW,
  payloadOf,
  piecesIn,
  SECOND,
  secretName,
  v1Key,
  version,
} from './support';

const A = 'projects/p/secrets/a';
const B = 'projects/p/secrets/b';
const REGIONAL = 'projects/p/locations/eu/secrets/c';
const TWIN = 'projects/q/secrets/b';
const TRACE = '0af7651916cd43dd8448eb211c80319c';

const CREDENTIAL = Credential.parse(payloadOf(4));
const SUCCESSOR = CREDENTIAL.renewed({
  apiKey: v1Key('kEy-5-x7Yq2Gm9'),
  refreshToken: 'rEf-5-w3Ls8Hd1',
  expiresAt: NOW + 30 * DAY,
  endpoint: 'cell-1.example.com',
});

interface Plan {
  secrets?: string[];
  store?: Partial<SecretStore>;
  verify?: () => Promise<Verdict>;
  issue?: () => Promise<Credential>;
  config?: Partial<Config>;
}

beforeAll(() => takeOverRequests(() => undefined));

const cleanUp: (() => void)[] = [];
afterEach(() => {
  for (const close of cleanUp.splice(0)) close();
});

/** The handler with a rotator on planned ports, behind a real server. By default version 4 is rotated to 5. */
function serve({ secrets = [A, B, REGIONAL, TWIN], store, verify, issue, config }: Plan = {}) {
  const clock = fakeClock();
  const entries: LogEntry[] = [];
  const touched = new Set<string>();
  const settings: Config = {
    secrets: secrets.map(secretName),
    policy: { gracePeriodMs: 0 },
    verify: true,
    timeoutMs: 540 * SECOND,
    traceProject: 'traces',
    ...config,
  };
  const ports: SecretStore = {
    access: inTurn({ number: 4, payload: payloadOf(4) }),
    list: inTurn([version(4)]),
    missingPermissions: inTurn([]),
    add: inTurn(version(5, 'ENABLED', NOW)),
    disable: inTurn(true),
    destroy: inTurn(true),
    ...store,
  };
  const rotator = new Rotator({
    store: {
      ...ports,
      access: (secret, number) => {
        touched.add(secret.name);
        return ports.access(secret, number);
      },
    },
    issuer: {
      check: () => undefined,
      issue: issue ?? inTurn(SUCCESSOR),
      verify: verify ?? inTurn<Verdict>('accepted'),
    },
    policy: settings.policy,
    verify: settings.verify,
    clock,
  });
  const handler = createHandler({
    config: settings,
    rotator,
    clock,
    log: (entry) => entries.push(entry),
  });
  const handled: { isAnswered: Promise<boolean>; closed: Promise<unknown> }[] = [];
  http('rotate', (request, response) => {
    const closed = once(response, 'close');
    const isAnswered = handler(request, response).then(() => response.writableFinished);
    handled.push({ isAnswered, closed });
  });
  const server = getTestServer('rotate').listen(0, '127.0.0.1');
  const listening = once(server, 'listening');
  cleanUp.push(() => {
    server.close();
    server.closeAllConnections();
  });

  async function call(path: string, init: RequestInit = {}) {
    await listening;
    const { port } = server.address() as AddressInfo;
    const response = await fetch(`http://127.0.0.1:${port}${path}`, init);
    const text = await response.text();
    const body = (text === '' ? undefined : JSON.parse(text)) as Body;
    return { status: response.status, headers: response.headers, text, body };
  }
  const post = (body?: unknown, headers: Record<string, string> = {}) =>
    call('/', {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream', ...headers },
      ...(body !== undefined && {
        body: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body),
      }),
    });
  return { call, post, entries, touched, handled, clock };
}

interface Body {
  results?: { secret: string; outcome: string }[];
  secrets?: object[];
  error?: { code: ErrorCode; message: string; retryable: boolean };
}

function unavailable(code: ErrorCode): () => Promise<never> {
  return inTurn<never>(new RotationError(code, `test: ${code}`));
}

describe('POST /', () => {
  test('rotates all secrets, and answers in their order', async () => {
    const { post, handled } = serve();
    const { status, body, headers } = await post();
    expect(status).toBe(200);
    expect(await handled[0]?.isAnswered).toBe(true);
    expect(headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(body).toEqual({
      results: [A, B, REGIONAL, TWIN].map((secret) => ({
        secret,
        outcome: 'rotated',
        reason: 'every run rotates',
        version: '5',
        previousVersion: '4',
        expiresAt: '2026-12-01T00:00:00.000Z',
        verified: true,
        disabled: ['4'],
      })),
    });
  });

  test.each([
    ['the full name', [B], [B]],
    ['the short name', ['a'], [A]],
    ['the short name of a regional secret', ['c'], [REGIONAL]],
    ['the full name of a regional secret', [REGIONAL], [REGIONAL]],
    ['several, in the order asked for', [TWIN, 'a', B], [TWIN, A, B]],
    ['one twice, by both names', ['a', A, 'a'], [A]],
  ])('takes %s', async (_name, secrets, named) => {
    const { post, touched, entries } = serve();
    const { status, body } = await post({ secrets });
    expect(status).toBe(200);
    expect(body.results?.map(({ secret }) => secret)).toEqual(named);
    expect([...touched].sort()).toEqual([...named].sort());
    expect(entries.map(({ secret }) => secret).sort()).toEqual([...named].sort());
  });

  test.each(['application/octet-stream', 'application/json', 'text/plain', 'image/png'])(
    'reads a body of type %s',
    async (type) => {
      const { post } = serve();
      const { body } = await post({ secrets: ['a'], dryRun: true }, { 'content-type': type });
      expect(body.results).toMatchObject([{ secret: A, outcome: 'dry_run' }]);
    },
  );

  const notDue: Plan = {
    secrets: [A],
    config: { policy: { gracePeriodMs: 0, renewBefore: { ms: DAY } } },
  };

  test.each<[string, object | string, object]>([
    ['nothing', '', { outcome: 'not_due' }],
    ['an empty object', {}, { outcome: 'not_due' }],
    ['false', { force: false, dryRun: false }, { outcome: 'not_due' }],
    ['force', { force: true }, { outcome: 'rotated', reason: 'forced' }],
    ['dryRun', { dryRun: true }, { outcome: 'dry_run' }],
    ['both', { force: true, dryRun: true }, { outcome: 'dry_run', reason: 'would rotate: forced' }],
  ])('with %s', async (_name, sent, expected) => {
    const { body } = await serve(notDue).post(sent);
    expect(body.results).toMatchObject([expected]);
  });

  test.each([
    ['2026-10-27T00:00:00Z', 'already_rotated'],
    ['2026-10-27T00:00:00.000001+00:00', 'already_rotated'],
    ['2026-10-27T02:00:00+02:00', 'already_rotated'],
    ['2026-10-27T00:00:01Z', 'rotated'],
    ['', 'rotated'],
  ])('scheduled for %j: %s', async (time, outcome) => {
    const { body } = await serve({ secrets: [A] }).post(undefined, {
      'x-cloudscheduler-scheduletime': time,
    });
    expect(body.results).toMatchObject([{ outcome }]);
  });

  test('the worst status of all is the status, and one failure holds up no other', async () => {
    const missing: SecretStore['missingPermissions'] = ({ name }) =>
      Promise.resolve(name === B ? ['secretmanager.versions.add'] : []);
    const disable: SecretStore['disable'] = ({ name }) =>
      name === TWIN ? unavailable('SECRET_MANAGER_REFUSED')() : Promise.resolve(true);
    const { post } = serve({ store: { missingPermissions: missing, disable } });

    const one = await post({ secrets: [B, 'a'] });
    expect(one.status).toBe(403);
    expect(one.body.results).toMatchObject([
      { secret: B, outcome: 'failed', error: { code: 'PERMISSION_MISSING', step: 'gather' } },
      { secret: A, outcome: 'rotated' },
    ]);
    const two = await post();
    expect(two.status).toBe(503);
    expect(two.body.results?.map(({ outcome }) => outcome)).toEqual([
      ...['rotated', 'failed', 'rotated', 'incomplete'],
    ]);
  });

  test('many secrets are worked on at a time, but not too many', async () => {
    const ids = Array.from({ length: 40 }, (_, i) => `projects/p/secrets/s${i}`);
    let active = 0;
    let most = 0;
    const access = async () => {
      most = Math.max(most, ++active);
      await new Promise((resolve) => setImmediate(resolve));
      active--;
      return { number: 4, payload: payloadOf(4) };
    };
    const { post } = serve({ secrets: ids, store: { access } });
    const { status, body } = await post();
    expect(status).toBe(200);
    expect(body.results?.map(({ secret }) => secret)).toEqual(ids);
    expect(most).toBe(16);
  });

  test.each([
    ['in time', 15 * SECOND, 200],
    ['too late', 15 * SECOND + 1, 504],
  ])('a run ends before the function is stopped: %s', async (_name, takes, status) => {
    const plan = serve({
      secrets: [A],
      config: { timeoutMs: 120 * SECOND },
      store: { list: () => plan.clock.sleep(takes).then(() => [version(4)]) },
    });
    expect((await plan.post()).status).toBe(status);
  });

  test('a caller that goes away stops nothing', async () => {
    const reached = Promise.withResolvers<undefined>();
    const goOn = Promise.withResolvers<undefined>();
    const { call, entries, handled } = serve({
      secrets: [A],
      issue: async () => {
        reached.resolve(undefined);
        await goOn.promise;
        return SUCCESSOR;
      },
    });
    const caller = new AbortController();
    const answer = call('/', { method: 'POST', signal: caller.signal });
    await reached.promise;
    caller.abort();
    await expect(answer).rejects.toThrow('abort');
    await handled[0]?.closed;
    goOn.resolve(undefined);
    expect(await handled[0]?.isAnswered).toBe(false);
    expect(entries).toMatchObject([{ outcome: 'rotated' }]);
  });
});

describe('a request that is turned away', () => {
  const planted = 'pLanted-Qz8';
  const cases: [name: string, body: unknown, problem: string][] = [
    ['no JSON', `{"secrets": ["${planted}"`, 'it is not JSON in UTF-8'],
    ['no UTF-8', Buffer.from('{"secrets":["\xff"]}', 'latin1'), 'it is not JSON in UTF-8'],
    ['a list', [], 'it is not a JSON object'],
    ['null', 'null', 'it is not a JSON object'],
    ['a string', JSON.stringify(planted), 'it is not a JSON object'],
    ['a number', '1', 'it is not a JSON object'],
    ['an unknown field', { secrets: ['a'], [planted]: true }, "fields other than 'secrets'"],
    ['a field of another case', { dryrun: true }, "fields other than 'secrets'"],
    ['__proto__', '{"__proto__": {"dryRun": true}}', "fields other than 'secrets'"],
    ['force as a text', { force: 'true' }, "'force' is not true or false"],
    ['force as null', { force: null }, "'force' is not true or false"],
    ['dryRun as a number', { dryRun: 1 }, "'dryRun' is not true or false"],
    ['one secret without a list', { secrets: 'a' }, "'secrets' is not a list of at least one"],
    ['no secret in the list', { secrets: [] }, "'secrets' is not a list of at least one secret"],
    ['null for the list', { secrets: null }, "'secrets' is not a list of at least one secret"],
    ['a secret that is no string', { secrets: ['a', { planted }] }, 'secrets[1] is not a string'],
    ['an ambiguous short name', { secrets: ['a', 'b'] }, 'secrets[1] is the short name of several'],
    ['too much', ' '.repeat(16 * 1024 + 1), 'it is longer than 16384 bytes'],
  ];

  test.each(cases)('%s: 400, and nothing is done for any secret', async (_name, sent, problem) => {
    const { post, touched, entries } = serve();
    const { status, body, text } = await post(sent, { traceparent: `00-${TRACE}-b7ad6b71-01` });
    expect(status).toBe(400);
    expect(Object.keys(body)).toEqual(['error']);
    expect(body.error).toMatchObject({ code: 'INVALID_REQUEST', retryable: false });
    expect(body.error?.message).toContain(problem);
    expect(touched.size).toBe(0);
    expect(entries).toEqual([
      {
        severity: 'WARNING',
        message: `INVALID_REQUEST: ${body.error?.message ?? ''}`,
        event: 'request',
        error: body.error,
        'logging.googleapis.com/trace': `projects/traces/traces/${TRACE}`,
        executionId: expect.any(String) as string,
      },
    ]);
    expect(piecesIn(text + JSON.stringify(entries), planted)).toEqual([]);
  });

  test('exactly 16 KiB is not too much', async () => {
    const { post } = serve({ secrets: [A] });
    expect((await post(`{}${' '.repeat(16 * 1024 - 2)}`)).status).toBe(200);
  });

  test.each([
    ...['soon', '2026-10-27', '1793059200', '2026-10-27T00:00:00', '2026-13-27T00:00:00Z'],
    ...['x2026-10-27T00:00:00Z', '2026-10-27T00:00:00Z or so', '2026-10-27 00:00:00Z'],
  ])('scheduled for %j', async (time) => {
    const { post, touched } = serve();
    const { status, body } = await post('{}', { 'x-cloudscheduler-scheduletime': time });
    expect(status).toBe(400);
    expect(body.error?.message).toContain('X-CloudScheduler-ScheduleTime is not an RFC 3339 time');
    expect(touched.size).toBe(0);
  });

  test.each([
    ['x', 0],
    ['projects/p/secrets/x', 0],
    ['projects/x/secrets/a', 0],
    ['projects/p/locations/us/secrets/c', 0],
    [`${A}/versions/1`, 0],
    ['', 0],
    [planted, 1],
  ])('a secret that is not configured: %j', async (name, index) => {
    const { post, touched, entries } = serve();
    const { status, body, text } = await post({ secrets: index === 0 ? [name, 'a'] : ['a', name] });
    expect(status).toBe(404);
    expect(body.error).toMatchObject({ code: 'SECRET_NOT_CONFIGURED', retryable: false });
    expect(body.error?.message).toContain(`secrets[${index}] is not one of the secrets`);
    expect(body.error?.message).toContain(`They are: ${A}, ${B}, ${REGIONAL}, ${TWIN}.`);
    expect(touched.size).toBe(0);
    expect(entries).toMatchObject([{ severity: 'WARNING', event: 'request' }]);
    expect(piecesIn(text + JSON.stringify(entries), planted)).toEqual([]);
  });

  test.each(['PUT', 'DELETE', 'PATCH', 'OPTIONS', 'HEAD'])('%s: 405', async (method) => {
    const { call, touched, entries } = serve();
    const { status, headers, body } = await call('/', { method });
    expect(status).toBe(405);
    expect(headers.get('allow')).toBe('GET, POST');
    if (method !== 'HEAD') expect(body.error?.code).toBe('METHOD_NOT_ALLOWED');
    expect(touched.size).toBe(0);
    expect(entries).toMatchObject([{ severity: 'WARNING', error: { code: 'METHOD_NOT_ALLOWED' } }]);
  });

  test.each(['GET', 'POST'])('%s of another path: 404', async (method) => {
    const { call, touched } = serve();
    const { status, headers, body } = await call('/rotate', { method });
    expect(status).toBe(404);
    expect(headers.get('allow')).toBeNull();
    expect(body.error).toMatchObject({ code: 'NOT_FOUND', retryable: false });
    expect(touched.size).toBe(0);
  });

  test('a query is no other path', async () => {
    const { call } = serve();
    expect((await call('/?key=value')).status).toBe(200);
  });
});

describe('GET /', () => {
  test('tells of every secret, changes nothing and logs nothing', async () => {
    const { call, entries } = serve({
      secrets: [A, B],
      store: { add: unavailable('INTERNAL'), missingPermissions: unavailable('INTERNAL') },
    });
    const { status, body } = await call('/');
    expect(status).toBe(200);
    const each = {
      version: '4',
      state: 'ENABLED',
      ageSeconds: (5 * DAY) / SECOND,
      keyFingerprint: CREDENTIAL.fingerprint,
      expiresAt: '2026-11-11T00:00:00.000Z',
      timeLeftSeconds: (10 * DAY) / SECOND,
      nextRenewal: 'every run',
      enabledVersions: 1,
      disabledVersions: 0,
    };
    expect(body).toEqual({
      secrets: [
        { secret: A, ...each },
        { secret: B, ...each },
      ],
    });
    expect(entries).toEqual([]);
  });

  test('has the worst status of all', async () => {
    const list: SecretStore['list'] = ({ name }) =>
      name === B ? unavailable('SECRET_NOT_FOUND')() : Promise.resolve([version(4)]);
    const { status, body, text } = await serve({ secrets: [A, B], store: { list } }).call('/');
    expect(status).toBe(404);
    expect(body.secrets).toMatchObject([
      { secret: A, version: '4' },
      { secret: B, error: { code: 'SECRET_NOT_FOUND', step: 'gather', retryable: false } },
    ]);
    expect(text).not.toContain('results');
  });

  test('logs a fault, where its stack is', async () => {
    const fault = new TypeError('planted');
    const { call, entries } = serve({ secrets: [A], store: { list: inTurn<never>(fault) } });
    const { status, text } = await call('/');
    expect(status).toBe(500);
    expect(entries).toMatchObject([
      { severity: 'ERROR', event: 'request', error: { code: 'INTERNAL' } },
    ]);
    expect(entries[0]?.stack).toContainEqual(expect.stringContaining('handler.test'));
    expect(text + JSON.stringify(entries)).not.toContain('planted');
  });
});

describe('the log', () => {
  test('has one line for a secret and run, with all there is to know', async () => {
    const { post, entries } = serve({ secrets: [A] });
    await post(undefined, {
      'x-cloud-trace-context': `${TRACE}/123;o=1`,
      'function-execution-id': 'abc-DEF_123',
    });
    expect(entries).toEqual([
      {
        severity: 'INFO',
        message: `rotated ${A}; newest version 5; disabled 4; every run rotates`,
        event: 'rotation',
        secret: A,
        outcome: 'rotated',
        reason: 'every run rotates',
        version: '5',
        previousVersion: '4',
        keyFingerprint: SUCCESSOR.fingerprint,
        expiresAt: '2026-12-01T00:00:00.000Z',
        daysLeft: 30,
        keyAgeDays: 0,
        verified: true,
        disabled: ['4'],
        durationMs: 0,
        steps: { gather: 0, issue: 0, verify: 0, add: 0, retire: 0 },
        'logging.googleapis.com/trace': `projects/traces/traces/${TRACE}`,
        executionId: 'abc-DEF_123',
      },
    ]);
  });

  const TRACE_FIELD = 'logging.googleapis.com/trace';
  const OTHER_TRACE = 'f'.repeat(32);

  test.each<[Record<string, string>, string | undefined]>([
    [{ 'x-cloud-trace-context': `${TRACE}/1` }, TRACE],
    [{ traceparent: `00-${TRACE}-00f067aa0ba902b7-01` }, TRACE],
    [{ 'x-cloud-trace-context': `${TRACE}/1`, traceparent: `00-${OTHER_TRACE}-00-01` }, TRACE],
    [{ 'x-cloud-trace-context': 'no', traceparent: `00-${OTHER_TRACE}-00-01` }, OTHER_TRACE],
    [{ 'x-cloud-trace-context': `${TRACE}0/1` }, undefined],
    [{ traceparent: `00-${TRACE}` }, undefined],
    [{}, undefined],
  ])('has the trace of %j: %s', async (headers, trace) => {
    const { post, entries } = serve({ secrets: [A] });
    await post('{}', headers);
    expect(entries[0]?.[TRACE_FIELD]).toBe(trace && `projects/traces/traces/${trace}`);
  });

  test('has no execution id that does not look like one', async () => {
    const { post, entries } = serve({ secrets: [A] });
    await post('{}', { 'function-execution-id': '{"severity": "CRITICAL"}' });
    expect(entries).toHaveLength(1);
    expect(entries[0]).not.toHaveProperty('executionId');
  });

  const destroyable: Plan = {
    secrets: [A],
    config: { policy: { gracePeriodMs: 0, destroyAfterMs: 0 } },
    store: { list: inTurn([version(2, 'DISABLED'), version(3, 'DISABLED'), version(4)]) },
  };
  const refused = 'SECRET_MANAGER_REFUSED: test: SECRET_MANAGER_REFUSED';

  test.each<[string, Plan, unknown, string, string]>([
    ['rotated', destroyable, {}, 'INFO', 'newest version 5; disabled 4; destroyed 2, 3; every run'],
    ['dry_run', {}, { dryRun: true }, 'INFO', 'newest version 4; disabled 4; would rotate: every'],
    [
      'not_due',
      { config: { policy: { gracePeriodMs: 0, renewBefore: { ms: DAY } } } },
      {},
      'INFO',
      'newest version 4; due at 2026-11-10T00:00:00.000Z',
    ],
    [
      'superseded',
      { store: { list: inTurn([version(4)], [version(4), version(5)]) } },
      {},
      'INFO',
      'newest version 5; version 5 was added by somebody else meanwhile',
    ],
    [
      'rotated',
      { store: { disable: inTurn(false) } },
      {},
      'WARNING',
      'newest version 5; every run rotates',
    ],
    [
      'incomplete',
      { store: { disable: unavailable('SECRET_MANAGER_REFUSED') } },
      {},
      'ERROR',
      `newest version 5; every run rotates; ${refused}`,
    ],
    ['failed', { store: { list: unavailable('SECRET_MANAGER_REFUSED') } }, {}, 'ERROR', refused],
    [
      'failed',
      { store: { add: unavailable('SECRET_MANAGER_REFUSED') } },
      {},
      'CRITICAL',
      'newest version 4; every run rotates; CREDENTIAL_NOT_STORED: A new key was issued but',
    ],
  ])('says %s', async (outcome, plan, body, severity, summary) => {
    const { post, entries } = serve({ secrets: [A], ...plan });
    await post(body);
    expect(entries).toMatchObject([{ severity, outcome, event: 'rotation' }]);
    expect(entries[0]?.message).toMatch(`${outcome} ${A}; ${summary}`);
  });

  test('has the days of a key that was not renewed, and none where they are unknown', async () => {
    const kept = serve({
      secrets: [A],
      issue: unavailable('REFRESH_REFUSED'),
      config: { policy: { gracePeriodMs: 0, renewBefore: { ms: 12 * DAY } } },
    });
    await kept.post();
    expect(kept.entries).toMatchObject([
      { daysLeft: 10, keyAgeDays: 5, overdueDays: 2, keyFingerprint: CREDENTIAL.fingerprint },
    ]);

    const unknown = serve({ secrets: [A], store: { list: unavailable('SECRET_NOT_FOUND') } });
    await unknown.post();
    for (const field of [
      'daysLeft',
      'keyAgeDays',
      'overdueDays',
      'expiresAt',
      'keyFingerprint',
      'stack',
    ]) {
      expect(unknown.entries[0]).not.toHaveProperty(field);
    }
  });

  test('has the stack of a fault, without what it says', async () => {
    const { post, entries } = serve({ secrets: [A], issue: inTurn<never>(new Error('planted')) });
    const { status, text } = await post();
    expect(status).toBe(500);
    expect(entries[0]?.stack).toContainEqual(expect.stringContaining('handler.test'));
    expect(text).not.toContain('handler.test');
    expect(text + JSON.stringify(entries)).not.toContain('planted');
  });

  test('has one line for requests that shared a run', async () => {
    const gate = Promise.withResolvers<undefined>();
    const { post, entries, handled } = serve({
      secrets: [A],
      issue: () => gate.promise.then(() => SUCCESSOR),
    });
    const answers = Array.from({ length: 5 }, () => post());
    while (handled.length < 5) await new Promise((resolve) => setImmediate(resolve));
    gate.resolve(undefined);
    for (const { status, body } of await Promise.all(answers)) {
      expect(status).toBe(200);
      expect(body.results).toMatchObject([{ outcome: 'rotated', version: '5' }]);
    }
    expect(entries).toHaveLength(1);
  });

  test('and the answers hold no piece of a secret', async () => {
    const outputs: unknown[] = [];
    for (const plan of [{}, { store: { add: unavailable('INTERNAL') } }, destroyable]) {
      const { post, call, entries } = serve(plan);
      outputs.push((await post()).text, (await call('/')).text, entries);
    }
    const output = JSON.stringify(outputs);
    for (const { apiKey, refreshToken = '' } of [CREDENTIAL, SUCCESSOR]) {
      const decoded = Buffer.from(apiKey, 'base64').toString();
      for (const secret of [apiKey, refreshToken, decoded.slice(decoded.indexOf('kEy'))]) {
        expect(secret.length).toBeGreaterThan(7);
        expect(piecesIn(output, secret)).toEqual([]);
      }
    }
  });
});
