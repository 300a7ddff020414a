/**
 * Random schedules: several runs in a row with time between them, three or more faults, a process that ends, a person in
 * between. Everything is drawn from the seed, so a schedule can be played again.
 */
import { status } from '@grpc/grpc-js';
import type { Fault, Moment } from '../../emulators/faults';
import { scene, type Case, type Group } from './campaign';
import { TIMEOUT_MS, type Run, type Scene, type SceneOptions } from './scene';
import { PEOPLE, mend, type PersonsAct } from './people';
import { DAY, HOUR, MINUTE, SECOND } from './stage';
import {
  directed,
  errors,
  MOMENTS,
  named,
  SHORTEST_TIMEOUT_MS,
  statuses,
  type Strike,
} from './strikes';

/** Numbers from a seed. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    // Neighbouring seeds would otherwise begin alike.
    this.#state = Math.imul(seed + 1, 0x9e3779b1);
  }

  /** From 0 to below 1 (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  is(probability: number): boolean {
    return this.next() < probability;
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  /** @throws Error if there is none to choose from */
  of<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error('nothing to choose from');
    return item;
  }
}

interface Step {
  /** Time that passes before. */
  readonly waitMs: number;
  readonly restarts: boolean;
  /** Done before the run. */
  readonly actBefore: PersonsAct | undefined;
  readonly strikes: readonly Strike[];
  /** Done within the run. */
  readonly actWithin: { act: PersonsAct; method: string; n: number; when: Moment } | undefined;
  /** Whether another process runs at the same time. */
  readonly isDouble: boolean;
  readonly stale: { lists: number; latest: number };
}

