/** The same for v2 keys: refreshed with their token, and minted, with the keys that they replace revoked. */
import { status } from '@grpc/grpc-js';
import type { Fault } from '../../emulators/faults';
import { everyNth, type Case, type Group } from './campaign';
import type { SceneOptions } from './scene';
import {
  CHANGES,
  errors,
  isMetAgain,
  MOMENTS,
  SHORTEST_TIMEOUT_MS,
  statuses,
  STORE_CLASSES,
  strikes,
  struckRuns,
  type CallSite,
  type Repetition,
} from './strikes';

/** A scene, and the calls of a run in it. */
export interface Play {
  readonly name: string;
  readonly options: SceneOptions;
  readonly calls: readonly CallSite[];
}

export const REFRESH: Play = {
  name: 'refresh',
  options: { kind: 'refresh' },
  calls: [
    ['AccessSecretVersion', 1],
    ['ListSecretVersions', 1],
    ['TestIamPermissions', 1],
    ['RefreshKey', 1],
    ['ProveKey', 1],
    ['AccessSecretVersion', 2],
    ['AddSecretVersion', 1],
    ['DisableSecretVersion', 1],
    ['DestroySecretVersion', 1],
  ],
};

/** Two versions are disabled, one is destroyed; of the five numbers that are looked at twice one is absent; four keys are revoked. */
export const MINT: Play = {
  name: 'mint',
  options: { kind: 'mint' },
  calls: [
    ['AccessSecretVersion', 1],
    ['ListSecretVersions', 1],
    ['TestIamPermissions', 1],
    ['ManagementAccessSecretVersion', 1],
    ['CreateKey', 1],
    ['ProveKey', 1],
    ['AccessSecretVersion', 2],
    ['AddSecretVersion', 1],
    ['ListKeys', 1],
    ['DisableSecretVersion', 1],
    ['DestroySecretVersion', 1],
    ['AccessSecretVersion', 3],
    ['AccessSecretVersion', 7],
    ['AccessSecretVersion', 9],
    ['AccessSecretVersion', 12],
    ['RevokeKey', 1],
    ['RevokeKey', 4],
  ],
};

/** A bare key tells nothing, so that the list is read before anything is made. */
export const LISTED: Play = {
  name: 'mint what the list tells',
  options: { kind: 'mint', terms: 'of the current key', form: 'key' },
  calls: MINT.calls,
};

const FIRST: Play = {
  name: 'first key',
  options: { kind: 'mint', start: 'nothing' },
  calls: MINT.calls.slice(0, 9),
};

export const PLAYS: readonly Play[] = [REFRESH, MINT, LISTED, FIRST];

export const KEY_API: readonly string[] = [
  'CreateKey',
  'ListKeys',
  'ProveKey',
  'RevokeKey',
  'RefreshKey',
];

const STATUSES = [400, 401, 403, 404, 405, 408, 409, 429, 500, 502, 503, 504];

const GARBLED: readonly Fault[] = [{ kind: 'corrupt' }, { kind: 'half' }, { kind: 'not-json' }];

function everyFaultAt(method: string): Fault[] {
  const common = [
    ...MOMENTS.map((when): Fault => ({ kind: 'drop', when })),
    { kind: 'slow', ms: 8000 } as const,
  ];
  if (!KEY_API.includes(method)) {
    return [
      ...common,
      ...MOMENTS.flatMap((when) => errors(when, [...STORE_CLASSES, status.INTERNAL])),
      { kind: 'corrupt' },
    ];
  }
  return [
    ...common,
    ...GARBLED,
    ...MOMENTS.flatMap((when) => [
      ...statuses(when, STATUSES),
      ...[200, 502].map((code): Fault => ({ kind: 'html', status: code, when })),
    ]),
  ];
}

