/** Every call of a rotation × every fault, and every pair of faults over two runs. */
import { status } from '@grpc/grpc-js';
import type { Fault, Moment } from '../emulators/faults';
import { everyNth, scene, type Case, type Group } from './campaign';
import { TIMEOUT_MS, type Director } from './scene';

/** The calls of a rotation that disables one version and destroys another. */
export const CALLS = [
  ['AccessSecretVersion', 1],
  ['ListSecretVersions', 1],
  ['TestIamPermissions', 1],
  ['RefreshApiToken', 1],
  ['ListCaches', 1],
  ['ListSecretVersions', 2],
  ['AddSecretVersion', 1],
  ['DisableSecretVersion', 1],
  ['DestroySecretVersion', 1],
] as const;

/** A fault at one call, once or in every repetition until the end of the run. */
interface Strike {
  readonly name: string;
  readonly method: string;
  readonly n: number;
  readonly fault: Fault;
  readonly persists: boolean;
}

const ALL_CODES = Object.values(status).filter(
  (code): code is status => typeof code === 'number' && code !== status.OK,
);
const MOMENTS: readonly Moment[] = ['before', 'after'];

const SINGLES = strikes(() => [
  ...errors('before', ALL_CODES),
  ...errors('after', ALL_CODES),
  ...MOMENTS.map((when): Fault => ({ kind: 'drop', when })),
  { kind: 'corrupt' },
  { kind: 'slow', ms: 8000 },
]);

const HANGS = strikes(() => MOMENTS.map((when): Fault => ({ kind: 'hang', when })));

/** The codes on which the function goes different ways; on all others it goes one of these. */
const STORE_CLASSES = [
  status.UNAVAILABLE,
  status.RESOURCE_EXHAUSTED,
  status.NOT_FOUND,
  status.FAILED_PRECONDITION,
  status.PERMISSION_DENIED,
];
const MOMENTO_CLASSES = [
  status.UNAVAILABLE,
  status.RESOURCE_EXHAUSTED,
  status.UNAUTHENTICATED,
  status.PERMISSION_DENIED,
  status.INVALID_ARGUMENT,
];
const MOMENTO_CALLS: readonly string[] = ['RefreshApiToken', 'ListCaches'];
const CHANGES: readonly string[] = [
  'RefreshApiToken',
  'AddSecretVersion',
  'DisableSecretVersion',
  'DestroySecretVersion',
];

/**
 * The faults that are paired: one of each class that the function can tell apart. A fault after a call without an effect
 * is one before it; a hang is to the function what UNAVAILABLE is, ten seconds later. What passes by itself is met both
 * once and persistently, the rest is final at once.
 */
const PAIRED = strikes((method) => [
  ...errors('before', MOMENTO_CALLS.includes(method) ? MOMENTO_CLASSES : STORE_CLASSES),
  { kind: 'drop', when: 'before' },
  { kind: 'corrupt' },
  ...(CHANGES.includes(method)
    ? [
        ...errors('after', [status.UNAVAILABLE, status.FAILED_PRECONDITION]),
        { kind: 'drop', when: 'after' } as const,
      ]
    : []),
]).filter((strike) => !strike.persists || isMetAgain(strike));

function errors(when: Moment, codes: readonly status[]): Fault[] {
  return codes.map((code) => ({ kind: 'error', code, when }));
}

function strikes(faultsAt: (method: string) => readonly Fault[]): Strike[] {
  return CALLS.flatMap(([method, n]) =>
    faultsAt(method).flatMap((fault) =>
      [false, true].map((persists) => ({
        name: `${method}#${n} ${named(fault)}${persists ? ' persistently' : ''}`,
        method,
        n,
        fault,
        persists,
      })),
    ),
  );
}

function named(fault: Fault): string {
  const what = fault.kind === 'error' ? status[fault.code] : fault.kind;
  return 'when' in fault ? `${what} ${fault.when}` : what;
}

function isMetAgain({ method, fault }: Strike): boolean {
  if (fault.kind === 'corrupt') return true;
  if (fault.kind !== 'error') return false;
  const isRejection = method === 'ListCaches' && fault.code === status.UNAUTHENTICATED;
  return (
    isRejection || fault.code === status.UNAVAILABLE || fault.code === status.RESOURCE_EXHAUSTED
  );
}

/** Strikes the calls of one run. */
function directed(...all: readonly Strike[]): Director {
  return ({ method, n, when }) =>
    all.find((strike) => {
      const { fault } = strike;
      const due = 'when' in fault ? fault.when : fault.kind === 'slow' ? 'before' : 'after';
      const isMet = strike.persists ? n >= strike.n : n === strike.n;
      return strike.method === method && due === when && isMet;
    })?.fault;
}

/** The shortest that the function takes: what lasts until the deadline need not last longer. */
const SHORTEST_TIMEOUT_MS = 120_000;

