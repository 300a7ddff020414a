import { createHash } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { v1 } from '@google-cloud/secret-manager';
import { status } from '@grpc/grpc-js';
import { Rotator } from '../../src/rotation/rotator';
import { MomentoKeys } from '../../src/momento/issuer';
import type { RenewalPolicy } from '../../src/rotation/policy';
import type { RunResult } from '../../src/rotation/result';
import type { RunOptions } from '../../src/rotation/run';
import { SecretManagerStore } from '../../src/secret-manager/store';
import type { SecretName } from '../../src/secret-name';
import type { Fault, Hook, Moment } from '../emulators/faults';
import type { State } from '../emulators/secret-manager';
import { leaks } from '../leaks';
import { DAY, HOUR, LocalServices, type Seed, type Seeded } from './support';

/** How long a run may take, as with the function's default timeout. */
const RUN_MS = 525_000;

/** A policy by which no key of these tests is due. */
const NOT_DUE: Partial<RenewalPolicy> = { renewBefore: { minimumMs: HOUR } };

let services: LocalServices;
let store: SecretManagerStore;
let keys: MomentoKeys;
/** Everything that the rotator told. */
let told: unknown[];

beforeAll(async () => {
  services = await LocalServices.start();
  store = new SecretManagerStore({ emulator: services.secretManager.host, clock: services.clock });
  keys = new MomentoKeys({
    emulator: services.momento.host,
    keyApiEmulator: services.keyApi.host,
    clock: services.clock,
  });
});

afterAll(() => services.stop());

beforeEach(() => {
  services.reset();
  told = [];
});

afterEach(() => {
  jest.restoreAllMocks();
  expect(services.complaints).toEqual([]);
  expect(leaks(services.secrets, [JSON.stringify(told)])).toEqual([]);
});

/** A rotator as each instance of the function has its own. */
function instance(policy: Partial<RenewalPolicy> = {}) {
  const { clock } = services;
  const whole = { gracePeriodMs: 0, verify: true, revoke: false, ...policy };
  const fleetOf = (secret: SecretName) =>
    new Rotator({ ...shared, secrets: [{ ...secret, payload: 'json' }] });
  const shared = { store, keys, policy: whole, clock };
  const fleet = new Rotator({ ...shared, secrets: [] });
  const rotate = async (
    secret: SecretName,
    options: Partial<RunOptions> = {},
  ): Promise<RunResult & { joined: boolean }> => {
    const deadline = clock.monotonic() + RUN_MS;
    const all = { force: false, dryRun: false, deadline, ...options };
    let joined = true;
    const [report] = await fleet.rotate([{ ...secret, payload: 'json' }], all, () => {
      joined = false;
    });
    if (report === undefined) throw new Error('a run without a report');
    told.push(report);
    return { ...report, joined };
  };
  const status = async (secret: SecretName) => {
    const [look] = await fleetOf(secret).status();
    if (look === undefined) throw new Error('a look without a result');
    return look;
  };
  return { rotate, status };
}

/** One run of an instance that has just started. */
function rotate(
  secret: SecretName,
  policy: Partial<RenewalPolicy> = {},
  options: Partial<RunOptions> = {},
): Promise<RunResult> {
  return instance(policy).rotate(secret, options);
}

/** Stores a key from the console, and after it a second version. */
function seedTwo(seed: Seed = {}, state: State = 'ENABLED'): Seeded {
  const seeded = services.seed(seed);
  services.secretManager.addVersion(seeded.secret.name, services.momento.issueKey().consoleJson, {
    state,
  });
  return seeded;
}

function addByHand({ name }: SecretName): void {
  services.secretManager.addVersion(name, services.momento.issueKey().consoleJson);
}

function intercept(hook: Hook): void {
  services.secretManager.faults.intercept = hook;
  services.momento.faults.intercept = hook;
}

/** Lets something happen in the middle of a run: once, around a method's first call from now on. */
function when(moment: `${Moment} ${string}`, act: () => unknown): void {
  let isDone = false;
  intercept(async ({ method }, now) => {
    if (isDone || moment !== `${now} ${method}`) return;
    isDone = true;
    await act();
  });
}

function inject(method: string, nth: number | 'every', struck: Fault): void {
  services.secretManager.faults.inject(method, nth, struck);
  services.momento.faults.inject(method, nth, struck);
}

function endFaults(): void {
  services.secretManager.faults.clear();
  services.momento.faults.clear();
}

/** `drop after`, `corrupt`, `UNAVAILABLE before`: a fault by its kind or gRPC status, and its moment. */
function fault(name: string): Fault {
  const [what = '', at] = name.split(' ') as [string?, Moment?];
  if (what === 'corrupt') return { kind: what };
  if (at === undefined) throw new Error(`not a fault: ${name}`);
  if (what === 'drop' || what === 'hang') return { kind: what, when: at };
  return { kind: 'error', code: status[what as keyof typeof status], when: at };
}

/** Neither did anything cost a refresh token, nor did readers see a change. */
function expectUntouched(secret: SecretName, states: State[] = ['ENABLED']): void {
  expect(services.timesCalled('RefreshApiToken')).toBe(0);
  expect(services.states(secret)).toEqual(states);
}

/** Readers get a key that Momento issued later than the first, and that can be refreshed in its turn. */
function expectRenewed({ secret, key }: Seeded): void {
  const { apiKey, refreshToken } = services.latest(secret);
  expect(apiKey === key.apiKey).toBe(false);
  expect(services.momento.acceptsRefresh(String(apiKey), String(refreshToken))).toBe(true);
}

