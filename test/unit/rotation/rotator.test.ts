import type { KeySource, Secret, SecretStore, Version } from '../../../src/rotation/ports';
import type { RunResult } from '../../../src/rotation/result';
import { Rotator } from '../../../src/rotation/rotator';
import type { RunOptions } from '../../../src/rotation/run';
import { HOUR, inTurn, NOW, SECOND, secretName, version } from '../support';
import {
  effects,
  error,
  key,
  NOT_DUE,
  ownKey,
  QUOTA,
  SECRET,
  STORE_REFUSES,
  testBed,
  UNAVAILABLE,
  type Plan,
} from './test-bed';

const named = (name: string): Secret => ({ ...SECRET, ...secretName(name) });
const OTHER = named('projects/p/secrets/other');
const MANAGEMENT_KEY = secretName('projects/p/secrets/management');
const TIMEOUT = 525 * SECOND;
/** Adds nothing to the store, so that runs for several secrets find the same. */
const ADDS = { add: inTurn<Version>(version(5, 'ENABLED', NOW)) };
/** A call without an answer. */
const HANGS = (): Promise<never> => Promise.race([]);

/** A rotator of secrets that all look like the test bed's. */
function rotatorIn(
  plan: Plan = {},
  {
    secrets = [SECRET, OTHER],
    managementKey = false,
    open = undefined as KeySource['open'] | undefined,
  } = {},
) {
  const bed = testBed(plan);
  const { environment, clock } = bed;
  const rotator = new Rotator({
    ...environment,
    keys: { ...environment.keys, ...(open && { open }) },
    secrets,
    managementKey: managementKey ? MANAGEMENT_KEY : undefined,
  });
  const reported: RunResult[] = [];
  const rotate = (chosen: readonly Secret[] = [SECRET], options: Partial<RunOptions> = {}) =>
    rotator.rotate(
      chosen,
      { force: false, dryRun: false, deadline: clock.monotonic() + TIMEOUT, ...options },
      (result) => reported.push(result),
    );
  return { ...bed, rotator, rotate, reported };
}

const outcomes = (results: readonly RunResult[]) => results.map(({ result }) => result.outcome);
const codes = (results: readonly RunResult[]) => results.map(({ result }) => result.error?.code);

/** A store in which the list of one secret differs. */
function storeWith(name: string, list: SecretStore['list']): Partial<SecretStore> {
  const memory = testBed().environment.store;
  return {
    ...ADDS,
    list: (secret, limits) =>
      secret.name === name ? list(secret, limits) : memory.list(secret, limits),
  };
}

test('runs each secret once, reports it once, and answers in the order of the request', async () => {
  const { rotate, reported } = rotatorIn({ store: ADDS });
  const results = await rotate([OTHER, SECRET]);
  expect(results.map(({ result }) => [result.secret, result.outcome])).toEqual([
    [OTHER.name, 'rotated'],
    [SECRET.name, 'rotated'],
  ]);
  expect(reported).toHaveLength(2);
  expect(new Set(reported)).toEqual(new Set(results));
});

test('starts all secrets at once, and none waits for one that hangs', async () => {
  const secrets = Array.from({ length: 200 }, (_, index) => named(`projects/p/secrets/s${index}`));
  const store = storeWith('projects/p/secrets/s0', HANGS);
  const { rotator, clock } = rotatorIn({ store }, { secrets });
  const start = clock.monotonic();
  const ended: number[] = [];
  const options = { force: false, dryRun: false, deadline: start + TIMEOUT };
  const results = await rotator.rotate(secrets, options, () => {
    ended.push(clock.monotonic() - start);
  });
  expect(outcomes(results)).toEqual(['failed', ...Array<string>(199).fill('rotated')]);
  expect(ended).toEqual([...Array<number>(199).fill(0), TIMEOUT]);
});

