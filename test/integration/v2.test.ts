/** v2 keys over real sockets: what is sent to the key API and stored for it, and what is left alone. */
import { HOUR as HOUR_MS } from '../../src/duration';
import { Fleet } from '../../src/fleet/fleet';
import { MomentoKeys } from '../../src/momento/keys';
import type { RenewalPolicy } from '../../src/rotation/decide';
import type { Secret } from '../../src/rotation/ports';
import type { RotationResult } from '../../src/rotation/report';
import type { SecretName } from '../../src/secret-name';
import { SecretManagerStore } from '../../src/secret-manager/store';
import type { Key } from '../emulators/account';
import type { HttpRequest } from '../emulators/http-host';
import { leaks } from '../leaks';
import { DAY, HOUR, LocalServices } from './support';

const ROLE = 'r-viewer';
const LIFETIME_MS = 30 * DAY;

let services: LocalServices;
let store: SecretManagerStore;
let keys: MomentoKeys;
let management: SecretName;
let told: unknown[];

beforeAll(async () => {
  services = await LocalServices.start();
  store = new SecretManagerStore(services.secretManager.host);
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
  management = create(services.momento.issueV2Key({ role: 'r-operator' }).apiKey);
});

afterEach(() => {
  expect(services.complaints).toEqual([]);
  expect(leaks(services.secrets, [JSON.stringify(told)])).toEqual([]);
});

interface Wanted extends Partial<Secret> {
  readonly of?: SecretName;
}

/** A secret with what a person stored in it, if anything. */
function create(payload?: string): SecretName {
  const secret = services.newName();
  services.secretManager.createSecret(secret.name);
  if (payload !== undefined) services.secretManager.addVersion(secret.name, payload);
  return secret;
}

/** A secret whose keys are minted. */
function minting(secret: SecretName, wanted: Wanted = {}): Secret {
  return { ...secret, payload: 'json', role: ROLE, lifetimeMs: LIFETIME_MS, ...wanted };
}

function fleetOf(secrets: Secret[], policy: Partial<RenewalPolicy> = {}, managed = true): Fleet {
  return new Fleet({
    secrets,
    store,
    keys,
    clock: services.clock,
    policy: { gracePeriodMs: 0, verify: true, revoke: false, ...policy },
    ...(managed && { managementKey: management }),
  });
}

async function run(
  secrets: Secret | Secret[],
  policy: Partial<RenewalPolicy> = {},
  { managed = true, dryRun = false, runMs = 525_000 } = {},
): Promise<RotationResult[]> {
  const all = [secrets].flat();
  const deadline = services.clock.now() + runMs;
  const options = { force: false, dryRun, deadline };
  const reports = await fleetOf(all, policy, managed).rotate(all, options, () => undefined);
  told.push(reports);
  return reports.map(({ result }) => result);
}

const REVOKING = { revoke: true };

function payloadOf({ name }: SecretName): string {
  return services.secretManager.latest(name)?.toString() ?? '';
}

function fieldsOf(secret: SecretName): Record<string, unknown> {
  return JSON.parse(payloadOf(secret)) as Record<string, unknown>;
}

/** Keys that were minted for a secret, oldest first. */
function minted({ name }: SecretName): Key[] {
  return services.momento.account.keys(`momento-key-rotator ${name}`);
}

function live(secret: SecretName): string[] {
  return minted(secret)
    .filter((key) => services.momento.account.isLive(key))
    .map(({ info }) => info.key_id);
}

/** How many pages of the list of keys were read. (A key without an endpoint is proved by asking for one item of it.) */
function listed(): number {
  return services.keyApi.faults.calls.filter(
    ({ method, request }) =>
      method === 'ListKeys' && (request as HttpRequest).query.get('limit') === '100',
  ).length;
}

function addVersion({ name }: SecretName, payload: string): void {
  services.secretManager.addVersion(name, payload);
}

