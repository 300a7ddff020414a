/** The invariant checker reports rotations that are broken on purpose. */
import { DAY, HOUR, MINUTE } from '../../src/duration';
import { RotationError } from '../../src/errors';
import type { KeySession, KeySource, SecretStore } from '../../src/rotation/ports';
import { Invariants } from './invariants';
import { killAt } from './kill';
import { keyIn, KINDS, MINT_GRACE, mintedPayload, TERMS } from './keys';
import { override } from './override';
import { draw } from './random';
import { ResponseInvariants } from './response-invariants';
import { runCases } from './simulation';
import { EVERY_CALL, TestBed, Worker, type Run, type Site, type TestBedOptions } from './test-bed';

jest.setTimeout(30_000);

let worker: Worker;
const beds: TestBed[] = [];

beforeAll(async () => {
  worker = await Worker.start();
});

afterEach(async () => {
  await Promise.all(beds.splice(0).map((bed) => bed.close()));
});

afterAll(() => worker.stop());

async function open(options: TestBedOptions = {}): Promise<TestBed> {
  const bed = await TestBed.open(worker, { renewal: 'mint', ...options });
  beds.push(bed);
  return bed;
}

/** The key in a version. */
function keyOf({ secretManager, secret, momento }: TestBed, version: string) {
  const found = secretManager.versions(secret.name).find((known) => known.version === version);
  const key = momento.account.find(keyIn(found?.payload));
  if (key === undefined) throw new Error(`version ${version} contains no key`);
  return key;
}

function revoke({ momento }: TestBed, keyId: string): void {
  momento.account.revoke(keyId, 'call');
}

function keysDescribed({ momento, secret }: TestBed, suffix: string) {
  return momento.account.keys(`momento-key-rotator ${secret.name}${suffix}`);
}

const NOT_READABLE = { kind: 'not_readable', reason: 'it is in DISABLED state' } as const;

/** A run whose ports have other methods. */
function runWith(
  bed: TestBed,
  methods: {
    session?: Partial<KeySession>;
    store?: Partial<SecretStore>;
  },
): Promise<Run> {
  const keys: KeySource = bed.newKeys();
  const broken = override(keys, {
    open: (managementKey) => override(keys.open(managementKey), methods.session ?? {}),
  });
  const store: SecretStore = override<SecretStore>(worker.store, methods.store ?? {});
  return bed.runOn(bed.newInstance({ keys: broken, store }));
}

