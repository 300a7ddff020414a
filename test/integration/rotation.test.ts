/** Rotations of v1 keys with the real clients: one case of each outcome, and what only sockets show. */
import { createHash } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { DAY, HOUR, isoTime } from '../../src/duration';
import { START } from '../virtual-clock';
import { expiryOf, NOT_DUE, RUN_TIME, TERMS, TestBed, type Seeded } from './test-bed';

let bed: TestBed;

beforeEach(async () => {
  bed = await TestBed.start();
});
afterEach(async () => {
  await bed.stop();
  bed.expectSafe();
});

/** No refresh token was used, and applications saw no change. */
function expectUntouched({ secret }: Pick<Seeded, 'secret'>, states = ['ENABLED']): void {
  expect(bed.timesCalled('RefreshApiToken')).toBe(0);
  expect(bed.states(secret)).toEqual(states);
}

/** A v1 secret with a second version, which is the newest. */
function seedTwo(): Seeded {
  const seeded = bed.seed();
  bed.addVersion(seeded.secret);
  return seeded;
}

describe('a rotation', () => {
  it('adds a verified key as the newest version and disables the version before', async () => {
    const seeded = bed.seed();
    const { result, status, keyFingerprint, steps } = await bed.rotate(seeded.secret);
    expect(result).toEqual({
      secret: seeded.secret.name,
      outcome: 'rotated',
      reason: 'every run rotates',
      issuedBy: 'refresh',
      version: '2',
      previousVersion: '1',
      expiresAt: isoTime(START + 30 * DAY),
      verified: true,
      disabled: ['1'],
    });
    expect(status).toBe(200);
    expect(bed.states(seeded.secret)).toEqual(['DISABLED', 'ENABLED']);
    bed.expectRenewed(seeded);
    const { apiKey, note } = bed.latest(seeded.secret);
    expect(note).toBe(seeded.note);
    const hash = createHash('sha256').update(String(apiKey)).digest('hex');
    expect(keyFingerprint).toBe(hash.slice(0, 8));
    expect(Object.keys(steps)).toEqual(['inspect', 'issue', 'verify', 'add', 'disable']);
    const { calls } = bed.secretManager.faults;
    expect(calls.find(({ method }) => method === 'AddSecretVersion')?.request).toMatchObject({
      payload: { dataCrc32c: expect.stringMatching(/^\d+$/) as string },
    });
  });

  it('takes one round trip for each step', async () => {
    const rounds = [
      ['AccessSecretVersion', 'ListSecretVersions', 'TestIamPermissions'],
      ['RefreshApiToken'],
      ['AccessSecretVersion', 'ListCaches'],
      ['AddSecretVersion'],
      ['DisableSecretVersion'],
    ];
    const { secret } = bed.seed();
    const seen: string[][] = [[]];
    let blocked: (() => void)[] = [];
    // Nobody is answered before all calls of a round have arrived.
    const release = bed.clock.hold();
    bed.intercept(async ({ method }, at) => {
      if (at === 'after') return;
      const round = seen.at(-1) ?? [];
      const others = new Promise<void>((resolve) => blocked.push(resolve));
      if (round.push(method) === rounds[seen.length - 1]?.length) {
        for (const resolve of blocked) resolve();
        blocked = [];
        seen.push([]);
      }
      await others;
    });
    const { result } = await bed.rotate(secret);
    release();
    expect(result.outcome).toBe('rotated');
    expect(seen.map((round) => round.toSorted())).toEqual([...rounds, []]);
  });

  it.each([
    'projects/example.com:my-project',
    'projects/4711',
    'projects/my-project/locations/europe-west6',
  ])('refreshes the key that the run before stored when the secret is in %s', async (parent) => {
    const seeded = bed.seed({ parent });
    await bed.rotate(seeded.secret);
    const { result } = await bed.rotate(seeded.secret);
    expect(result).toMatchObject({ outcome: 'rotated', version: '3', disabled: ['2'] });
    bed.expectRenewed(seeded);
  });

  it.each<['v1' | 'legacy', string]>([
    [
      'v1',
      '{"apiKey":"KEY","refreshToken":"TOKEN","validUntil":SECONDS,"restEndpoint":"https://r"}',
    ],
    [
      'v1',
      '{"id":12345678901234567890,"validUntil":"SECONDS000","refreshToken":"TOKEN","apiToken":"KEY"}',
    ],
    [
      'legacy',
      '{"a":{"b":[1,null]},"endpoint":"HOST","authToken":"KEY","refreshToken":"TOKEN","validUntil":SECONDS000}',
    ],
  ])('keeps the format when a %s key is stored as %s', async (format, template) => {
    const write = (key: string, token: string, host: string): string =>
      template
        .replace('KEY', key)
        .replace('TOKEN', token)
        .replace('HOST', host)
        .replace('SECONDS', String(START / 1000 + 30 * 24 * 3600));
    const { secret, key } = bed.seed({
      key: { format },
      payload: ({ apiKey, refreshToken }) => write(apiKey, refreshToken, 'elsewhere.invalid'),
    });
    const known = bed.momento.secrets().length;
    expect((await bed.rotate(secret)).result.outcome).toBe('rotated');
    const [apiKey = '', , token = ''] = bed.momento.secrets().slice(known);
    // A matcher would print the key.
    expect(bed.payload(secret) === write(apiKey, token, key.endpoint)).toBe(true);
  });

  it('leaves no connection to Momento open', async () => {
    const toMomento: Socket[] = [];
    const collect = (message: unknown): void => {
      const { socket } = message as { socket: Socket };
      socket.once('connect', () => {
        if (bed.momento.host.endsWith(`:${socket.remotePort ?? ''}`)) toMomento.push(socket);
      });
    };
    subscribe('net.client.socket', collect);
    try {
      const { secret } = bed.seed();
      await bed.rotate(secret);
      bed.inject('RefreshApiToken', 'every', 'PERMISSION_DENIED before');
      await bed.rotate(secret);
    } finally {
      unsubscribe('net.client.socket', collect);
    }
    expect(toMomento.length).toBeGreaterThanOrEqual(3);
    // Never settles if a connection stays open.
    const open = toMomento.filter(({ destroyed }) => !destroyed);
    await Promise.all(open.map((socket) => once(socket, 'close')));
  });
});

