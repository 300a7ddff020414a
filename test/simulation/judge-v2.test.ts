/** Rotations of v2 keys that are broken on purpose: the judge has to find out. */
import type { KeySession, KeySource, SecretStore } from '../../src/rotation/ports';
import { ROLE } from './beginnings';
import { PLAYS } from './every-call-v2';
import { keyIn, mintedPayload } from './payloads';
import { draw, randomSchedules } from './random';
import { EVERY_CALL, Scene, type Run, type SceneOptions } from './scene';
import { DAY, HOUR, MINUTE, Stage } from './stage';

jest.setTimeout(30_000);

let stage: Stage;
const scenes: Scene[] = [];

beforeAll(async () => {
  stage = await Stage.start();
});

afterEach(async () => {
  await Promise.all(scenes.splice(0).map((scene) => scene.close()));
});

afterAll(() => stage.stop());

async function open(options: SceneOptions = {}): Promise<Scene> {
  const scene = await Scene.open(stage, { kind: 'mint', ...options });
  scenes.push(scene);
  return scene;
}

/** The key that a version holds. */
function keyOf({ secretManager, secret, momento }: Scene, version: string) {
  const found = secretManager.versions(secret.name).find((known) => known.version === version);
  const key = momento.account.find(keyIn(found?.payload ?? Buffer.alloc(0)) ?? '');
  if (key === undefined) throw new Error(`version ${version} holds no key`);
  return key;
}

function revoke({ momento }: Scene, keyId: string): void {
  momento.account.revoke(keyId, 'call');
}

function keysDescribed({ momento, secret }: Scene, suffix: string) {
  return momento.account.keys(`momento-key-rotator ${secret.name}${suffix}`);
}

const NOT_READABLE = { kind: 'not_readable', reason: 'it is in DISABLED state' } as const;

/** A run whose ports do something else than they should. */
function sabotaged(
  scene: Scene,
  {
    session = () => ({}),
    store = {},
  }: {
    session?: (real: KeySession) => Partial<KeySession>;
    store?: Partial<SecretStore>;
  },
): Promise<Run> {
  const keys = scene.newKeys();
  const broken: KeySource = {
    vendor: keys.vendor,
    remedy: keys.remedy,
    parse: (payload) => keys.parse(payload),
    open: (managementKey) => {
      const real = keys.open(managementKey);
      const port: KeySession = {
        prepare: () => real.prepare(),
        nextKey: (secret, current) => real.nextKey(secret, current),
        verifyNew: (credential, limits) => real.verifyNew(credential, limits),
        verifyNewest: (credential, limits) => real.verifyNewest(credential, limits),
        verifyRejected: (credential, limits) => real.verifyRejected(credential, limits),
        listedState: (credential, limits) => real.listedState(credential, limits),
        ownKeys: (secret, limits) => real.ownKeys(secret, limits),
        revoke: (keyIds, recheck, limits) => real.revoke(keyIds, recheck, limits),
        close: () => real.close(),
      };
      return { ...port, ...session(real) };
    },
  };
  const real = stage.store;
  const port: SecretStore = {
    access: (secret, version, limits) => real.access(secret, version, limits),
    get: (secret, version, limits) => real.get(secret, version, limits),
    list: (secret, limits) => real.list(secret, limits),
    missingPermissions: (secret, permissions, limits) =>
      real.missingPermissions(secret, permissions, limits),
    permissionMissing: real.permissionMissing,
    add: (secret, payload, limits) => real.add(secret, payload, limits),
    disable: (secret, version, newer, limits) => real.disable(secret, version, newer, limits),
    destroy: (secret, version, newer, limits) => real.destroy(secret, version, newer, limits),
    ...store,
  };
  return scene.runOn(scene.newInstance({ keys: broken, store: port }));
}