interface Schedule {
  readonly options: SceneOptions;
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

const METHODS: Readonly<Record<'v1' | 'refresh' | 'mint', readonly string[]>> = {
  v1: [...STORE_METHODS, 'RefreshApiToken', 'RefreshApiToken', 'ListCaches'],
  refresh: [...STORE_METHODS, 'RefreshKey', 'RefreshKey', 'ProveKey', 'ListCaches'],
  mint: [
    ...STORE_METHODS,
    'ManagementAccessSecretVersion',
    'CreateKey',
    'CreateKey',
    'ProveKey',
    'ListCaches',
    'ListKeys',
    'ListKeys',
    'RevokeKey',
    'RevokeKey',
  ],
};

const HTTP = new Set(['CreateKey', 'ListKeys', 'ProveKey', 'RevokeKey', 'RefreshKey']);

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
  const ofHttp = HTTP.has(method);
  switch (chance.below(8)) {
    case 0:
      return { kind: 'drop', when };
    case 1:
      return { kind: 'slow', ms: chance.of([SECOND, 9 * SECOND, 30 * SECOND]) };
    case 2:
      return { kind: chance.of(ofHttp ? (['corrupt', 'half', 'not-json'] as const) : ['corrupt']) };
    case 3:
      return ofHttp
        ? { kind: 'html', status: chance.of([200, 403, 502]), when }
        : { kind: 'error', code: status.UNAVAILABLE, when };
    default: {
      const [fault] = ofHttp
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

function drawStrike(chance: Chance, methods: readonly string[]): Strike {
  const { method, n } = drawSite(chance, methods);
  const fault = drawFault(chance, method);
  const persists = chance.is(0.25) && fault.kind !== 'slow';
  const name = `${method}#${n} ${named(fault)}${persists ? ' persistently' : ''}`;
  return { name, method, n, fault, persists };
}

function drawOptions(chance: Chance): SceneOptions {
  const kind = chance.of(['v1', 'refresh', 'mint', 'mint', 'mint'] as const);
  const isMint = kind === 'mint';
  const start = chance.of(['minted', 'minted', 'minted', 'of a person', 'v1', 'nothing'] as const);
  const takesTerms = start === 'minted' || start === 'of a person';
  return {
    kind,
    timeoutMs: chance.of([SHORTEST_TIMEOUT_MS, SHORTEST_TIMEOUT_MS, TIMEOUT_MS]),
    refreshTokens: chance.of(['reusable', 'single-use']),
    form: chance.of(isMint ? (['api', 'console', 'key'] as const) : (['api', 'console'] as const)),
    start: isMint ? start : 'minted',
    lifeLeftMs: chance.of([DAY, 20 * DAY]),
    ...(chance.is(0.1) && { verifiedBy: 'endpoint' }),
    ...(isMint && takesTerms && chance.is(0.5) && { terms: 'of the current key' }),
    ...(isMint && chance.is(0.2) && { renewsItself: true }),
    policy: {
      gracePeriodMs: chance.of([0, 0, HOUR, 2 * HOUR, 7 * DAY]),
      ...(chance.is(0.5) && { destroyAfterMs: DAY }),
      ...chance.of([{}, {}, { renewBefore: { ms: 14 * DAY } }, { renewBefore: { share: 0.66 } }]),
      verify: chance.is(0.9),
    },
  };
}

/** The same for a seed whenever it is drawn. */
export function draw(seed: number): Schedule {
  const chance = new Chance(seed);
  const options = drawOptions(chance);
  const kind = options.kind ?? 'v1';
  const methods = METHODS[kind];
  const people = PEOPLE.filter(({ kinds }) => kinds.includes(kind));
  const runs = chance.of([2, 2, 3, 3, 4]);
  const perRun = Array.from({ length: runs }, () => 0);
  for (let faults = 3 + chance.below(4); faults > 0; faults -= 1) {
    const run = chance.below(runs);
    perRun[run] = (perRun[run] ?? 0) + 1;
  }
  // Readers who see what `latest` was some minutes ago are why keys may only be revoked after a grace period.
  const mayBeStale =
    options.start !== 'nothing' &&
    options.renewsItself !== true &&
    (kind !== 'mint' || (options.policy?.gracePeriodMs ?? 0) > 0);
  const steps = perRun.map((faults): Step => {
    const isDouble = chance.is(0.1);
    const actsWithin = !isDouble && chance.is(0.15);
    return {
      waitMs: chance.of(WAITS),
      restarts: chance.is(0.3),
      actBefore: chance.is(0.15) ? chance.of(people) : undefined,
      strikes: Array.from({ length: faults }, () => drawStrike(chance, methods)),
      actWithin: actsWithin
        ? { act: chance.of(people), ...drawSite(chance, methods), when: chance.of(MOMENTS) }
        : undefined,
      isDouble,
      stale:
        mayBeStale && !actsWithin && chance.is(0.1)
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

/** A schedule as text, for whoever has to find out what went wrong. */
function told({ options, steps }: Schedule): string {
  const lines = steps.map((step) =>
    [
      `after ${step.waitMs / MINUTE} min`,
      ...(step.restarts ? ['a new process'] : []),
      ...(step.actBefore ? [`a person ${step.actBefore.name}`] : []),
      step.isDouble ? 'two runs at once' : 'a run',
      ...step.strikes.map(({ name }) => name),
      ...(step.actWithin
        ? [
            `a person ${step.actWithin.act.name} ${step.actWithin.when} ${step.actWithin.method}#${step.actWithin.n}`,
          ]
        : []),
      ...(step.stale.lists + step.stale.latest > 0
        ? [`lists ${step.stale.lists} and latest ${step.stale.latest} changes old`]
        : []),
    ].join(', '),
  );
  return [JSON.stringify(options), ...lines].join('\n    ');
}

/** With these a run says what only a person can put right: after what a person did, or when a token was spent for nothing. */
export const FOR_A_PERSON: ReadonlySet<string> = new Set([
  'PAYLOAD_INVALID',
  'NO_VERSION',
  'NO_ENABLED_VERSION',
  'KEY_EXPIRED',
  'KEY_NOT_REFRESHABLE',
  'REFRESH_REFUSED',
  'REFRESH_ANSWER_LOST',
  'NEWEST_KEY_REJECTED',
  'MANAGEMENT_KEY_INVALID',
  'MANAGEMENT_KEY_REFUSED',
  'LIFETIME_UNKNOWN',
  'ROLE_UNKNOWN',
  'KEYS_NOT_REVOKED',
]);

const NOTHING_STALE = { lists: 0, latest: 0 };

function random(seed: number): Case {
  return {
    name: `seed ${seed}`,
    play: async (stage) => {
      const schedule = draw(seed);
      const { options, steps } = schedule;
      const one = scene('', options, async (played) => {
        const violations: string[] = [];
        const chance = new Chance(~seed);
        let isForAPerson = false;
        played.keyApi.expiredKeys = schedule.expiredKeys;
        played.keyApi.callsPerSecond = schedule.callsPerSecond;
        let wasInMemory = false;
        let changes = 0;
        for (const step of steps) {
          if (pass(played, step.waitMs)) isForAPerson = true;
          if (step.restarts) {
            isForAPerson ||= wasInMemory;
            played.restart();
          }
          const act = (one: PersonsAct): void => {
            isForAPerson = true;
            played.person(() => one.do(played, chance));
          };
          if (step.actBefore !== undefined) act(step.actBefore);
          // What happened long ago, or before there was a first version, is known everywhere.
          const isRecent = step.waitMs <= 10 * MINUTE && played.changes - changes >= 2;
          changes = played.changes;
          const stale = isRecent && !isForAPerson ? step.stale : NOTHING_STALE;
          const ends = await play(played, { ...step, stale }, act);
          const isStored = ends[0]?.outcome === 'rotated' || ends[0]?.outcome === 'incomplete';
          wasInMemory = isInMemory(ends[0]?.code) || (wasInMemory && !isStored);
          // The second of two runs had a process of its own.
          if (step.isDouble && isInMemory(ends[1]?.code)) isForAPerson = true;
          violations.push(...ends.flatMap(faultsOfOurOwn));
        }
        played.keyApi.callsPerSecond = undefined;
        if (played.lostAnswers > 0) isForAPerson = true;
        if (isForAPerson) {
          const { code, outcome } = await played.run();
          if (code !== undefined && !FOR_A_PERSON.has(code)) {
            violations.push(`invariant 4: the run without faults is ${outcome} ${code}`);
          }
          mend(played);
        }
        played.lostAnswers = 0;
        await played.runLast();
        return violations;
      });
      const violations = await one.play(stage);
      return violations.length === 0 ? [] : [...violations, told(schedule)];
    },
  };
}

/** Lets time pass, also to the end of a key that would end within the next run; says whether the newest ended. */
function pass(played: Scene, waitMs: number): boolean {
  played.clock.advance(waitMs);
  const left = played.newestKeyEndsIn;
  if (left > 15 * MINUTE) return false;
  played.invariants.excuse('the newest key expired');
  played.clock.advance(Math.max(0, left) + SECOND);
  return true;
}

async function play(
  played: Scene,
  { strikes, actWithin, isDouble, stale }: Step,
  act: (one: PersonsAct) => void,
): Promise<Run[]> {
  const { secretManager } = played;
  secretManager.staleLists = stale.lists;
  secretManager.staleLatest = stale.latest;
  const strike = directed(...strikes);
  let hasActed = false;
  const run = played.run({
    strike: (site) => {
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
      return strike(site);
    },
  });
  const ends = await Promise.all(isDouble ? [run, played.runOn(played.otherInstance())] : [run]);
  secretManager.staleLists = secretManager.staleLatest = 0;
  return ends;
}

/** Whether a run may have left a key in memory only. */
function isInMemory(code: string | undefined): boolean {
  return code === 'CREDENTIAL_NOT_STORED' || code === 'NEW_KEY_REJECTED';
}

function faultsOfOurOwn({ result: { error } }: Run): string[] {
  const ours = /unexpected (Type|Range|Reference|Syntax)Error/.exec(error?.message ?? '')?.[0];
  return ours === undefined ? [] : [`the run stopped with an ${ours}`];
}

export const randomSchedules: Group = {
  name: 'random',
  title: 'random schedules of runs, faults, people and time',
  concurrency: 4,
  cases: (extent) =>
    Array.from({ length: extent === 'full' ? 20_000 : 300 }, (_, seed) => random(seed)),
};