describe('invariant 7, no enabled version contains a revoked key:', () => {
  const graced = { policy: { gracePeriodMs: 30 * DAY } };

  it('reports a key that is revoked while its version is enabled', async () => {
    const bed = await open();
    revoke(bed, keyOf(bed, '2').info.key_id);
    expect(bed.invariants.violations).toEqual([
      `invariant 7: the key of ${bed.secret.name}/versions/2, which is enabled, was revoked`,
    ]);
  });

  it('reports a run that takes a version in its grace period for disabled', async () => {
    const bed = await open(graced);
    const { store } = worker;
    await runWith(bed, {
      store: {
        access: (secret, version, limits) =>
          version === 2 ? Promise.resolve(NOT_READABLE) : store.access(secret, version, limits),
        list: async (secret, limits) => {
          const { versions } = await store.list(secret, limits);
          return {
            versions: versions.map((version) =>
              version.number === 2 ? { ...version, state: 'DISABLED' } : version,
            ),
          };
        },
      },
    });
    expect(bed.invariants.violations).toEqual([
      `invariant 7: the key of ${bed.secret.name}/versions/2, which is enabled, was revoked`,
    ]);
  });

  it("reports a run that doesn't look for a newer version", async () => {
    const bed = await open();
    const old = keyOf(bed, '2');
    const { store } = worker;
    await runWith(bed, {
      store: {
        access: (secret, version, limits) => {
          if (version !== 5) return store.access(secret, version, limits);
          const payload = mintedPayload(old, 'api', 'put back');
          if (bed.states.length === 4) {
            bed.operator(() => bed.secretManager.addVersion(bed.secret.name, payload));
          }
          return Promise.resolve({ kind: 'absent' });
        },
      },
    });
    expect(bed.invariants.violations).toContain(
      `invariant 7: the key of ${bed.secret.name}/versions/5, which is enabled, was revoked`,
    );
  });

  it('reports a revoked key in a new version', async () => {
    const bed = await open();
    const key = keyOf(bed, '1');
    revoke(bed, key.info.key_id);
    expect(bed.invariants.violations).toEqual([]);
    bed.secretManager.addVersion(bed.secret.name, mintedPayload(key, 'api', ''));
    expect(bed.invariants.violations).toContain(
      `invariant 7: ${bed.secret.name}/versions/4 was added with a revoked key`,
    );
  });

  const enableAt = async (call: number) => {
    const bed = await open();
    await bed.run({
      onCall: ({ method, n, when }) => {
        if (method === 'AccessSecretVersion' && n === call && when === 'after') {
          bed.operator(() => bed.secretManager.setState(bed.secret.name, '2', 'ENABLED'));
        }
        return undefined;
      },
    });
    return bed;
  };

  it('excuses only a version that an operator enabled after the last read', async () => {
    const late = await enableAt(9);
    expect(late.invariants.violations).toEqual([]);
    expect(late.keyInvariants.excuses).toBe(1);
    const early = await enableAt(8);
    expect(early.invariants.violations).toEqual([]);
    expect(early.keyInvariants.excuses).toBe(0);
    expect(keyOf(early, '2').revoked).toBeUndefined();
  });

  it("doesn't excuse a version that an operator enabled before that read", async () => {
    const bed = await open();
    const { store } = worker;
    await runWith(bed, {
      store: {
        access: async (secret, version, limits) => {
          if (version === 2) {
            bed.operator(() => bed.secretManager.setState(secret.name, '2', 'ENABLED'));
            await store.access(secret, version, limits);
            return NOT_READABLE;
          }
          return store.access(secret, version, limits);
        },
      },
    });
    expect(bed.invariants.violations).toEqual([
      `invariant 7: the key of ${bed.secret.name}/versions/2, which is enabled, was revoked`,
    ]);
  });
});

describe('invariant 8, only own keys are revoked:', () => {
  it.each(['0', '-b', ' ', '/versions/1'])(
    'reports a key whose description goes on with %j',
    async (suffix) => {
      const bed = await open();
      const [key] = keysDescribed(bed, suffix);
      revoke(bed, key?.info.key_id ?? '');
      expect(bed.invariants.violations).toEqual([expect.stringMatching(/^invariant 8: /)]);
    },
  );

  it('reports a run that revokes every key of the account', async () => {
    const bed = await open();
    const { account } = bed.momento;
    await runWith(bed, {
      session: {
        ownKeys: () =>
          Promise.resolve({
            keys: account
              .keys()
              // Keep the management key, because without it nothing more can be revoked.
              .filter(({ info }) => info.role_id !== 'r-operator')
              .map(({ info, issuedAt }) => ({ keyId: info.key_id, issuedAt })),
            skipped: 0,
            warnings: [],
          }),
      },
    });
    const broken = bed.invariants.violations.filter((text) => text.startsWith('invariant 8'));
    expect(broken.length).toBeGreaterThanOrEqual(9);
  });

  it('reports any revocation without a management key', async () => {
    const bed = await open({ renewal: 'v2' });
    revoke(bed, keyOf(bed, '2').info.key_id);
    expect(bed.invariants.violations).toContainEqual(expect.stringMatching(/^invariant 8: /));
  });
});

describe('invariant 9, no orphaned key is left:', () => {
  it('reports nothing for a good rotation', async () => {
    const bed = await open();
    await bed.runLast();
    expect(bed.invariants.violations).toEqual([]);
    expect(keysDescribed(bed, '').filter((key) => bed.momento.account.isLive(key))).toHaveLength(1);
  });

  it('reports revocations without effect', async () => {
    const bed = await open();
    const revoke: KeySession['revoke'] = (keyIds) =>
      Promise.resolve(new Map(keyIds.map((keyId) => [keyId, true])));
    await runWith(bed, { session: { revoke } });
    bed.clock.advance(HOUR + MINUTE);
    await runWith(bed, { session: { revoke } });
    bed.keyInvariants.checkEnd(undefined);
    expect(bed.invariants.violations).toEqual(['invariant 9: 6 orphaned keys are left']);
  });
});

