/**
 * Two runs at once in two processes. The two are two instances of the function with clients and connections of their own
 * in this process: neither shares memory with the other, so to the services they are two processes. What two real
 * processes do is tried as well, without control over their order.
 */
import { FunctionProcess } from '../function-process';
import { scene, type Case, type Group } from './campaign';
import { Scene, type Run, type SceneOptions } from './scene';
import { HOUR, type Stage } from './stage';
import { LISTED } from './every-call-v2';
import { Chance } from './random';
import { canChangePlaces, instanceOf, Turnstile, type Step } from './turnstile';

/** A point at which several calls could have come next. */
interface Branching {
  readonly choices: readonly Step[];
  readonly names: readonly string[];
  taken: string;
  /** Calls whose turn now would only repeat, in another order, what was explored already. */
  asleep: Map<string, Step>;
}

interface Explored {
  schedules: number;
  /** Runs that said `failed` although the other run had put everything in order. */
  falseAlarms: number;
}

/**
 * Plays every order of the calls of two runs, but for orders that differ only in neighbouring calls that can change places
 * (sleep sets, after Godefroid).
 */
async function explore(
  stage: Stage,
  options: SceneOptions,
  explored: Explored,
  limit: number,
): Promise<string[]> {
  const failures: string[] = [];
  let path: Branching[] = [];
  do {
    const played = await Scene.open(stage, options);
    const turnstile = new Turnstile(played);
    const runs = ([0, 1] as const).map((run) =>
      turnstile.during(played.runOn(instanceOf(played, turnstile, run))),
    );
    const isNew = await follow(turnstile, path);
    const ends = await Promise.all(runs);
    if (isNew) {
      explored.schedules += 1;
      explored.falseAlarms += ends.filter(({ outcome }) => outcome === 'failed').length;
      judgeBoth(played, ends);
      await played.runLast();
    }
    const violations = await played.close();
    if (isNew && violations.length > 0) {
      const schedule = path.map(({ taken }) => taken).join(' ');
      failures.push(`${violations.join('; ')} [${schedule}]`);
    }
    path = next(path);
  } while (path.length > 0 && explored.schedules < limit);
  return failures;
}

