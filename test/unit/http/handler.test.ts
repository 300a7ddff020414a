import type { ErrorCode } from '../../../src/errors';
import type { SecretStore } from '../../../src/rotation/ports';
import { error, key, NEW_KEY, NOT_DUE, STORE_REFUSES, type Plan } from '../rotation/test-bed';
import { inTurn, piecesIn, SECOND, version } from '../support';
import { A, B, serve } from './serve';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const TRACE_FIELD = 'logging.googleapis.com/trace';
const ISSUED = { credential: NEW_KEY, warnings: [] };

describe('POST /', () => {
  test('rotates all secrets, and answers in the order of the configuration', async () => {
    const { call, handled } = serve();
    const { status, body, headers } = await call('/', { method: 'POST' });
    expect(status).toBe(200);
    expect(await handled[0]?.isAnswered).toBe(true);
    expect(headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(body).toEqual({
      results: [A, B].map((secret) => ({
        secret,
        outcome: 'rotated',
        reason: 'every run rotates',
        version: '5',
        previousVersion: '4',
        issuedBy: 'refresh',
        keyId: 'new',
        expiresAt: '2026-12-01T00:00:00.000Z',
        verified: true,
        disabled: ['4'],
      })),
    });
  });

  test('rotates only named secrets', async () => {
    const { post, touched, entries } = serve();
    const { body } = await post({ secrets: ['b'] });
    expect(body.results).toMatchObject([{ secret: B, outcome: 'rotated' }]);
    expect([...touched]).toEqual([B]);
    expect(entries.map(({ secret }) => secret)).toEqual([B]);
  });

  test.each([
    [{}, { outcome: 'not_due' }],
    [{ force: true }, { outcome: 'rotated', reason: 'forced' }],
    [{ dryRun: true }, { outcome: 'dry_run' }],
    [
      { force: true, dryRun: true },
      { outcome: 'dry_run', reason: 'would rotate: forced' },
    ],
  ])('with %j', async (sent, expected) => {
    const { body } = await serve({ policy: NOT_DUE }, { secrets: [A] }).post(sent);
    expect(body.results).toMatchObject([expected]);
  });

  test.each([
    ['2026-10-27T00:00:00Z', 'already_rotated'],
    ['2026-10-27T00:00:01Z', 'rotated'],
  ])('scheduled for %s: %s', async (time, outcome) => {
    const { post } = serve({}, { secrets: [A] });
    const { body } = await post({}, { 'x-cloudscheduler-scheduletime': time });
    expect(body.results).toMatchObject([{ outcome }]);
  });

  const missingPermissions: SecretStore['missingPermissions'] = ({ name }) =>
    Promise.resolve(name === B ? ['add'] : []);
  const disable: SecretStore['disable'] = ({ name }) =>
    name === B ? Promise.reject(STORE_REFUSES) : Promise.resolve(true);

  test.each<[string, Partial<SecretStore>, number, string]>([
    ['failed', { missingPermissions }, 403, 'failed'],
    ['is incomplete', { disable }, 503, 'incomplete'],
  ])(
    'answers with the highest status when one secret %s, and rotates the other',
    async (_name, store, status, outcome) => {
      const answer = await serve({ store }).post();
      expect(answer.status).toBe(status);
      expect(answer.body.results).toMatchObject([
        { secret: A, outcome: 'rotated' },
        { secret: B, outcome },
      ]);
    },
  );

  test.each([
    ['in time', 15 * SECOND, 200],
    ['too late', 15 * SECOND + 1, 504],
  ])(
    'begins to issue a key only if it can end before the timeout of the function: %s',
    async (_name, takes, status) => {
      const plan = serve(
        { store: { list: () => plan.clock.sleep(takes).then(() => ({ versions: [version(4)] })) } },
        { secrets: [A], timeoutMs: 120 * SECOND },
      );
      expect((await plan.post()).status).toBe(status);
    },
  );

  test('finishes when the caller goes away', async () => {
    const reached = Promise.withResolvers<undefined>();
    const goOn = Promise.withResolvers<undefined>();
    const issue = async () => {
      reached.resolve(undefined);
      await goOn.promise;
      return ISSUED;
    };
    const { call, entries, handled } = serve({ next: { issue } }, { secrets: [A] });
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

describe('a request that is refused', () => {
  const planted = 'pLanted-Qz8';
  const SCHEDULED = 'x-cloudscheduler-scheduletime';

  test.each<[string, unknown, Record<string, string>, number, ErrorCode]>([
    ['an invalid body', `{"secrets": ["${planted}"`, {}, 400, 'INVALID_REQUEST'],
    ['a list as its body', '[]', {}, 400, 'INVALID_REQUEST'],
    ['a body that is too long', ' '.repeat(16 * 1024 + 1), {}, 400, 'INVALID_REQUEST'],
    ['an invalid scheduled time', {}, { [SCHEDULED]: planted }, 400, 'INVALID_REQUEST'],
    ['an unknown secret', { secrets: ['a', planted] }, {}, 404, 'SECRET_NOT_CONFIGURED'],
  ])('changes nothing when it has %s', async (_name, sent, headers, status, code) => {
    const { post, touched, entries } = serve();
    const answer = await post(sent, { traceparent: `00-${TRACE}-b7ad6b71-01`, ...headers });
    expect(answer.status).toBe(status);
    expect(Object.keys(answer.body)).toEqual(['error']);
    expect(answer.body.error).toMatchObject({ code, retryable: false });
    expect(touched.size).toBe(0);
    expect(entries).toEqual([
      {
        severity: 'WARNING',
        message: `${code}: ${answer.body.error?.message ?? ''}`,
        event: 'request',
        trigger: SCHEDULED in headers ? 'schedule' : 'http',
        error: answer.body.error,
        [TRACE_FIELD]: `projects/traces/traces/${TRACE}`,
        executionId: expect.any(String) as string,
      },
    ]);
    expect(piecesIn(answer.text + JSON.stringify(entries), planted)).toEqual([]);
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

  test.each(['POST', 'GET'])(
    'fails with 400, and changes nothing, when %s has a query',
    async (method) => {
      const { call, touched } = serve();
      const { status, body } = await call('/?dryRun=true', { method });
      expect([status, body.error?.code]).toEqual([400, 'INVALID_REQUEST']);
      expect(touched.size).toBe(0);
    },
  );
});

describe('GET /', () => {
  test('reports every secret, changes nothing and logs nothing', async () => {
    const { call, entries, calls } = serve();
    const { status, body } = await call('/');
    expect(status).toBe(200);
    expect(body).toMatchObject({
      secrets: [A, B].map((secret) => ({ secret, version: '4', nextRenewal: 'every run' })),
    });
    expect(calls).toEqual([]);
    expect(entries).toEqual([]);
  });

  test('answers with the highest status of all', async () => {
    const list: SecretStore['list'] = ({ name }) =>
      name === B
        ? Promise.reject(error('SECRET_NOT_FOUND'))
        : Promise.resolve({ versions: [version(4)] });
    const { status, body } = await serve({ store: { list } }).call('/');
    expect(status).toBe(404);
    expect(body.secrets).toMatchObject([
      { secret: A, version: '4' },
      { secret: B, error: { code: 'SECRET_NOT_FOUND', retryable: false } },
    ]);
  });

  test('logs an unexpected error with its stack', async () => {
    const fault = new TypeError('planted');
    const { call, entries } = serve({ store: { list: inTurn<never>(fault) } }, { secrets: [A] });
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
  test('has one line for each secret and run, with the trace of its request', async () => {
    const { post, entries } = serve({}, { secrets: [A] });
    const trace = { 'x-cloud-trace-context': `${TRACE}/123;o=1` };
    await post({}, { ...trace, 'function-execution-id': 'abc-DEF_123' });
    expect(entries).toMatchObject([
      {
        ...{ severity: 'INFO', event: 'rotation', secret: A, outcome: 'rotated' },
        [TRACE_FIELD]: `projects/traces/traces/${TRACE}`,
        executionId: 'abc-DEF_123',
      },
    ]);
  });

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
    const { post, entries } = serve({}, { secrets: [A] });
    await post({}, headers);
    expect(entries[0]?.[TRACE_FIELD]).toBe(trace && `projects/traces/traces/${trace}`);
  });

  test("has no execution id that doesn't look like one", async () => {
    const { post, entries } = serve({}, { secrets: [A] });
    await post({}, { 'function-execution-id': '{"severity": "CRITICAL"}' });
    expect(entries).toHaveLength(1);
    expect(entries[0]).not.toHaveProperty('executionId');
  });

  test('has one line when requests share a run', async () => {
    const gate = Promise.withResolvers<undefined>();
    const issue = () => gate.promise.then(() => ISSUED);
    const { post, entries, handled } = serve({ next: { issue } }, { secrets: [A] });
    const answers = Array.from({ length: 5 }, () => post());
    while (handled.length < 5) await new Promise((resolve) => setImmediate(resolve));
    gate.resolve(undefined);
    for (const { status, body } of await Promise.all(answers)) {
      expect(status).toBe(200);
      expect(body.results).toMatchObject([{ outcome: 'rotated', version: '5' }]);
    }
    expect(entries).toHaveLength(1);
  });

  test('contains no piece of a payload, and neither do answers', async () => {
    const payload = 'sEcret-payload-Zk7Xw2';
    const stored = { ...key('k4'), serialize: () => Buffer.from(`{"name":"k4","x":"${payload}"}`) };
    const issued = { ...NEW_KEY, serialize: () => Buffer.from(payload) };
    const plan: Plan = {
      contents: { 4: stored },
      next: { issue: inTurn({ credential: issued, warnings: [] }) },
    };
    const outputs: unknown[] = [];
    for (const store of [{}, { add: inTurn<never>(new Error(payload)) }]) {
      const { post, call, entries } = serve({ ...plan, store });
      outputs.push((await post()).text, (await call('/')).text, entries);
    }
    expect(piecesIn(JSON.stringify(outputs), payload)).toEqual([]);
  });
});