describe('invariant 10, grace periods:', () => {
  it('reports a version that is disabled at once', async () => {
    const bed = await open({ policy: { gracePeriodMs: 30 * DAY } });
    bed.secretManager.setState(bed.secret.name, '2', 'DISABLED');
    expect(bed.invariants.violations).toEqual([
      'invariant 10: 2 became DISABLED in its grace period',
    ]);
  });
});

describe('compromise responses:', () => {
  const response = { other: 'own key', policy: { gracePeriodMs: 30 * DAY }, response: {} } as const;
  const openResponse = (options: TestBedOptions = {}) => open({ ...response, ...options });

  it('reports nothing for a response that is contained', async () => {
    const bed = await openResponse();
    const { result } = await bed.respond();
    expect(result.contained).toBe(true);
    expect(bed.invariants.violations).toEqual([]);
    expect(bed.hasCompromisedKeys).toBe(false);
  });

  it('invariant 7: reports the revocation of the newest key', async () => {
    const bed = await openResponse();
    expect(bed.response).toBeDefined();
    revoke(bed, keyOf(bed, '3').info.key_id);
    expect(bed.invariants.violations).toContain(
      `invariant 7: the key of ${bed.secret.name}/versions/3, which is enabled, was revoked`,
    );
  });

  it.each([
    ['another secret', 'other'],
    ['the management key', 'management'],
  ] as const)('invariant 8: reports the revocation of the newest key of %s', async (_, name) => {
    const bed = await openResponse();
    const { name: owner } = bed[name];
    const key = bed.momento.account.find(keyIn(bed.secretManager.latest(owner)));
    revoke(bed, key?.info.key_id ?? '');
    expect(bed.invariants.violations).toContain(
      `invariant 8: the newest key of ${owner} was revoked`,
    );
  });

  it("invariant 8: reports a key that isn't the secret's, and none that a version contains", async () => {
    const bed = await openResponse({ start: 'console' });
    const foreign = keysDescribed(bed, '-b')[0]?.info.key_id ?? '';
    const payload = bed.newPayload();
    bed.operator(() => bed.secretManager.addVersion(bed.secret.name, payload));
    expect((await bed.respond()).result.contained).toBe(true);
    expect(bed.momento.accepts(keyIn(Buffer.from(payload)))).toBe(false);
    expect(bed.invariants.violations).toEqual([]);
    revoke(bed, foreign);
    expect(bed.invariants.violations).toEqual([expect.stringMatching(/^invariant 8: /)]);
  });

  it('invariant 12: reports a contained response while Momento accepts old keys', async () => {
    const bed = await openResponse();
    const body = bed.response;
    // This session returns that it revoked the keys and that Momento rejects them.
    const keys: KeySource = bed.newKeys();
    const broken = override(keys, {
      open: (...args) =>
        override(keys.open(...args), {
          revoke: (keyIds) => Promise.resolve(new Map(keyIds.map((keyId) => [keyId, true]))),
          verifyRejected: () =>
            Promise.resolve({ verdict: 'rejected', host: 'h', byIssuer: true } as const),
          ownKeys: () => Promise.resolve({ keys: [], skipped: 0, warnings: [] }),
        }),
    });
    const { result } = await bed.runOn(bed.newInstance({ keys: broken }), {}, body);
    expect(result.contained).toBe(true);
    expect(bed.hasCompromisedKeys).toBe(true);
    expect(bed.invariants.violations).toEqual([
      expect.stringMatching(/^invariant 12: contained, and Momento accepts \d old keys$/),
    ]);
  });

  it("invariant 12: reports a response that isn't contained and logs no CRITICAL", async () => {
    const violated = jest.fn();
    const bed = await openResponse();
    const { secretManager, momento } = bed;
    const watch = new ResponseInvariants({
      secretManager,
      momento,
      secrets: [bed.secret.name],
      revokeFirst: false,
      isOperatorActing: () => false,
      violated,
    });
    watch.stop();
    const result = { secret: bed.secret.name, outcome: 'failed', contained: false } as const;
    const line = { secret: bed.secret.name, severity: 'ERROR', message: '' } as const;
    watch.ends([result], [line]);
    expect(violated).toHaveBeenCalledWith(12, "a response that isn't contained logs ERROR");
  });

  it('invariant 13: reports a revoked key and a disabled version before a new key is stored', async () => {
    const bed = await openResponse();
    expect(bed.response).toBeDefined();
    const { key_id: keyId } = keyOf(bed, '2').info;
    revoke(bed, keyId);
    bed.secretManager.setState(bed.secret.name, '2', 'DISABLED');
    expect(bed.invariants.violations).toEqual([
      `invariant 13: ${keyId} was revoked before a new key was stored`,
      'invariant 13: 2 was disabled before a new key was stored',
    ]);
  });

  it('invariant 13: reports neither of them with `revokeFirst`, or for an operator', async () => {
    const first = await openResponse({ response: { revokeFirst: true } });
    expect(first.response).toBeDefined();
    revoke(first, keyOf(first, '2').info.key_id);
    expect(first.invariants.violations).toEqual([]);
    const bed = await openResponse();
    expect(bed.response).toBeDefined();
    bed.operator(() => bed.secretManager.setState(bed.secret.name, '2', 'DISABLED'));
    expect(bed.invariants.violations).toEqual([]);
  });

  it('a killed run has no effects after the kill', async () => {
    const bed = await openResponse();
    const isReached = ({ method, when }: Site) => method === 'AddSecretVersion' && when === 'after';
    expect(await killAt(bed, isReached, bed.response)).toBe(true);
    expect(bed.states).toEqual(['DISABLED', 'ENABLED', 'ENABLED', 'ENABLED']);
    bed.clock.advance(HOUR);
    await bed.clock.idle();
    expect(bed.states).toEqual(['DISABLED', 'ENABLED', 'ENABLED', 'ENABLED']);
    expect((await bed.respond()).result).toMatchObject({
      outcome: 'already_rotated',
      contained: true,
    });
  });
});