describe('a refresh over HTTP', () => {
  it.each(['consoleJson', 'apiJson'] as const)('writes %s back in kind', async (form) => {
    const issued = services.momento.issueV2Key();
    const fields = { ...(JSON.parse(issued[form]) as object), note: 'of a person' };
    const secret = create(JSON.stringify(fields));
    const [result] = await run({ ...secret, payload: 'json' }, {}, { managed: false });
    expect(result).toMatchObject({ outcome: 'rotated', issuedBy: 'refresh', verified: true });
    const after = fieldsOf(secret);
    expect(Object.keys(after)).toEqual(Object.keys(fields));
    expect(after.note).toBe('of a person');
    const apiKey = String(after.apiKey ?? after.api_key);
    expect(apiKey === issued.apiKey).toBe(false);
    expect(services.momento.accepts(apiKey)).toBe(true);
    expect(result?.keyId).toBe(services.momento.account.find(apiKey)?.info.key_id);
  });

  it('asks once more after a lost answer, and then says that it was lost', async () => {
    const secret = create(services.momento.issueV2Key().apiJson);
    services.keyApi.faults.inject('RefreshKey', 1, { kind: 'drop', when: 'after' });
    const [result] = await run({ ...secret, payload: 'json' }, {}, { managed: false });
    expect(result).toMatchObject({ outcome: 'failed', error: { code: 'REFRESH_ANSWER_LOST' } });
    expect(services.timesCalled('RefreshKey')).toBe(2);
    // A management key heals that.
    expect(await run({ ...secret, payload: 'json' })).toMatchObject([
      { outcome: 'rotated', issuedBy: 'mint' },
    ]);
  });

  it.each([
    ['/elsewhere', 404],
    ['/api-keys/elsewhere', 405],
  ])('spends nothing where the path is %s', async (path) => {
    const secret = create(services.momento.issueV2Key().apiJson);
    services.keyApi.refreshPath = path;
    const run_ = () => run({ ...secret, payload: 'json' }, {}, { managed: false });
    expect(await run_()).toMatchObject([{ error: { code: 'REFRESH_PATH_UNKNOWN' } }]);
    services.keyApi.refreshPath = '/api-keys/refresh';
    expect(await run_()).toMatchObject([{ outcome: 'rotated' }]);
  });
});

describe('a mint', () => {
  it.each([
    ['json', () => fieldsOf],
    ['key', () => (secret: SecretName) => ({ api_key: payloadOf(secret) })],
  ] as const)('makes a first key, as %s, that nobody has seen', async (payload, reader) => {
    const secret = minting(create(), { payload });
    expect(await run(secret)).toMatchObject([
      { outcome: 'rotated', version: '1', issuedBy: 'mint', verified: true },
    ]);
    const { api_key: apiKey, ...rest } = reader()(secret) as Record<string, unknown>;
    expect(services.momento.accepts(String(apiKey))).toBe(true);
    expect(rest).not.toHaveProperty('refresh_token');
    const [key] = minted(secret);
    expect(key).toMatchObject({ refreshToken: undefined, info: { role_id: ROLE } });
  });

  it('moves a v1 secret to v2, and takes the old refresh token out', async () => {
    const { secret } = services.seed({ readersAreServed: false });
    expect(await run(minting(secret))).toMatchObject([{ outcome: 'rotated', issuedBy: 'mint' }]);
    const { apiKey, refreshToken, validUntil } = fieldsOf(secret);
    const [key] = minted(secret);
    expect([apiKey, refreshToken]).toEqual([key?.apiKey, undefined]);
    expect(validUntil).toBe(key?.info.expires_at_epoch_seconds);
  });

  it('heals a key that has expired', async () => {
    const secret = create(services.momento.issueV2Key({ lifetimeSeconds: 60 }).apiJson);
    services.clock.advance(HOUR);
    expect(await run(minting(secret))).toMatchObject([{ outcome: 'rotated', issuedBy: 'mint' }]);
  });

  it('takes role and lifetime from the payload, or from the list of keys', async () => {
    const issued = services.momento.issueV2Key({ role: 'r-owner', lifetimeSeconds: 7 * 86_400 });
    const [full, bare] = [create(issued.apiJson), create(issued.apiKey)];
    await run({ ...full, payload: 'json' });
    expect(listed()).toBe(0);
    await run({ ...bare, payload: 'json' });
    expect(listed()).toBe(1);
    for (const secret of [full, bare]) {
      const [key] = minted(secret);
      expect(key?.info.role_id).toBe('r-owner');
      const { issued_at_epoch_seconds: from = 0, expires_at_epoch_seconds: to = 0 } =
        key?.info ?? {};
      expect(to - from).toBeCloseTo(7 * 86_400, -1);
    }
  });

  it('takes the place of a key that never expires, which a person has to end', async () => {
    const issued = services.momento.issueV2Key({ lifetimeSeconds: 'never' });
    const secret = create(issued.apiKey);
    const due = { renewBefore: { share: 0.5 }, ...REVOKING };
    expect(await run({ ...secret, payload: 'json' }, due)).toMatchObject([
      { outcome: 'failed', error: { code: 'LIFETIME_UNKNOWN' } },
    ]);
    const [result] = await run(minting(secret), due);
    expect(result).toMatchObject({ outcome: 'rotated', reason: 'the key never expires' });
    expect(result?.warnings).toEqual([expect.stringContaining(issued.keyInfo.key_id)]);
    expect(services.momento.accepts(issued.apiKey)).toBe(true);
  });

  it('is refused before anything is made, where there is no such role', async () => {
    const secret = minting(create(), { role: 'r-nobody' });
    expect(await run(secret)).toMatchObject([{ error: { code: 'MINT_REFUSED', step: 'issue' } }]);
    expect(services.states(secret)).toEqual([]);
  });

  it('leaves no key behind that Momento rejects', async () => {
    services.keyApi.newKeyLagMs = HOUR;
    const secret = minting(create());
    const [result] = await run(secret);
    expect(result).toMatchObject({ outcome: 'failed', error: { code: 'NEW_KEY_REJECTED' } });
    expect(result?.revoked).toEqual(minted(secret).map(({ info }) => info.key_id));
    expect(live(secret)).toEqual([]);
  });
});