/** The faults that are paired, as for v1 keys: one of each class that the function can tell apart. */
function pairedFaultsAt(method: string): Fault[] {
  const isChange = CHANGES.includes(method);
  if (!KEY_API.includes(method)) {
    return [
      ...errors('before', [status.UNAVAILABLE, status.FAILED_PRECONDITION]),
      ...(isChange ? errors('after', [status.UNAVAILABLE]) : []),
    ];
  }
  return [
    ...statuses('before', isChange ? [401, 404, 429, 503] : [401, 429, 503]),
    { kind: 'not-json' },
    ...(isChange ? [{ kind: 'drop', when: 'after' } as const] : []),
  ];
}

const RESTARTED: Repetition = { restarts: true };
const REPEATED: Repetition = { repeats: true };

function singles(): Case[] {
  return PLAYS.flatMap(({ name, options, calls }) =>
    strikes(calls, everyFaultAt).flatMap((strike) =>
      // Nothing of a key that was minted is kept in memory.
      (options.kind === 'refresh' ? [{}, RESTARTED, REPEATED] : [{}, REPEATED]).map((repetition) =>
        struckRuns(`${name}: ${strike.name}`, options, [[strike]], repetition),
      ),
    ),
  );
}

function hangs(): Case[] {
  return PLAYS.flatMap(({ name, options, calls }) =>
    strikes(calls, (method) =>
      KEY_API.includes(method) ? MOMENTS.map((when): Fault => ({ kind: 'hang', when })) : [],
    ).map((strike) =>
      struckRuns(
        `${name}: ${strike.name}`,
        { ...options, timeoutMs: SHORTEST_TIMEOUT_MS },
        [[strike]],
        RESTARTED,
      ),
    ),
  );
}

/** Every pair of which one strikes the key API; two at Secret Manager are paired for v1 keys. */
function pairs(inOneRun: boolean): Case[] {
  return [REFRESH, MINT].flatMap(({ name, options, calls }) => {
    const paired = strikes(calls, pairedFaultsAt)
      .filter((strike) => !strike.persists || isMetAgain(strike))
      // One version that is read, one that is looked for, and one key stand for all.
      .filter(
        ({ method, n }) => !(method === 'AccessSecretVersion' && [2, 5].includes(n)) && n !== 4,
      );
    const together = { ...options, timeoutMs: SHORTEST_TIMEOUT_MS };
    return paired.flatMap((first, index) =>
      paired
        .slice(inOneRun ? index + 1 : 0)
        .filter(({ method }) => [first.method, method].some((one) => KEY_API.includes(one)))
        .filter(({ method, n }) => !inOneRun || method !== first.method || n !== first.n)
        .map((second) =>
          inOneRun
            ? struckRuns(`${name}: ${first.name} & ${second.name}`, together, [[first, second]])
            : struckRuns(`${name}: ${first.name} + ${second.name}`, together, [[first], [second]]),
        ),
    );
  });
}

export const everyFaultV2: Group = {
  name: 'v2-calls',
  title: 'v2 keys: every call × every fault',
  concurrency: 4,
  cases: (extent) => {
    const all = singles();
    return extent === 'full' ? all : everyNth(all, 61);
  },
};

export const everyHangV2: Group = {
  name: 'v2-hangs',
  title: 'v2 keys: every call of the key API × no answer',
  concurrency: 100,
  inBackground: true,
  cases: (extent) => {
    const all = hangs();
    return extent === 'full' ? all : everyNth(all, 17);
  },
};

export const everyPairV2: Group = {
  name: 'v2-pairs',
  title: 'v2 keys: every pair of faults, over two runs',
  concurrency: 4,
  cases: (extent) => {
    const all = pairs(false);
    return extent === 'full' ? all : everyNth(all, 199);
  },
};

export const everyPairInOneRunV2: Group = {
  name: 'v2-pairs-in-one-run',
  title: 'v2 keys: every pair of faults in one run',
  concurrency: 4,
  cases: (extent) => {
    const all = pairs(true);
    return extent === 'full' ? all : everyNth(all, 199);
  },
};