describe('the other invariants for v2 keys:', () => {
  it.each<[string, (bed: TestBed) => string]>([
    ['a minted key', (bed) => keyOf(bed, '3').apiKey],
    ['the management key', ({ momento }) => momento.account.keys()[0]?.apiKey ?? ''],
    ['a refresh token', ({ momento }) => momento.issueV2Key({}).refreshToken ?? ''],
  ])('reports %s in a log line', async (_, secretOf) => {
    const bed = await open();
    const written = [`made ${secretOf(bed).slice(-20, -10)}`];
    bed.invariants.ends({ status: 200, outcome: 'rotated', code: undefined, written }, 0);
    bed.invariants.checkWritten();
    expect(bed.invariants.violations).toContainEqual(expect.stringMatching(/^invariant 5: /));
  });

  const ended = { status: 200, outcome: 'rotated', code: undefined, written: [] };

  it.each<[string, (bed: TestBed) => string, string]>([
    [
      'another role than configured',
      ({ momento, secret }) => {
        const terms = { role: 'r-owner', description: `momento-key-rotator ${secret.name}` };
        const expiresAt = Math.floor((momento.now() + DAY) / 1000);
        const key = momento.account.issue({ ...terms, expiresAt, withRefreshToken: false }, 'call');
        return mintedPayload(key, 'api', '');
      },
      'has other terms than configured',
    ],
    [
      'the refresh token of the key before',
      ({ momento, secret }) => {
        const terms = { role: TERMS.role, description: `momento-key-rotator ${secret.name}` };
        const expiresAt = Math.floor((momento.now() + DAY) / 1000);
        const key = momento.account.issue({ ...terms, expiresAt, withRefreshToken: false }, 'call');
        return JSON.stringify({ api_key: key.apiKey, refresh_token: 'old' });
      },
      'has a refresh token of another key',
    ],
  ])('reports a last key with %s', async (_, payload, what) => {
    const bed = await open();
    bed.secretManager.addVersion(bed.secret.name, payload(bed));
    bed.invariants.checkLastRun(ended, false);
    expect(bed.invariants.violations).toContain(
      `invariant 4: the newest credential ${what} after rotated`,
    );
  });

  it('reports a stored refresh token that was used', async () => {
    const bed = await open({ renewal: 'v2' });
    const { account } = bed.momento;
    const { refreshToken = '' } = keyOf(bed, '2');
    const lag = { ms: 0, rejections: 0 };
    account.refresh(refreshToken, Math.floor((account.now() + DAY) / 1000), lag);
    bed.invariants.checkLastRun(ended, false);
    expect(bed.invariants.violations).toContain(
      "invariant 4: the newest credential can't be refreshed after rotated",
    );
  });
});