describe('a rotation', () => {
  it('adds a proved key as the newest version and disables the one before', async () => {
    const start = Math.floor(Date.now() / 1000);
    services.momento.now = () => start * 1000;
    const seeded = services.seed();
    const { result, status: httpStatus, keyFingerprint, steps } = await rotate(seeded.secret);
    expect(result).toEqual({
      secret: seeded.secret.name,
      outcome: 'rotated',
      reason: 'every run rotates',
      issuedBy: 'refresh',
      version: '2',
      previousVersion: '1',
      expiresAt: new Date(start * 1000 + 30 * DAY).toISOString(),
      verified: true,
      disabled: ['1'],
    });
    expect(httpStatus).toBe(200);
    expect(services.states(seeded.secret)).toEqual(['DISABLED', 'ENABLED']);
    expectRenewed(seeded);
    const { apiKey, note } = services.latest(seeded.secret);
    expect(note).toBe(seeded.note);
    expect(keyFingerprint).toBe(
      createHash('sha256').update(String(apiKey)).digest('hex').slice(0, 8),
    );
    expect(Object.keys(steps)).toEqual(['gather', 'issue', 'verify', 'add', 'retire']);
  });

  it('takes one round trip for each of its steps', async () => {
    const rounds = [
      ['AccessSecretVersion', 'ListSecretVersions', 'TestIamPermissions'],
      ['RefreshApiToken'],
      ['ListCaches', 'ListSecretVersions'],
      ['AddSecretVersion'],
      ['DisableSecretVersion'],
    ];
    const { secret } = services.seed();
    const seen: string[][] = [[]];
    let waiting: (() => void)[] = [];
    // Nobody is answered before all calls of a round have arrived.
    intercept(async ({ method }, at) => {
      if (at === 'after') return;
      const round = seen.at(-1) ?? [];
      const others = new Promise<void>((resolve) => waiting.push(resolve));
      if (round.push(method) === rounds[seen.length - 1]?.length) {
        for (const resolve of waiting) resolve();
        waiting = [];
        seen.push([]);
      }
      await others;
    });
    const { result } = await rotate(secret);
    expect(result.outcome).toBe('rotated');
    expect(seen.map((round) => round.toSorted())).toEqual([...rounds, []]);
  });

  it('sends the checksum of what it adds', async () => {
    const { secret } = services.seed();
    await rotate(secret);
    const { calls } = services.secretManager.faults;
    const added = calls.find(({ method }) => method === 'AddSecretVersion');
    expect(added?.request).toMatchObject({
      payload: { dataCrc32c: expect.stringMatching(/^\d+$/) as string },
    });
  });

  it.each([
    'projects/my-project',
    'projects/example.com:my-project',
    'projects/4711',
    'projects/my-project/locations/europe-west6',
  ])('goes on from what it wrote, in %s', async (parent) => {
    const seeded = services.seed({ parent });
    const { rotate: run } = instance();
    await run(seeded.secret);
    const { result } = await run(seeded.secret);
    expect(result).toMatchObject({ outcome: 'rotated', version: '3', disabled: ['2'] });
    expect(services.states(seeded.secret)).toEqual(['DISABLED', 'DISABLED', 'ENABLED']);
    expectRenewed(seeded);
  });

  interface Values {
    key: string;
    token: string;
    seconds: number;
    endpoint: string;
  }

  describe.each(['v1', 'legacy'] as const)('of a %s key keeps the form', (format) => {
    it.each<[string, (values: Values) => string]>([
      [
        'that the console writes',
        ({ key, token, seconds }) =>
          `{"apiKey":"${key}","refreshToken":"${token}","validUntil":${seconds},"restEndpoint":"https://r"}`,
      ],
      [
        'with authToken and seconds as text',
        ({ key, token, seconds }) =>
          `{"authToken":"${key}","refreshToken":"${token}","validUntil":"${seconds}"}`,
      ],
      [
        'with apiToken and milliseconds',
        ({ key, token, seconds }) =>
          `{"validUntil":${seconds}000,"refreshToken":"${token}","apiToken":"${key}"}`,
      ],
      [
        'with milliseconds as text, an endpoint and a nested field',
        ({ key, token, seconds, endpoint }) =>
          `{"a":{"b":[1,"2",null]},"endpoint":"${endpoint}","apiKey":"${key}","refreshToken":"${token}","validUntil":"${seconds}000"}`,
      ],
      [
        'with one key under two names, and a number that JavaScript cannot hold',
        ({ key, token, seconds }) =>
          `{"id":12345678901234567890,"apiKey":"${key}","authToken":"${key}","refreshToken":"${token}","validUntil":${seconds}}`,
      ],
    ])('%s', async (_, write) => {
      const start = Math.floor(Date.now() / 1000);
      services.momento.now = () => start * 1000;
      const { secret, key } = services.seed({
        key: { format },
        payload: ({ apiKey, refreshToken, validUntil }) =>
          write({
            key: apiKey,
            token: refreshToken,
            seconds: validUntil,
            endpoint: 'elsewhere.invalid',
          }),
      });
      const known = services.momento.secrets().length;
      expect((await rotate(secret)).result.outcome).toBe('rotated');
      const [apiKey = '', , token = ''] = services.momento.secrets().slice(known);
      const written = services.secretManager.latest(secret.name)?.toString();
      const expected = write({
        key: apiKey,
        token,
        seconds: start + 30 * 24 * 3600,
        endpoint: key.endpoint,
      });
      // Not with a matcher, which would print the key.
      expect(written === expected).toBe(true);
    });
  });

  it('takes a key and a token that end in a newline', async () => {
    const seeded = services.seed({
      payload: ({ apiKey, refreshToken, validUntil }) =>
        JSON.stringify({ apiKey: `${apiKey}\n`, refreshToken: `${refreshToken}\n`, validUntil }),
    });
    expect((await rotate(seeded.secret)).result.outcome).toBe('rotated');
    expectRenewed(seeded);
  });

  it('takes a key that may not list caches for one that Momento accepts', async () => {
    const seeded = services.seed({ key: { permissions: 'data-only' } });
    const { result } = await rotate(seeded.secret);
    expect(result).toMatchObject({ outcome: 'rotated', verified: true, disabled: ['1'] });
    expect(services.timesCalled('ListCaches')).toBe(1);
    expectRenewed(seeded);
  });

  it('does not ask Momento about keys when it is told not to', async () => {
    const seeded = services.seed();
    const { result } = await instance({ verify: false }).rotate(seeded.secret);
    expect(result).toMatchObject({ outcome: 'rotated', disabled: ['1'] });
    expect(result).not.toHaveProperty('verified');
    expect(services.timesCalled('ListCaches')).toBe(0);
    expectRenewed(seeded);
  });

  it('is one for all who ask for it at the same time', async () => {
    const { secret } = services.seed();
    const { rotate: run } = instance();
    const runs = await Promise.all(Array.from({ length: 50 }, () => run(secret)));
    expect(runs.filter(({ joined }) => !joined)).toHaveLength(1);
    expect(new Set(runs.map(({ result }) => JSON.stringify(result))).size).toBe(1);
    expect(services.timesCalled('RefreshApiToken')).toBe(1);
    expect(services.states(secret)).toEqual(['DISABLED', 'ENABLED']);
  });

  it('leaves no connection to Momento open', async () => {
    const { momento } = services;
    const toMomento: Socket[] = [];
    const collect = (message: unknown): void => {
      const { socket } = message as { socket: Socket };
      socket.once('connect', () => {
        if (momento.host.endsWith(`:${socket.remotePort ?? ''}`)) toMomento.push(socket);
      });
    };
    subscribe('net.client.socket', collect);
    try {
      const { secret } = services.seed();
      const { rotate: run } = instance();
      await run(secret);
      inject('RefreshApiToken', 'every', fault('PERMISSION_DENIED before'));
      await run(secret);
    } finally {
      unsubscribe('net.client.socket', collect);
    }
    expect(toMomento.length).toBeGreaterThanOrEqual(3);
    // Never settles, if a connection stays open.
    const open = toMomento.filter(({ destroyed }) => !destroyed);
    await Promise.all(open.map((socket) => once(socket, 'close')));
  });
});