describe('invariant 7, no enabled version holds a key that the rotator revoked:', () => {
  const graced = { policy: { gracePeriodMs: 30 * DAY } };

  it('a key is revoked while its version is enabled', async () => {
    const scene = await open();
    revoke(scene, keyOf(scene, '2').info.key_id);
    expect(scene.invariants.violations).toEqual([
      `invariant 7: the key of ${scene.secret.name}/versions/2, which is enabled, was revoked`,
    ]);
  });

  it('versions in their grace period are taken for disabled', async () => {
    const scene = await open(graced);
    const { store } = stage;
    await sabotaged(scene, {
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
    expect(scene.invariants.violations).toEqual([
      `invariant 7: the key of ${scene.secret.name}/versions/2, which is enabled, was revoked`,
    ]);
  });

  it('nobody looks for a newer version', async () => {
    const scene = await open();
    const old = keyOf(scene, '2');
    const { store } = stage;
    await sabotaged(scene, {
      store: {
        access: (secret, version, limits) => {
          if (version !== 5) return store.access(secret, version, limits);
          const payload = mintedPayload(old, 'api', 'put back');
          if (scene.versions === 4) {
            scene.person(() => scene.secretManager.addVersion(scene.secret.name, payload));
          }
          return Promise.resolve({ kind: 'absent' });
        },
      },
    });
    expect(scene.invariants.violations).toContain(
      `invariant 7: the key of ${scene.secret.name}/versions/5, which is enabled, was revoked`,
    );
  });

  it('a key is added after it was revoked', async () => {
    const scene = await open();
    const key = keyOf(scene, '1');
    revoke(scene, key.info.key_id);
    expect(scene.invariants.violations).toEqual([]);
    scene.secretManager.addVersion(scene.secret.name, mintedPayload(key, 'api', ''));
    expect(scene.invariants.violations).toContain(
      `invariant 7: ${scene.secret.name}/versions/4 was added with a revoked key`,
    );
  });

  const enableAt = async (call: number) => {
    const scene = await open();
    await scene.run({
      strike: ({ method, n, when }) => {
        if (method === 'AccessSecretVersion' && n === call && when === 'after') {
          scene.person(() => scene.secretManager.setState(scene.secret.name, '2', 'ENABLED'));
        }
        return undefined;
      },
    });
    return scene;
  };

  it('excuses what a person enabled after the last look at it, and only that', async () => {
    const late = await enableAt(9);
    expect(late.invariants.violations).toEqual([]);
    expect(late.keys.excuses).toBe(1);
    const early = await enableAt(8);
    expect(early.invariants.violations).toEqual([]);
    expect(early.keys.excuses).toBe(0);
    expect(keyOf(early, '2').revoked).toBeUndefined();
  });

  it('does not excuse what a person enabled before that look', async () => {
    const scene = await open();
    const { store } = stage;
    await sabotaged(scene, {
      store: {
        access: async (secret, version, limits) => {
          if (version === 2) {
            scene.person(() => scene.secretManager.setState(secret.name, '2', 'ENABLED'));
            await store.access(secret, version, limits);
            return NOT_READABLE;
          }
          return store.access(secret, version, limits);
        },
      },
    });
    expect(scene.invariants.violations).toEqual([
      `invariant 7: the key of ${scene.secret.name}/versions/2, which is enabled, was revoked`,
    ]);
  });
});

describe('invariant 8, nothing of others is revoked:', () => {
  it.each(['0', '-b', ' ', '/versions/1'])('a description that goes on with %j', async (suffix) => {
    const scene = await open();
    const [key] = keysDescribed(scene, suffix);
    revoke(scene, key?.info.key_id ?? '');
    expect(scene.invariants.violations).toEqual([expect.stringMatching(/^invariant 8: /)]);
  });

  it('every key of the account is taken for ours', async () => {
    const scene = await open();
    const { account } = scene.momento;
    await sabotaged(scene, {
      session: () => ({
        ownKeys: () =>
          Promise.resolve({
            keys: account
              .keys()
              // Without it nothing more could be revoked.
              .filter(({ info }) => info.role_id !== 'r-operator')
              .map(({ info, issuedAt }) => ({ keyId: info.key_id, issuedAt })),
            skipped: 0,
          }),
      }),
    });
    const broken = scene.invariants.violations.filter((text) => text.startsWith('invariant 8'));
    expect(broken.length).toBeGreaterThanOrEqual(9);
  });

  it('a rotation without a management key revokes nothing at all', async () => {
    const scene = await open({ kind: 'refresh' });
    revoke(scene, keyOf(scene, '2').info.key_id);
    expect(scene.invariants.violations).toContainEqual(expect.stringMatching(/^invariant 8: /));
  });
});

describe('invariant 9, no key of ours is left:', () => {
  it('none is, after a good rotation', async () => {
    const scene = await open();
    await scene.runLast();
    expect(scene.invariants.violations).toEqual([]);
    expect(
      keysDescribed(scene, '').filter((key) => scene.momento.account.isLive(key)),
    ).toHaveLength(1);
  });

  it('revocations do nothing', async () => {
    const scene = await open();
    const revoke: KeySession['revoke'] = (keyIds) =>
      Promise.resolve(new Map(keyIds.map((keyId) => [keyId, true])));
    await sabotaged(scene, { session: () => ({ revoke }) });
    scene.clock.advance(HOUR + MINUTE);
    await sabotaged(scene, { session: () => ({ revoke }) });
    scene.keys.judgeEnd(undefined);
    expect(scene.invariants.violations).toEqual([
      'invariant 9: 6 keys are left that no version holds',
    ]);
  });
});

describe('invariant 10, grace periods are kept:', () => {
  it('a version is disabled at once', async () => {
    const scene = await open({ policy: { gracePeriodMs: 30 * DAY } });
    scene.secretManager.setState(scene.secret.name, '2', 'DISABLED');
    expect(scene.invariants.violations).toEqual([
      'invariant 10: 2 became DISABLED in its grace period',
    ]);
  });
});

describe('the judge of the others knows v2 keys:', () => {
  it.each<[string, (scene: Scene) => string]>([
    ['a minted key', (scene) => keyOf(scene, '3').apiKey],
    ['the management key', ({ momento }) => momento.account.keys()[0]?.apiKey ?? ''],
    ['a refresh token', ({ momento }) => momento.issueV2Key({}).refreshToken ?? ''],
  ])('%s is written', async (_, secretOf) => {
    const scene = await open();
    const written = [`made ${secretOf(scene).slice(-20, -10)}`];
    scene.invariants.ends({ status: 200, outcome: 'rotated', code: undefined, written }, 0);
    scene.invariants.judgeWritten();
    expect(scene.invariants.violations).toContainEqual(expect.stringMatching(/^invariant 5: /));
  });

  const ended = { status: 200, outcome: 'rotated', code: undefined, written: [] };

  it.each<[string, (scene: Scene) => string, string]>([
    [
      'another role than was asked for',
      ({ momento, secret }) => {
        const terms = { role: 'r-owner', description: `momento-key-rotator ${secret.name}` };
        const expiresAt = Math.floor((momento.now() + DAY) / 1000);
        const key = momento.account.issue({ ...terms, expiresAt, withRefreshToken: false }, 'call');
        return mintedPayload(key, 'api', '');
      },
      'is not what was asked for',
    ],
    [
      'the refresh token of the key before',
      ({ momento, secret }) => {
        const terms = { role: ROLE, description: `momento-key-rotator ${secret.name}` };
        const expiresAt = Math.floor((momento.now() + DAY) / 1000);
        const key = momento.account.issue({ ...terms, expiresAt, withRefreshToken: false }, 'call');
        return JSON.stringify({ api_key: key.apiKey, refresh_token: 'old' });
      },
      'has a refresh token of another key',
    ],
  ])('the last key has %s', async (_, payload, what) => {
    const scene = await open();
    scene.secretManager.addVersion(scene.secret.name, payload(scene));
    scene.invariants.judgeLastRun(ended, false);
    expect(scene.invariants.violations).toContain(
      `invariant 4: the newest credential ${what} after rotated`,
    );
  });

  it('a spent refresh token is stored', async () => {
    const scene = await open({ kind: 'refresh' });
    const { account } = scene.momento;
    const { refreshToken = '' } = keyOf(scene, '2');
    const lag = { ms: 0, rejections: 0 };
    account.refresh(refreshToken, Math.floor((account.now() + DAY) / 1000), lag);
    scene.invariants.judgeLastRun(ended, false);
    expect(scene.invariants.violations).toContain(
      'invariant 4: the newest credential cannot be refreshed after rotated',
    );
  });
});

describe('what is tried', () => {
  it.each(PLAYS)('strikes calls that a run makes: $name', async ({ options, calls }) => {
    const scene = await open({ policy: EVERY_CALL, ...options });
    const made = new Set<string>();
    await scene.run({
      strike: ({ method, n }) => {
        made.add(`${method} ${n}`);
        return undefined;
      },
    });
    expect([...made]).toEqual(expect.arrayContaining(calls.map(([method, n]) => `${method} ${n}`)));
  });

  it('is twenty thousand random schedules, each the same whenever it is drawn', () => {
    expect(randomSchedules.cases('full')).toHaveLength(20_000);
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
  });
});