describe('the management key', () => {
  it('renews itself, beside what it renews', async () => {
    const own = minting(management, { role: 'r-operator' });
    const other = minting(create());
    const results = await run([own, other], REVOKING);
    expect(results).toMatchObject([{ outcome: 'rotated' }, { outcome: 'rotated' }]);
    services.clock.advance(2 * HOUR);
    expect(await run([own, other], REVOKING)).toMatchObject([
      { outcome: 'rotated' },
      { outcome: 'rotated' },
    ]);
  });

  it.each<[string, () => void, string]>([
    ['is revoked', () => services.momento.revoke(payloadOf(management)), 'MANAGEMENT_KEY_REFUSED'],
    ['is no key', () => addVersion(management, 'nonsense'), 'MANAGEMENT_KEY_INVALID'],
    [
      'may not manage keys',
      () => addVersion(management, services.momento.issueV2Key().apiKey),
      'MANAGEMENT_KEY_REFUSED',
    ],
    ['is gone', () => services.secretManager.deleteSecret(management.name), 'SECRET_NOT_FOUND'],
  ])('that %s stops only what needs it', async (_name, breakIt, code) => {
    const v1 = services.seed().secret;
    const v2 = minting(create());
    breakIt();
    expect(await run([{ ...v1, payload: 'json' }, v2], REVOKING)).toMatchObject([
      { outcome: 'rotated', issuedBy: 'refresh' },
      { outcome: 'failed', error: { code } },
    ]);
  });

  it('is missing: a role needs one', async () => {
    expect(await run(minting(create()), {}, { managed: false })).toMatchObject([
      { outcome: 'failed', error: { code: 'MANAGEMENT_KEY_MISSING' } },
    ]);
  });
});

