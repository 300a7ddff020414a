/** Behaviour of the emulators that neither a rotation nor the conformance suite would miss. */
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { json } from 'node:stream/consumers';
import { inspect } from 'node:util';
import {
  AuthClient,
  AuthClientConfigurations,
  CacheClient,
  Configurations,
  CredentialProvider,
  ListCaches,
  NoopMomentoLoggerFactory,
  RefreshApiKey,
} from '@gomomento/sdk';
import { v1 } from '@google-cloud/secret-manager';
import { Client, credentials, Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { PassThroughClient } from 'google-auth-library';
import type { Fault } from '../../emulators/faults';
import { HttpHost, HttpRefusal } from '../../emulators/http-host';
import { MomentoEmulator } from '../../emulators/momento';
import { SecretManagerEmulator } from '../../emulators/secret-manager';
import { startServices, type Services } from '../../emulators/services';

const SECRET = 'projects/p/secrets/s';
/** What the service calls it. */
const ANSWERED = 'projects/123456789012/secrets/s';
const HOUR = 3600;
const DAY_S = 24 * HOUR;
const DAY_MS = DAY_S * 1000;

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

  describe('whose latest version', () => {
    it.each([
      ['enabled', 'ENABLED', expect.objectContaining({ name: `${ANSWERED}/versions/2` })],
      [
        'disabled',
        'DISABLED',
        `FAILED_PRECONDITION: Secret Version [${ANSWERED}/versions/2] is in DISABLED state.`,
      ],
      [
        'destroyed',
        'DESTROYED',
        `FAILED_PRECONDITION: Secret Version [${ANSWERED}/versions/2] is in DESTROYED state.`,
      ],
    ] as const)('is the newest version when it is %s', async (_, state, expected) => {
      emulator.addVersion(SECRET, 'old');
      emulator.addVersion(SECRET, 'new', { state });
      expect(await outcome(access(`${SECRET}/versions/latest`))).toEqual(expected);
      expect(emulator.latest(SECRET)).toEqual(state === 'ENABLED' ? Buffer.from('new') : undefined);
    });

    it.each([
      ['there is no version', 'projects/p/secrets/s'],
      ['there is no secret', 'projects/p/secrets/none'],
    ])("isn't found when %s", async (_, secret) => {
      const answered = secret.replace('/p/', '/123456789012/');
      expect(await outcome(access(`${secret}/versions/latest`))).toBe(
        `NOT_FOUND: Secret [${answered}] not found or has no versions.`,
      );
      expect(emulator.latest(secret)).toBeUndefined();
    });
  });

  it.each([
    ['AddSecretVersion', 'parent'],
    ['ListSecretVersions', 'parent'],
    ['GetSecretVersion', 'name'],
    ['AccessSecretVersion', 'name'],
    ['DisableSecretVersion', 'name'],
    ['DestroySecretVersion', 'name'],
    ['TestIamPermissions', 'resource'],
  ])(
    "refuses %s when the routing header doesn't contain the resource of the request as %s",
    async (method, field) => {
      const text = Buffer.from(SECRET);
      const request = Buffer.from([0x0a, text.length, ...text]);
      const wire = new Client(emulator.host, credentials.createInsecure());
      const send = (header?: string): Promise<unknown> =>
        new Promise((resolve) => {
          const metadata = new Metadata();
          if (header !== undefined) metadata.set('x-goog-request-params', header);
          const same = (bytes: Buffer): Buffer => bytes;
          wire.makeUnaryRequest(
            `/google.cloud.secretmanager.v1.SecretManagerService/${method}`,
            same,
            same,
            request,
            metadata,
            (error) => resolve(error === null ? 'OK' : `${status[error.code]}: ${error.details}`),
          );
        });
      const refused = /^INVALID_ARGUMENT: The header x-goog-request-params/;
      expect(await send()).toMatch(refused);
      expect(await send(`${field}=${encodeURIComponent(`${SECRET}-2`)}`)).toMatch(refused);
      expect(await send(`other=${encodeURIComponent(SECRET)}`)).toMatch(refused);
      expect(await send(`${field}=${encodeURIComponent(SECRET)}`)).not.toMatch(/x-goog/);
      wire.close();
    },
  );

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

describe('the emulator of Momento, called by the real SDK,', () => {
  let emulator: MomentoEmulator;
  const logger = new NoopMomentoLoggerFactory();

  beforeEach(async () => {
    emulator = await MomentoEmulator.start();
  });

  afterEach(() => emulator.stop());

  const provider = (apiKey: string): CredentialProvider =>
    // eslint-disable-next-line @typescript-eslint/no-deprecated -- only this takes v1 keys
    CredentialProvider.fromString({
      apiKey,
      endpointOverrides: {
        controlEndpoint: emulator.host,
        cacheEndpoint: emulator.host,
        tokenEndpoint: emulator.host,
        secureConnection: false,
      },
    });

  const refresh = (apiKey: string, refreshToken: string): Promise<RefreshApiKey.Response> =>
    new AuthClient({
      credentialProvider: provider(apiKey),
      configuration: AuthClientConfigurations.Default.latest(logger),
    }).refreshApiKey(refreshToken);

  const refreshed = async (
    apiKey: string,
    refreshToken: string,
  ): Promise<RefreshApiKey.Success> => {
    const response = await refresh(apiKey, refreshToken);
    if (response instanceof RefreshApiKey.Success) return response;
    throw new Error(response.toString());
  };

  const refusal = async (apiKey: string, refreshToken: string): Promise<string | undefined> => {
    const response = await refresh(apiKey, refreshToken);
    return response instanceof RefreshApiKey.Error ? response.errorCode() : undefined;
  };

  async function withCache<T>(
    apiKey: string,
    use: (client: CacheClient) => Promise<T>,
  ): Promise<T> {
    const client = new CacheClient({
      credentialProvider: provider(apiKey),
      configuration: Configurations.Lambda.latest(logger),
      defaultTtlSeconds: 60,
    });
    try {
      return await use(client);
    } finally {
      client.close();
    }
  }

  const answers = (apiKey: string): Promise<string[]> =>
    withCache(apiKey, async (client) => {
      const all = [
        await client.listCaches(),
        await client.get('cache', 'k'),
        await client.get('x', 'k'),
      ];
      return all.map((answer) => ('errorCode' in answer ? answer.errorCode() : answer.type));
    });

  it.each(['v1', 'legacy'] as const)(
    'refreshes a %s key with the lifetime and permissions of the old one',
    async (format) => {
      const start = Math.floor(Date.now() / 1000);
      emulator.now = () => start * 1000;
      const old = emulator.issueKey({ lifetimeSeconds: HOUR, permissions: 'data-only', format });
      expect(old.validUntil).toBe(start + HOUR);
      emulator.now = () => (start + 1000) * 1000;
      const fresh = await refreshed(old.apiKey, old.refreshToken);
      expect(fresh.expiresAt.epoch()).toBe(start + 1000 + HOUR);
      expect(fresh.endpoint).toBe(old.endpoint);
      expect(fresh.refreshToken === old.refreshToken || fresh.apiKey === old.apiKey).toBe(false);
      expect([emulator.accepts(old.apiKey), emulator.accepts(fresh.apiKey)]).toEqual([true, true]);
      expect(emulator.acceptsRefresh(fresh.apiKey, fresh.refreshToken)).toBe(true);
      expect(await answers(fresh.apiKey)).toEqual(['PERMISSION_ERROR', 'Miss', 'NOT_FOUND_ERROR']);
      emulator.now = () => (start + HOUR) * 1000;
      expect([emulator.accepts(old.apiKey), emulator.accepts(fresh.apiKey)]).toEqual([false, true]);
      emulator.now = () => (start + 1000 + HOUR) * 1000;
      expect(emulator.accepts(fresh.apiKey)).toBe(false);
    },
  );

  it('refuses a refresh when the key is expired or revoked, or the token is of another key', async () => {
    const [key, other] = [emulator.issueKey(), emulator.issueKey()];
    expect(await refusal(key.apiKey, 'wrong')).toBe('INVALID_ARGUMENT_ERROR');
    expect(await refusal(key.apiKey, other.refreshToken)).toBe('INVALID_ARGUMENT_ERROR');
    expect(emulator.acceptsRefresh(key.apiKey, other.refreshToken)).toBe(false);
    emulator.revoke(other.apiKey);
    expect(await refusal(other.apiKey, other.refreshToken)).toBe('AUTHENTICATION_ERROR');
    emulator.now = () => key.validUntil * 1000;
    expect(await refusal(key.apiKey, key.refreshToken)).toBe('AUTHENTICATION_ERROR');
  });

  it('rejects a key when it was not issued', async () => {
    const key = emulator.issueKey();
    expect(await answers(key.apiKey)).toEqual(['Success', 'Miss', 'NOT_FOUND_ERROR']);
    const forged = Buffer.from(JSON.stringify({ endpoint: key.endpoint, api_key: 'x' }));
    expect(await answers(forged.toString('base64'))).toEqual(Array(3).fill('AUTHENTICATION_ERROR'));
    expect(emulator.accepts('nonsense')).toBe(false);
    expect(await withCache(key.apiKey, (client) => client.delete('cache', 'k'))).toMatchObject({
      _innerException: { _errorCode: 'BAD_REQUEST_ERROR' },
    });
    const caches = await withCache(key.apiKey, (client) => client.listCaches());
    expect((caches as ListCaches.Success).getCaches().map((cache) => cache.getName())).toEqual([
      'cache',
    ]);
  });

  it('lists every secret that it issued, and prints none', async () => {
    const { apiKey, refreshToken, validUntil, consoleJson } = emulator.issueKey();
    const downloaded: unknown = JSON.parse(consoleJson);
    expect(downloaded).toMatchObject({ apiKey, refreshToken, validUntil });
    const fresh = await refreshed(apiKey, refreshToken);
    const inner = [apiKey, fresh.apiKey].map(
      (key) => (JSON.parse(Buffer.from(key, 'base64').toString()) as { api_key: string }).api_key,
    );
    expect(new Set(emulator.secrets())).toEqual(
      new Set([apiKey, fresh.apiKey, refreshToken, fresh.refreshToken, ...inner]),
    );
    const printed = inspect([emulator, emulator.faults.calls], { depth: null, showHidden: true });
    expect(emulator.secrets().filter((secret) => printed.includes(secret))).toEqual([]);
  });
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

  it.each<[string, Fault, unknown, number]>([
    ['refuses', { kind: 'status', status: 500, when: 'before' }, [500, expect.anything()], 0],
    ['refuses late', { kind: 'status', status: 500, when: 'after' }, [500, expect.anything()], 1],
    ['cuts the connection', { kind: 'drop', when: 'before' }, 'TypeError', 0],
    ['cuts the connection late', { kind: 'drop', when: 'after' }, 'TypeError', 1],
    ['answers with a page', { kind: 'html', status: 502, when: 'before' }, 'SyntaxError', 0],
    ['answers with a page late', { kind: 'html', status: 200, when: 'after' }, 'SyntaxError', 1],
    ['answers half', { kind: 'half' }, 'TypeError', 1],
    ['answers no JSON', { kind: 'not-json' }, 'SyntaxError', 1],
    ['answers something else', { kind: 'corrupt' }, [200, { items: [] }], 1],
    ['is slow', { kind: 'slow', ms: 20 }, [200, { items: ['one'] }], 1],
    [
      'is not of gRPC',
      { kind: 'error', code: status.UNAVAILABLE, when: 'before' },
      [500, expect.anything()],
      0,
    ],
  ])('%s when that is injected', async (_, fault, expected, added) => {
    host.faults.inject('Add', 1, fault);
    const begin = performance.now();
    expect(await outcome(add())).toEqual(expected);
    if (fault.kind === 'slow') expect(performance.now() - begin).toBeGreaterThanOrEqual(19);
    expect(items).toHaveLength(added);
    expect(await outcome(add())).toMatchObject([200, expect.anything()]);
  });

  it.each([
    ['before', 0],
    ['after', 1],
  ] as const)(
    'hangs %s the effect, until the client or the emulator ends the call',
    async (when, added) => {
      host.faults.inject('Add', 'every', { kind: 'hang', when });
      const reached = (): Promise<void> =>
        new Promise((resolve) => {
          host.faults.intercept = (_, moment) => {
            if (moment === when) resolve();
          };
        });
      const abort = new AbortController();
      const impatient = outcome(add('me', abort.signal));
      await reached();
      expect(items).toHaveLength(added);
      abort.abort();
      expect(await impatient).toBe('AbortError');
      const patient = outcome(add());
      await reached();
      await host.stop();
      expect(await patient).toBe('TypeError');
    },
  );

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
    ['a v1 key', () => services.momento.issueKey().apiKey],
    ['a refresh token', () => services.momento.issueV2Key({ role: 'r-owner' }).refreshToken ?? ''],
    ['an unknown key', () => `${manager.slice(0, -6)}abcdef`],
    [
      'an expired key',
      () => {
        const { apiKey } = services.momento.issueV2Key({ role: 'r-owner', lifetimeSeconds: 60 });
        setTime(START + 60_000);
        return apiKey;
      },
    ],
    [
      'a revoked key',
      () => {
        const { apiKey } = services.momento.issueV2Key({ role: 'r-owner' });
        services.momento.revoke(apiKey);
        return apiKey;
      },
    ],
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
    setTime(START + HOUR * 1000);
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
    setTime(START + 30 * DAY_MS);
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