describe('the outcome', () => {
  it("is not_due when the renewal time isn't reached, after a verification of the newest key", async () => {
    const seeded = bed.seed();
    const { result, status } = await bed.rotate(seeded.secret, { policy: NOT_DUE });
    expect(result).toEqual({
      secret: seeded.secret.name,
      outcome: 'not_due',
      reason: `due at ${isoTime(START + 30 * DAY - HOUR)}`,
      version: '1',
      expiresAt: expiryOf(seeded.key),
      verified: true,
    });
    expect(status).toBe(200);
    expect(bed.timesCalled('ListCaches')).toBe(1);
    expectUntouched(seeded);
  });

  it('is already_rotated when a version was added since the scheduled time', async () => {
    const { secret } = seedTwo();
    const { result } = await bed.rotate(secret, {}, { scheduledAt: START });
    expect(result).toMatchObject({ outcome: 'already_rotated', verified: true, disabled: ['1'] });
    expect(bed.timesCalled('RefreshApiToken')).toBe(0);
  });

  it('is superseded when somebody adds a version while the key is issued', async () => {
    const { secret } = bed.seed();
    bed.when('after RefreshApiToken', () => bed.addVersion(secret));
    const { result, status } = await bed.rotate(secret);
    expect(result).toEqual({
      secret: secret.name,
      outcome: 'superseded',
      version: '2',
      reason: 'version 2 was added by another process during the run',
    });
    expect(status).toBe(200);
    expect(bed.states(secret)).toEqual(['ENABLED', 'ENABLED']);
  });

  it('is dry_run, and nothing changes, when that is requested', async () => {
    const seeded = seedTwo();
    const { result, status } = await bed.rotate(seeded.secret, {}, { dryRun: true });
    expect(result).toMatchObject({
      outcome: 'dry_run',
      reason: 'would rotate: every run rotates',
      version: '2',
      disabled: ['1', '2'],
      destroyed: [],
    });
    expect(status).toBe(200);
    expect(new Set(bed.called)).toEqual(
      new Set(['AccessSecretVersion', 'ListSecretVersions', 'TestIamPermissions']),
    );
    expectUntouched(seeded, ['ENABLED', 'ENABLED']);
  });

  it('is not_due with a warning for the second name when a secret is configured by id and by number', async () => {
    const { secret } = bed.seed();
    const number = /^projects\/\d+/.exec(await canonicalName(secret.name))?.[0] ?? '';
    const alias = {
      ...secret,
      name: secret.name.replace('projects/p', number),
      project: number.slice(9),
    };
    const [first, second] = await bed.instance([secret, alias]).request();
    expect(first?.result).toMatchObject({ outcome: 'rotated', version: '2' });
    expect(second?.result).toMatchObject({
      outcome: 'not_due',
      reason: `the same secret as ${secret.name}`,
      warnings: [expect.stringContaining('is configured twice') as string],
    });
    expect(bed.timesCalled('RefreshApiToken')).toBe(1);
  });

  /** A secret's name with its project's number, from an answer of Secret Manager. */
  async function canonicalName(name: string): Promise<string> {
    let answered = '';
    bed.secretManager.rewrite = (method, answer) => {
      if (method === 'AccessSecretVersion') answered = (answer as { name: string }).name;
      return answer;
    };
    await bed.rotate({ ...bed.newName(), name, payload: 'json' }, {}, { dryRun: true });
    return answered;
  }
});

