/**
 * Random schedules: several runs with time between them, three or more faults, processes that end, operator actions.
 * Everything is drawn from a seed, so a schedule can be repeated.
 */
import { status } from '@grpc/grpc-js';
import { DAY, HOUR, MINUTE, SECOND } from '../../src/duration';
import type { Fault, Moment } from '../../emulators/faults';
import { Chance } from './chance';
import {
  errors,
  inject,
  injection,
  KEY_API_METHODS,
  MOMENTS,
  SHORTEST_TIMEOUT_MS,
  statuses,
  type Injection,
} from './faults';
import type { Renewal } from './keys';
import { ACTIONS, OPERATOR_CODES, repair, type OperatorAction } from './operators';
import { testCase, type Case, type Group } from './simulation';
import { TIMEOUT_MS, type Run, type TestBed, type TestBedOptions } from './test-bed';

interface Step {
  /** The time that passes before the run. */
  readonly waitMs: number;
  readonly restarts: boolean;
  /** The operator action before the run. */
  readonly actBefore: OperatorAction | undefined;
  readonly faults: readonly Injection[];
  /** The operator action during the run, at a call. */
  readonly actWithin: { act: OperatorAction; method: string; n: number; when: Moment } | undefined;
  /** Whether a run in another process happens at the same time. */
  readonly isDouble: boolean;
  readonly stale: { lists: number; latest: number };
}

interface Schedule {
  readonly options: TestBedOptions;
  readonly steps: readonly Step[];
  readonly expiredKeys: 'gone' | 'listed';
  readonly callsPerSecond: number | undefined;
}

const WAITS = [0, 0, 10 * SECOND, 10 * MINUTE, 50 * MINUTE, 61 * MINUTE, 5 * HOUR, DAY, 8 * DAY];

const STORE_METHODS = [
  'AccessSecretVersion',
  'AccessSecretVersion',
  'ListSecretVersions',
  'TestIamPermissions',
  'AddSecretVersion',
  'AddSecretVersion',
  'DisableSecretVersion',
  'DestroySecretVersion',
];

const METHODS: Readonly<Record<Renewal, readonly string[]>> = {
  v1: [...STORE_METHODS, 'RefreshApiToken', 'RefreshApiToken', 'ListCaches'],
  v2: [...STORE_METHODS, 'RefreshKey', 'RefreshKey', 'VerifyKey', 'ListCaches'],
  mint: [
    ...STORE_METHODS,
    'ManagementAccessSecretVersion',
    'CreateKey',
    'CreateKey',
    'VerifyKey',
    'ListCaches',
    'ListKeys',
    'ListKeys',
    'RevokeKey',
    'RevokeKey',
  ],
};

const STATUSES = [400, 401, 403, 404, 408, 409, 429, 500, 503, 503];
const CODES = [
  status.UNAVAILABLE,
  status.UNAVAILABLE,
  status.RESOURCE_EXHAUSTED,
  status.INTERNAL,
  status.NOT_FOUND,
  status.FAILED_PRECONDITION,
  status.PERMISSION_DENIED,
  status.UNAUTHENTICATED,
  status.ABORTED,
];

function drawFault(chance: Chance, method: string): Fault {
  const when = chance.of(MOMENTS);
  const isKeyApi = KEY_API_METHODS.includes(method);
  switch (chance.below(8)) {
    case 0:
      return { kind: 'drop', when };
    case 1:
      return { kind: 'slow', ms: chance.of([SECOND, 9 * SECOND, 30 * SECOND]) };
    case 2:
      return {
        kind: chance.of(isKeyApi ? (['corrupt', 'half', 'not-json'] as const) : ['corrupt']),
      };
    case 3:
      return isKeyApi
        ? { kind: 'html', status: chance.of([200, 403, 502]), when }
        : { kind: 'error', code: status.UNAVAILABLE, when };
    default: {
      const [fault] = isKeyApi
        ? statuses(when, [chance.of(STATUSES)])
        : errors(when, [chance.of(CODES)]);
      if (fault === undefined) throw new Error('no fault');
      return fault;
    }
  }
}

function drawSite(chance: Chance, methods: readonly string[]): { method: string; n: number } {
  return { method: chance.of(methods), n: 1 + Math.floor(chance.next() ** 2 * 4) };
}

function drawFaultAt(chance: Chance, methods: readonly string[]): Injection {
  const { method, n } = drawSite(chance, methods);
  const fault = drawFault(chance, method);
  return injection(method, n, fault, chance.is(0.25) && fault.kind !== 'slow');
}

