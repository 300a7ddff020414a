/**
 * Two runs at once in two processes. The two are two instances of the function with clients and connections of their own
 * in this process: neither shares memory with the other, so to the services they are two processes. What two real
 * processes do is tried as well, without control over their order.
 */
import { RotationError } from '../../src/errors';
import { MomentoKeys } from '../../src/momento/keys';
import type { KeySource, SecretStore } from '../../src/rotation/ports';
import { SecretManagerStore } from '../../src/secret-manager/store';
import { FunctionProcess } from '../function-process';
import { scene, type Case, type Group } from './campaign';
import { Scene, type Instance, type Run, type SceneOptions } from './scene';
import type { Stage } from './stage';

/** One call that a run is about to make. */
interface Step {
  readonly run: 0 | 1;
  readonly call: string;
  readonly touches: Touch;
}

/** What a call reads or changes: two calls of which neither changes what the other touches can change places. */
type Touch = 'reads versions' | 'changes versions' | 'changes keys' | 'reads keys';

interface Waiting extends Step {
  readonly name: string;
  readonly go: () => void;
}

/** Lets two runs make their calls one at a time. */
class Turnstile {
  readonly #waiting = new Map<string, Waiting>();
  readonly #counts = new Map<string, number>();
  #underWay = 0;
  #running = 0;

  /** Ports whose calls wait here for their turn. */
  ports(run: 0 | 1, store: SecretStore, keys: KeySource): { store: SecretStore; keys: KeySource } {
    const turn = <T>(call: string, touches: Touch, make: () => Promise<T>): Promise<T> =>
      this.#turn({ run, call, touches }, make);
    return {
      store: {
        access: (secret, version) =>
          turn('access', 'reads versions', () => store.access(secret, version)),
        list: (secret) => turn('list', 'reads versions', () => store.list(secret)),
        exists: (secret, version) =>
          turn('exists', 'reads versions', () => store.exists(secret, version)),
        missingPermissions: (secret, permissions) => store.missingPermissions(secret, permissions),
        permissionMissing: (secret, permissions) => store.permissionMissing(secret, permissions),
        add: (secret, payload) => turn('add', 'changes versions', () => store.add(secret, payload)),
        disable: (secret, version) =>
          turn(`disable ${version.number}`, 'changes versions', () =>
            store.disable(secret, version),
          ),
        destroy: (secret, version) =>
          turn(`destroy ${version.number}`, 'changes versions', () =>
            store.destroy(secret, version),
          ),
      },
      keys: {
        vendor: keys.vendor,
        remedy: keys.remedy,
        parse: (payload) => keys.parse(payload),
        open: (managementKey) => {
          const session = keys.open(managementKey);
          return {
            ready: () => session.ready(),
            renewal: (secret, current) => {
              const renewal = session.renewal(secret, current);
              if (renewal instanceof RotationError) return renewal;
              const issue = () => turn('issue', 'changes keys', () => renewal.issue());
              return { ...renewal, issue };
            },
            // A key that was issued is known to everybody at once, so when it is verified does not matter.
            verify: (credential) => session.verify(credential),
            ownKeys: (secret) => turn('list keys', 'reads keys', () => session.ownKeys(secret)),
            revoke: (keyId) => turn(`revoke ${keyId}`, 'changes keys', () => session.revoke(keyId)),
            close: () => session.close(),
          };
        },
      },
    };
  }

  during<T>(work: Promise<T>): Promise<T> {
    this.#running += 1;
    return work.finally(() => (this.#running -= 1));
  }

  /** The calls that can be made next, once no run does anything but wait; none when both have ended. */
  async choices(): Promise<Waiting[]> {
    // A run that has neither a call under way nor one waiting is busy; a pause of the skipping clock is one round.
    for (let quiet = 0; quiet < 4 && this.#running > 0;) {
      await new Promise((resolve) => setImmediate(resolve));
      const isBusy = this.#underWay > 0 || this.#waitingRuns() < this.#running;
      quiet = isBusy ? 0 : quiet + 1;
    }
    return [...this.#waiting.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  #waitingRuns(): number {
    return new Set([...this.#waiting.values()].map(({ run }) => run)).size;
  }

  async #turn<T>(step: Step, make: () => Promise<T>): Promise<T> {
    const label = `${'AB'.charAt(step.run)}:${step.call}`;
    const n = (this.#counts.get(label) ?? 0) + 1;
    this.#counts.set(label, n);
    const name = n === 1 ? label : `${label}(${n})`;
    await new Promise<void>((go) => this.#waiting.set(name, { ...step, name, go }));
    this.#waiting.delete(name);
    this.#underWay += 1;
    try {
      return await make();
    } finally {
      this.#underWay -= 1;
    }
  }
}

function canChangePlaces(a: Step, b: Step): boolean {
  const [what, other] = [a.touches.split(' '), b.touches.split(' ')];
  return what[1] !== other[1] || (what[0] === 'reads' && other[0] === 'reads');
}

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
    const turnstile = new Turnstile();
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

function instanceOf(played: Scene, turnstile: Turnstile, run: 0 | 1): Instance {
  return played.newInstance(
    turnstile.ports(
      run,
      stores[run](played),
      new MomentoKeys({ emulator: played.momento.host, clock: played.clock }),
    ),
  );
}

const clients = new Map<string, readonly [SecretManagerStore, SecretManagerStore]>();
/** Each run has its own client. */
const stores = ([0, 1] as const).map((run) => ({ secretManager: { host } }: Scene) => {
  const pair = clients.get(host) ?? [new SecretManagerStore(host), new SecretManagerStore(host)];
  clients.set(host, pair);
  return pair[run];
}) as [(played: Scene) => SecretManagerStore, (played: Scene) => SecretManagerStore];

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