describe('a run that hangs', () => {
  const hangsOnce = (): Plan => {
    const memory = testBed().environment.store;
    let runs = 0;
    const list: SecretStore['list'] = (secret, limits) =>
      ++runs === 1 ? HANGS() : memory.list(secret, limits);
    return { store: { list } };
  };

  test('ends with DEADLINE_EXCEEDED at its deadline, and is reported', async () => {
    const { rotate, reported, clock } = rotatorIn({ store: { list: HANGS } });
    const start = clock.monotonic();
    const [run] = await rotate();
    const error = { code: 'DEADLINE_EXCEEDED', retryable: true };
    expect(run?.result).toMatchObject({ outcome: 'failed', error });
    expect(run?.result.error?.message).toContain(
      "The run for projects/p/secrets/s didn't end before its deadline.",
    );
    expect(reported).toEqual([run]);
    expect(clock.monotonic() - start).toBe(TIMEOUT);
  });

  test.each([false, true])('lets later runs start (force: %s)', async (force) => {
    const { rotate } = rotatorIn(hangsOnce());
    expect(codes(await rotate())).toEqual(['DEADLINE_EXCEEDED']);
    expect(outcomes(await rotate([SECRET], { force }))).toEqual(['rotated']);
  });

  test.each([false, true])(
    'ends those that wait for it at their own deadline (force: %s)',
    async (force) => {
      const { rotate, clock, reported } = rotatorIn(hangsOnce());
      const start = clock.monotonic();
      const first = rotate();
      const joined = await rotate([SECRET], { force, deadline: start + 100 * SECOND });
      expect(codes(joined)).toEqual(['DEADLINE_EXCEEDED']);
      expect(clock.monotonic() - start).toBe(100 * SECOND);
      expect(codes(await first)).toEqual(['DEADLINE_EXCEEDED']);
      expect(reported).toHaveLength(2);
    },
  );

  test('is not affected when the wall clock is set back', async () => {
    const { rotate, clock } = rotatorIn({ store: { list: HANGS } });
    const start = clock.monotonic();
    const run = rotate();
    clock.setWallClock(NOW - 2 * HOUR);
    await run;
    expect(clock.monotonic() - start).toBe(TIMEOUT);
  });
});

describe('runs at the same time', () => {
  test('for one secret are one run, reported once', async () => {
    const { rotate, calls, reported } = rotatorIn();
    const runs = await Promise.all(Array.from({ length: 50 }, () => rotate()));
    expect(new Set(runs.flat()).size).toBe(1);
    expect(reported).toHaveLength(1);
    expect(effects(calls)).toEqual(['issue', 'add new', 'disable 4']);
  });

  test('are two when the second begins after the first', async () => {
    const { rotate, reported } = rotatorIn();
    await rotate();
    await rotate();
    expect(reported.map(({ result }) => result.version)).toEqual(['5', '6']);
  });

  test('are two when only the second is forced: it waits for the first, and others join it', async () => {
    const { rotate, reported } = rotatorIn({ policy: NOT_DUE });
    const force = { force: true };
    const runs = [rotate(), rotate([SECRET], force), rotate([SECRET], force)];
    const [plain, forced, alsoForced] = (await Promise.all(runs)).flat();
    expect(plain?.result.outcome).toBe('not_due');
    expect(forced?.result).toMatchObject({ outcome: 'rotated', reason: 'forced' });
    expect(alsoForced).toBe(forced);
    expect(reported).toEqual([plain, forced]);
  });

  test('are two when only the first is forced', async () => {
    const { rotate } = rotatorIn({ policy: NOT_DUE });
    const runs = await Promise.all([rotate([SECRET], { force: true }), rotate()]);
    expect(outcomes(runs.flat())).toEqual(['rotated', 'not_due']);
  });

  test('are not shared with dry runs', async () => {
    const { rotate } = rotatorIn();
    const dry = { dryRun: true };
    const runs = await Promise.all([rotate([SECRET], dry), rotate(), rotate([SECRET], dry)]);
    expect(outcomes(runs.flat())).toEqual(['dry_run', 'rotated', 'dry_run']);
  });
});

test('the next request stores an unsaved credential, of its secret and no other', async () => {
  const { rotate } = rotatorIn({ addFails: [STORE_REFUSES] });
  expect(codes(await rotate())).toEqual(['CREDENTIAL_NOT_STORED']);
  const [other] = await rotate([OTHER], { dryRun: true });
  expect(other?.result.reason).toBe('would rotate: every run rotates');
  const [next] = await rotate();
  expect(next?.result.reason).toBe("an earlier run issued a key that isn't stored yet");
});