describe('revoking', () => {
  /** A secret whose first key is old enough to be revoked. */
  async function seeded(): Promise<Secret> {
    const secret = minting(create(), { payload: 'key' });
    await run(secret, REVOKING);
    services.clock.advance(2 * HOUR);
    return secret;
  }

  it('ends a key in the run that retires its version, and an orphan with it', async () => {
    const secret = await seeded();
    services.keyApi.faults.forget();
    services.keyApi.faults.inject('CreateKey', 1, { kind: 'drop', when: 'after' });
    const [second] = await run(secret, REVOKING);
    const [first = ''] = minted(secret).map(({ info }) => info.key_id);
    expect(second).toMatchObject({ outcome: 'rotated', disabled: ['1'], revoked: [first] });
    // The key whose answer was lost is not old enough yet.
    expect(live(secret)).toHaveLength(2);
    services.clock.advance(2 * HOUR);
    const [third] = await run(secret, { ...REVOKING, renewBefore: { ms: HOUR_MS } });
    expect(third).toMatchObject({ outcome: 'not_due' });
    expect(third?.revoked).toHaveLength(1);
    expect(live(secret)).toHaveLength(1);
  });

  it('waits for the grace period, or for a person who disables the version', async () => {
    const secret = await seeded();
    const patient = { ...REVOKING, gracePeriodMs: 7 * DAY };
    expect((await run(secret, patient))[0]?.revoked ?? []).toEqual([]);
    services.secretManager.setState(secret.name, '1', 'DISABLED');
    const [result] = await run(secret, { ...patient, renewBefore: { ms: HOUR } });
    expect(result?.revoked).toHaveLength(1);
  });

  it('spares a key that a person put back', async () => {
    const secret = await seeded();
    const old = payloadOf(secret);
    await run(secret, { gracePeriodMs: DAY, revoke: true });
    services.clock.advance(2 * HOUR);
    addVersion(secret, old);
    const [result] = await run(secret, { ...REVOKING, renewBefore: { ms: HOUR } });
    expect(result?.disabled).toEqual(['1', '2']);
    expect(services.momento.accepts(old)).toBe(true);
    expect(result?.revoked).toHaveLength(1);
  });

  it.each<[string, (secret: Secret) => void]>([
    [
      'a version holds what nobody can read',
      (secret) => {
        addVersion(secret, 'nonsense');
        addVersion(secret, services.momento.issueV2Key().apiKey);
      },
    ],
    ['the list fails', () => failing('ListKeys')],
    ['a revocation fails', () => failing('RevokeKey')],
  ])('is incomplete and ends nothing where %s', async (_name, act) => {
    const secret = await seeded();
    act(secret);
    const before = live(secret);
    const patient = { ...REVOKING, gracePeriodMs: HOUR };
    await run(secret, { ...patient, gracePeriodMs: DAY });
    services.secretManager.setState(secret.name, '1', 'DISABLED');
    const [result] = await run(secret, {
      ...patient,
      gracePeriodMs: DAY,
      renewBefore: { ms: HOUR },
    });
    expect(result?.outcome).toBe('incomplete');
    expect(live(secret)).toEqual(expect.arrayContaining(before));
  });

  function failing(method: string): void {
    services.keyApi.faults.inject(method, 'every', { kind: 'status', status: 500, when: 'before' });
  }

  it('counts a key that is already gone', async () => {
    const secret = await seeded();
    services.keyApi.faults.inject('RevokeKey', 1, { kind: 'drop', when: 'after' });
    const [result] = await run(secret, REVOKING);
    expect(result).toMatchObject({ outcome: 'rotated' });
    expect(result?.revoked).toHaveLength(1);
  });

  it('leaves alone what is not ours, word for word', async () => {
    const secret = await seeded();
    const others = [` ${secret.name}`, `${secret.name}-2`, secret.name.toUpperCase()].map((name) =>
      services.momento.issueV2Key({ description: `momento-key-rotator ${name}` }),
    );
    services.clock.advance(2 * HOUR);
    await run(secret, REVOKING);
    expect(others.filter(({ apiKey }) => !services.momento.accepts(apiKey))).toEqual([]);
  });

  it('is foreseen by a dry run, which ends nothing', async () => {
    const secret = await seeded();
    const before = live(secret);
    const [result] = await run(secret, REVOKING, { dryRun: true });
    expect(result).toMatchObject({ outcome: 'dry_run', issuedBy: 'mint', revoked: before });
    expect(live(secret)).toEqual(before);
  });

  it('is counted by GET before it is done', async () => {
    const secret = await seeded();
    services.secretManager.setState(secret.name, '1', 'DISABLED');
    addVersion(secret, services.momento.issueV2Key().apiKey);
    const [look] = await fleetOf([secret]).status();
    expect(look?.status).toMatchObject({ renewedBy: 'mint', unheldKeys: 1 });
  });
});

describe('many secrets', () => {
  it('share one list of keys, and keep to the pace that Momento allows', async () => {
    const secrets = Array.from({ length: 12 }, () =>
      minting(create(services.momento.issueV2Key().apiKey), { payload: 'key' }),
    );
    services.keyApi.callsPerSecond = 5;
    // Here alone somebody has to wait: what is paced is what arrives in a second.
    const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
    jest.spyOn(services.clock, 'sleep').mockImplementation(sleep);
    try {
      const results = await run(secrets, REVOKING);
      expect(results.filter(({ outcome }) => outcome !== 'rotated')).toEqual([]);
    } finally {
      jest.restoreAllMocks();
    }
    expect(services.timesCalled('CreateKey')).toBe(secrets.length);
    // Once for all of them.
    expect(listed()).toBe(1);
  });
});