describe('the outcome is', () => {
  it('not_due, without a call to Momento when there is nothing to retire', async () => {
    const { secret, key } = services.seed();
    const { result, status: httpStatus } = await rotate(secret, NOT_DUE);
    expect(result).toEqual({
      secret: secret.name,
      outcome: 'not_due',
      reason: `due at ${new Date(key.validUntil * 1000 - HOUR).toISOString()}`,
      version: '1',
      expiresAt: new Date(key.validUntil * 1000).toISOString(),
    });
    expect(httpStatus).toBe(200);
    expect(services.momento.faults.calls).toEqual([]);
    expectUntouched(secret);
  });

  it('not_due, and what is to be retired is, after the newest key was proved', async () => {
    const { secret } = seedTwo();
    const { result } = await rotate(secret, NOT_DUE);
    expect(result).toMatchObject({ outcome: 'not_due', verified: true, disabled: ['1'] });
    expect(services.timesCalled('ListCaches')).toBe(1);
    expectUntouched(secret, ['DISABLED', 'ENABLED']);
  });

  it.each([
    ['a length of time', { minimumMs: 10 * DAY }, 20],
    ['a share of its lifetime', { share: 0.25 }, 22.5],
  ])('rotated from the renewal time on: %s', async (_, renewBefore, dueAfterDays) => {
    const seeded = services.seed();
    const { rotate: run } = instance({ renewBefore });
    // A key's times are whole seconds, so the renewal time is up to one earlier than the age of the version says.
    services.clock.advance(dueAfterDays * DAY - 2000);
    expect((await run(seeded.secret)).result.outcome).toBe('not_due');
    services.clock.advance(2000);
    const { result } = await run(seeded.secret);
    expect(result).toMatchObject({
      outcome: 'rotated',
      reason: expect.stringMatching(/^due since /) as string,
    });
    expectRenewed(seeded);
  });

  it('rotated when that is forced, though it is not due', async () => {
    const { secret } = services.seed();
    const { result } = await rotate(secret, NOT_DUE, { force: true });
    expect(result).toMatchObject({ outcome: 'rotated', reason: 'forced' });
  });

  it.each([
    ['at', 0, 'already_rotated'],
    ['after', -1, 'already_rotated'],
    ['before', 1, 'rotated'],
  ])("with a version created %s the run's scheduled time: %#", async (_, later, outcome) => {
    const createTime = services.clock.now() - HOUR;
    const { secret } = services.seed({ createTime });
    const { result } = await rotate(
      secret,
      {},
      { scheduledAt: createTime + later, force: outcome !== 'rotated' },
    );
    expect(result.outcome).toBe(outcome);
    expect(services.timesCalled('RefreshApiToken')).toBe(outcome === 'rotated' ? 1 : 0);
  });

  it('already_rotated when a scheduled run is repeated, which finishes what the first left', async () => {
    const { secret } = services.seed();
    const { rotate: run } = instance();
    const scheduledAt = services.clock.now() - 1;
    services.clock.advance(1000);
    services.secretManager.addVersion(secret.name, services.momento.issueKey().consoleJson);
    const { result, status: httpStatus } = await run(secret, { scheduledAt });
    expect(result).toMatchObject({
      outcome: 'already_rotated',
      version: '2',
      verified: true,
      disabled: ['1'],
    });
    expect(httpStatus).toBe(200);
    expectUntouched(secret, ['DISABLED', 'ENABLED']);
  });

  it('superseded when somebody adds a version while the new key is issued', async () => {
    const { secret } = services.seed();
    when('after RefreshApiToken', () => addByHand(secret));
    const { result, status: httpStatus } = await rotate(secret);
    expect(result).toMatchObject({
      outcome: 'superseded',
      version: '2',
      reason: 'version 2 was added by somebody else meanwhile',
    });
    expect(result).not.toHaveProperty('disabled');
    expect(httpStatus).toBe(200);
    expect(services.states(secret)).toEqual(['ENABLED', 'ENABLED']);
  });

  it('superseded when another instance spends the refresh token and stores its key first', async () => {
    services.momento.refreshTokens = 'single-use';
    const seeded = services.seed();
    when('before RefreshApiToken', () => rotate(seeded.secret));
    const { result } = await rotate(seeded.secret);
    expect(result).toMatchObject({ outcome: 'superseded', version: '2' });
    expect(services.states(seeded.secret)).toEqual(['DISABLED', 'ENABLED']);
    expectRenewed(seeded);
  });

  it('dry_run, which says what would be done and does nothing', async () => {
    const { secret } = seedTwo();
    const { result, status: httpStatus } = await rotate(secret, {}, { dryRun: true });
    expect(result).toMatchObject({
      outcome: 'dry_run',
      reason: 'would rotate: every run rotates',
      version: '2',
      disabled: ['1', '2'],
      destroyed: [],
    });
    expect(httpStatus).toBe(200);
    expect(new Set(services.called)).toEqual(
      new Set(['AccessSecretVersion', 'ListSecretVersions', 'TestIamPermissions']),
    );
    expectUntouched(secret, ['ENABLED', 'ENABLED']);
  });

  it('dry_run, also of what is not due', async () => {
    const { secret } = seedTwo();
    const { result } = await rotate(secret, NOT_DUE, { dryRun: true });
    expect(result).toMatchObject({
      outcome: 'dry_run',
      reason: expect.stringMatching(/^would not rotate: due at /) as string,
      disabled: ['1'],
    });
    expectUntouched(secret, ['ENABLED', 'ENABLED']);
  });

  it('failed when too little time is left to store what Momento would issue', async () => {
    const { secret } = services.seed();
    const deadline = services.clock.monotonic() + 30_000;
    const { result, status: httpStatus } = await rotate(secret, {}, { deadline });
    expect(result).toMatchObject({
      outcome: 'failed',
      error: { code: 'DEADLINE_EXCEEDED', retryable: true },
    });
    expect(httpStatus).toBe(504);
    expectUntouched(secret);
  });
});

describe('superseded versions', () => {
  it('stay enabled for the grace period, then disabled until they are destroyed', async () => {
    const { secret } = services.seed();
    const { rotate: run } = instance({
      ...NOT_DUE,
      gracePeriodMs: HOUR,
      destroyAfterMs: 3 * HOUR,
    });
    await run(secret, { force: true });
    const steps = [
      [HOUR - 1000, ['ENABLED', 'ENABLED'], {}],
      [1000, ['DISABLED', 'ENABLED'], { disabled: ['1'] }],
      [2 * HOUR - 1000, ['DISABLED', 'ENABLED'], {}],
      [1000, ['DESTROYED', 'ENABLED'], { destroyed: ['1'] }],
      [HOUR, ['DESTROYED', 'ENABLED'], {}],
    ] as const;
    for (const [later, states, changed] of steps) {
      services.clock.advance(later);
      const { result } = await run(secret);
      expect(result).toMatchObject({ outcome: 'not_due', version: '2', ...changed });
      expect(services.states(secret)).toEqual(states);
    }
    expect(services.timesCalled('DisableSecretVersion')).toBe(1);
    expect(services.timesCalled('DestroySecretVersion')).toBe(1);
    // Once for the new key, and once before each of the two changes.
    expect(services.timesCalled('ListCaches')).toBe(3);
  });

  it('are not disabled and destroyed in one run, and a delayed destruction is asked for once', async () => {
    const { secret } = services.seed({ versionDestroyTtlMs: DAY });
    const { rotate: run } = instance({ ...NOT_DUE, destroyAfterMs: 0 });
    await run(secret, { force: true });
    expect(services.timesCalled('DestroySecretVersion')).toBe(0);
    const { result } = await run(secret);
    expect(result).toMatchObject({ outcome: 'not_due', destroyed: ['1'] });
    expect((await run(secret)).result).not.toHaveProperty('destroyed');
    expect(services.timesCalled('DestroySecretVersion')).toBe(1);
    services.clock.advance(2 * DAY);
    expect(services.states(secret)).toEqual(['DESTROYED', 'ENABLED']);
  });

  it.each(['DisableSecretVersion', 'DestroySecretVersion'])(
    'are left alone when somebody enables one again before %s',
    async (method) => {
      const { secret } = seedTwo();
      const isDestroyed = method.startsWith('Destroy');
      if (isDestroyed) services.secretManager.setState(secret.name, '1', 'DISABLED');
      const { rotate: run } = instance({ ...NOT_DUE, destroyAfterMs: 0 });
      when(`before ${method}`, () => services.secretManager.setState(secret.name, '1', 'ENABLED'));
      const { result } = await run(secret);
      expect(result).toMatchObject({
        outcome: 'not_due',
        [isDestroyed ? 'destroyed' : 'disabled']: [],
        warnings: [expect.stringContaining('version 1 ') as string],
      });
      expect(services.states(secret)).toEqual(['ENABLED', 'ENABLED']);
      expect((await run(secret)).result).toMatchObject({ disabled: ['1'] });
    },
  );

  it('stay when Momento rejects the newest key', async () => {
    const { secret } = services.seed({ readersAreServed: false });
    const newest = services.momento.issueKey();
    services.secretManager.addVersion(secret.name, newest.consoleJson);
    services.momento.revoke(newest.apiKey);
    services.clock.advance(HOUR);
    const { result, status: httpStatus } = await rotate(secret, NOT_DUE);
    expect(result).toMatchObject({
      outcome: 'failed',
      version: '2',
      verified: false,
      error: { code: 'NEWEST_KEY_REJECTED', step: 'verify', retryable: false },
    });
    expect(httpStatus).toBe(409);
    expectUntouched(secret, ['ENABLED', 'ENABLED']);
  });
});