describe('superseded versions', () => {
  it('are destroyed with one request when the secret delays destructions', async () => {
    const { secret } = bed.seed({ versionDestroyTtlMs: DAY });
    const setup = { policy: { ...NOT_DUE, destroyAfterMs: 0 } };
    await bed.rotate(secret, setup, { force: true });
    expect((await bed.rotate(secret, setup)).result.destroyed).toEqual(['1']);
    expect((await bed.rotate(secret, setup)).result.destroyed).toBeUndefined();
    bed.clock.advance(2 * DAY);
    expect(bed.states(secret)).toEqual(['DESTROYED', 'ENABLED']);
  });

  it.each([
    ['disable', 'DisableSecretVersion', 'ENABLED'],
    ['destroy', 'DestroySecretVersion', 'DISABLED'],
  ] as const)(
    'stay when somebody enables one before the call to %s it',
    async (_, method, state) => {
      const { secret } = seedTwo();
      bed.secretManager.setState(secret.name, '1', state);
      bed.when(`before ${method}`, () => bed.secretManager.setState(secret.name, '1', 'ENABLED'));
      const setup = { policy: { ...NOT_DUE, destroyAfterMs: 0 } };
      const { result } = await bed.rotate(secret, setup);
      expect(result).toMatchObject({
        outcome: 'not_due',
        warnings: [expect.stringMatching(/^version 1 changed during the run/) as string],
      });
      expect(bed.states(secret)).toEqual(['ENABLED', 'ENABLED']);
      expect((await bed.rotate(secret, setup)).result.disabled).toEqual(['1']);
    },
  );

  it('stay when lists and latest lag, and only an access by number finds the newest version', async () => {
    const seeded = seedTwo();
    Object.assign(bed.secretManager, { staleLists: 1, staleLatest: 1 });
    const { result } = await bed.rotate(seeded.secret);
    expect(result).toMatchObject({ outcome: 'superseded', version: '2' });
    expect(bed.states(seeded.secret)).toEqual(['ENABLED', 'ENABLED']);
  });
});

describe('a newest version', () => {
  it.each(['DISABLED', 'DESTROYED'] as const)(
    'is replaced from the newest enabled one when it is %s',
    async (state) => {
      const { secret, key } = bed.seed({ isWatched: false });
      bed.secretManager.addVersion(secret.name, bed.momento.issueKey().consoleJson);
      bed.secretManager.addVersion(secret.name, key.consoleJson, { state });
      const { result } = await bed.rotate(secret, { policy: NOT_DUE });
      expect(result).toMatchObject({
        outcome: 'rotated',
        reason: `version 3, the newest, is ${state.toLowerCase()}`,
        previousVersion: '2',
        version: '4',
        disabled: ['1', '2'],
        warnings: [expect.stringContaining('version 2 is used instead') as string],
      });
      expect(bed.states(secret)).toEqual(['DISABLED', 'DISABLED', state, 'ENABLED']);
      expect(bed.momento.accepts(String(bed.latest(secret).apiKey))).toBe(true);
    },
  );

  it('stays, and nothing is changed, when its encryption key is disabled', async () => {
    const { secret } = bed.seed({ isWatched: false });
    bed.secretManager.addVersion(secret.name, bed.momento.issueKey().consoleJson);
    bed.secretManager.setKeyState(secret.name, '2', 'DISABLED');
    const instance = bed.instance([secret], { policy: { destroyAfterMs: 0 } });
    const { result } = await instance.rotate();
    expect(result.error).toMatchObject({ code: 'VERSION_UNREADABLE', step: 'inspect' });
    expect(result.error?.message).toContain("Applications can't read the secret.");
    expectUntouched({ secret }, ['ENABLED', 'ENABLED']);
    const { status } = await instance.status();
    expect(status).toMatchObject({ state: 'UNREADABLE', error: { code: 'VERSION_UNREADABLE' } });
  });
});