function drawOptions(chance: Chance): TestBedOptions {
  const renewal = chance.of(['v1', 'v2', 'mint', 'mint', 'mint'] as const);
  const isMint = renewal === 'mint';
  const start = chance.of(['minted', 'minted', 'minted', 'console', 'v1', 'empty'] as const);
  const takesTerms = start === 'minted' || start === 'console';
  return {
    renewal,
    timeoutMs: chance.of([SHORTEST_TIMEOUT_MS, SHORTEST_TIMEOUT_MS, TIMEOUT_MS]),
    refreshTokens: chance.of(['reusable', 'single-use']),
    format: chance.of(
      isMint ? (['api', 'console', 'key'] as const) : (['api', 'console'] as const),
    ),
    start: isMint ? start : 'minted',
    lifeLeftMs: chance.of([DAY, 20 * DAY]),
    ...(chance.is(0.1) && { verifiedBy: 'endpoint' }),
    ...(isMint && takesTerms && chance.is(0.5) && { terms: 'listed' }),
    ...(isMint && chance.is(0.2) && { renewsManagementKey: true }),
    policy: {
      gracePeriodMs: chance.of([0, 0, HOUR, 2 * HOUR, 7 * DAY]),
      ...(chance.is(0.5) && { destroyAfterMs: DAY }),
      ...chance.of([{}, {}, { renewBefore: { ms: 14 * DAY } }, { renewBefore: { share: 0.66 } }]),
      verify: chance.is(0.9),
    },
  };
}

/** Draws a schedule. The same seed always draws the same schedule. */
export function draw(seed: number): Schedule {
  const chance = new Chance(seed);
  const options = drawOptions(chance);
  const { renewal = 'v1' } = options;
  const methods = METHODS[renewal];
  const actions = ACTIONS.filter(({ renewals }) => renewals?.includes(renewal) ?? true);
  const runs = chance.of([2, 2, 3, 3, 4]);
  const perRun = Array.from({ length: runs }, () => 0);
  for (let faults = 3 + chance.below(4); faults > 0; faults -= 1) {
    const run = chance.below(runs);
    perRun[run] = (perRun[run] ?? 0) + 1;
  }
  // `latest` can lag by minutes, which is why revocation needs a grace period.
  const canBeStale =
    options.start !== 'empty' &&
    options.renewsManagementKey !== true &&
    (renewal !== 'mint' || (options.policy?.gracePeriodMs ?? 0) > 0);
  const steps = perRun.map((faults): Step => {
    const isDouble = chance.is(0.1);
    const actsWithin = !isDouble && chance.is(0.15);
    return {
      waitMs: chance.of(WAITS),
      restarts: chance.is(0.3),
      actBefore: chance.is(0.15) ? chance.of(actions) : undefined,
      faults: Array.from({ length: faults }, () => drawFaultAt(chance, methods)),
      actWithin: actsWithin
        ? { act: chance.of(actions), ...drawSite(chance, methods), when: chance.of(MOMENTS) }
        : undefined,
      isDouble,
      stale:
        canBeStale && !actsWithin && chance.is(0.1)
          ? { lists: chance.below(3), latest: chance.below(3) }
          : NOTHING_STALE,
    };
  });
  return {
    options,
    steps,
    expiredKeys: chance.of(['gone', 'listed']),
    callsPerSecond: chance.is(0.1) ? 5 : undefined,
  };
}

/** A schedule as text, for a failure. */
function describe({ options, steps }: Schedule): string {
  const lines = steps.map((step) =>
    [
      `after ${step.waitMs / MINUTE} min`,
      ...(step.restarts ? ['a new process'] : []),
      ...(step.actBefore ? [`an operator ${step.actBefore.name}`] : []),
      step.isDouble ? 'two runs at once' : 'a run',
      ...step.faults.map(({ name }) => name),
      ...(step.actWithin
        ? [
            `an operator ${step.actWithin.act.name} ${step.actWithin.when} ${step.actWithin.method}#${step.actWithin.n}`,
          ]
        : []),
      ...(step.stale.lists + step.stale.latest > 0
        ? [`lists ${step.stale.lists} and latest ${step.stale.latest} changes old`]
        : []),
    ].join(', '),
  );
  return [JSON.stringify(options), ...lines].join('\n    ');
}

const NOTHING_STALE = { lists: 0, latest: 0 };