describe('a missing permission', () => {
  const ROLE = 'roles/secretmanager.secretVersionManager';

  it.each([
    ['access', 'roles/secretmanager.secretAccessor', {}],
    ['list', ROLE, {}],
    ['add', ROLE, {}],
    ['disable', ROLE, {}],
    ['destroy', ROLE, { destroyAfterMs: DAY }],
  ])('to %s stops the run before it costs anything', async (verb, role, policy) => {
    const { secret } = seedTwo();
    revoke(secret, verb);
    const { result, status: httpStatus } = await rotate(secret, policy);
    expect(result).toMatchObject({
      outcome: 'failed',
      error: { code: 'PERMISSION_MISSING', step: 'gather', retryable: false },
    });
    expect(result.error?.message).toContain(
      `lacks secretmanager.versions.${verb} on ${secret.name}.`,
    );
    expect(result.error?.message).toContain(`Grant it ${role} on`);
    expect(httpStatus).toBe(403);
    // What can be retired is, for that costs nothing.
    const isRetired = verb === 'add' || verb === 'destroy';
    expectUntouched(secret, [isRetired ? 'DISABLED' : 'ENABLED', 'ENABLED']);
  });

  it('to destroy does not matter when nothing is ever destroyed', async () => {
    const { secret } = services.seed();
    revoke(secret, 'destroy');
    expect((await rotate(secret)).result.outcome).toBe('rotated');
  });

  it('is named with all others', async () => {
    const { secret } = services.seed();
    services.secretManager.grant(secret.name, ['secretmanager.versions.list']);
    const { error } = (await rotate(secret)).result;
    expect(error?.message).toContain(
      'secretmanager.versions.access, secretmanager.versions.add, secretmanager.versions.disable on',
    );
    expect(error?.message).toContain(`roles/secretmanager.secretAccessor and ${ROLE} on`);
  });

  it('to add, found out only when the new key is there, does not cost the key', async () => {
    services.momento.refreshTokens = 'single-use';
    const seeded = services.seed();
    const { secret } = seeded;
    const { rotate: run } = instance();
    const granted = services.secretManager.permissions(secret.name);
    when('after RefreshApiToken', () => revoke(secret, 'add'));
    const failed = await run(secret);
    expect(failed.result).toMatchObject({
      outcome: 'failed',
      error: {
        code: 'CREDENTIAL_NOT_STORED',
        step: 'add',
        message: expect.stringContaining('PERMISSION_MISSING') as string,
      },
    });
    expect(failed.status).toBe(503);
    expect(services.states(secret)).toEqual(['ENABLED']);

    services.secretManager.grant(secret.name, [...granted]);
    const { result } = await run(secret);
    expect(result).toMatchObject({ outcome: 'rotated', version: '2', disabled: ['1'] });
    expect(services.timesCalled('RefreshApiToken')).toBe(1);
    expectRenewed(seeded);
  });

  it('to disable, found out only then, is incomplete until it is granted', async () => {
    const { secret } = services.seed();
    const { rotate: run } = instance(NOT_DUE);
    const granted = services.secretManager.permissions(secret.name);
    when('after AddSecretVersion', () => revoke(secret, 'disable'));
    const { result, status: httpStatus } = await run(secret, { force: true });
    expect(result).toMatchObject({
      outcome: 'incomplete',
      version: '2',
      disabled: [],
      error: { code: 'PERMISSION_MISSING', step: 'retire' },
    });
    expect(httpStatus).toBe(503);
    services.secretManager.grant(secret.name, [...granted]);
    expect((await run(secret)).result).toMatchObject({ outcome: 'not_due', disabled: ['1'] });
    expect(services.timesCalled('RefreshApiToken')).toBe(1);
  });

  function revoke({ name }: SecretName, verb: string): void {
    const granted = [...services.secretManager.permissions(name)];
    services.secretManager.grant(
      name,
      granted.filter((permission) => permission !== `secretmanager.versions.${verb}`),
    );
  }
});