describe('GET', () => {
  it('reports a secret without changing it', async () => {
    const { secret } = bed.seed({ createTime: START - 10 * DAY });
    const key = bed.momento.issueKey();
    bed.secretManager.addVersion(secret.name, key.consoleJson, { createTime: START - 10 * DAY });
    bed.secretManager.setState(secret.name, '1', 'DISABLED');
    const { status, httpStatus } = await bed.instance([secret], { policy: NOT_DUE }).status();
    expect(httpStatus).toBe(200);
    expect(status).toEqual({
      secret: secret.name,
      version: '2',
      state: 'ENABLED',
      ageSeconds: (10 * DAY) / 1000,
      keyFingerprint: createHash('sha256').update(key.apiKey).digest('hex').slice(0, 8),
      expiresAt: expiryOf(key),
      timeLeftSeconds: 30 * 24 * 3600,
      nextRenewal: isoTime(key.validUntil * 1000 - HOUR),
      renewedBy: 'refresh',
      enabledVersions: 1,
      disabledVersions: 1,
    });
    expect(bed.called.filter((method) => !/^(Access|List|Test)/.test(method))).toEqual([]);
  });
});

describe('two processes at once', () => {
  it('end with one newest version and no lost key when both add a version', async () => {
    const seeded = bed.seed();
    const { secret } = seeded;
    const bothAdd = barrier(2);
    const release = bed.clock.hold();
    bed.intercept(({ method }, at) =>
      `${at} ${method}` === 'before AddSecretVersion' ? bothAdd() : undefined,
    );
    const runs = await Promise.all([bed.rotate(secret), bed.rotate(secret)]);
    release();
    expect(runs.map(({ result }) => result.outcome)).toEqual(['rotated', 'rotated']);
    expect(bed.states(secret)).toEqual(['DISABLED', 'ENABLED', 'ENABLED']);
    expect((await bed.rotate(secret, { policy: NOT_DUE })).result.disabled).toEqual(['2']);
    bed.expectRenewed(seeded);
  });

  it('end with one new version when a refresh token works once', async () => {
    bed.momento.refreshTokens = 'single-use';
    const seeded = bed.seed();
    const { secret } = seeded;
    const bothRefresh = barrier(2);
    bed.intercept(({ method }, at) =>
      `${at} ${method}` === 'before RefreshApiToken' ? bothRefresh() : undefined,
    );
    const runs = await Promise.all([bed.rotate(secret), bed.rotate(secret)]);
    expect(runs.map(({ result }) => result.outcome).toSorted()).toEqual(['rotated', 'superseded']);
    expect(bed.states(secret)).toEqual(['DISABLED', 'ENABLED']);
    bed.expectRenewed(seeded);
  });

  /** Lets nobody pass before so many have arrived. */
  function barrier(size: number): () => Promise<void> {
    let arrived = 0;
    let open = (): void => undefined;
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    return () => {
      arrived += 1;
      if (arrived === size) open();
      return opened;
    };
  }
});

test('a run ends at its deadline when a call never returns, and the next run starts', async () => {
  const seeded = bed.seed();
  const instance = bed.instance([seeded.secret]);
  bed.inject('TestIamPermissions', 1, 'hang before');
  const { result, durationMs } = await instance.rotate();
  expect(result).toMatchObject({ outcome: 'failed', error: { code: 'DEADLINE_EXCEEDED' } });
  expect(durationMs).toBe(RUN_TIME);
  expect((await instance.rotate()).result.outcome).toBe('rotated');
});

test('a v1 secret moves to v2 when a role and a lifetime are configured, and is blocked without a lifetime', async () => {
  const { secret } = bed.seed();
  const setup = { managementKey: bed.managementKey() };
  const without = await bed.rotate({ ...secret, role: TERMS.role }, setup);
  expect(without.result.error?.code).toBe('LIFETIME_UNKNOWN');
  expect(bed.timesCalled('CreateKey')).toBe(0);
  const { result } = await bed.rotate({ ...secret, ...TERMS }, setup);
  expect(result).toMatchObject({ outcome: 'rotated', issuedBy: 'mint', disabled: ['1'] });
  expect(bed.latest(secret).apiKey).toBe(bed.keyOf(secret).apiKey);
  expect(bed.latest(secret)).not.toHaveProperty('refreshToken');
});