describe('two configured names of one secret', () => {
  const BY_ID = named('projects/p/secrets/s');
  const BY_NUMBER = named('projects/1/secrets/s');
  const secrets = [BY_ID, BY_NUMBER];

  test.each<[string, Secret[], string[]]>([
    ['together', [BY_ID, BY_NUMBER], ['rotated', 'not_due']],
    ['together, in the other order', [BY_NUMBER, BY_ID], ['not_due', 'rotated']],
  ])('are rotated once under the first when requested %s', async (_name, requested, expected) => {
    const { rotate, calls } = rotatorIn({}, { secrets });
    const results = await rotate(requested);
    expect(outcomes(results)).toEqual(expected);
    const second = results[requested.indexOf(BY_NUMBER)]?.result;
    expect(second?.reason).toBe('the same secret as projects/p/secrets/s');
    expect(second?.warnings).toEqual([expect.stringContaining('is configured twice')]);
    expect(calls.filter((call) => call === 'add new')).toHaveLength(1);
  });

  test('are rotated under the second when only that is requested', async () => {
    const { rotate } = rotatorIn({}, { secrets });
    expect(outcomes(await rotate([BY_NUMBER]))).toEqual(['rotated']);
  });

  const STRANGER = named('projects/other/secrets/s');

  const theirs = { versions: [version(4)], canonicalName: 'projects/2/secrets/s' };

  test.each<[string, SecretStore['list']]>([
    ['another project has a secret of the same id', inTurn(theirs)],
    ['a secret of the same id is empty', inTurn({ versions: [] })],
    ["a secret of the same id can't be listed", inTurn<never>(error('PERMISSION_MISSING'))],
    ['a secret of the same id is out of quota', inTurn<never>(QUOTA)],
  ])("aren't assumed when %s, which delays nothing", async (_name, list) => {
    const store = storeWith(STRANGER.name, list);
    const { rotate, clock } = rotatorIn({ store }, { secrets: [STRANGER, BY_ID] });
    const start = clock.monotonic();
    expect(outcomes(await rotate([BY_ID]))).toEqual(['rotated']);
    expect(clock.monotonic() - start).toBe(0);
  });

  test("aren't assumed when the location differs", async () => {
    const regional = named('projects/p/locations/l/secrets/s');
    const { rotate } = rotatorIn({ store: ADDS }, { secrets: [regional, BY_NUMBER] });
    expect(outcomes(await rotate([BY_NUMBER]))).toEqual(['rotated']);
  });
});

describe('a session', () => {
  function counted(plan: Plan = {}) {
    const { keys } = testBed(plan).environment;
    const counts = { opened: 0, closed: 0 };
    const open: KeySource['open'] = (managementKey) => {
      counts.opened += 1;
      return { ...keys.open(managementKey), close: () => void (counts.closed += 1) };
    };
    return { open, counts };
  }

  test('is opened once for each request, and closed', async () => {
    const { open, counts } = counted();
    const { rotate, rotator } = rotatorIn({ store: ADDS }, { open });
    await rotate([SECRET, OTHER]);
    expect(counts).toEqual({ opened: 1, closed: 1 });
    await rotator.status();
    expect(counts).toEqual({ opened: 2, closed: 2 });
  });

  test.each([inTurn<never>(STORE_REFUSES), HANGS])('is closed when all runs fail', async (list) => {
    const { open, counts } = counted();
    await rotatorIn({ store: { list } }, { open }).rotate();
    expect(counts).toEqual({ opened: 1, closed: 1 });
  });

  /** What a session reads the management key with. */
  async function readerIn(plan: Plan, managementKey = true) {
    const readers: Parameters<KeySource['open']>[0][] = [];
    const { keys } = testBed(plan).environment;
    const open: KeySource['open'] = (reader) => {
      readers.push(reader);
      return keys.open(reader);
    };
    await rotatorIn(plan, { open, managementKey }).rotator.status();
    return readers[0];
  }

  test('reads the newest enabled version of the management key', async () => {
    const asked: string[] = [];
    const access: SecretStore['access'] = ({ name }) => {
      asked.push(name);
      return Promise.resolve({ kind: 'payload', number: 4, payload: key('m').serialize() });
    };
    const stored = await (await readerIn({ store: { access } }))?.read([]);
    expect(stored?.number).toBe(4);
    expect(asked.at(-1)).toBe(MANAGEMENT_KEY.name);
  });

  test('reads another version of the management key when that one is refused', async () => {
    const reader = await readerIn({ versions: [version(3), version(4)] });
    expect(await reader?.read([4])).toMatchObject({ number: 3 });
  });

  test('reads no management key when its secret has no enabled version', async () => {
    const reader = await readerIn({ versions: [version(4, 'DISABLED')] });
    expect(await reader?.read([])).toBeUndefined();
  });

  test("fails with VERSION_UNREADABLE when the management key can't be read", async () => {
    const reader = await readerIn({ unreadable: [4] });
    expect(reader?.name).toBe(MANAGEMENT_KEY.name);
    await expect(reader?.read([])).rejects.toMatchObject({
      code: 'VERSION_UNREADABLE',
      problem: expect.stringContaining(MANAGEMENT_KEY.name) as string,
    });
  });

  test('reads nothing when no management key is configured', async () => {
    expect(await readerIn({}, false)).toBeUndefined();
  });
});