describe('a secret', () => {
  it.each([
    ['does not exist', () => undefined, 'SECRET_NOT_FOUND', 404],
    [
      'has no version',
      ({ name }: SecretName) => services.secretManager.createSecret(name),
      'NO_VERSION',
      409,
    ],
    [
      'was deleted',
      ({ name }: SecretName) => {
        services.secretManager.createSecret(name);
        addByHand({ name } as SecretName);
        services.secretManager.deleteSecret(name);
      },
      'SECRET_NOT_FOUND',
      404,
    ],
    [
      'has no enabled version',
      ({ name }: SecretName) => {
        services.secretManager.createSecret(name);
        services.secretManager.addVersion(name, '{}', { state: 'DESTROYED' });
        services.secretManager.addVersion(name, '{}', { state: 'DISABLED' });
      },
      'NO_ENABLED_VERSION',
      409,
    ],
  ])('that %s', async (_, prepare, code, httpStatus) => {
    const secret = services.newName();
    prepare(secret);
    const report = await rotate(secret);
    expect(report.result).toMatchObject({ outcome: 'failed', error: { code, step: 'gather' } });
    expect(report.status).toBe(httpStatus);
    expect(services.momento.faults.calls).toEqual([]);
  });

  it.each(['DISABLED', 'DESTROYED'] as const)(
    'whose newest version is %s is healed from the newest enabled one',
    async (state) => {
      const { secret, key, note } = seedTwo({ readersAreServed: false }, 'ENABLED');
      services.secretManager.addVersion(secret.name, key.consoleJson, { state });
      const { result } = await rotate(secret, NOT_DUE);
      expect(result).toMatchObject({
        outcome: 'rotated',
        reason: `version 3 is the newest but ${state.toLowerCase()}, so readers of latest fail`,
        version: '4',
        disabled: ['1', '2'],
        warnings: [expect.stringContaining('version 2 is used instead') as string],
      });
      expect(services.states(secret)).toEqual(['DISABLED', 'DISABLED', state, 'ENABLED']);
      expect(services.momento.accepts(String(services.latest(secret).apiKey))).toBe(true);
      expect(services.latest(secret)).not.toHaveProperty('note', note);
    },
  );

  it.each([
    ['lists lag', 1, 0],
    ['lists lag far', 2, 0],
    ['latest lags', 0, 1],
    ['lists and latest lag', 1, 1],
  ])('whose %s behind is rotated all the same', async (_, staleLists, staleLatest) => {
    const seeded = seedTwo();
    const { rotate: run } = instance();
    services.secretManager.staleLists = staleLists;
    services.secretManager.staleLatest = staleLatest;
    for (const version of ['3', '4', '5']) {
      expect((await run(seeded.secret)).result).toMatchObject({ outcome: 'rotated', version });
    }
    services.secretManager.staleLists = 0;
    services.secretManager.staleLatest = 0;
    expect((await run(seeded.secret)).result).toMatchObject({ outcome: 'rotated', version: '6' });
    expect(services.states(seeded.secret)).toEqual([
      ...Array<State>(5).fill('DISABLED'),
      'ENABLED',
    ]);
    expectRenewed(seeded);
  });

  it('is reported on without being changed', async () => {
    const createTime = services.clock.now() - 10 * DAY;
    const { secret } = services.seed({ createTime });
    const key = services.momento.issueKey();
    services.secretManager.addVersion(secret.name, key.consoleJson, { createTime });
    services.secretManager.setState(secret.name, '1', 'DISABLED');
    const { status: found, httpStatus } = await instance(NOT_DUE).status(secret);
    told.push(found);
    expect(httpStatus).toBe(200);
    expect(found).toEqual({
      secret: secret.name,
      version: '2',
      state: 'ENABLED',
      ageSeconds: (10 * DAY) / 1000,
      keyFingerprint: createHash('sha256').update(key.apiKey).digest('hex').slice(0, 8),
      expiresAt: new Date(key.validUntil * 1000).toISOString(),
      timeLeftSeconds: expect.closeTo(30 * 24 * 3600, -1) as number,
      nextRenewal: new Date(key.validUntil * 1000 - HOUR).toISOString(),
      renewedBy: 'refresh',
      enabledVersions: 1,
      disabledVersions: 1,
    });
    expect(services.called.toSorted()).toEqual(['AccessSecretVersion', 'ListSecretVersions']);
  });

  it('that cannot be reported on says why', async () => {
    const found = await instance().status(services.newName());
    expect(found).toMatchObject({
      httpStatus: 404,
      status: { error: { code: 'SECRET_NOT_FOUND' } },
    });
  });
});

describe('a payload', () => {
  const json =
    (change: (fields: Record<string, unknown>) => object) =>
    (key: { consoleJson: string }): string =>
      JSON.stringify(change(JSON.parse(key.consoleJson) as Record<string, unknown>));

  it.each<[string, NonNullable<Seed['payload']>, string, number]>([
    ['that is empty', () => '', 'PAYLOAD_INVALID', 422],
    ['that is neither JSON nor a key', ({ apiKey }) => `x${apiKey}`, 'PAYLOAD_INVALID', 422],
    ['that is a bare v1 key', ({ apiKey }) => apiKey, 'KEY_NOT_REFRESHABLE', 422],
    ['that is JSON with rests', ({ consoleJson }) => `${consoleJson}x`, 'PAYLOAD_INVALID', 422],
    ['that is not an object', ({ apiKey }) => JSON.stringify([apiKey]), 'PAYLOAD_INVALID', 422],
    [
      'that is not UTF-8',
      ({ consoleJson }) => Buffer.concat([Buffer.from(consoleJson), Buffer.from([0xff])]),
      'PAYLOAD_INVALID',
      422,
    ],
    [
      'over 64 KiB',
      json((fields) => ({ ...fields, filler: 'x'.repeat(65_536) })),
      'PAYLOAD_INVALID',
      422,
    ],
    ['without a key', json((fields) => ({ ...fields, apiKey: undefined })), 'PAYLOAD_INVALID', 422],
    ['with an empty key', json((fields) => ({ ...fields, apiKey: ' ' })), 'PAYLOAD_INVALID', 422],
    [
      'with half a key',
      json(({ apiKey, ...fields }) => ({ ...fields, apiKey: String(apiKey).slice(0, 80) })),
      'PAYLOAD_INVALID',
      422,
    ],
    [
      'with two different keys',
      ({ consoleJson, refreshToken }) =>
        consoleJson.replace('{', `{"authToken":${JSON.stringify(refreshToken)},`),
      'PAYLOAD_INVALID',
      422,
    ],
    [
      'with an expiry that makes no sense',
      json(({ apiKey, ...fields }) => ({ ...fields, apiKey, validUntil: apiKey })),
      'PAYLOAD_INVALID',
      422,
    ],
    [
      'without a refresh token',
      json((fields) => ({ ...fields, refreshToken: undefined })),
      'KEY_NOT_REFRESHABLE',
      422,
    ],
    [
      'with an empty refresh token',
      json((fields) => ({ ...fields, refreshToken: '' })),
      'KEY_NOT_REFRESHABLE',
      422,
    ],
  ])('%s is refused before Momento is called', async (_, payload, code, httpStatus) => {
    const { secret } = services.seed({ payload, readersAreServed: false });
    const report = await rotate(secret);
    expect(report.result).toMatchObject({
      outcome: 'failed',
      version: '1',
      error: { code, retryable: false },
    });
    expect(report.status).toBe(httpStatus);
    expect(services.momento.faults.calls).toEqual([]);
    expectUntouched(secret);
  });

  it('with a wrong checksum is refused before Momento is called', async () => {
    const secret = services.newName();
    services.secretManager.createSecret(secret.name);
    services.secretManager.addVersion(secret.name, services.momento.issueKey().consoleJson, {
      crc: 42,
    });
    const { result, status: httpStatus } = await rotate(secret);
    expect(result).toMatchObject({
      outcome: 'failed',
      error: { code: 'PAYLOAD_CORRUPT', step: 'gather', retryable: true },
    });
    expect(httpStatus).toBe(502);
    expect(services.momento.faults.calls).toEqual([]);
    expectUntouched(secret);
  });

  it('with an expired key is left to Momento to judge', async () => {
    const { secret } = services.seed({ key: { lifetimeSeconds: 60 }, readersAreServed: false });
    services.clock.advance(61_000);
    const { result, status: httpStatus } = await rotate(secret);
    expect(result).toMatchObject({
      outcome: 'failed',
      error: { code: 'KEY_EXPIRED', step: 'issue', retryable: false },
    });
    expect(httpStatus).toBe(422);
    expect(services.timesCalled('RefreshApiToken')).toBe(1);
    expect(services.states(secret)).toEqual(['ENABLED']);
  });
});

