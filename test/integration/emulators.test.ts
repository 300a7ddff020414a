import { inspect } from 'node:util';
import { crc32c } from '@aws-crypto/crc32c';
import {
  AuthClient,
  AuthClientConfigurations,
  CacheClient,
  Configurations,
  CredentialProvider,
  ExpiresIn,
  GenerateApiKey,
  ListCaches,
  NoopMomentoLoggerFactory,
  PermissionScopes,
  RefreshApiKey,
  type PermissionScope,
} from '@gomomento/sdk';
import { v1 } from '@google-cloud/secret-manager';
import { Client, credentials, Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { PassThroughClient } from 'google-auth-library';
import type { GoogleError } from 'google-gax';
import type { Fault } from '../../emulators/faults';
import { HttpHost, HttpRefusal } from '../../emulators/http-host';
import { MomentoEmulator } from '../../emulators/momento';
import { SecretManagerEmulator } from '../../emulators/secret-manager';

const SECRET = 'projects/p/secrets/s';
/** What the service calls it. */
const ANSWERED = 'projects/123456789012/secrets/s';
const HOUR = 3600;
const DAY_MS = 24 * HOUR * 1000;

/** The first element of a client's answer, or `CODE: text` of its error. */
async function outcome(call: Promise<readonly [unknown, ...unknown[]]>): Promise<unknown> {
  try {
    return (await call)[0];
  } catch (error) {
    const { code, details } = error as ServiceError;
    return `${status[code]}: ${details}`;
  }
}

describe('the local Secret Manager, through the real client', () => {
  let emulator: SecretManagerEmulator;
  let client: v1.SecretManagerServiceClient;

  let clients: v1.SecretManagerServiceClient[];

  /** A client that asks for the endpoint of a location, or for the global one. */
  function connect(location?: string): v1.SecretManagerServiceClient {
    const [apiEndpoint = '', port] = emulator.host.split(':');
    const made = new v1.SecretManagerServiceClient({
      apiEndpoint,
      port: Number(port),
      sslCreds: credentials.createInsecure(),
      authClient: new PassThroughClient(),
      ...(location !== undefined && {
        'grpc.default_authority': `secretmanager.${location}.rep.googleapis.com`,
      }),
    });
    clients.push(made);
    return made;
  }

  beforeEach(async () => {
    emulator = await SecretManagerEmulator.start();
    clients = [];
    client = connect();
    emulator.createSecret(SECRET);
  });

  afterEach(async () => {
    await emulator.stop();
    await Promise.all(clients.map((made) => made.close()));
  });

  // The client would try this again for ten minutes.
  const access = (name: string) => client.accessSecretVersion({ name }, { retry: null });
  const add = (parent: string, data = 'payload') =>
    client.addSecretVersion({ parent, payload: { data: Buffer.from(data) } });
  const list = async (filter = ''): Promise<string[]> => {
    const [versions] = await client.listSecretVersions({ parent: SECRET, filter });
    return versions.map(({ name }) => name?.split('/').at(-1) ?? '');
  };
  const states = (): string =>
    emulator
      .versions(SECRET)
      .map(({ state }) => state)
      .join();

  describe('latest', () => {
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
    ] as const)('is the version created last, also when %s', async (_, state, expected) => {
      emulator.addVersion(SECRET, 'old');
      emulator.addVersion(SECRET, 'new', { state });
      expect(await outcome(access(`${SECRET}/versions/latest`))).toEqual(expected);
      expect(emulator.latest(SECRET)).toEqual(state === 'ENABLED' ? Buffer.from('new') : undefined);
    });

    it.each([
      ['there is no version', 'projects/p/secrets/s'],
      ['there is no secret', 'projects/p/secrets/none'],
    ])('is not found when %s', async (_, secret) => {
      const answered = secret.replace('/p/', '/123456789012/');
      expect(await outcome(access(`${secret}/versions/latest`))).toBe(
        `NOT_FOUND: Secret [${answered}] not found or has no versions.`,
      );
      expect(emulator.latest(secret)).toBeUndefined();
    });
  });

  it.each(['projects/p/secrets/x', 'projects/p/locations/europe-west6/secrets/x'])(
    'creates, fills, reads and deletes %s',
    async (name) => {
      if (name.includes('/locations/')) client = connect('europe-west6');
      const parent = name.replace('/secrets/x', '');
      const answered = name.replace('/p/', '/123456789012/');
      const replication = name.includes('/locations/') ? null : { automatic: {} };
      const created = client.createSecret({ parent, secretId: 'x', secret: { replication } });
      expect(await outcome(created)).toMatchObject({ name: answered });
      expect(
        await outcome(client.createSecret({ parent, secretId: 'x', secret: { replication } })),
      ).toBe(`ALREADY_EXISTS: Secret [${answered}] already exists.`);
      expect(await outcome(add(name, 'one'))).toMatchObject({ name: `${answered}/versions/1` });
      expect(await outcome(access(`${answered}/versions/1`))).toMatchObject({
        name: `${answered}/versions/1`,
        payload: { data: Buffer.from('one'), dataCrc32c: String(crc32c(Buffer.from('one'))) },
      });
      expect(
        await outcome(client.getSecretVersion({ name: `${name}/versions/latest` })),
      ).toMatchObject({ name: `${answered}/versions/1`, state: 'ENABLED' });
      expect(await outcome(client.getSecret({ name }))).toMatchObject({ name: answered });
      await client.deleteSecret({ name });
      expect(await outcome(client.getSecret({ name }))).toBe(
        `NOT_FOUND: Secret [${answered}] not found.`,
      );
    },
  );

  it('knows at each endpoint the names that belong there', async () => {
    const regional = (location: string): string => `projects/p/locations/${location}/secrets/s`;
    for (const location of ['eu', 'us']) {
      emulator.createSecret(regional(location));
      emulator.addVersion(regional(location), location);
    }
    emulator.addVersion(SECRET, 'global');
    const read = async (location: string | undefined, secret: string): Promise<unknown> => {
      const name = `${secret}/versions/latest`;
      return outcome(connect(location).accessSecretVersion({ name }, { retry: null }));
    };
    const found = { payload: expect.anything() as unknown };
    expect(await read(undefined, SECRET)).toMatchObject(found);
    expect(await read('eu', regional('eu'))).toMatchObject(found);
    expect(await read('us', regional('us'))).toMatchObject(found);
    const wrong = [
      await read(undefined, regional('eu')),
      await outcome(client.listSecretVersions({ parent: regional('eu') })),
      await outcome(client.createSecret({ parent: 'projects/p/locations/eu', secretId: 'x' })),
      await read('us', regional('eu')),
      await read('eu', SECRET),
    ];
    expect(wrong).toEqual([
      `INVALID_ARGUMENT: The provided Secret Version ID [${regional('eu')}/versions/latest] does not match the ` +
        'expected format [projects/*/secrets/*/versions/*]',
      `INVALID_ARGUMENT: The provided Secret ID [${regional('eu')}] does not match the expected format ` +
        '[projects/*/secrets/*]',
      'INVALID_ARGUMENT: The provided Parent [projects/p/locations/eu] does not match the expected format [projects/*]',
      expect.stringMatching(/^INVALID_ARGUMENT: The provided Secret Version ID/),
      `INVALID_ARGUMENT: The provided Secret Version ID [${SECRET}/versions/latest] does not match the expected ` +
        'format [projects/*/locations/*/secrets/*/versions/*]',
    ]);
  });

  it.each([
    ['ListSecrets', 'parent'],
    ['CreateSecret', 'parent'],
    ['AddSecretVersion', 'parent'],
    ['GetSecret', 'name'],
    ['UpdateSecret', 'secret.name'],
    ['DeleteSecret', 'name'],
    ['ListSecretVersions', 'parent'],
    ['GetSecretVersion', 'name'],
    ['AccessSecretVersion', 'name'],
    ['DisableSecretVersion', 'name'],
    ['EnableSecretVersion', 'name'],
    ['DestroySecretVersion', 'name'],
    ['SetIamPolicy', 'resource'],
    ['GetIamPolicy', 'resource'],
    ['TestIamPermissions', 'resource'],
  ])('refuses %s unless its header says what it is about, by %s', async (method, field) => {
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
          // The name is a field of a field here.
          method === 'UpdateSecret' ? Buffer.from([0x0a, request.length, ...request]) : request,
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
  });

  it('notices calls that send the header of another', async () => {
    const shared = { retry: null };
    const names = Array.from({ length: 20 }, (_, n) => `projects/p/secrets/s${n}`);
    for (const name of names) {
      emulator.createSecret(name);
      emulator.addVersion(name, 'payload');
    }
    const answers = await Promise.all(
      names.map((name) =>
        outcome(client.accessSecretVersion({ name: `${name}/versions/1` }, shared)),
      ),
    );
    expect(answers).toContainEqual(expect.stringMatching(/^INVALID_ARGUMENT: The header/));
  });

  describe('errors', () => {
    /** What a client may branch on. */
    async function detailsOf(failing: Promise<unknown>): Promise<unknown> {
      const error = await failing.then(
        () => undefined,
        (thrown: unknown) => thrown as GoogleError & { details: string },
      );
      if (error === undefined) throw new Error('it did not fail');
      const { code = status.OK, reason, domain, errorInfoMetadata, statusDetails } = error;
      const texts = statusDetails as unknown as { message?: string }[];
      expect(texts.at(-1)).toMatchObject({ locale: 'en-US', message: error.details });
      return [status[code], reason, domain, errorInfoMetadata];
    }

    const service = 'secretmanager.googleapis.com';

    it('carry details', async () => {
      emulator.addVersion(SECRET, 'payload');
      expect(await detailsOf(access('projects/p/secrets/none/versions/1'))).toEqual([
        'NOT_FOUND',
        'NOT_FOUND',
        service,
        { service },
      ]);
      expect(await detailsOf(client.updateSecret({ secret: { name: SECRET } }))).toEqual([
        'UNIMPLEMENTED',
        'UNIMPLEMENTED',
        service,
        { service },
      ]);
      emulator.faults.inject('AccessSecretVersion', 'every', {
        kind: 'error',
        code: status.UNAUTHENTICATED,
        when: 'before',
      });
      expect(await detailsOf(access(`${SECRET}/versions/1`))).toMatchObject([
        'UNAUTHENTICATED',
        'ACCESS_TOKEN_EXPIRED',
        'googleapis.com',
        { service },
      ]);
      emulator.grant(SECRET, []);
      expect(await detailsOf(client.listSecretVersions({ parent: SECRET }))).toEqual([
        'PERMISSION_DENIED',
        'IAM_PERMISSION_DENIED',
        'iam.googleapis.com',
        { permission: 'secretmanager.versions.list', resource: `//${service}/${SECRET}` },
      ]);
      emulator.quotas = { readsPerMinute: 0 };
      expect(await detailsOf(client.listSecretVersions({ parent: SECRET }))).toMatchObject([
        'RESOURCE_EXHAUSTED',
        'RATE_LIMIT_EXCEEDED',
        'googleapis.com',
        { service, consumer: 'projects/123456789012', quota_limit_value: '0' },
      ]);
    });

    it('say which policy refuses a call', async () => {
      const consumer = 'projects/123456789012';
      emulator.refusal = { reason: 'BILLING_DISABLED', metadata: { consumer } };
      expect(await detailsOf(client.getSecret({ name: SECRET }))).toEqual([
        'PERMISSION_DENIED',
        'BILLING_DISABLED',
        'googleapis.com',
        { consumer },
      ]);
    });

    it('say that the API is not enabled', async () => {
      emulator.isEnabled = false;
      expect(await detailsOf(client.getSecret({ name: SECRET }))).toEqual([
        'PERMISSION_DENIED',
        'SERVICE_DISABLED',
        'googleapis.com',
        { service, consumer: 'projects/123456789012' },
      ]);
    });
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

  it.each(permissions)('enforces %s', async (permission) => {
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

  it('tells which permissions are granted, and none for a missing secret', async () => {
    const test = (resource: string, asked: string[]): Promise<unknown> =>
      outcome(client.testIamPermissions({ resource, permissions: asked }));
    expect(await test(SECRET, permissions)).toEqual({ permissions });
    emulator.grant(SECRET, ['secretmanager.versions.add']);
    expect(await test(SECRET, permissions)).toEqual({
      permissions: ['secretmanager.versions.add'],
    });
    expect(await test('projects/p/secrets/none', permissions)).toEqual({ permissions: [] });
    expect(await test(SECRET, ['secretmanager.versions.accesss'])).toMatch(/^INVALID_ARGUMENT/);
    expect(await test(SECRET, [])).toMatch(/^INVALID_ARGUMENT/);
  });

  it('denies what was granted on a secret once that is deleted', async () => {
    emulator.grant(SECRET, ['secretmanager.versions.access']);
    emulator.deleteSecret(SECRET);
    expect(await outcome(access(`${SECRET}/versions/latest`))).toMatch(/^PERMISSION_DENIED/);
  });

  it.each([
    ['a version in place of a secret', () => add(`${SECRET}/versions/1`)],
    ['a secret in place of a version', () => access(SECRET)],
    ['a name of something else', () => add('projects/p/topics/s')],
  ])('refuses %s', async (_, request) => {
    emulator.addVersion(SECRET, 'payload');
    expect(await outcome(request())).toBe(
      'INVALID_ARGUMENT: Invalid resource field value in the request.',
    );
  });

  it.each([
    ['an empty payload', '', undefined, 'SecretPayload.data must not be empty.'],
    ['more than 64 KiB', 'x'.repeat(65_537), undefined, expect.stringContaining('65536')],
    [
      'a wrong checksum',
      'payload',
      1,
      'Provided SecretPayload.data crc32c does not match calculated crc32c.',
    ],
  ] as const)('refuses to add %s', async (_, data, dataCrc32c, text) => {
    const payload = { data: Buffer.from(data), ...(dataCrc32c && { dataCrc32c }) };
    await expect(client.addSecretVersion({ parent: SECRET, payload })).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: text as unknown,
    });
    expect(emulator.versions(SECRET)).toEqual([]);
  });

  it('adds 64 KiB, and says whether a checksum came with it', async () => {
    const data = Buffer.alloc(65_536, 'x');
    const [checked] = await client.addSecretVersion({
      parent: SECRET,
      payload: { data, dataCrc32c: crc32c(data) },
    });
    const [unchecked] = await add(SECRET);
    expect(checked.clientSpecifiedPayloadChecksum).toBe(true);
    expect(unchecked.clientSpecifiedPayloadChecksum).toBe(false);
  });

  it('answers the wrong checksum that a test asks for', async () => {
    emulator.addVersion(SECRET, 'payload', { crc: 42 });
    const [{ payload }] = await access(`${SECRET}/versions/latest`);
    expect(payload?.dataCrc32c).toBe('42');
  });

  it('lists the newest first, by pages and by state', async () => {
    for (const state of ['DESTROYED', 'DISABLED', 'ENABLED', 'ENABLED'] as const) {
      emulator.addVersion(SECRET, 'payload', { state });
    }
    const page = (pageSize: number, pageToken: string) =>
      client.listSecretVersions({ parent: SECRET, pageSize, pageToken }, { autoPaginate: false });
    expect(await list()).toEqual(['4', '3', '2', '1']);
    expect(await list('state:ENABLED')).toEqual(['4', '3']);
    expect(await list('state=DISABLED')).toEqual(['2']);
    expect(await list('state:(ENABLED OR DISABLED)')).toEqual(['4', '3', '2']);
    await expect(list('state:LOST')).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
    await expect(list('name:x')).rejects.toMatchObject({ code: status.UNIMPLEMENTED });

    const [, , first] = await page(3, '');
    emulator.addVersion(SECRET, 'added between two pages');
    const [, , second] = await page(3, first.nextPageToken ?? '');
    const summary = [first, second].map((answer) => ({
      names: answer.versions?.map(({ name }) => name?.split('/').at(-1)),
      more: answer.nextPageToken !== '',
      totalSize: answer.totalSize,
    }));
    expect(summary).toEqual([
      { names: ['4', '3', '2'], more: true, totalSize: 4 },
      { names: ['1'], more: false, totalSize: 5 },
    ]);
    await expect(page(3, 'x')).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
    const [, , filtered] = await client.listSecretVersions(
      { parent: SECRET, filter: 'state:ENABLED' },
      { autoPaginate: false },
    );
    expect(filtered.totalSize).toBe(0);
  });

  it.each([
    ['enable', 'DISABLED', 'ENABLED'],
    ['enable', 'ENABLED', 'ENABLED'],
    ['disable', 'ENABLED', 'DISABLED'],
    ['disable', 'DISABLED', 'DISABLED'],
    ['destroy', 'ENABLED', 'DESTROYED'],
    ['destroy', 'DISABLED', 'DESTROYED'],
    ['enable', 'DESTROYED', undefined],
    ['disable', 'DESTROYED', undefined],
    ['destroy', 'DESTROYED', undefined],
  ] as const)('%s of a version that is %s', async (verb, before, after) => {
    emulator.addVersion(SECRET, 'payload', { state: before });
    const [{ etag }] = await client.getSecretVersion({ name: `${SECRET}/versions/1` });
    const change = (sent: string): Promise<unknown> => {
      const request = { name: `${SECRET}/versions/1`, etag: sent };
      if (verb === 'enable') return outcome(client.enableSecretVersion(request));
      if (verb === 'disable') return outcome(client.disableSecretVersion(request));
      return outcome(client.destroySecretVersion(request));
    };
    expect(await change('"stale"')).toMatch(/^FAILED_PRECONDITION: The etag provided/);
    expect(states()).toBe(before);
    const changed = await change(etag ?? '');
    if (after) {
      expect(changed).toMatchObject({ state: after });
      expect(changed).not.toMatchObject({ etag });
      expect(emulator.versions(SECRET)[0]?.payload === undefined).toBe(after === 'DESTROYED');
    } else {
      expect(changed).toBe('FAILED_PRECONDITION: SecretVersion.state is already DESTROYED.');
    }
    expect(states()).toBe(after ?? before);
  });

  it.each(['enable', 'disable', 'destroy'] as const)('does not %s by alias', async (verb) => {
    emulator.addVersion(SECRET, 'payload');
    const change = call[`secretmanager.versions.${verb}`];
    expect(await outcome(change('latest'))).toMatch(/^INVALID_ARGUMENT/);
    expect(await outcome(change('2'))).toBe(
      `NOT_FOUND: Secret Version [${ANSWERED}/versions/2] not found.`,
    );
    expect(states()).toBe('ENABLED');
  });

  it("keeps a secret's etag when its versions change, and checks it on deletion", async () => {
    const [{ etag }] = await client.getSecret({ name: SECRET });
    await add(SECRET);
    await client.disableSecretVersion({ name: `${SECRET}/versions/1` });
    expect(await outcome(client.deleteSecret({ name: SECRET, etag: '"other"' }))).toMatch(
      /^FAILED_PRECONDITION/,
    );
    expect(await outcome(client.deleteSecret({ name: SECRET, etag: etag ?? '' }))).toEqual({});
  });

  it('delays a destruction by the TTL of the secret', async () => {
    const now = Date.now();
    emulator.now = () => now;
    const name = 'projects/p/secrets/delayed';
    emulator.createSecret(name, { versionDestroyTtlMs: DAY_MS });
    emulator.addVersion(name, 'payload');
    const destroy = (): Promise<unknown> =>
      outcome(client.destroySecretVersion({ name: `${name}/versions/1` }));
    expect(await destroy()).toMatchObject({
      state: 'DISABLED',
      scheduledDestroyTime: { seconds: String(Math.floor((now + DAY_MS) / 1000)) },
    });
    expect(await destroy()).toBe(
      'FAILED_PRECONDITION: SecretVersion is already scheduled for DESTRUCTION.',
    );
    await client.enableSecretVersion({ name: `${name}/versions/1` });
    emulator.now = () => now + 2 * DAY_MS;
    expect(emulator.versions(name)).toMatchObject([{ state: 'ENABLED' }]);
    expect(await destroy()).toMatchObject({ state: 'DISABLED' });
    emulator.now = () => now + 3 * DAY_MS;
    expect(emulator.versions(name)).toMatchObject([
      { state: 'DESTROYED', payload: undefined, destroyTime: now + 3 * DAY_MS },
    ]);
  });

  it.each([
    ['Write', 'writesPerMinute', 'secretmanager.versions.add'],
    ['Write', 'writesPerMinute', 'secretmanager.versions.disable'],
    ['Read', 'readsPerMinute', 'secretmanager.versions.list'],
    ['Access', 'accessesPerMinute', 'secretmanager.versions.access'],
  ] as const)('limits %s requests by %s (%s)', async (metric, limit, permission) => {
    emulator.addVersion(SECRET, 'payload');
    emulator.now = () => 59_999;
    emulator.quotas = { [limit]: 1 };
    const request = call[permission];
    expect(await outcome(request())).not.toEqual(expect.any(String));
    expect(await outcome(request())).toMatch(
      `RESOURCE_EXHAUSTED: Quota exceeded for quota metric '${metric} requests'`,
    );
    emulator.now = () => 60_000;
    expect(await outcome(request())).not.toEqual(expect.any(String));
  });

  it('shows lists and latest as they were before the newest changes', async () => {
    emulator.addVersion(SECRET, 'one');
    emulator.addVersion(SECRET, 'two');
    emulator.setState(SECRET, '1', 'DISABLED');
    emulator.staleLists = 1;
    expect(await list('state:ENABLED')).toEqual(['2', '1']);
    emulator.staleLists = 2;
    expect(await list()).toEqual(['1']);
    emulator.staleLatest = 2;
    expect(await outcome(access(`${SECRET}/versions/latest`))).toMatchObject({
      name: `${ANSWERED}/versions/1`,
    });
    expect(await outcome(access(`${SECRET}/versions/2`))).toMatchObject({
      name: `${ANSWERED}/versions/2`,
    });
    expect(emulator.latest(SECRET)).toEqual(Buffer.from('one'));
  });

  it('does not give a version whose key in Cloud KMS is disabled, and shows it as enabled', async () => {
    emulator.addVersion(SECRET, 'payload');
    emulator.setKeyState(SECRET, '1', 'DISABLED');
    for (const ref of ['1', 'latest']) {
      expect(await outcome(access(`${SECRET}/versions/${ref}`))).toMatch(
        /^FAILED_PRECONDITION: projects\/.* is not enabled, current state is: DISABLED\.$/,
      );
    }
    expect(emulator.latest(SECRET)).toBeUndefined();
    const version = client.getSecretVersion({ name: `${SECRET}/versions/1` });
    expect(await outcome(version)).toMatchObject({ state: 'ENABLED' });
    emulator.setKeyState(SECRET, '1', 'ENABLED');
    expect(await outcome(access(`${SECRET}/versions/1`))).not.toEqual(expect.any(String));
  });

  it('denies access to versions that a condition hides, and to no others', async () => {
    emulator.addVersion(SECRET, 'one');
    emulator.addVersion(SECRET, 'two');
    emulator.setHidden(SECRET, '1', true);
    expect(await outcome(access(`${SECRET}/versions/1`))).toMatch(
      /^PERMISSION_DENIED: Permission 'secretmanager\.versions\.access' denied/,
    );
    expect(await outcome(access(`${SECRET}/versions/2`))).not.toEqual(expect.any(String));
    const tested = client.testIamPermissions({
      resource: SECRET,
      permissions: ['secretmanager.versions.access'],
    });
    expect(await outcome(tested)).toEqual({ permissions: ['secretmanager.versions.access'] });
    emulator.setHidden(SECRET, '1', false);
    expect(await outcome(access(`${SECRET}/versions/1`))).not.toEqual(expect.any(String));
  });

  it('lists small pages, overlapping pages and pages without an end', async () => {
    for (const payload of ['1', '2', '3', '4']) emulator.addVersion(SECRET, payload);
    const pages = async (most: number): Promise<string[]> => {
      const seen: string[] = [];
      let pageToken = '';
      do {
        const [page, , answer] = await client.listSecretVersions(
          { parent: SECRET, pageToken },
          { autoPaginate: false },
        );
        seen.push(page.map(({ name }) => name?.split('/').at(-1)).join());
        pageToken = answer.nextPageToken ?? '';
      } while (pageToken !== '' && seen.length < most);
      return seen;
    };
    expect(await pages(9)).toEqual(['4,3,2,1']);
    emulator.maxPageSize = 3;
    expect(await pages(9)).toEqual(['4,3,2', '1']);
    emulator.pageOverlap = 1;
    expect(await pages(9)).toEqual(['4,3,2', '2,1']);
    emulator.endlessPages = 'same';
    expect(await pages(4)).toEqual(['4,3,2', '', '', '']);
    emulator.endlessPages = 'other';
    expect(await pages(4)).toHaveLength(4);
  });

  it('adds late, for a caller that waits no longer', async () => {
    let now = Date.now();
    emulator.now = () => now;
    emulator.additionDelayMs = 12_000;
    expect(await outcome(add(SECRET, 'late'))).toMatch(/^DEADLINE_EXCEEDED/);
    now += 11_999;
    expect(emulator.versions(SECRET)).toEqual([]);
    now += 1;
    expect(emulator.versions(SECRET)).toMatchObject([
      { version: '1', createTime: now, payload: Buffer.from('late') },
    ]);
  });

  it('gives the answers that a test makes, also of other kinds than documented', async () => {
    emulator.rewrite = (method, answer) =>
      method === 'ListSecretVersions' ? { ...answer, versions: [{ state: 4 }, {}] } : answer;
    const [versions] = await client.listSecretVersions({ parent: SECRET });
    expect(versions.map(({ name, state }) => [name, state])).toEqual([
      ['', 4],
      ['', 'STATE_UNSPECIFIED'],
    ]);
    expect(await outcome(client.getSecret({ name: SECRET }))).toMatchObject({ name: ANSWERED });
  });

  it('tells listeners about every single change, before anybody gets an answer', async () => {
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

  it.each([
    ['a method', () => client.updateSecret({ secret: { name: SECRET } })],
    ['a method', () => client.getIamPolicy({ resource: SECRET })],
    [
      'a field',
      () =>
        client.createSecret({
          parent: 'projects/p',
          secretId: 'x',
          secret: { replication: { automatic: {} }, labels: { a: 'b' } },
        }),
    ],
  ])('says so when it does not know %s', async (_, request) => {
    expect(await outcome(request())).toMatch(/^UNIMPLEMENTED/);
  });

  describe('faults', () => {
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
    ] as const)('%s %s the effect of the second call', async (kind, when, state, expected) => {
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
    });

    it('corrupts answers, not effects', async () => {
      for (const method of ['AccessSecretVersion', 'AddSecretVersion', 'ListSecretVersions']) {
        emulator.faults.inject(method, 'every', { kind: 'corrupt' });
      }
      const [{ payload }] = await access(`${SECRET}/versions/1`);
      expect(payload?.dataCrc32c).toBe(String(crc32c(Buffer.from('payload'))));
      expect(payload?.data).not.toEqual(Buffer.from('payload'));
      const [version] = await add(SECRET);
      expect(version.name).toBe('corrupted');
      expect(await list()).toEqual(['', '']);
      emulator.faults.clear();
      expect(await list()).toEqual(['2', '1']);
    });

    it('slows calls down', async () => {
      emulator.faults.latencyMs = 10;
      emulator.faults.inject('DisableSecretVersion', 1, { kind: 'slow', ms: 20 });
      emulator.faults.inject('DisableSecretVersion', 2, { kind: 'slow', ms: 5000 });
      const begin = performance.now();
      expect(await disable()).toMatchObject({ state: 'DISABLED' });
      expect(performance.now() - begin).toBeGreaterThanOrEqual(29);
      expect(await disable(30)).toMatch(/^DEADLINE_EXCEEDED/);
    });

    it('lets a hook look, wait, change things and strike around every effect', async () => {
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

    it('counts from one again after forgetting', async () => {
      emulator.faults.inject('DisableSecretVersion', 1, {
        kind: 'error',
        code: status.ABORTED,
        when: 'before',
      });
      expect(await disable()).toMatch(/^ABORTED/);
      expect(await disable()).toMatchObject({ state: 'DISABLED' });
      emulator.faults.forget();
      expect(await disable()).toMatch(/^ABORTED/);
      expect(emulator.faults.calls).toHaveLength(1);
    });

    it('prints no payload with the calls', async () => {
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

describe('the local Momento, through the real SDK', () => {
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

  const generate = (
    apiKey: string,
    scope: PermissionScope,
    expiresIn = ExpiresIn.hours(1),
  ): Promise<GenerateApiKey.Response> =>
    new AuthClient({
      credentialProvider: provider(apiKey),
      configuration: AuthClientConfigurations.Default.latest(logger),
    }).generateApiKey(scope, expiresIn);

  it('generates a key that may do what was asked for, and so may its successor', async () => {
    const start = Math.floor(Date.now() / 1000);
    emulator.now = () => start * 1000;
    const response = await generate(
      emulator.issueKey().apiKey,
      PermissionScopes.cacheReadOnly('cache'),
    );
    const { apiKey, refreshToken, expiresAt } = response as GenerateApiKey.Success;
    expect(expiresAt.epoch()).toBe(start + HOUR);
    const successor = await refreshed(apiKey, refreshToken);
    for (const key of [apiKey, successor.apiKey]) {
      expect(emulator.grants(key)).toEqual([{ to: 'cache', role: 'read', cache: 'cache' }]);
      expect(await answers(key)).toEqual(['PERMISSION_ERROR', 'Miss', 'PERMISSION_ERROR']);
    }
  });

  it('generates nothing that it cannot judge, and nothing for others than super users', async () => {
    const { apiKey } = emulator.issueKey();
    const scope = PermissionScopes.cacheReadOnly('cache');
    const weak = emulator.issueKey({ permissions: 'data-only' }).apiKey;
    const answered = await Promise.all([
      generate(weak, scope),
      generate('eyJ4IjoxfQ.eyJjcCI6IngiLCJjIjoieCJ9.x', scope),
      generate(apiKey, scope, ExpiresIn.never()),
      generate(apiKey, scope, ExpiresIn.seconds(0)),
      generate(apiKey, { permissions: [] }),
      generate(apiKey, PermissionScopes.cacheReadOnly('')),
      generate(apiKey, PermissionScopes.topicPublishOnly('cache', 'one')),
    ]);
    expect(
      answered.map((answer) => answer instanceof GenerateApiKey.Error && answer.errorCode()),
    ).toEqual([
      'PERMISSION_ERROR',
      'AUTHENTICATION_ERROR',
      'BAD_REQUEST_ERROR',
      'INVALID_ARGUMENT_ERROR',
      'INVALID_ARGUMENT_ERROR',
      'INVALID_ARGUMENT_ERROR',
      'BAD_REQUEST_ERROR',
    ]);
  });

  it.each(['v1', 'legacy'] as const)('refreshes a %s key', async (format) => {
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
  });

  it('keeps items for their time, each in its cache', async () => {
    emulator.caches = ['cache', 'other'];
    const { apiKey } = emulator.issueKey({ permissions: 'data-only' });
    const read = (name: string): Promise<string | undefined> =>
      withCache(apiKey, async (client) => (await client.get(name, 'k')).value());
    await withCache(apiKey, (client) => client.set('cache', 'k', 'an item'));
    expect([await read('cache'), await read('other')]).toEqual(['an item', undefined]);
    const answer = await withCache(apiKey, (client) => client.set('x', 'k', 'an item'));
    expect('errorCode' in answer && answer.errorCode()).toBe('NOT_FOUND_ERROR');
    const start = emulator.now();
    emulator.now = () => start + 60_000;
    expect(await read('cache')).toBeUndefined();
    emulator.revoke(apiKey);
    const refused = await withCache(apiKey, (client) => client.set('cache', 'k', 'another'));
    expect('errorCode' in refused && refused.errorCode()).toBe('AUTHENTICATION_ERROR');
  });

  it('refuses to refresh what is expired, revoked, wrong or of another key', async () => {
    const [key, other] = [emulator.issueKey(), emulator.issueKey()];
    expect(await refusal(key.apiKey, 'wrong')).toBe('INVALID_ARGUMENT_ERROR');
    expect(await refusal(key.apiKey, other.refreshToken)).toBe('INVALID_ARGUMENT_ERROR');
    expect(emulator.acceptsRefresh(key.apiKey, other.refreshToken)).toBe(false);
    emulator.revoke(other.apiKey);
    expect(await refusal(other.apiKey, other.refreshToken)).toBe('AUTHENTICATION_ERROR');
    emulator.now = () => key.validUntil * 1000;
    expect(await refusal(key.apiKey, key.refreshToken)).toBe('AUTHENTICATION_ERROR');
  });

  it.each([
    ['reusable', undefined],
    ['single-use', 'INVALID_ARGUMENT_ERROR'],
  ] as const)('has %s refresh tokens', async (kind, again) => {
    emulator.refreshTokens = kind;
    const { apiKey, refreshToken } = emulator.issueKey();
    const fresh = await refreshed(apiKey, refreshToken);
    expect(emulator.acceptsRefresh(apiKey, refreshToken)).toBe(kind === 'reusable');
    expect(await refusal(apiKey, refreshToken)).toBe(again);
    expect(await refusal(fresh.apiKey, fresh.refreshToken)).toBeUndefined();
  });

  it('lets a new key lag for a time, or for a number of calls', async () => {
    const start = Date.now();
    emulator.now = () => start;
    emulator.newKeyLagMs = 2000;
    const { apiKey, refreshToken } = emulator.issueKey();
    const slow = await refreshed(apiKey, refreshToken);
    expect(emulator.accepts(slow.apiKey)).toBe(false);
    expect(await answers(slow.apiKey)).toEqual(Array(3).fill('AUTHENTICATION_ERROR'));
    emulator.now = () => start + 2000;
    expect(emulator.accepts(slow.apiKey)).toBe(true);

    emulator.newKeyLagMs = 0;
    emulator.newKeyRejections = 2;
    const shy = await refreshed(apiKey, refreshToken);
    expect(await answers(shy.apiKey)).toEqual([
      'AUTHENTICATION_ERROR',
      'AUTHENTICATION_ERROR',
      'NOT_FOUND_ERROR',
    ]);
    expect(emulator.accepts(shy.apiKey)).toBe(true);
  });

  it('knows only the keys that it issued, by what travels on the wire', async () => {
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

  it('gives keys in the form of the console, and knows every secret that it gave', async () => {
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

  it.each([
    ['error', 'before', 'INTERNAL_SERVER_ERROR'],
    ['error', 'after', 'INTERNAL_SERVER_ERROR'],
    ['drop', 'before', 'SERVER_UNAVAILABLE'],
    ['drop', 'after', 'SERVER_UNAVAILABLE'],
  ] as const)('%s %s a refresh', async (kind, when, expected) => {
    emulator.refreshTokens = 'single-use';
    const { apiKey, refreshToken } = emulator.issueKey();
    emulator.faults.inject('RefreshApiToken', 1, { kind, code: status.INTERNAL, when });
    expect(await refusal(apiKey, refreshToken)).toBe(expected);
    expect(emulator.acceptsRefresh(apiKey, refreshToken)).toBe(when === 'before');
    expect(emulator.faults.calls).toHaveLength(1);
  });

  it('loses the fields of a corrupted refresh, and ends a hanging one when it stops', async () => {
    const { apiKey, refreshToken } = emulator.issueKey();
    emulator.faults.inject('RefreshApiToken', 1, { kind: 'corrupt' });
    emulator.faults.inject('RefreshApiToken', 2, { kind: 'hang', when: 'after' });
    const changes: number[] = [];
    emulator.onChange(() => changes.push(emulator.secrets().length));
    const corrupted = await refreshed(apiKey, refreshToken);
    expect([corrupted.refreshToken, corrupted.endpoint]).toEqual(['', '']);
    const issued = new Promise<void>((resolve) => {
      emulator.faults.intercept = (_, when) => {
        if (when === 'after') resolve();
      };
    });
    const hanging = refusal(apiKey, refreshToken);
    await issued;
    await emulator.stop();
    expect(await hanging).toBe('SERVER_UNAVAILABLE');
    expect(changes).toEqual([6, 9]);
  });
});

describe('a local service over HTTP, through fetch', () => {
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

  it('answers its routes, and nothing else', async () => {
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
  ])('%s', async (_, fault, expected, added) => {
    host.faults.inject('Add', 1, fault);
    const begin = performance.now();
    expect(await outcome(add())).toEqual(expected);
    if (fault.kind === 'slow') expect(performance.now() - begin).toBeGreaterThanOrEqual(19);
    expect(items).toHaveLength(added);
    expect(await outcome(add())).toMatchObject([200, expect.anything()]);
  });

  it('says when to come again', async () => {
    host.faults.inject('Add', 1, { kind: 'status', status: 429, retryAfter: '3', when: 'before' });
    const response = await add();
    expect([response.status, response.headers.get('retry-after')]).toEqual([429, '3']);
    expect((await add()).headers.get('retry-after')).toBeNull();
  });

  it('says what a page is', async () => {
    host.faults.inject('Add', 1, { kind: 'html', status: 502, when: 'before' });
    const response = await add();
    expect(response.status).toBe(502);
    expect(response.headers.get('content-type')).toContain('text/html');
    expect(await response.text()).toContain('<h1>502 Bad Gateway</h1>');
  });

  it.each([
    ['before', 0],
    ['after', 1],
  ] as const)('never answers, %s the effect', async (when, added) => {
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
  });

  it('lets a hook look and strike', async () => {
    const seen: string[] = [];
    host.faults.intercept = ({ service, method }, when) => {
      seen.push(`${service} ${when} ${method} ${items.length}`);
      return when === 'after' ? { kind: 'status', status: 503, when } : undefined;
    };
    expect(await outcome(add())).toMatchObject([503, { message: 'injected by the test' }]);
    expect(seen).toEqual(['keyapi before Add 0', 'keyapi after Add 1']);
  });

  it('prints nothing of a request with its call', async () => {
    await add('not-for-the-screen');
    expect(inspect(host.faults.calls, { depth: null, showHidden: true })).not.toContain('screen');
  });
});