interface Variant {
  readonly refreshTokens: 'reusable' | 'single-use';
  /** Whether each run is in a process of its own, so that what one kept in memory is lost. */
  readonly restarts: boolean;
  /** Whether the last run is the repeat of the first, as Cloud Scheduler makes it after a failure. */
  readonly repeats?: boolean;
}

/** One run for each list of strikes, then one without. */
function runs(
  name: string,
  strikesOfRuns: readonly Strike[][],
  { refreshTokens, restarts, repeats = false }: Variant,
  timeoutMs = TIMEOUT_MS,
): Case {
  const title = [
    name,
    refreshTokens,
    ...(restarts ? ['new process'] : []),
    ...(repeats ? ['repeat'] : []),
  ];
  return scene(title.join(', '), { refreshTokens, timeoutMs }, async (played) => {
    const headers = repeats
      ? { 'x-cloudscheduler-scheduletime': new Date(played.clock.now()).toISOString() }
      : {};
    const violations: string[] = [];
    let lost = false;
    let versions = 0;
    for (const strikesOfRun of strikesOfRuns) {
      const { code, outcome } = await played.run({ strike: directed(...strikesOfRun), headers });
      if (restarts) {
        // What an instance keeps in memory goes with it.
        lost ||= code === 'CREDENTIAL_NOT_STORED' || code === 'NEW_KEY_REJECTED';
        played.restart();
      }
      if (outcome === 'rotated' || outcome === 'incomplete') versions = played.versions;
    }
    await played.runLast({ lost, headers });
    if (repeats && versions > 0 && played.versions > versions) {
      violations.push('the repeat of a run that had rotated issued again');
    }
    return violations;
  });
}

const VARIANTS: readonly Variant[] = [
  { refreshTokens: 'reusable', restarts: false },
  { refreshTokens: 'single-use', restarts: false },
  { refreshTokens: 'single-use', restarts: true },
  { refreshTokens: 'single-use', restarts: false, repeats: true },
];
const [REUSABLE, SINGLE_USE, RESTARTED] = VARIANTS as [Variant, Variant, Variant];

function singles(strikesTried: readonly Strike[], timeoutMs = TIMEOUT_MS): Case[] {
  return VARIANTS.flatMap((variant) =>
    strikesTried.map((strike) => runs(strike.name, [[strike]], variant, timeoutMs)),
  );
}

/**
 * Every pair, the first fault in one run and the second in the next. Whether the second run has a new process matters
 * only if the first left something in memory, and whether a token works twice only if a refresh was struck.
 */
function pairs(): Case[] {
  return PAIRED.flatMap((first) =>
    PAIRED.flatMap((second) => {
      const play = (variant: Variant) =>
        runs(`${first.name} + ${second.name}`, [[first], [second]], variant, SHORTEST_TIMEOUT_MS);
      const leavesKey = ['AddSecretVersion', 'ListCaches'].includes(first.method);
      const strikesRefresh = [first.method, second.method].includes('RefreshApiToken');
      return [
        play(SINGLE_USE),
        ...(leavesKey ? [play(RESTARTED)] : []),
        ...(strikesRefresh ? [play(REUSABLE)] : []),
      ];
    }),
  );
}

/** Every pair in one run. */
function pairsInOneRun(): Case[] {
  return PAIRED.flatMap((first, index) =>
    PAIRED.slice(index + 1)
      .filter((second) => second.method !== first.method || second.n !== first.n)
      .map((second) =>
        runs(`${first.name} & ${second.name}`, [[first, second]], SINGLE_USE, SHORTEST_TIMEOUT_MS),
      ),
  );
}

export const everyFault: Group = {
  name: 'calls',
  title: 'every call × every fault',
  concurrency: 4,
  cases: (extent) => {
    const all = singles(SINGLES);
    return extent === 'full' ? all : everyNth(all, 61);
  },
};

export const everyHang: Group = {
  name: 'hangs',
  title: 'every call × no answer',
  concurrency: 200,
  inBackground: true,
  // In the short campaign none that waits for Momento, whose SDK gives a refresh 60 s.
  cases: (extent) =>
    extent === 'full'
      ? singles(HANGS, SHORTEST_TIMEOUT_MS)
      : singles(HANGS.filter(({ method, persists }) => method.startsWith('Add') && !persists)),
};

export const everyPair: Group = {
  name: 'pairs',
  title: 'every pair of faults, over two runs',
  concurrency: 4,
  cases: (extent) => {
    const all = pairs();
    return extent === 'full' ? all : everyNth(all, 499);
  },
};

export const everyPairInOneRun: Group = {
  name: 'pairs-in-one-run',
  title: 'every pair of faults in one run',
  concurrency: 4,
  cases: (extent) => {
    const all = pairsInOneRun();
    return extent === 'full' ? all : everyNth(all, 499);
  },
};
