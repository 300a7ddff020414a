/** Every call of a rotation × every fault, and every pair of faults over two runs. */
import { status } from '@grpc/grpc-js';
import type { Fault } from '../../emulators/faults';
import { everyNth, type Case, type Group } from './campaign';
import { TIMEOUT_MS } from './scene';
import {
  CHANGES,
  errors,
  isMetAgain,
  MOMENTS,
  SHORTEST_TIMEOUT_MS,
  STORE_CLASSES,
  strikes,
  struckRuns,
  type Repetition,
  type Strike,
} from './strikes';

/** The calls of a rotation that disables one version and destroys another. */
export const CALLS = [
  ['AccessSecretVersion', 1],
  ['ListSecretVersions', 1],
  ['TestIamPermissions', 1],
  ['RefreshApiToken', 1],
  ['ListCaches', 1],
  ['AccessSecretVersion', 2],
  ['AddSecretVersion', 1],
  ['DisableSecretVersion', 1],
  ['DestroySecretVersion', 1],
] as const;

const ALL_CODES = Object.values(status).filter(
  (code): code is status => typeof code === 'number' && code !== status.OK,
);
const SINGLES = strikes(CALLS, () => [
  ...errors('before', ALL_CODES),
  ...errors('after', ALL_CODES),
  ...MOMENTS.map((when): Fault => ({ kind: 'drop', when })),
  { kind: 'corrupt' },
  { kind: 'slow', ms: 8000 },
]);

const HANGS = strikes(CALLS, () => MOMENTS.map((when): Fault => ({ kind: 'hang', when })));

const MOMENTO_CLASSES = [
  status.UNAVAILABLE,
  status.RESOURCE_EXHAUSTED,
  status.UNAUTHENTICATED,
  status.PERMISSION_DENIED,
  status.INVALID_ARGUMENT,
];
const MOMENTO_CALLS: readonly string[] = ['RefreshApiToken', 'ListCaches'];
/**
 * The faults that are paired: one of each class that the function can tell apart. A fault after a call without an effect
 * is one before it; a hang is to the function what UNAVAILABLE is, ten seconds later. What passes by itself is met both
 * once and persistently, the rest is final at once.
 */
const PAIRED = strikes(CALLS, (method) => [
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

function runs(
  name: string,
  strikesOfRuns: readonly Strike[][],
  { refreshTokens, ...variant }: Variant,
  timeoutMs = TIMEOUT_MS,
): Case {
  return struckRuns(
    [name, refreshTokens].join(', '),
    { refreshTokens, timeoutMs },
    strikesOfRuns,
    variant,
  );
}

interface Variant extends Repetition {
  readonly refreshTokens: 'reusable' | 'single-use';
}

const VARIANTS: readonly Variant[] = [
  { refreshTokens: 'reusable' },
  { refreshTokens: 'single-use' },
  { refreshTokens: 'single-use', restarts: true },
  { refreshTokens: 'single-use', repeats: true },
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
