/** Behaviour of the emulators that rotations and the conformance checks don't use. */
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { json } from 'node:stream/consumers';
import { inspect } from 'node:util';
import type { RefreshApiKey } from '@gomomento/sdk';
import { v1 } from '@google-cloud/secret-manager';
import { credentials, status, type ServiceError } from '@grpc/grpc-js';
import { PassThroughClient } from 'google-auth-library';
import { systemClock } from '../../src/clock';
import { DAY, SECOND } from '../../src/duration';
import { Credential } from '../../src/momento/credential';
import { Sdk } from '../../src/momento/sdk';
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

  const VERSION = { name: `${SECRET}/versions/1` };
  const add = () =>
    client.addSecretVersion({
      parent: SECRET,
      payload: { data: Buffer.from('not-for-the-screen') },
    });
  const call = {
    list: () => client.listSecretVersions({ parent: SECRET }),
    get: () => client.getSecretVersion(VERSION),
    // The client would try this again for ten minutes.
    access: () => client.accessSecretVersion(VERSION, { retry: null }),
    add,
    disable: () => client.disableSecretVersion(VERSION),
    destroy: () => client.destroySecretVersion(VERSION),
  };

  // The test of Terraform's permissions depends on it.
  it.each(Object.entries(call))(
    'refuses to %s when the permission is missing',
    async (verb, of) => {
      const permission = `secretmanager.versions.${verb}`;
      emulator.addVersion(SECRET, 'payload');
      const others = [...emulator.permissions(SECRET)].filter((one) => one !== permission);
      emulator.grant(SECRET, others);
      const denied = `PERMISSION_DENIED: Permission '${permission}' denied for resource '${SECRET}`;
      expect(await outcome(of())).toContain(denied);
      emulator.grant(SECRET, [permission]);
      expect(await outcome(of())).not.toEqual(expect.any(String));
    },
  );

  it('calls listeners at every change, before it answers', async () => {
    const seen: string[] = [];
    const states = () => emulator.versions(SECRET).map(({ state }) => state);
    const stop = emulator.onChange(() => seen.push(...states()));
    await add();
    await call.disable();
    await outcome(call.access());
    emulator.setState(SECRET, '1', 'ENABLED');
    stop();
    emulator.setState(SECRET, '1', 'DESTROYED');
    expect(seen).toEqual(['ENABLED', 'DISABLED', 'ENABLED']);
  });

  it('prints no payload when calls are printed', async () => {
    await add();
    const [added] = emulator.faults.calls;
    const { payload } = added?.request as { payload: { data: Buffer } };
    expect(payload.data.toString()).toBe('not-for-the-screen');
    const printed = '{"service":"secretmanager","method":"AddSecretVersion","n":1}';
    expect(JSON.stringify(added)).toBe(printed);
    expect(inspect(added, { depth: null, showHidden: true })).not.toContain('Buffer');
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