describe('one fault, and the run still succeeds', () => {
  const RETIRED: State[] = ['DISABLED', 'ENABLED'];

  it.each<[string, number, string, { calls: number }]>([
    ['AccessSecretVersion', 1, 'UNAVAILABLE before', { calls: 2 }],
    ['AccessSecretVersion', 1, 'RESOURCE_EXHAUSTED before', { calls: 2 }],
    ['AccessSecretVersion', 1, 'drop before', { calls: 2 }],
    ['AccessSecretVersion', 1, 'drop after', { calls: 2 }],
    ['AccessSecretVersion', 1, 'corrupt', { calls: 2 }],
    ['ListSecretVersions', 1, 'INTERNAL before', { calls: 3 }],
    ['ListSecretVersions', 1, 'drop before', { calls: 3 }],
    ['ListSecretVersions', 2, 'UNAVAILABLE before', { calls: 3 }],
    ['ListSecretVersions', 2, 'drop after', { calls: 3 }],
    ['ListSecretVersions', 2, 'corrupt', { calls: 2 }],
    ['TestIamPermissions', 1, 'UNAVAILABLE before', { calls: 2 }],
    ['TestIamPermissions', 1, 'drop before', { calls: 2 }],
    ['RefreshApiToken', 1, 'UNAVAILABLE before', { calls: 2 }],
    ['RefreshApiToken', 1, 'INTERNAL after', { calls: 2 }],
    ['RefreshApiToken', 1, 'DEADLINE_EXCEEDED after', { calls: 2 }],
    ['RefreshApiToken', 1, 'RESOURCE_EXHAUSTED before', { calls: 2 }],
    ['RefreshApiToken', 1, 'drop before', { calls: 2 }],
    ['RefreshApiToken', 1, 'drop after', { calls: 2 }],
    ['RefreshApiToken', 1, 'corrupt', { calls: 2 }],
    ['ListCaches', 1, 'UNAVAILABLE before', { calls: 2 }],
    ['ListCaches', 1, 'UNAUTHENTICATED before', { calls: 2 }],
    ['ListCaches', 1, 'drop before', { calls: 2 }],
    ['ListCaches', 1, 'drop after', { calls: 2 }],
    ['AddSecretVersion', 1, 'ABORTED before', { calls: 2 }],
    ['AddSecretVersion', 1, 'INTERNAL after', { calls: 1 }],
    ['AddSecretVersion', 1, 'RESOURCE_EXHAUSTED before', { calls: 2 }],
    ['AddSecretVersion', 1, 'RESOURCE_EXHAUSTED after', { calls: 1 }],
    ['AddSecretVersion', 1, 'drop before', { calls: 2 }],
    ['AddSecretVersion', 1, 'drop after', { calls: 1 }],
    ['AddSecretVersion', 1, 'corrupt', { calls: 1 }],
    ['DisableSecretVersion', 1, 'RESOURCE_EXHAUSTED before', { calls: 2 }],
    ['DisableSecretVersion', 1, 'UNAVAILABLE after', { calls: 2 }],
    ['DisableSecretVersion', 1, 'drop before', { calls: 2 }],
    ['DisableSecretVersion', 1, 'drop after', { calls: 2 }],
    ['DisableSecretVersion', 1, 'corrupt', { calls: 1 }],
  ])('%s, call %d: %s', async (method, nth, struck, { calls }) => {
    const seeded = services.seed();
    const { secret } = seeded;
    inject(method, nth, fault(struck));
    const { result, status: httpStatus } = await rotate(secret);
    expect(result).toMatchObject({ outcome: 'rotated', verified: true });
    expect(httpStatus).toBe(200);
    expect(services.timesCalled(method)).toBe(calls);
    expect(services.states(secret)).toEqual(RETIRED);
    expectRenewed(seeded);
  });

  it.each(['INTERNAL after', 'drop after', 'corrupt'])(
    'AddSecretVersion, call 1: %s, and lists that lag: a copy is added, and disabled by the next run',
    async (struck) => {
      const seeded = seedTwo();
      const { secret } = seeded;
      inject('AddSecretVersion', 1, fault(struck));
      services.secretManager.staleLists = 1;
      expect((await rotate(secret)).result.outcome).toBe('rotated');
      services.secretManager.staleLists = 0;
      expect(services.states(secret).slice(2)).toEqual(['ENABLED', 'ENABLED']);
      await rotate(secret, NOT_DUE);
      expect(services.states(secret)).toEqual(['DISABLED', 'DISABLED', 'DISABLED', 'ENABLED']);
      expectRenewed(seeded);
    },
  );

  it.each(['UNAVAILABLE before', 'UNAVAILABLE after', 'drop before', 'drop after'])(
    'DestroySecretVersion, call 1: %s',
    async (struck) => {
      const { secret } = seedTwo();
      services.secretManager.setState(secret.name, '1', 'DISABLED');
      inject('DestroySecretVersion', 1, fault(struck));
      const { result } = await rotate(secret, { ...NOT_DUE, destroyAfterMs: 0 });
      expect(result).toMatchObject({ outcome: 'not_due', verified: true });
      expect(services.timesCalled('DestroySecretVersion')).toBe(2);
      expect(services.states(secret)).toEqual(['DESTROYED', 'ENABLED']);
    },
  );

  it.each([
    'AccessSecretVersion',
    'ListSecretVersions',
    'TestIamPermissions',
    'AddSecretVersion',
    'DisableSecretVersion',
  ])('%s, call 1: no answer until the deadline', async (method) => {
    const deadlines = shortenDeadlines();
    const { secret } = services.seed();
    inject(method, 1, fault('hang before'));
    const { result } = await rotate(secret);
    expect(result).toMatchObject({ outcome: 'rotated', disabled: ['1'] });
    expect(services.states(secret)).toEqual(RETIRED);
    expect(new Set(deadlines)).toEqual(new Set([10_000]));
  });

  it('ListCaches, call 1: no answer until the deadline', async () => {
    const real = globalThis.setTimeout;
    const shorten = (run: () => void, ms?: number) => real(run, ms === 10_000 ? 50 : ms);
    jest.spyOn(globalThis, 'setTimeout').mockImplementation(shorten);
    const { secret } = services.seed();
    inject('ListCaches', 1, fault('hang before'));
    const { result } = await rotate(secret);
    expect(result).toMatchObject({ outcome: 'rotated', verified: true });
    expect(services.timesCalled('ListCaches')).toBe(2);
  });

  it('the new key is known to Momento only after some seconds', async () => {
    services.momento.newKeyLagMs = 6000;
    const seeded = services.seed();
    const { result } = await rotate(seeded.secret);
    expect(result).toMatchObject({ outcome: 'rotated', verified: true, disabled: ['1'] });
    expect(services.timesCalled('ListCaches')).toBeGreaterThan(3);
    expectRenewed(seeded);
  });

  it('the quota for writes is used up until the next minute', async () => {
    const { secret } = services.seed({ parent: 'projects/few-writes' });
    services.secretManager.quotas = { writesPerMinute: 1 };
    const { result } = await rotate(secret);
    expect(result).toMatchObject({ outcome: 'rotated', disabled: ['1'] });
    expect(services.timesCalled('DisableSecretVersion')).toBeGreaterThan(1);
  });

  it('the quotas for reads and accesses are used up until the next minute', async () => {
    const { secret } = services.seed({ parent: 'projects/few-reads' });
    services.secretManager.quotas = { readsPerMinute: 1, accessesPerMinute: 1 };
    const { result } = await rotate(secret);
    expect(result).toMatchObject({ outcome: 'rotated', disabled: ['1'] });
  });

  /** Runs with deadlines short enough for a test; returns, as they come, those that calls were made with. */
  function shortenDeadlines(): number[] {
    const deadlines: number[] = [];
    type ClientMethod = (request: object, options: { timeout: number }) => Promise<unknown>;
    const client = v1.SecretManagerServiceClient.prototype as unknown as Record<
      string,
      ClientMethod
    >;
    for (const name of [
      'accessSecretVersion',
      'listSecretVersions',
      'testIamPermissions',
      'addSecretVersion',
      'disableSecretVersion',
    ]) {
      const call = client[name];
      jest.spyOn(client, name).mockImplementation(async function (this: unknown, request, options) {
        deadlines.push(options.timeout);
        return call?.call(this, request, { ...options, timeout: 50 });
      });
    }
    return deadlines;
  }
});