function schedule(seed: number): Case {
  return {
    name: `seed ${seed}`,
    run: async (worker) => {
      const drawn = draw(seed);
      const { options, steps } = drawn;
      const one = testCase('', options, async (bed) => {
        const violations: string[] = [];
        const chance = new Chance(~seed);
        let needsOperator = false;
        bed.keyApi.expiredKeys = drawn.expiredKeys;
        bed.keyApi.callsPerSecond = drawn.callsPerSecond;
        let wasInMemory = false;
        let changes = 0;
        for (const step of steps) {
          if (pass(bed, step.waitMs)) needsOperator = true;
          if (step.restarts) {
            needsOperator ||= wasInMemory;
            bed.restart();
          }
          const act = (one: OperatorAction): void => {
            needsOperator = true;
            bed.operator(() => one.do(bed, chance));
          };
          if (step.actBefore !== undefined) act(step.actBefore);
          // Only recent changes can be stale. Old changes and the first version are visible to every read.
          const isRecent =
            step.waitMs <= 10 * MINUTE && bed.invariants.changesOfVersions - changes >= 2;
          changes = bed.invariants.changesOfVersions;
          const stale = isRecent && !needsOperator ? step.stale : NOTHING_STALE;
          const ends = await playStep(bed, { ...step, stale }, act);
          const isStored = ends[0]?.outcome === 'rotated' || ends[0]?.outcome === 'incomplete';
          wasInMemory = isInMemory(ends[0]?.code) || (wasInMemory && !isStored);
          // The process of the second run has ended, so its unsaved credential is lost.
          if (step.isDouble && isInMemory(ends[1]?.code)) needsOperator = true;
          violations.push(...ends.flatMap(unexpectedErrors));
        }
        bed.keyApi.callsPerSecond = undefined;
        if (bed.lostAnswers > 0) needsOperator = true;
        // The process pauses its calls after an exhausted quota. With the shortest timeout, a run can't wait for that.
        bed.clock.advance(MINUTE);
        if (needsOperator) {
          const { code, outcome } = await bed.run();
          if (code !== undefined && !OPERATOR_CODES.has(code)) {
            violations.push(`invariant 4: the run without faults is ${outcome} ${code}`);
          }
          repair(bed);
        }
        bed.lostAnswers = 0;
        await bed.runLast();
        return violations;
      });
      const violations = await one.run(worker);
      return violations.length === 0 ? [] : [...violations, describe(drawn)];
    },
  };
}

/** Lets time pass. Returns true if the newest key expired. A key that would expire during the next run expires now. */
function pass(bed: TestBed, waitMs: number): boolean {
  bed.clock.advance(waitMs);
  const left = bed.newestKeyEndsIn;
  if (left > 15 * MINUTE) return false;
  bed.invariants.excuse('the newest key expired');
  bed.clock.advance(Math.max(0, left) + SECOND);
  return true;
}

async function playStep(
  bed: TestBed,
  { faults, actWithin, isDouble, stale }: Step,
  act: (one: OperatorAction) => void,
): Promise<Run[]> {
  const { secretManager } = bed;
  secretManager.staleLists = stale.lists;
  secretManager.staleLatest = stale.latest;
  const injected = inject(...faults);
  let hasActed = false;
  const run = bed.run({
    onCall: (site) => {
      if (
        actWithin !== undefined &&
        !hasActed &&
        site.method === actWithin.method &&
        site.n === actWithin.n &&
        site.when === actWithin.when
      ) {
        hasActed = true;
        act(actWithin.act);
      }
      return injected(site);
    },
  });
  const ends = await Promise.all(isDouble ? [run, bed.runOn(bed.otherInstance())] : [run]);
  secretManager.staleLists = secretManager.staleLatest = 0;
  return ends;
}

/** Whether a run might have left an unsaved credential. */
function isInMemory(code: string | undefined): boolean {
  return code === 'CREDENTIAL_NOT_STORED' || code === 'NEW_KEY_REJECTED';
}

function unexpectedErrors({ result: { error } }: Run): string[] {
  const found = /unexpected (Type|Range|Reference|Syntax)Error/.exec(error?.message ?? '')?.[0];
  return found === undefined ? [] : [`the run stopped with an ${found}`];
}

export const random: Group = {
  name: 'random',
  title: 'random schedules of runs, faults, operator actions and time',
  concurrency: 4,
  cases: (extent) =>
    Array.from({ length: extent === 'full' ? 10_000 : 250 }, (_, seed) => schedule(seed)),
};