describe('the invariant checker', () => {
  let bed: TestBed;

  beforeEach(async () => {
    bed = await TestBed.open(worker, { policy: EVERY_CALL });
  });

  afterEach(() => bed.close());

  const disable = (version: string) =>
    bed.secretManager.setState(bed.secret.name, version, 'DISABLED');
  const add = () => bed.secretManager.addVersion(bed.secret.name, bed.newPayload());
  const ending = (fields: Partial<Run> = {}) => ({
    status: 200,
    outcome: 'rotated',
    code: undefined,
    written: [],
    ...fields,
  });

  it('reports nothing for a good rotation', async () => {
    await bed.runLast();
    expect(await bed.close()).toEqual([]);
    expect(bed.invariants.changes).toBeGreaterThanOrEqual(4);
    bed = await TestBed.open(worker);
  });

  it('reports a version that is disabled before another is added', () => {
    disable('2');
    add();
    expect(bed.invariants.violations).toEqual([
      'invariant 2: the newest, 2, became DISABLED',
      'invariant 1: applications get an error, after a change',
    ]);
  });

  it('reports a destroyed newest version', () => {
    add();
    bed.secretManager.setState(bed.secret.name, '3', 'DESTROYED');
    expect(bed.invariants.violations).toContain('invariant 2: the newest, 3, became DESTROYED');
  });

  it('reports a disabled newest version', () => {
    add();
    disable('3');
    expect(bed.invariants.violations).toContain(
      'invariant 1: applications get an error, after a change',
    );
  });

  it("reports an added key that Momento doesn't know", () => {
    const credential = { apiKey: 'unknown', refreshToken: 'unknown' };
    bed.secretManager.addVersion(bed.secret.name, JSON.stringify(credential));
    expect(bed.invariants.violations).toEqual([
      'invariant 1: applications get a key that Momento rejects, after a change',
    ]);
  });

  it('reports a key that is added before it is known everywhere', async () => {
    bed.momento.newKeyLagMs = 3000;
    const payload = bed.secretManager.latest(bed.secret.name);
    const keys = bed.newKeys();
    const version = { number: 2, state: 'ENABLED', createdAt: 0 } as const;
    const credential = keys.parse(payload ?? Buffer.alloc(0));
    const secret = { ...bed.secret, payload: 'json' } as const;
    const next = await keys.open(undefined).nextKey(secret, { version, credential });
    if (next instanceof RotationError) throw next;
    const issued = await next.issue({ deadline: bed.clock.monotonic() + MINUTE });
    bed.secretManager.addVersion(bed.secret.name, Buffer.from(issued.credential.serialize()));
    expect(bed.invariants.violations).toHaveLength(1);
  });

  it('reports a disabled version that an operator added during the run', async () => {
    await bed.run({
      onCall: ({ method, when, n }) => {
        if (method !== 'AccessSecretVersion' || n !== 2 || when !== 'after') return;
        bed.operator(() => void add());
        disable('3');
      },
    });
    expect(bed.invariants.violations).toContain(
      'invariant 3: 3, which an operator added meanwhile, became DISABLED',
    );
  });

  it('reports nothing for an operator action', () => {
    bed.operator(() => disable('2'));
    bed.invariants.ends(ending(), 0);
    expect(bed.invariants.violations).toEqual([]);
  });

  it('reports a superseded version that stays enabled', () => {
    add();
    bed.invariants.checkLastRun(ending(), false);
    expect(bed.invariants.violations).toEqual(['invariant 4: still enabled after rotated: 2']);
  });

  it('reports a stored refresh token that was used', () => {
    const { name } = bed.secret;
    const [newest] = bed.secretManager.versions(name);
    const fields = JSON.parse(newest?.payload?.toString() ?? '') as object;
    bed.secretManager.addVersion(name, JSON.stringify({ ...fields, refreshToken: 'used' }));
    disable('2');
    bed.invariants.checkLastRun(ending(), false);
    expect(bed.invariants.violations).toEqual([
      "invariant 4: the newest credential can't be refreshed after rotated",
    ]);
  });

  it('reports a lost credential without an error', () => {
    const { name } = bed.secret;
    const [newest] = bed.secretManager.versions(name);
    const fields = JSON.parse(newest?.payload?.toString() ?? '') as object;
    bed.secretManager.addVersion(name, JSON.stringify({ ...fields, refreshToken: 'used' }));
    bed.invariants.checkLastRun(ending({ outcome: 'not_due' }), true);
    expect(bed.invariants.violations).toEqual([
      'invariant 4: the token was used, and the run is not_due ',
    ]);
  });

  it.each<[string, (secret: string) => string]>([
    ['a key', (secret) => `issued ${secret}`],
    ['a piece of a key', (secret) => `issued ${secret.slice(100, 108)}...`],
    ['an encoded key', (secret) => Buffer.from(secret).toString('hex')],
  ])('reports %s in a log line', (_, write) => {
    const [secret = ''] = bed.momento.secrets();
    bed.invariants.ends(ending({ written: [write(secret)] }), 0);
    bed.invariants.checkWritten();
    expect(bed.invariants.violations).toContainEqual(
      expect.stringMatching(/^invariant 5: text 0 /),
    );
  });

  it('reports a run that ends too late, and one that never ends', async () => {
    bed.invariants.ends(ending(), 1000);
    expect(bed.invariants.violations).toEqual(['invariant 6: the run ended 1000 ms too late']);
    const group = { name: 'g', title: 't', concurrency: 1, cases: () => [] };
    const hangs = { name: 'hangs', run: () => new Promise<never>(() => undefined) };
    const score = await runCases(group, [hangs], 50);
    expect(score.failures).toMatchObject([
      { case: 'hangs', violations: ['invariant 6: no end within 0.05 s'] },
    ]);
  });

  it('reports a first version that is disabled', () => {
    disable('2');
    const { secretManager, momento, secret } = bed;
    const late = new Invariants({ secretManager, momento, secret: secret.name });
    late.stop();
    expect(late.violations).toEqual(['invariant 1: applications get an error, at the start']);
  });

  it('reports a key that is stored twice', () => {
    const payload = bed.newPayload();
    for (let n = 0; n < 2; n += 1) bed.secretManager.addVersion(bed.secret.name, payload);
    bed.invariants.checkCopies();
    expect(bed.invariants.violations).toEqual(['invariant 11: 3 and 4 contain the same key']);
  });

  it('reports a case that throws', async () => {
    const group = { name: 'g', title: 't', concurrency: 1, cases: () => [] };
    const throws = { name: 'throws', run: () => Promise.reject(new Error('broken')) };
    const score = await runCases(group, [throws]);
    expect(score).toMatchObject({ cases: 1, failed: 1 });
  });
});

test.each([...KINDS, MINT_GRACE])(
  'a run makes the calls at which faults are injected: $name',
  async (kind) => {
    const bed = await open({
      policy: EVERY_CALL,
      ...kind.options,
      renewal: kind.options.renewal ?? 'v1',
    });
    const made = new Set<string>();
    await bed.run({ onCall: ({ method, n }) => void made.add(`${method} ${n}`) });
    expect([...made]).toEqual(
      expect.arrayContaining(kind.calls.map(([method, n]) => `${method} ${n}`)),
    );
  },
);

test('a seed always draws the same schedule', () => {
  expect(draw(7)).toEqual(draw(7));
  expect(draw(7)).not.toEqual(draw(8));
});
