/** What ends at Momento once no version holds it, and what is left alone. */
import type { RenewalPolicy } from '../../src/rotation/policy';
import type { Secret } from '../../src/rotation/ports';
import type { RotationResult } from '../../src/rotation/result';
import type { RunOptions } from '../../src/rotation/run';
import type { SecretName } from '../../src/secret-name';
import type { HttpRequest } from '../emulators/http-host';
import { DAY, HOUR, REVOKES, ROLE, World } from './v2-support';

const world = new World();

const TERMS = { role: ROLE, lifetimeMs: 30 * DAY, payload: 'key' } as const;

/** Not due, as far as these tests go. */
const LATER: Partial<RenewalPolicy> = { renewBefore: { minimumMs: HOUR } };

let managementKey: SecretName;

beforeEach(() => {
  managementKey = world.managementKey();
});

function run(
  secret: Secret,
  policy: Partial<RenewalPolicy> = {},
  options: Partial<RunOptions> = {},
): Promise<RotationResult> {
  return world.rotate(secret, { managementKey, policy: { ...REVOKES, ...policy } }, options);
}

/** A secret whose first key is old enough to be revoked. */
async function seeded(): Promise<Secret> {
  const secret = world.secret(TERMS);
  await run(secret);
  world.services.watch(secret);
  world.services.clock.advance(2 * HOUR);
  return secret;
}

describe('a key of ours ends', () => {
  it('in the run that retires its version, and an orphan an hour later', async () => {
    const secret = await seeded();
    const first = world.live(secret);
    world.services.keyApi.faults.forget();
    world.services.keyApi.faults.inject('CreateKey', 1, { kind: 'drop', when: 'after' });
    expect(await run(secret)).toMatchObject({
      outcome: 'rotated',
      disabled: ['1'],
      revoked: first,
    });
    // The key whose answer was lost is not old enough yet.
    expect(await run(secret, LATER)).not.toHaveProperty('revoked');
    expect(world.live(secret)).toHaveLength(2);
    world.services.clock.advance(2 * HOUR);
    const third = await run(secret, LATER);
    expect(third).toMatchObject({ outcome: 'not_due' });
    expect(third.revoked).toHaveLength(1);
    expect(world.live(secret)).toEqual([world.keyOf(secret).info.key_id]);
  });

  it('after the grace period, or when a person disables the version', async () => {
    const secret = await seeded();
    const patient = { gracePeriodMs: 7 * DAY };
    expect((await run(secret, patient)).revoked ?? []).toEqual([]);
    world.setState(secret, '1', 'DISABLED');
    expect((await run(secret, { ...patient, ...LATER })).revoked).toHaveLength(1);
  });

  it('also where the answer that it ended was lost', async () => {
    const secret = await seeded();
    world.services.keyApi.faults.inject('RevokeKey', 1, { kind: 'drop', when: 'after' });
    const result = await run(secret);
    expect(result).toMatchObject({ outcome: 'rotated' });
    expect(result.revoked).toHaveLength(1);
  });

  it('in no dry run, which foresees it', async () => {
    const secret = await seeded();
    const before = world.live(secret);
    const options = { dryRun: true };
    expect(await run(secret, {}, options)).toMatchObject({
      outcome: 'dry_run',
      issuedBy: 'mint',
      revoked: before,
    });
    expect(world.live(secret)).toEqual(before);
  });

  it('and is counted by GET before it does', async () => {
    const secret = await seeded();
    world.store(secret, world.services.momento.issueV2Key().apiKey);
    world.setState(secret, '1', 'DISABLED');
    expect(await world.look(secret, { managementKey })).toMatchObject({
      renewedBy: 'mint',
      unheldKeys: 1,
    });
  });
});

describe('a key lives on', () => {
  it('that a person put back', async () => {
    const secret = await seeded();
    const old = world.payload(secret);
    await run(secret, { gracePeriodMs: DAY });
    world.services.clock.advance(2 * HOUR);
    world.store(secret, old);
    const result = await run(secret, LATER);
    expect(result.disabled).toEqual(['1', '2']);
    expect(world.services.momento.accepts(old)).toBe(true);
    expect(result.revoked).toHaveLength(1);
  });

  it('whose description is not ours, word for word', async () => {
    const secret = await seeded();
    const others = [` ${secret.name}`, `${secret.name}-2`, secret.name.toUpperCase()].map((name) =>
      world.services.momento.issueV2Key({ description: `momento-key-rotator ${name}` }),
    );
    world.services.clock.advance(2 * HOUR);
    await run(secret);
    expect(others.filter(({ apiKey }) => !world.services.momento.accepts(apiKey))).toEqual([]);
  });

  it('that a person puts back while Momento lets the revocation wait', async () => {
    const secret = await seeded();
    const old = world.payload(secret);
    await run(secret, { gracePeriodMs: DAY });
    world.setState(secret, '1', 'DISABLED');
    const limit = { kind: 'status', status: 429, retryAfter: '20', when: 'before' } as const;
    world.services.keyApi.faults.inject('RevokeKey', 1, limit);
    world.when('before RevokeKey', () => world.store(secret, old));
    const result = await run(secret, LATER);
    expect(result).toMatchObject({ outcome: 'not_due', revoked: [] });
    expect(world.services.timesCalled('RevokeKey')).toBe(1);
  });

  it.each<[string, (secret: Secret) => void]>([
    [
      'a version holds what nobody can read',
      (secret) => {
        world.services.secretManager.addVersion(secret.name, 'nonsense');
        world.services.secretManager.addVersion(
          secret.name,
          world.services.momento.issueV2Key().apiKey,
        );
      },
    ],
    ['the list fails', () => failing('ListKeys')],
    ['a revocation fails', () => failing('RevokeKey')],
  ])('and the run is incomplete where %s', async (_name, act) => {
    const secret = world.secret(TERMS);
    await run(secret);
    world.services.clock.advance(2 * HOUR);
    act(secret);
    const before = world.live(secret);
    await run(secret, { gracePeriodMs: DAY });
    world.setState(secret, '1', 'DISABLED');
    const result = await run(secret, { gracePeriodMs: DAY, ...LATER });
    expect(result.outcome).toBe('incomplete');
    expect(world.live(secret)).toEqual(expect.arrayContaining(before));
  });

  function failing(method: string): void {
    const fault = { kind: 'status', status: 500, when: 'before' } as const;
    world.services.keyApi.faults.inject(method, 'every', fault);
  }
});

describe('many secrets', () => {
  /** How many pages of the list of keys were read. (A key without an endpoint is proved by asking for one item of it.) */
  function pages(): number {
    return world.services.keyApi.faults.calls.filter(
      ({ method, request }) =>
        method === 'ListKeys' && (request as HttpRequest).query.get('limit') === '100',
    ).length;
  }

  it('share one list of keys, and keep to the pace that Momento allows', async () => {
    const secrets = Array.from({ length: 12 }, () => world.held(TERMS, {}, 'apiKey'));
    world.services.keyApi.callsPerSecond = 5;
    // Here alone somebody has to wait: what is paced is what arrives in a second.
    const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
    jest.spyOn(world.services.clock, 'sleep').mockImplementation(sleep);
    try {
      const reports = await world.request(secrets, { managementKey, policy: REVOKES });
      expect(reports.filter(({ result }) => result.outcome !== 'rotated')).toEqual([]);
    } finally {
      jest.restoreAllMocks();
    }
    expect(world.services.timesCalled('CreateKey')).toBe(secrets.length);
    expect(pages()).toBe(1);
  });
});