describe('a fault that stays', () => {
  it.each<[string, string, string, string, number, { refreshes?: number }]>([
    [
      'AccessSecretVersion',
      'UNAVAILABLE before',
      'SECRET_MANAGER_UNAVAILABLE',
      'gather',
      503,
      { refreshes: 1 },
    ],
    [
      'ListSecretVersions',
      'INTERNAL before',
      'SECRET_MANAGER_UNAVAILABLE',
      'gather',
      503,
      { refreshes: 1 },
    ],
    [
      'TestIamPermissions',
      'UNAVAILABLE before',
      'SECRET_MANAGER_UNAVAILABLE',
      'gather',
      503,
      { refreshes: 1 },
    ],
    [
      'AccessSecretVersion',
      'RESOURCE_EXHAUSTED before',
      'SECRET_MANAGER_QUOTA_EXCEEDED',
      'gather',
      429,
      { refreshes: 1 },
    ],
    ['AccessSecretVersion', 'corrupt', 'PAYLOAD_CORRUPT', 'gather', 502, { refreshes: 1 }],
    ['ListSecretVersions', 'corrupt', 'INTERNAL', 'gather', 500, { refreshes: 1 }],
    ['TestIamPermissions', 'corrupt', 'PERMISSION_MISSING', 'gather', 403, { refreshes: 1 }],
    ['RefreshApiToken', 'UNAVAILABLE before', 'MOMENTO_UNAVAILABLE', 'issue', 503, {}],
    ['RefreshApiToken', 'INTERNAL after', 'MOMENTO_UNAVAILABLE', 'issue', 503, {}],
    ['RefreshApiToken', 'RESOURCE_EXHAUSTED before', 'MOMENTO_LIMIT_EXCEEDED', 'issue', 429, {}],
    [
      'RefreshApiToken',
      'PERMISSION_DENIED before',
      'REFRESH_REFUSED',
      'issue',
      502,
      { refreshes: 2 },
    ],
    ['RefreshApiToken', 'corrupt', 'ISSUED_CREDENTIAL_INVALID', 'issue', 502, {}],
    ['ListCaches', 'UNAUTHENTICATED before', 'NEW_KEY_REJECTED', 'verify', 502, { refreshes: 1 }],
    [
      'AddSecretVersion',
      'UNAVAILABLE before',
      'CREDENTIAL_NOT_STORED',
      'add',
      503,
      { refreshes: 1 },
    ],
  ])(
    '%s, %s: %s in %s (%d); nothing changes for readers, and the next run rotates',
    async (method, struck, code, step, httpStatus, { refreshes }) => {
      const seeded = services.seed();
      const { secret } = seeded;
      const { rotate: run } = instance();
      inject(method, 'every', fault(struck));
      const report = await run(secret);
      expect(report.result).toMatchObject({ outcome: 'failed', error: { code, step } });
      expect(report.status).toBe(httpStatus);
      expect(services.states(secret)).toEqual(['ENABLED']);
      if (step === 'gather') expect(services.momento.faults.calls).toEqual([]);

      endFaults();
      const { result } = await run(secret);
      expect(result).toMatchObject({ outcome: 'rotated', version: '2', disabled: ['1'] });
      expectRenewed(seeded);
      if (refreshes !== undefined) expect(services.timesCalled('RefreshApiToken')).toBe(refreshes);
      else expect(services.timesCalled('RefreshApiToken')).toBeGreaterThan(3);
    },
  );

  it.each<[string, string, string, string, State[]]>([
    ['ListCaches', 'UNAVAILABLE before', 'VERIFY_INCONCLUSIVE', 'verify', ['ENABLED', 'ENABLED']],
    [
      'DisableSecretVersion',
      'UNAVAILABLE before',
      'SECRET_MANAGER_UNAVAILABLE',
      'retire',
      ['ENABLED', 'ENABLED'],
    ],
    [
      'DisableSecretVersion',
      'INVALID_ARGUMENT before',
      'SECRET_MANAGER_REFUSED',
      'retire',
      ['ENABLED', 'ENABLED'],
    ],
  ])(
    '%s, %s: incomplete, %s in %s; the next run finishes it without issuing again',
    async (method, struck, code, step, states) => {
      const seeded = services.seed();
      const { secret } = seeded;
      const { rotate: run } = instance(NOT_DUE);
      inject(method, 'every', fault(struck));
      const report = await run(secret, { force: true });
      expect(report.result).toMatchObject({
        outcome: 'incomplete',
        version: '2',
        error: { code, step },
      });
      expect(report.status).toBe(503);
      expect(services.states(secret)).toEqual(states);
      expectRenewed(seeded);

      endFaults();
      const { result } = await run(secret);
      expect(result).toMatchObject({ outcome: 'not_due', verified: true, disabled: ['1'] });
      expect(services.timesCalled('RefreshApiToken')).toBe(1);
    },
  );

  it('DestroySecretVersion: incomplete; the next run destroys', async () => {
    const { secret } = seedTwo();
    services.secretManager.setState(secret.name, '1', 'DISABLED');
    const { rotate: run } = instance({ ...NOT_DUE, destroyAfterMs: 0 });
    inject('DestroySecretVersion', 'every', fault('UNAVAILABLE before'));
    const { result, status: httpStatus } = await run(secret);
    expect(result).toMatchObject({
      outcome: 'incomplete',
      destroyed: [],
      error: { code: 'SECRET_MANAGER_UNAVAILABLE', step: 'destroy' },
    });
    expect(httpStatus).toBe(503);
    endFaults();
    expect((await run(secret)).result).toMatchObject({ outcome: 'not_due', destroyed: ['1'] });
  });

  it('ListSecretVersions, once the key is issued: it is added, because it must not be lost', async () => {
    const seeded = services.seed();
    intercept(({ method, n }, at) =>
      method === 'ListSecretVersions' && n > 1 && at === 'before'
        ? fault('UNAVAILABLE before')
        : undefined,
    );
    const { result } = await rotate(seeded.secret);
    expect(result).toMatchObject({
      outcome: 'rotated',
      disabled: ['1'],
      warnings: [expect.stringContaining('SECRET_MANAGER_UNAVAILABLE') as string],
    });
    expectRenewed(seeded);
  });
});

