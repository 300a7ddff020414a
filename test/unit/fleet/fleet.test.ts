import { Fleet } from '../../../src/fleet/fleet';
import type { KeySource, Secret, Version } from '../../../src/rotation/ports';
import type { Report } from '../../../src/rotation/report';
import type { RunOptions } from '../../../src/rotation/run';
import { inTurn, NOW, SECOND, secretName, version } from '../support';
import {
  effects,
  NOT_DUE,
  QUOTA,
  scene,
  SECRET,
  STORE_REFUSES,
  UNAVAILABLE,
  type Plan,
} from '../rotation/scene';

const OTHER: Secret = { ...SECRET, ...secretName('projects/p/secrets/other') };
const MANAGEMENT_KEY = secretName('projects/p/secrets/management');

/** A fleet whose secrets all look like the scene's. */
function fleetIn(
  plan: Plan,
  {
    secrets = [SECRET, OTHER],
    managementKey = false,
    open = undefined as KeySource['open'] | undefined,
  } = {},
) {
  const { environment, calls, versions } = scene(plan);
  const fleet = new Fleet({
    ...environment,
    keys: { ...environment.keys, ...(open && { open }) },
    secrets,
    ...(managementKey && { managementKey: MANAGEMENT_KEY }),
  });
  const reported: Report[] = [];
  const rotate = (named: readonly Secret[] = [SECRET], options: Partial<RunOptions> = {}) =>
    fleet.rotate(
      named,
      { force: false, dryRun: false, deadline: NOW + 525 * SECOND, ...options },
      (report) => reported.push(report),
    );
  return { fleet, rotate, reported, calls, versions, environment };
}

/** Adds nothing to what is listed, so that runs one after the other find the same. */
const ADDS = { add: inTurn<Version>(version(5, 'ENABLED', NOW)) };

test('each secret has its own run, reported once, and answered in the order asked for', async () => {
  const { rotate, reported } = fleetIn({ store: ADDS });
  const reports = await rotate([OTHER, SECRET]);
  expect(reports.map(({ result }) => [result.secret, result.outcome])).toEqual([
    [OTHER.name, 'rotated'],
    [SECRET.name, 'rotated'],
  ]);
  expect(new Set(reported)).toEqual(new Set(reports));
  expect(reported).toHaveLength(2);
});

test('one failure holds up no other', async () => {
  const list = ({ name }: { name: string }) =>
    name === SECRET.name ? Promise.reject(STORE_REFUSES) : Promise.resolve([version(4)]);
  const reports = await fleetIn({ store: { ...ADDS, list } }).rotate([SECRET, OTHER]);
  expect(reports.map(({ result }) => result.outcome)).toEqual(['failed', 'rotated']);
});

test('many secrets are worked on at a time, but not too many', async () => {
  const secrets = Array.from({ length: 40 }, (_, i) => ({
    ...SECRET,
    ...secretName(`projects/p/secrets/s${i}`),
  }));
  let active = 0;
  let most = 0;
  const list = async () => {
    most = Math.max(most, ++active);
    await new Promise((resolve) => setImmediate(resolve));
    active--;
    return [version(4)];
  };
  const { rotate } = fleetIn({ store: { ...ADDS, list } }, { secrets });
  const reports = await rotate(secrets);
  expect(reports.map(({ result }) => result.secret)).toEqual(secrets.map(({ name }) => name));
  expect(most).toBeGreaterThanOrEqual(8);
  expect(most).toBeLessThanOrEqual(16);
});

