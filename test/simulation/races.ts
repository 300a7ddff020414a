/**
 * Interleavings of two runs. The two are instances of the function in this process with clients and connections of their
 * own, so to the services they are two processes. Two real processes run as well, without control over their order.
 */
import { HOUR } from '../../src/duration';
import { FunctionProcess } from '../function-process';
import { Chance } from './chance';
import { canChangePlaces, Interleaving, type Step } from './interleaving';
import { FIRST_KEY, MINT, MINT_LISTED, V1, V1_REUSABLE, V2, type Kind } from './keys';
import { testCase, type Case, type Group } from './simulation';
import { TestBed, type Run, type TestBedOptions, type Worker } from './test-bed';

/** A point at which several calls could have come next. */
interface Branching {
  readonly choices: readonly Step[];
  readonly names: readonly string[];
  taken: string;
  /** Calls that now would only repeat an explored order. */
  asleep: Map<string, Step>;
}

interface Explored {
  orders: number;
  /** Runs that failed although the other run rotated. */
  falseAlarms: number;
}

/**
 * Runs every order of the calls of two runs, except orders that differ only in neighbouring calls that can change places
 * (sleep sets, after Godefroid).
 */
async function explore(
  worker: Worker,
  options: TestBedOptions,
  explored: Explored,
  limit: number,
): Promise<string[]> {
  const failures: string[] = [];
  let path: Branching[] = [];
  do {
    const bed = await TestBed.open(worker, options);
    const interleaving = new Interleaving(bed);
    const runs = interleaving.start();
    const isNew = await follow(interleaving, path);
    const ends = await Promise.all(runs);
    if (isNew) {
      explored.orders += 1;
      explored.falseAlarms += ends.filter(({ outcome }) => outcome === 'failed').length;
      checkBoth(bed, ends);
      await bed.runLast();
    }
    const violations = await bed.close();
    if (isNew && violations.length > 0) {
      const order = path.map(({ taken }) => taken).join(' ');
      failures.push(`${violations.join('; ')} [${order}]`);
    }
    path = next(path);
  } while (path.length > 0 && explored.orders < limit);
  return failures;
}

/** Takes the choices of the path, then always the first choice that isn't asleep. Returns false if all are asleep. */
async function follow(interleaving: Interleaving, path: Branching[]): Promise<boolean> {
  let isNew = true;
  for (let depth = 0; ; depth += 1) {
    const choices = await interleaving.choices();
    if (choices.length === 0) return isNew;
    let branching = path[depth];
    if (branching === undefined && isNew) {
      const asleep = inherited(path.at(-1));
      const awake = choices.find(({ name }) => !asleep.has(name));
      if (awake === undefined) isNew = false;
      else {
        branching = { choices, names: choices.map(({ name }) => name), taken: awake.name, asleep };
        path.push(branching);
      }
    }
    const taken = choices.find(({ name }) => name === branching?.taken);
    if (branching !== undefined && taken === undefined) throw new Error('not deterministic');
    (taken ?? choices[0])?.go();
  }
}

function inherited(parent: Branching | undefined): Map<string, Step> {
  if (parent === undefined) return new Map();
  const taken = parent.choices[parent.names.indexOf(parent.taken)];
  return new Map(
    [...parent.asleep].filter(([, step]) => taken !== undefined && canChangePlaces(step, taken)),
  );
}

/** The next path to explore, empty when there is none. */
function next(path: Branching[]): Branching[] {
  for (const last of path.toReversed()) {
    const { choices, names, taken, asleep } = last;
    const step = choices[names.indexOf(taken)];
    if (step !== undefined) asleep.set(taken, step);
    const other = names.find((name) => !asleep.has(name));
    if (other !== undefined) {
      last.taken = other;
      return path;
    }
    path.pop();
  }
  return path;
}

/** Random orders, for kinds that have too many orders to run them all. */
function drawn({ name, options }: Kind, orders: number): Case[] {
  return Array.from({ length: orders }, (_, seed) =>
    testCase(`${name}, order ${seed}`, options, async (bed) => {
      const chance = new Chance(seed);
      const interleaving = new Interleaving(bed);
      const runs = interleaving.start();
      for (;;) {
        const choices = await interleaving.choices();
        if (choices.length === 0) break;
        chance.of(choices).go();
      }
      checkBoth(bed, await Promise.all(runs));
      await bed.runLast();
      return [];
    }),
  );
}