describe('status', () => {
  test('reports all secrets in the order of the configuration', async () => {
    const reports = await rotatorIn().rotator.status();
    expect(reports.map(({ status }) => status.secret)).toEqual([SECRET.name, OTHER.name]);
  });

  test.each([UNAVAILABLE, QUOTA])('gives up after half a minute of $code', async (failure) => {
    const { rotator, clock } = rotatorIn({ store: { list: inTurn<never>(failure) } });
    const start = clock.monotonic();
    expect((await rotator.status()).map((report) => report.error)).toEqual([failure, failure]);
    expect(clock.monotonic() - start).toBeLessThanOrEqual(30 * SECOND);
  });

  test('reports DEADLINE_EXCEEDED for a secret whose inspection hangs, and the others', async () => {
    const { rotator, clock } = rotatorIn({ store: storeWith(SECRET.name, HANGS) });
    const start = clock.monotonic();
    const reports = await rotator.status();
    expect(reports.map(({ httpStatus }) => httpStatus)).toEqual([504, 200]);
    expect(reports[0]?.status.error?.code).toBe('DEADLINE_EXCEEDED');
    expect(clock.monotonic() - start).toBe(30 * SECOND);
  });

  test('counts keys when a management key is configured', async () => {
    const liveKeys = async (managementKey: boolean) => {
      const { rotator } = rotatorIn({ ownKeys: [ownKey('k4')] }, { managementKey });
      return (await rotator.status())[0]?.status.liveKeys;
    };
    expect([await liveKeys(true), await liveKeys(false)]).toEqual([1, undefined]);
  });
});

test('issues nothing when a call returns after the deadline of its run', async () => {
  const list = () => bed.clock.sleep(TIMEOUT + SECOND).then(() => ({ versions: [version(4)] }));
  const bed = rotatorIn({ store: { list } });
  await bed.rotate();
  await bed.clock.sleep(HOUR);
  expect(effects(bed.calls)).toEqual([]);
});

test('reports a rotation whose cleanup uses up the time of the run', async () => {
  const { rotate, clock } = rotatorIn({
    next: { by: 'mint' },
    policy: { revoke: true, gracePeriodMs: HOUR },
    ownKeys: Array.from({ length: 3_000 }, (_, index) => ownKey(`orphan-${index}`)),
    session: {
      revoke: async (keyIds, recheck, { deadline }) => {
        if (clock.monotonic() + SECOND > deadline) throw error('DEADLINE_EXCEEDED');
        await clock.sleep(SECOND);
        const rechecked = await recheck(keyIds);
        await clock.sleep(0.7 * SECOND);
        return new Map(rechecked.map((keyId) => [keyId, true as const]));
      },
    },
  });
  const start = clock.monotonic();
  const [run] = await rotate();
  expect(clock.monotonic() - start).toBeLessThan(TIMEOUT);
  expect(run?.result).toMatchObject({ outcome: 'incomplete', version: '5', keyId: 'new' });
  expect(run?.result.revoked?.length).toBeGreaterThan(1_000);
});
