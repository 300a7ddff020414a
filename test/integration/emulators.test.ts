/** Behaviour of the emulators that rotations and the conformance checks don't use. */
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { json } from 'node:stream/consumers';
import { inspect } from 'node:util';
import type { RefreshApiKey } from '@gomomento/sdk';
import { v1 } from '@google-cloud/secret-manager';
import { Client, credentials, Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { PassThroughClient } from 'google-auth-library';
import { systemClock } from '../../src/clock';
import { DAY, HOUR, SECOND } from '../../src/duration';
import { Credential } from '../../src/momento/credential';
import { Sdk } from '../../src/momento/sdk';
import type { Fault } from '../../emulators/faults';
import { HttpHost, HttpRefusal } from '../../emulators/http-host';
import { MomentoEmulator } from '../../emulators/momento';
import { SecretManagerEmulator } from '../../emulators/secret-manager';
import { startServices, type Services } from '../../emulators/services';

const SECRET = 'projects/p/secrets/s';
const DAY_S = DAY / SECOND;

/** The first element of a client's answer, or `CODE: text` of its error. */
async function outcome(call: Promise<readonly [unknown, ...unknown[]]>): Promise<unknown> {
  try {
    return (await call)[0];
  } catch (error) {
    const { code, details } = error as ServiceError;
    return `${status[code]}: ${details}`;
  }
}

describe('the emulator of Secret Manager, called by the real client,', () => {
  let emulator: SecretManagerEmulator;
  let client: v1.SecretManagerServiceClient;

  beforeEach(async () => {
    emulator = await SecretManagerEmulator.start();
    const [apiEndpoint = '', port] = emulator.host.split(':');
    client = new v1.SecretManagerServiceClient({
      apiEndpoint,
      port: Number(port),
      sslCreds: credentials.createInsecure(),
      authClient: new PassThroughClient(),
    });
    emulator.createSecret(SECRET);
  });

  afterEach(async () => {
    await emulator.stop();
    await client.close();
  });

  // The client would try this again for ten minutes.
  const access = (name: string) => client.accessSecretVersion({ name }, { retry: null });
  const add = (parent: string, data = 'payload') =>
    client.addSecretVersion({ parent, payload: { data: Buffer.from(data) } });
  const states = (): string =>
    emulator
      .versions(SECRET)
      .map(({ state }) => state)
      .join();

  it("refuses every method when the routing header doesn't name the resource of the request", async () => {
    const wire = new Client(emulator.host, credentials.createInsecure());
    const same = (bytes: Buffer): Buffer => bytes;
    const send = (method: string, header = ''): Promise<unknown> =>
      new Promise((resolve) => {
        const metadata = new Metadata();
        if (header !== '') metadata.set('x-goog-request-params', header);
        const path = `/google.cloud.secretmanager.v1.SecretManagerService/${method}`;
        const request = Buffer.from([0x0a, SECRET.length, ...Buffer.from(SECRET)]);
        wire.makeUnaryRequest(path, same, same, request, metadata, (error) =>
          resolve(error === null ? 'OK' : `${status[error.code]}: ${error.details}`),
        );
      });
    const refused = /^INVALID_ARGUMENT: The header x-goog-request-params/;
    const name = encodeURIComponent(SECRET);
    for (const [method, field] of [
      ['AddSecretVersion', 'parent'],
      ['ListSecretVersions', 'parent'],
      ['GetSecretVersion', 'name'],
      ['AccessSecretVersion', 'name'],
      ['DisableSecretVersion', 'name'],
      ['DestroySecretVersion', 'name'],
      ['TestIamPermissions', 'resource'],
    ] as const) {
      for (const header of ['', `${field}=${name}-2`, `other=${name}`]) {
        expect(await send(method, header)).toMatch(refused);
      }
      expect(await send(method, `${field}=${name}`)).not.toMatch(/x-goog/);
    }
    wire.close();
  });

  const call = {
    'secretmanager.secrets.get': () => client.getSecret({ name: SECRET }),
    'secretmanager.versions.list': () => client.listSecretVersions({ parent: SECRET }),
    'secretmanager.versions.get': (v = '1') =>
      client.getSecretVersion({ name: `${SECRET}/versions/${v}` }),
    'secretmanager.versions.access': (v = '1') => access(`${SECRET}/versions/${v}`),
    'secretmanager.versions.add': () => add(SECRET),
    'secretmanager.versions.enable': (v = '1') =>
      client.enableSecretVersion({ name: `${SECRET}/versions/${v}` }),
    'secretmanager.versions.disable': (v = '1') =>
      client.disableSecretVersion({ name: `${SECRET}/versions/${v}` }),
    'secretmanager.versions.destroy': (v = '1') =>
      client.destroySecretVersion({ name: `${SECRET}/versions/${v}` }),
    'secretmanager.secrets.delete': () => client.deleteSecret({ name: SECRET }),
  };
  const permissions = Object.keys(call) as (keyof typeof call)[];

  it.each(permissions)('refuses a call when %s is missing', async (permission) => {
    emulator.addVersion(SECRET, 'payload');
    emulator.grant(
      SECRET,
      [...emulator.permissions(SECRET)].filter((p) => p !== permission),
    );
    expect(await outcome(call[permission]())).toMatch(
      new RegExp(
        `^PERMISSION_DENIED: Permission '${permission}' denied for resource '${SECRET}[^']*' ` +
          '\\(or it may not exist\\)\\.$',
      ),
    );
    emulator.grant(SECRET, [permission]);
    expect(await outcome(call[permission]())).not.toEqual(expect.any(String));
  });

  it.each([
    ['a version in place of a secret', () => add(`${SECRET}/versions/1`)],
    ['a secret in place of a version', () => access(SECRET)],
    ['a name of something else', () => add('projects/p/topics/s')],
  ])('refuses a request when it has %s', async (_, request) => {
    emulator.addVersion(SECRET, 'payload');
    expect(await outcome(request())).toBe(
      'INVALID_ARGUMENT: Invalid resource field value in the request.',
    );
  });

  it('calls listeners at every change, before it answers', async () => {
    const seen: string[] = [];
    const stop = emulator.onChange(() => seen.push(states()));
    await add(SECRET);
    await outcome(call['secretmanager.versions.disable']());
    await outcome(call['secretmanager.versions.access']());
    emulator.setState(SECRET, '1', 'ENABLED');
    stop();
    emulator.setState(SECRET, '1', 'DESTROYED');
    expect(seen).toEqual(['ENABLED', 'DISABLED', 'ENABLED']);
  });

  describe('with a fault', () => {
    const disable = (timeout = 5000): Promise<unknown> =>
      outcome(client.disableSecretVersion({ name: `${SECRET}/versions/1` }, { timeout }));

    beforeEach(() => {
      emulator.addVersion(SECRET, 'payload');
    });

    it.each([
      ['error', 'before', 'ENABLED', /^ABORTED/],
      ['error', 'after', 'DISABLED', /^ABORTED/],
      ['hang', 'before', 'ENABLED', /^DEADLINE_EXCEEDED/],
      ['hang', 'after', 'DISABLED', /^DEADLINE_EXCEEDED/],
      ['drop', 'before', 'ENABLED', /^UNAVAILABLE/],
      ['drop', 'after', 'DISABLED', /^UNAVAILABLE/],
    ] as const)(
      '%s %s the effect: only the second call fails when that is injected',
      async (kind, when, state, expected) => {
        emulator.faults.inject('DisableSecretVersion', 2, { kind, code: status.ABORTED, when });
        expect(await disable()).toMatchObject({ state: 'DISABLED' });
        emulator.setState(SECRET, '1', 'ENABLED');
        expect(await disable(kind === 'hang' ? 30 : 5000)).toMatch(expected);
        expect(states()).toBe(state);
        expect(await disable()).toMatchObject({ state: 'DISABLED' });
        expect(emulator.faults.calls.map(({ method, n }) => `${method} ${n}`)).toEqual([
          'DisableSecretVersion 1',
          'DisableSecretVersion 2',
          'DisableSecretVersion 3',
        ]);
      },
    );

    it('calls a hook before and after each effect, which can change the state and inject a fault', async () => {
      const seen: string[] = [];
      emulator.faults.intercept = async ({ method }, when) => {
        await Promise.resolve();
        seen.push(`${when} ${method} ${states()}`);
        if (method === 'AddSecretVersion') return { kind: 'error', code: status.INTERNAL, when };
        if (when === 'after') emulator.setState(SECRET, '1', 'ENABLED');
        return undefined;
      };
      expect(await disable()).toMatchObject({ state: 'DISABLED' });
      expect(await outcome(add(SECRET))).toMatch(/^INTERNAL/);
      expect(seen).toEqual([
        'before DisableSecretVersion ENABLED',
        'after DisableSecretVersion DISABLED',
        'before AddSecretVersion ENABLED',
      ]);
      expect(states()).toBe('ENABLED');
    });

    it('prints no payload when calls are printed', async () => {
      await add(SECRET, 'not-for-the-screen');
      const [call] = emulator.faults.calls;
      const { payload } = call?.request as { payload: { data: Buffer } };
      expect(payload.data.toString()).toBe('not-for-the-screen');
      expect(JSON.stringify(call)).toBe(
        '{"service":"secretmanager","method":"AddSecretVersion","n":1}',
      );
      expect(inspect(call, { depth: null, showHidden: true })).not.toContain('Buffer');
    });

    it('ends hanging calls when it stops', async () => {
      emulator.faults.inject('DisableSecretVersion', 1, { kind: 'hang', when: 'before' });
      const arrived = new Promise<void>((resolve) => {
        emulator.faults.intercept = () => resolve();
      });
      const answer = disable();
      await arrived;
      await emulator.stop();
      expect(await answer).toMatch(/^UNAVAILABLE/);
    });
  });
});

it('the emulator of Momento lists every secret that it issued, and prints none', async () => {
  const emulator = await MomentoEmulator.start();
  const { apiKey, refreshToken, consoleJson } = emulator.issueKey();
  const sdk = new Sdk(systemClock, emulator.host);
  const credential = Credential.parse(Buffer.from(consoleJson));
  const fresh = (await sdk.refresh(credential, { deadline: Infinity })) as RefreshApiKey.Success;
  const inner = [apiKey, fresh.apiKey].map(
    (key) => (JSON.parse(Buffer.from(key, 'base64').toString()) as { api_key: string }).api_key,
  );
  expect(new Set(emulator.secrets())).toEqual(
    new Set([apiKey, fresh.apiKey, refreshToken, fresh.refreshToken, ...inner]),
  );
  const printed = inspect([emulator, emulator.faults.calls], { depth: null, showHidden: true });
  expect(emulator.secrets().filter((secret) => printed.includes(secret))).toEqual([]);
  await emulator.stop();
});

describe('an emulator over HTTP', () => {
  let host: HttpHost;
  let url: string;
  /** What was added; each addition answers what there is. */
  let items: unknown[];

  beforeEach(async () => {
    items = [];
    host = new HttpHost('keyapi');
    host.serve({
      Add: {
        method: 'POST',
        path: /^\/items$/,
        act: ({ body, headers }) => {
          if (headers.authorization?.join() !== 'me')
            throw new HttpRefusal(401, { code: 'Unauthorized' });
          items.push(body);
          return { answer: { items }, corrupted: { items: [] } };
        },
      },
      Remove: {
        method: 'DELETE',
        path: /^\/items\/(?<id>[^/]+)$/,
        act: ({ parts, query }) => ({
          answer: { id: parts.id, why: query.get('why') },
          corrupted: {},
        }),
      },
    });
    url = `http://${await host.listen()}`;
  });

  afterEach(() => host.stop());

  const add = (authorization = 'me', signal?: AbortSignal): Promise<Response> =>
    fetch(`${url}/items`, {
      method: 'POST',
      headers: { authorization },
      body: '"one"',
      ...(signal && { signal }),
    });

  /** What a client makes of the nth call: status and JSON, or the kind of its error. */
  async function outcome(call: Promise<Response>): Promise<unknown> {
    try {
      const response = await call;
      return [response.status, await response.json()];
    } catch (error) {
      return (error as Error).name;
    }
  }

  it('answers with 404 or 405 when a route is unknown, and with the status of a refusal', async () => {
    expect(await outcome(add())).toEqual([200, { items: ['one'] }]);
    expect(await outcome(add('you'))).toEqual([401, { code: 'Unauthorized' }]);
    const remove = fetch(`${url}/items/a%2Fb?why=old`, { method: 'DELETE' });
    expect(await outcome(remove)).toEqual([200, { id: 'a/b', why: 'old' }]);
    expect(await outcome(fetch(`${url}/items`))).toMatchObject([
      405,
      { code: 'Method Not Allowed' },
    ]);
    expect(await outcome(fetch(`${url}/x`))).toMatchObject([404, { code: 'Not Found' }]);
    const broken = fetch(`${url}/items`, { method: 'POST', body: '{' });
    expect(await outcome(broken)).toMatchObject([400, { message: 'The body is not JSON' }]);
    expect(host.faults.calls.map(({ method, n }) => `${method} ${n}`)).toEqual([
      'Add 1',
      'Add 2',
      'Remove 1',
      'GET /items 1',
      'GET /x 1',
      'Add 3',
    ]);
    expect(items).toEqual(['one']);
  });

  // The tests of rotations and of the key API's client use all other faults.
  it.each<[string, Fault, unknown]>([
    ['answers with a page', { kind: 'html', status: 200, when: 'after' }, 'SyntaxError'],
    ['is slow', { kind: 'slow', ms: 20 }, [200, { items: ['one'] }]],
    ['has no gRPC status', { kind: 'error', code: status.UNAVAILABLE, when: 'before' }, [500, {}]],
  ])('%s when that is injected', async (_, fault, expected) => {
    host.faults.inject('Add', 1, fault);
    const begin = performance.now();
    const answer = await outcome(add());
    if (typeof expected === 'string') expect(answer).toBe(expected);
    else expect(answer).toMatchObject(expected as object);
    if (fault.kind === 'slow') expect(performance.now() - begin).toBeGreaterThanOrEqual(19);
    expect(await outcome(add())).toMatchObject([200, expect.anything()]);
  });

  it('ends a hanging call when the client or the emulator ends it', async () => {
    host.faults.inject('Add', 'every', { kind: 'hang', when: 'after' });
    const reached = (): Promise<void> =>
      new Promise((resolve) => {
        host.faults.intercept = (_, moment) => (moment === 'after' ? resolve() : undefined);
      });
    const abort = new AbortController();
    const impatient = outcome(add('me', abort.signal));
    await reached();
    expect(items).toHaveLength(1);
    abort.abort();
    expect(await impatient).toBe('AbortError');
    const patient = outcome(add());
    await reached();
    await host.stop();
    expect(await patient).toBe('TypeError');
  });

  it('prints nothing of a request when calls are printed', async () => {
    await add('not-for-the-screen');
    expect(inspect(host.faults.calls, { depth: null, showHidden: true })).not.toContain('screen');
  });
});

describe('the emulator of the key API', () => {
  const START = Date.UTC(2026, 7, 1, 12, 0, 0, 250);
  const START_S = Math.floor(START / 1000);
  const DESCRIPTION = 'momento-key-rotator projects/p/secrets/s';
  const TERMS = {
    role_id: 'r-viewer',
    description: DESCRIPTION,
    expiry: START_S + 30 * DAY_S,
    exclude_refresh_token: true,
  };
  const KEYS = '/api-keys';
  const BAD_REQUEST = { status: 400, body: { code: 'Bad Request' } };
  const UNAUTHENTICATED = { status: 401, body: { code: 'Unauthenticated' } };
  let services: Services;
  /** A key whose role can manage keys. */
  let manager: string;

  beforeEach(async () => {
    services = await startServices({ now: () => START });
    manager = services.momento.issueV2Key({ role: 'r-operator', description: 'management' }).apiKey;
  });

  afterEach(() => services.stop());

  const setTime = (ms: number): void => {
    services.momento.now = () => ms;
  };

  interface Options {
    readonly authorization?: string | string[];
    readonly type?: string;
    readonly body?: unknown;
  }

  /** With the client of Node.js: `fetch` can't send a header twice. */
  async function call(method: string, path: string, options: Options = {}) {
    const { authorization = manager, type = 'application/json', body } = options;
    const { host } = services.keyApi;
    const keys = [authorization].flat().flatMap((key) => ['Authorization', key]);
    const headers = ['Host', host, 'Content-Type', type, ...keys];
    const sent = request(`http://${host}${path}`, { method, headers });
    sent.end(body === undefined ? undefined : JSON.stringify(body));
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    const answer = (await json(response)) as Record<string, unknown>;
    return { status: response.statusCode, body: answer, headers: response.headers };
  }

  const refresh = (authorization: string, body: unknown = {}) =>
    call('POST', services.keyApi.refreshPath, { authorization, body });

  it.each<[string, () => string | string[]]>([
    ['missing', () => []],
    ['empty', () => ''],
    ['a bearer token', () => `Bearer ${manager}`],
    ['there twice', () => [manager, manager]],
    ['a refresh token', () => services.momento.issueV2Key({ role: 'r-owner' }).refreshToken ?? ''],
  ])('refuses every call when the authorization is %s', async (_, key) => {
    const authorization = key();
    const before = services.keyApi.account.keys().length;
    for (const [method, path, body] of [
      ['POST', KEYS, TERMS],
      ['GET', KEYS, undefined],
      ['DELETE', `${KEYS}/none`, undefined],
    ] as const) {
      expect(await call(method, path, { authorization, body })).toMatchObject(UNAUTHENTICATED);
    }
    expect(services.keyApi.account.keys()).toHaveLength(before);
  });

  it.each<[string, unknown]>([
    ['is missing', undefined],
    ['is a list', [TERMS]],
    ['has no role', { ...TERMS, role_id: undefined }],
    ['has null as its description', { ...TERMS, description: null }],
    ['has a text as its expiry', { ...TERMS, expiry: String(TERMS.expiry) }],
    ['expires now', { ...TERMS, expiry: START_S }],
    ['has an unknown field', { ...TERMS, name: 's' }],
  ])('mints no key when the body %s', async (_, body) => {
    expect(await call('POST', KEYS, { body })).toMatchObject(BAD_REQUEST);
    expect(services.keyApi.account.keys(DESCRIPTION)).toEqual([]);
  });

  it('mints no key when the content type, the path or the query is another one', async () => {
    const mint = (path: string, type?: string) =>
      call('POST', path, { body: TERMS, ...(type && { type }) });
    expect(await mint(KEYS, 'text/plain')).toMatchObject(BAD_REQUEST);
    expect(await mint(`${KEYS}?dry_run=true`)).toMatchObject(BAD_REQUEST);
    expect(await mint(`${KEYS}/`)).toMatchObject({ status: 404 });
    expect(services.keyApi.account.keys(DESCRIPTION)).toEqual([]);
  });

  it.each<[string, unknown]>([
    ['is a list', []],
    ['has an unknown field', { expiry: START_S + 60 }],
    ['asks for a longer lifetime', { expiration_epoch_seconds: START_S + 30 * DAY_S + 1 }],
  ])('refuses a refresh, and keeps its token, when the body %s', async (_, body) => {
    const lifetime = { lifetimeSeconds: 30 * DAY_S };
    const { refreshToken = '' } = services.momento.issueV2Key(lifetime);
    expect(await refresh(refreshToken, body)).toMatchObject(BAD_REQUEST);
    expect(await refresh(refreshToken)).toMatchObject({ status: 200 });
  });

  it('answers with 429 when an account made too many calls in a second', async () => {
    services.keyApi.callsPerSecond = 2;
    const { apiKey, refreshToken = '' } = services.momento.issueV2Key({ role: 'r-owner' });
    expect(await call('GET', KEYS)).toMatchObject({ status: 200 });
    expect(await call('GET', KEYS, { authorization: apiKey })).toMatchObject({ status: 200 });
    const limited = { status: 429, headers: { 'retry-after': '1' } };
    expect(await call('POST', KEYS, { body: TERMS })).toMatchObject(limited);
    expect(await refresh(refreshToken)).toMatchObject(limited);
    expect(await call('GET', KEYS, { authorization: 'x' })).toMatchObject(UNAUTHENTICATED);
    setTime(START + 1000);
    expect(await refresh(refreshToken)).toMatchObject({ status: 200 });
  });

  it('knows which keys are live and orphaned, and who revoked the others', async () => {
    const { account } = services.keyApi;
    const mint = async (): Promise<string> =>
      String((await call('POST', KEYS, { body: TERMS })).body.api_key);
    const [byCall, byPerson, expired] = [await mint(), await mint(), await mint()];
    setTime(START + HOUR);
    const [referenced, orphan] = [await mint(), await mint()];
    await call('DELETE', `${KEYS}/${account.find(byCall)?.info.key_id}`);
    services.momento.revoke(byPerson);
    const keys = account.keys(DESCRIPTION);
    expect(keys.map(({ apiKey }) => apiKey)).toEqual([
      byCall,
      byPerson,
      expired,
      referenced,
      orphan,
    ]);
    expect(keys.map(({ revoked }) => revoked?.by)).toEqual([
      'call',
      'operator',
      ...Array<undefined>(3),
    ]);
    const live = (): string[] =>
      keys.filter((key) => account.isLive(key)).map(({ apiKey }) => apiKey);
    expect(live()).toEqual([expired, referenced, orphan]);
    expect(account.orphans(DESCRIPTION, [referenced, expired])).toMatchObject([{ apiKey: orphan }]);
    setTime(START + 30 * DAY);
    expect(live()).toEqual([]);
  });

  it('calls listeners at every change, and lists and prints no secret', async () => {
    const changes: number[] = [];
    services.momento.onChange(() => changes.push(services.keyApi.account.keys().length));
    const body = { ...TERMS, exclude_refresh_token: false };
    const minted = (await call('POST', KEYS, { body })).body;
    const fresh = (await refresh(String(minted.refresh_token))).body;
    await call('DELETE', `${KEYS}/${(minted.key_info as { key_id: string }).key_id}`);
    await call('POST', KEYS, { body: {} });
    expect(changes).toEqual([2, 3, 3]);
    const secrets = [minted, fresh].flatMap(({ api_key, refresh_token }) => [
      api_key,
      refresh_token,
    ]);
    expect(services.momento.secrets()).toEqual(expect.arrayContaining([manager, ...secrets]));
    const listed = JSON.stringify((await call('GET', KEYS)).body);
    const everything = [services, services.keyApi.account, services.keyApi.faults.calls];
    const printed = inspect(everything, { depth: null, showHidden: true });
    const written = services.momento
      .secrets()
      .filter((secret) => (listed + printed).includes(secret));
    expect(written).toEqual([]);
  });
});