describe('runs at the same time', () => {
  test('fifty for one secret are one, and reported once', async () => {
    const { rotate, calls, reported } = fleetIn({});
    const runs = await Promise.all(Array.from({ length: 50 }, () => rotate()));
    expect(new Set(runs.flat()).size).toBe(1);
    expect(reported).toHaveLength(1);
    expect(effects(calls)).toEqual(['issue', 'add new', 'disable 4']);
  });

  test('one that comes later is another', async () => {
    const { rotate, reported } = fleetIn({});
    await rotate();
    await rotate();
    expect(reported.map(({ result }) => result.version)).toEqual(['5', '6']);
  });

  test('a forced one does not join a plain one: it waits for it', async () => {
    const { rotate, reported } = fleetIn({ policy: NOT_DUE });
    const [[plain], [forced], [alsoForced]] = await Promise.all([
      rotate(),
      rotate([SECRET], { force: true }),
      rotate([SECRET], { force: true }),
    ]);
    expect(plain?.result.outcome).toBe('not_due');
    expect(forced?.result).toMatchObject({ outcome: 'rotated', reason: 'forced' });
    expect(alsoForced).toBe(forced);
    expect(reported).toEqual([plain, forced]);
  });

  test('a plain one does not join a forced one', async () => {
    const { rotate } = fleetIn({ policy: NOT_DUE });
    const [[forced], [plain]] = await Promise.all([rotate([SECRET], { force: true }), rotate()]);
    expect([forced?.result.outcome, plain?.result.outcome]).toEqual(['rotated', 'not_due']);
  });

  test('a dry run neither joins nor is joined', async () => {
    const { rotate } = fleetIn({});
    const dry = { dryRun: true };
    const runs = await Promise.all([rotate([SECRET], dry), rotate(), rotate([SECRET], dry)]);
    expect(runs.flat().map(({ result }) => result.outcome)).toEqual([
      'dry_run',
      'rotated',
      'dry_run',
    ]);
  });
});

test('a key that could not be stored is stored first by the next request, for its secret and no other', async () => {
  const { rotate } = fleetIn({ addFails: [STORE_REFUSES] });
  expect((await rotate())[0]?.result.error?.code).toBe('CREDENTIAL_NOT_STORED');
  expect((await rotate([OTHER], { dryRun: true }))[0]?.result.reason).toBe(
    'would rotate: every run rotates',
  );
  expect((await rotate())[0]?.result.reason).toBe(
    'an earlier run issued a key that is not stored yet',
  );
});

describe('a session', () => {
  const counted = (plan: Plan = {}) => {
    const { environment } = scene(plan);
    let opened = 0;
    let closed = 0;
    const open: KeySource['open'] = (managementKey) => {
      opened += 1;
      return { ...environment.keys.open(managementKey), close: () => void (closed += 1) };
    };
    return { open, counts: () => [opened, closed] };
  };

  test('is opened for a request, shared by its secrets, and closed', async () => {
    const { open, counts } = counted();
    const { rotate, fleet } = fleetIn({ store: ADDS }, { open });
    await rotate([SECRET, OTHER]);
    expect(counts()).toEqual([1, 1]);
    await fleet.status();
    expect(counts()).toEqual([2, 2]);
  });

  test('is closed also when all runs fail', async () => {
    const { open, counts } = counted();
    await fleetIn({ store: { list: inTurn<never>(STORE_REFUSES) } }, { open }).rotate();
    expect(counts()).toEqual([1, 1]);
  });

  /** What a session gets to read the management key with, in a fleet whose secrets look like the scene. */
  async function reader(plan: Plan, managementKey = true) {
    const read: Parameters<KeySource['open']>[0][] = [];
    const { environment } = scene(plan);
    const open: KeySource['open'] = (given) => {
      read.push(given);
      return environment.keys.open(given);
    };
    await fleetIn(plan, { open, managementKey }).fleet.status();
    return read[0];
  }

  test('reads the newest enabled version of the management key', async () => {
    const asked: string[] = [];
    const access = ({ name }: { name: string }) => {
      asked.push(name);
      return Promise.resolve({ number: 4, payload: Buffer.from('payload') });
    };
    const payload = await (await reader({ store: { access } }))?.();
    expect(payload?.toString()).toBe('payload');
    expect(asked.at(-1)).toBe(MANAGEMENT_KEY.name);
  });

  test('is told when there is none', async () => {
    const read = await reader({ versions: [version(4, 'DISABLED')] });
    await expect(read?.()).rejects.toMatchObject({ code: 'MANAGEMENT_KEY_INVALID' });
    await expect(read?.()).rejects.toThrow(
      `${MANAGEMENT_KEY.name}, the secret of the management key, has no enabled version`,
    );
  });

  test('has nothing to read where no management key is configured', async () => {
    expect(await reader({}, false)).toBeUndefined();
  });
});

test.each([UNAVAILABLE, QUOTA])(
  'a look at all secrets gives up in half a minute: $code',
  async (failure) => {
    const { fleet, environment } = fleetIn({ store: { list: inTurn<never>(failure) } });
    const looks = await fleet.status();
    expect(looks.map(({ error }) => error)).toEqual([failure, failure]);
    expect(environment.clock.now()).toBeLessThanOrEqual(NOW + 30 * SECOND);
  },
);