describe('a refresh token that works only once', () => {
  beforeEach(() => {
    services.momento.refreshTokens = 'single-use';
  });

  it.each(['INTERNAL after', 'drop after', 'corrupt'])(
    'is spent when the answer is lost (%s), and a person is told until when to act',
    async (struck) => {
      const { secret, key } = services.seed();
      inject('RefreshApiToken', 1, fault(struck));
      const { result, status: httpStatus } = await rotate(secret);
      expect(result).toMatchObject({
        outcome: 'failed',
        error: {
          code: 'REFRESH_ANSWER_LOST',
          step: 'issue',
          message: expect.stringContaining(new Date(key.validUntil * 1000).toISOString()) as string,
          retryable: false,
        },
      });
      expect(httpStatus).toBe(502);
      expect(services.states(secret)).toEqual(['ENABLED']);
    },
  );

  it.each(['UNAVAILABLE before', 'drop before', 'RESOURCE_EXHAUSTED before'])(
    'is not spent by a call that did not arrive (%s)',
    async (struck) => {
      const seeded = services.seed();
      inject('RefreshApiToken', 1, fault(struck));
      expect((await rotate(seeded.secret)).result.outcome).toBe('rotated');
      expectRenewed(seeded);
    },
  );

  it('is refused, when a person used it, with a word on who has to do what by when', async () => {
    const { secret, key } = services.seed();
    services.momento.refreshTokens = 'single-use';
    inject('RefreshApiToken', 1, fault('INVALID_ARGUMENT before'));
    const { error } = (await rotate(secret)).result;
    expect(error).toMatchObject({ code: 'REFRESH_REFUSED', retryable: false });
    expect(error?.message).toContain(new Date(key.validUntil * 1000).toISOString());
    expect(error?.message).toContain(`store it as a new version of ${secret.name}`);
  });
});

describe('a key that could not be stored', () => {
  it('is stored by the next run, whatever the policy says of the key in use', async () => {
    services.momento.refreshTokens = 'single-use';
    const seeded = services.seed();
    const { secret } = seeded;
    const { rotate: run } = instance(NOT_DUE);
    inject('AddSecretVersion', 'every', fault('UNAVAILABLE before'));
    const failed = await run(secret, { force: true });
    expect(failed.result.error).toMatchObject({ code: 'CREDENTIAL_NOT_STORED', retryable: true });
    // Tried until shortly before the deadline, and never beyond it.
    expect(failed.durationMs).toBeGreaterThan(RUN_MS - 60_000);
    expect(failed.durationMs).toBeLessThanOrEqual(RUN_MS);
    endFaults();
    const { result } = await run(secret);
    expect(result).toMatchObject({
      outcome: 'rotated',
      reason: 'an earlier run issued a key that is not stored yet',
      verified: true,
      disabled: ['1'],
    });
    expect(services.timesCalled('RefreshApiToken')).toBe(1);
    expectRenewed(seeded);
  });

  it('is dropped when somebody has added a version since', async () => {
    const { secret } = services.seed();
    const { rotate: run } = instance(NOT_DUE);
    inject('AddSecretVersion', 'every', fault('UNAVAILABLE before'));
    await run(secret, { force: true });
    endFaults();
    addByHand(secret);
    const { result } = await run(secret);
    expect(result).toMatchObject({
      outcome: 'not_due',
      version: '2',
      warnings: [expect.stringContaining('was dropped, because version 2 was added') as string],
    });
    expect((await run(secret)).result).not.toHaveProperty('warnings');
  });

  it('was stored all the same when only the answers were lost: nothing is said to be lost', async () => {
    const seeded = services.seed();
    const { secret } = seeded;
    const { rotate: run } = instance(NOT_DUE);
    let wasAdded = false;
    intercept(({ method }, at) => {
      if (wasAdded && /^(Add|List)SecretVersions?$/.test(method)) return fault(`UNAVAILABLE ${at}`);
      if (method === 'AddSecretVersion' && at === 'after') {
        wasAdded = true;
        return fault('UNAVAILABLE after');
      }
      return undefined;
    });
    expect((await run(secret, { force: true })).result).toMatchObject({
      error: { code: 'CREDENTIAL_NOT_STORED' },
    });
    expect(services.states(secret)).toEqual(['ENABLED', 'ENABLED']);
    endFaults();
    const { result } = await run(secret);
    expect(result).toMatchObject({ outcome: 'not_due', version: '2', disabled: ['1'] });
    expect(result).not.toHaveProperty('warnings');
    expectRenewed(seeded);
  });

  it('and that Momento does not know for long is asked about again, then replaced', async () => {
    services.momento.newKeyLagMs = HOUR;
    const seeded = services.seed();
    const { secret } = seeded;
    const { rotate: run } = instance();
    const rejected = { outcome: 'failed', error: { code: 'NEW_KEY_REJECTED', step: 'verify' } };
    expect((await run(secret)).result).toMatchObject(rejected);
    expect((await run(secret)).result).toMatchObject(rejected);
    expect(services.timesCalled('RefreshApiToken')).toBe(2);
    expect(services.states(secret)).toEqual(['ENABLED']);
    services.momento.newKeyLagMs = 0;
    expect((await run(secret)).result).toMatchObject({ outcome: 'rotated', disabled: ['1'] });
    expect(services.timesCalled('RefreshApiToken')).toBe(3);
    expectRenewed(seeded);
  });
});

describe('two instances at once', () => {
  it('end with one newest version and no lost key', async () => {
    const seeded = services.seed();
    const { secret } = seeded;
    const bothAdd = barrier(2);
    // Each has seen version 1 as the newest before either adds another.
    intercept(({ method }, at) =>
      method === 'AddSecretVersion' && at === 'before' ? bothAdd() : undefined,
    );
    const runs = await Promise.all([rotate(secret), rotate(secret)]);
    expect(runs.map(({ result }) => result.outcome)).toEqual(['rotated', 'rotated']);
    expect(services.states(secret)).toEqual(['DISABLED', 'ENABLED', 'ENABLED']);
    expect((await rotate(secret, NOT_DUE)).result).toMatchObject({ disabled: ['2'] });
    expectRenewed(seeded);
  });

  it('end with one new version where a refresh token works only once', async () => {
    services.momento.refreshTokens = 'single-use';
    const seeded = services.seed();
    const { secret } = seeded;
    const bothRefresh = barrier(2);
    const added = barrier(Infinity);
    intercept(async ({ method, n }, at) => {
      if (`${at} ${method}` === 'before RefreshApiToken') await bothRefresh();
      if (`${at} ${method}` === 'after AddSecretVersion') added.open();
      // Two lists each: what was gathered, and a look whether the other has added. Then the one that was refused waits.
      if (`${at} ${method}` === 'before ListSecretVersions' && n > 4) await added();
    });
    const runs = await Promise.all([rotate(secret), rotate(secret)]);
    expect(runs.map(({ result }) => result.outcome).toSorted()).toEqual(['rotated', 'superseded']);
    expect(services.states(secret)).toEqual(['DISABLED', 'ENABLED']);
    expectRenewed(seeded);
  });

  /** Lets nobody pass before so many have arrived, or it was opened. */
  function barrier(size: number) {
    let arrived = 0;
    let open = (): void => undefined;
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    const pass = (): Promise<void> => {
      arrived += 1;
      if (arrived === size) open();
      return opened;
    };
    return Object.assign(pass, { open });
  }
});