/** Takes the choices of the path, and from its end on the first that is not asleep; false if there is none. */
async function follow(turnstile: Turnstile, path: Branching[]): Promise<boolean> {
  let isNew = true;
  for (let depth = 0; ; depth += 1) {
    const choices = await turnstile.choices();
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

/** Orders that are drawn, where there are too many to play them all. */
function drawn(name: string, options: SceneOptions, orders: number): Case[] {
  return Array.from({ length: orders }, (_, seed) =>
    scene(`${name}, order ${seed}`, options, async (played) => {
      const chance = new Chance(seed);
      const turnstile = new Turnstile(played);
      const runs = ([0, 1] as const).map((run) =>
        turnstile.during(played.runOn(instanceOf(played, turnstile, run))),
      );
      for (;;) {
        const choices = await turnstile.choices();
        if (choices.length === 0) break;
        chance.of(choices).go();
      }
      judgeBoth(played, await Promise.all(runs));
      await played.runLast();
      return [];
    }),
  );
}

/** One newest version, none lost: at least one run has put its key in place, and is told so. */
function judgeBoth({ invariants }: Scene, ends: readonly Run[]): void {
  if (!ends.some(({ outcome }) => outcome === 'rotated' || outcome === 'incomplete')) {
    invariants.violations.push(
      `neither run rotated: ${ends.map(({ outcome }) => outcome).join(', ')}`,
    );
  }
}

function interleavings(name: string, options: SceneOptions, limit = Infinity): Case {
  const explored: Explored = { schedules: 0, falseAlarms: 0 };
  return {
    name,
    play: (stage) => explore(stage, options, explored, limit),
    tries: () => explored.schedules,
    note: () =>
      `${name}: ${explored.schedules} orders; in ${explored.falseAlarms} a run said failed although the other one rotated`,
  };
}

async function inProcesses(
  played: Scene,
  count: number,
  call: (processes: readonly FunctionProcess[]) => Promise<string[]>,
): Promise<string[]> {
  const processes = await Promise.all(
    Array.from({ length: count }, () =>
      FunctionProcess.start({
        env: {
          SECRETS: played.secret.name,
          SECRET_MANAGER_EMULATOR_HOST: played.secretManager.host,
          MOMENTO_EMULATOR_HOST: played.momento.host,
        },
      }),
    ),
  );
  try {
    const violations = await call(processes);
    const { invariants } = played;
    const ended = { status: 200, outcome: 'the last', code: undefined };
    invariants.ends({ ...ended, written: processes.map(({ output }) => output) }, 0);
    await played.runLast();
    return violations;
  } finally {
    await Promise.all(processes.map((process) => process.stop()));
  }
}

/** Cloud Scheduler may send one request several times. */
const DUPLICATES = 50;

const duplicates: Case = scene(
  `${DUPLICATES} duplicates in one process`,
  { refreshTokens: 'single-use' },
  (played) =>
    inProcesses(played, 1, async (processes) => {
      const before = played.versions;
      const scheduled = new Date(played.clock.now()).toISOString();
      const headers = { 'x-cloudscheduler-scheduletime': scheduled };
      const replies = await Promise.all(
        processes.flatMap((process) =>
          Array.from({ length: DUPLICATES }, () => process.post(undefined, headers)),
        ),
      );
      const refused = replies.filter((reply) => reply.status !== 200);
      return [
        ...(refused.length === 0
          ? []
          : [`${refused.length} duplicates were not answered with 200`]),
        ...(played.versions === before + 1 ? [] : [`${played.versions - before} new versions`]),
      ];
    }),
);

/** How often two real processes are let loose on one secret. */
const ROUNDS = 40;

function twoProcesses(refreshTokens: 'reusable' | 'single-use'): Case {
  return {
    ...scene(`two real processes, ${refreshTokens}`, { refreshTokens }, (played) =>
      inProcesses(played, 2, async (processes) => {
        const violations: string[] = [];
        for (let round = 0; round < ROUNDS; round += 1) {
          const replies = await Promise.all(
            processes.map(async (process, index) => {
              // The second starts when the first is somewhere else in each round.
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
    tries: () => ROUNDS,
  };
}

/** For v2 keys that are refreshed the token works once, as for v1 keys where it does. */
export const racesV2: Group = {
  name: 'v2-races',
  title: 'v2 keys: two runs at once, orders of their calls',
  concurrency: 4,
  cases: (extent) => {
    const orders = extent === 'full' ? 400 : 5;
    return [
      interleavings('refresh', { kind: 'refresh' }, extent === 'full' ? Infinity : 10),
      ...drawn('mint and revoke', { kind: 'mint' }, orders),
      ...drawn('mint what the list tells', LISTED.options, orders),
      ...drawn('first key', { kind: 'mint', start: 'nothing' }, orders),
      ...drawn('grace', { kind: 'mint', policy: { gracePeriodMs: HOUR } }, orders),
    ];
  },
};

export const races: Group = {
  name: 'races',
  title: 'two runs at once, all orders of their calls; 50 duplicates',
  concurrency: 4,
  cases: (extent) => {
    const limit = extent === 'full' ? Infinity : 20;
    const policy = { gracePeriodMs: 0 };
    return [
      interleavings('reusable', { refreshTokens: 'reusable', policy }, limit),
      interleavings('single-use', { refreshTokens: 'single-use', policy }, limit),
      ...(extent === 'full'
        ? [
            interleavings('reusable, destroying', { refreshTokens: 'reusable' }),
            interleavings('single-use, destroying', { refreshTokens: 'single-use' }),
            twoProcesses('reusable'),
            twoProcesses('single-use'),
          ]
        : []),
      duplicates,
    ];
  },
};