/** Adds a violation unless at least one run rotated. */
function checkBoth({ invariants }: TestBed, ends: readonly Run[]): void {
  if (!ends.some(({ outcome }) => outcome === 'rotated' || outcome === 'incomplete')) {
    invariants.violations.push(
      `neither run rotated: ${ends.map(({ outcome }) => outcome).join(', ')}`,
    );
  }
}

function interleavings({ name, options }: Kind, limit = Infinity): Case {
  const explored: Explored = { orders: 0, falseAlarms: 0 };
  return {
    name,
    run: (worker) => explore(worker, options, explored, limit),
    count: () => explored.orders,
    note: () =>
      `${name}: ${explored.orders} orders; in ${explored.falseAlarms} a run failed although the other one rotated`,
  };
}

async function inProcesses(
  bed: TestBed,
  count: number,
  call: (processes: readonly FunctionProcess[]) => Promise<string[]>,
): Promise<string[]> {
  const processes = await Promise.all(
    Array.from({ length: count }, () =>
      FunctionProcess.start({
        env: bed.env,
      }),
    ),
  );
  try {
    const violations = await call(processes);
    const { invariants } = bed;
    const ended = { status: 200, outcome: 'the last', code: undefined };
    invariants.ends({ ...ended, written: processes.map(({ output }) => output) }, 0);
    await bed.runLast();
    return violations;
  } finally {
    await Promise.all(processes.map((process) => process.stop()));
  }
}

/** Cloud Scheduler can send one request several times. */
const DUPLICATES = 50;

const duplicates: Case = testCase(`${DUPLICATES} duplicates in one process`, V1.options, (bed) =>
  inProcesses(bed, 1, async (processes) => {
    const before = bed.states.length;
    const headers = bed.scheduledNow();
    const replies = await Promise.all(
      processes.flatMap((process) =>
        Array.from({ length: DUPLICATES }, () => process.post(undefined, headers)),
      ),
    );
    const refused = replies.filter((reply) => reply.status !== 200);
    return [
      ...(refused.length === 0 ? [] : [`${refused.length} duplicates weren't answered with 200`]),
      ...(bed.states.length === before + 1 ? [] : [`${bed.states.length - before} new versions`]),
    ];
  }),
);

/** How often two real processes rotate one secret at the same time. */
const ROUNDS = 40;

function twoProcesses({ name, options }: Kind): Case {
  return {
    ...testCase(`${name}: two real processes`, options, (bed) =>
      inProcesses(bed, 2, async (processes) => {
        const violations: string[] = [];
        for (let round = 0; round < ROUNDS; round += 1) {
          const replies = await Promise.all(
            processes.map(async (process, index) => {
              // In each round, the second process starts a millisecond later, at another step of the first process.
              await new Promise((resolve) => setTimeout(resolve, index * round));
              return process.post();
            }),
          );
          if (!replies.some(({ status }) => status === 200)) {
            violations.push(`neither succeeded in round ${round}`);
          }
        }
        return violations;
      }),
    ),
    count: () => ROUNDS,
  };
}

/** No version is destroyed, which leaves fewer orders. */
const undestroyed = (kind: Kind): Kind => ({
  ...kind,
  name: `${kind.name}, nothing to destroy`,
  options: { ...kind.options, policy: { gracePeriodMs: 0 } },
});

const MINT_GRACED: Kind = {
  ...MINT,
  name: 'mint, an hour of grace',
  options: { ...MINT.options, policy: { gracePeriodMs: HOUR } },
};

export const races: Group = {
  name: 'races',
  title: 'interleavings of two runs; 50 duplicates of one request',
  concurrency: 4,
  cases: (extent) => {
    const isFull = extent === 'full';
    const refreshed = [V2, undestroyed(V1), undestroyed(V1_REUSABLE)];
    return [
      ...[...refreshed, ...(isFull ? [V1, V1_REUSABLE] : [])].map((kind) =>
        interleavings(kind, isFull ? Infinity : 15),
      ),
      ...[MINT, MINT_LISTED, FIRST_KEY, MINT_GRACED].flatMap((kind) =>
        drawn(kind, isFull ? 400 : 5),
      ),
      ...(isFull ? [V1, V1_REUSABLE].map(twoProcesses) : []),
      duplicates,
    ];
  },
};
