/**
 * Compromise responses: a kill, a fault, a second process or an operator at every call. The request is then delivered again,
 * as Pub/Sub does.
 */
import { status } from '@grpc/grpc-js';
import { DAY, MINUTE } from '../../src/duration';
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
} from './faults';
import { Interleaving } from './interleaving';
import { killAt } from './kill';
import { descriptionOf, keyIn, readPayload } from './keys';
import { ACTIONS, repair } from './operators';
import { testCase, type Case, type Extent, type Group } from './simulation';
import type { OnCall, Run, Site, TestBed, TestBedOptions, Worker } from './test-bed';

interface CompromisedKind {
  readonly name: string;
  readonly options: TestBedOptions;
  /** The code of a response without faults; undefined if it is contained. */
  readonly code?: 'NOT_CONTAINED';
}

/** A policy that a response must ignore: a long grace period, and no revocation. */
const LENIENT = { gracePeriodMs: 30 * DAY, revoke: false };

const MINTED: CompromisedKind = {
  name: 'minted',
  options: { renewal: 'mint', policy: LENIENT, other: 'own key', response: {} },
};
/** A key from the console has another description, so a response finds the key only in its version. */
const FROM_CONSOLE: CompromisedKind = {
  name: 'minted, from the console',
  options: { ...MINTED.options, start: 'console' },
};
const V1: CompromisedKind = {
  name: 'v1',
  options: { refreshTokens: 'single-use', policy: LENIENT, response: {} },
  code: 'NOT_CONTAINED',
};

const KINDS: readonly CompromisedKind[] = [
  MINTED,
  {
    name: 'minted, revoked first',
    options: { ...MINTED.options, response: { revokeFirst: true } },
  },
  {
    name: 'minted, shared with another secret',
    options: { ...MINTED.options, other: 'shared key' },
    code: 'NOT_CONTAINED',
  },
  FROM_CONSOLE,
  {
    name: 'the management key',
    options: { ...MINTED.options, renewsManagementKey: true, response: { of: 'management' } },
  },
  {
    name: 'all secrets',
    options: { ...MINTED.options, renewsManagementKey: true, response: { of: 'all' } },
  },
  { name: 'v2', options: { renewal: 'v2', policy: LENIENT, response: {} }, code: 'NOT_CONTAINED' },
  V1,
  { ...V1, name: 'v1, reusable token', options: { ...V1.options, refreshTokens: 'reusable' } },
  {
    name: 'v1, to be minted',
    options: { ...MINTED.options, start: 'v1' },
    code: 'NOT_CONTAINED',
  },
];

/** The kinds for groups of cases that are too many for all kinds. */
const REPRESENTATIVE: readonly string[] = ['minted', 'the management key', 'v2', 'v1'];

/** The calls of a response, before and after their effects. */
async function sitesOf(
  worker: Worker,
  { options }: CompromisedKind,
  makes: Sites['makes'],
): Promise<Site[]> {
  const sites: Site[] = [];
  const onCall: OnCall = (site) => void sites.push(site);
  await testCase('', options, async (bed) => {
    await (makes === 'response' ? bed.respond(onCall) : bed.run({ onCall, body: { force: true } }));
    return [];
  }).run(worker);
  return sites;
}

function isAt({ method, n, when }: Site): (site: Site) => boolean {
  return (site) => site.method === method && site.n === n && site.when === when;
}

/** Calls `act` once, when the run reaches the call. */
function once(site: Site, act: () => void | Promise<void>): OnCall {
  let isDone = false;
  return async (reached) => {
    if (isDone || !isAt(site)(reached)) return;
    isDone = true;
    await act();
  };
}

interface Play {
  /** Names the event at the call, if a case has more than one event there. */
  readonly name?: string;
  readonly play: (bed: TestBed) => Promise<readonly string[]>;
}

interface Sites {
  readonly makes?: 'response' | 'rotation';
  /** The full simulation plays one of this many calls. */
  readonly every?: number;
  readonly moments?: readonly Moment[];
}

/** The short simulation plays one of this many calls. */
const SHORT_EVERY = 67;

/** A case that plays the same event at every call of a response or rotation. */
function atEveryCall(
  what: string,
  kind: CompromisedKind,
  extent: Extent,
  playsAt: (site: Site) => readonly Play[],
  { makes = 'response', every = 1, moments = MOMENTS }: Sites = {},
): Case {
  let count = 0;
  return {
    name: `${kind.name}: ${what} at every call`,
    count: () => count,
    run: async (worker) => {
      const failures: string[] = [];
      const sites = await sitesOf(worker, kind, makes);
      const step = extent === 'full' ? every : SHORT_EVERY;
      const played = sites
        .filter(({ when }) => moments.includes(when))
        .filter((_, index) => index % step === 0);
      for (const site of played) {
        for (const { name = '', play } of playsAt(site)) {
          count += 1;
          const violations = await testCase('', kind.options, play).run(worker);
          const where = `[${site.when} ${site.method}#${site.n} ${name}]`;
          failures.push(...violations.map((each) => `${each} ${where}`));
        }
      }
      return failures;
    },
  };
}

/**
 * The last delivery, without faults: it ends the response.
 *
 * @param isNew whether an earlier delivery stored a new key, so that this delivery must not issue one
 */
async function deliverLast(
  bed: TestBed,
  { code }: CompromisedKind,
  isNew = false,
): Promise<string[]> {
  bed.clock.advance(MINUTE);
  const before = versionsOf(bed).length;
  let run = await bed.respond();
  // If the refresh token was used and the new key was lost, an operator repairs the secret.
  if (run.code !== undefined && run.code !== code && !bed.canGoOn) {
    repair(bed);
    run = await bed.respond();
  }
  return [
    ...(isNew && versionsOf(bed).length > before ? ['invariant 4: a repeat issued again'] : []),
    ...checkEnd(bed, run, code),
  ];
}

function checkEnd(bed: TestBed, run: Run, code: string | undefined): string[] {
  const { momento, secretManager } = bed;
  const { account } = momento;
  const violations: string[] = [];
  // If no compromised key works any more, the response can be contained, but only if it can read every key.
  const codes = bed.hasCompromisedKeys ? [code] : [code, undefined];
  if (!codes.includes(run.code) || run.status !== (run.code === undefined ? 200 : 500)) {
    violations.push(`the response is ${run.outcome} ${run.code ?? ''} (${run.status})`);
  }
  for (const { name } of bed.compromised) {
    const [newest, ...older] = secretManager.versions(name);
    const enabled = older.filter(({ state }) => state === 'ENABLED');
    if (newest?.state !== 'ENABLED') violations.push('the newest version is not enabled');
    // Versions whose keys might work must stay enabled, so that the next attempt can read them.
    const rejected = enabled.filter(
      ({ payload }) => payload && readPayload(payload) && !momento.accepts(keyIn(payload)),
    );
    if (rejected.length > 0) violations.push(`${rejected.length} old versions are enabled`);
    const live = account
      .keys(descriptionOf(name))
      .filter((key) => account.isLive(key) && key.apiKey !== keyIn(newest?.payload));
    if (code === undefined && live.length > 0) violations.push(`${live.length} old keys are left`);
  }
  return violations.map((what) => `invariant 4: ${what}`);
}

function versionsOf({ secretManager, compromised }: TestBed) {
  return compromised.flatMap(({ name }) => secretManager.versions(name));
}

function kills(kind: CompromisedKind, extent: Extent): Case {
  const playsAt = (site: Site): Play[] => [
    {
      play: async (bed) => {
        const before = versionsOf(bed).length;
        const isKilled = await killAt(bed, isAt(site), bed.response);
        bed.restart();
        const isNew = kind.options.response?.of !== 'all' && versionsOf(bed).length > before;
        return [
          ...(isKilled ? [] : ['the call was not made']),
          ...(await deliverLast(bed, kind, isNew)),
        ];
      },
    },
  ];
  return atEveryCall('a kill', kind, extent, playsAt);
}

const CODES = [
  status.UNAVAILABLE,
  status.RESOURCE_EXHAUSTED,
  status.NOT_FOUND,
  status.FAILED_PRECONDITION,
  status.PERMISSION_DENIED,
];
const STATUSES = [403, 404, 429, 503];

function faultsAt(method: string): Fault[] {
  const isKeyApi = KEY_API_METHODS.includes(method);
  return MOMENTS.flatMap((when): Fault[] => [
    { kind: 'drop', when },
    ...(isKeyApi ? statuses(when, STATUSES) : errors(when, CODES)),
  ]);
}

/** One call fails, or all calls of its method from this one on. */
function faults(kind: CompromisedKind, extent: Extent, persists: boolean): Case {
  const options = { ...kind.options, timeoutMs: SHORTEST_TIMEOUT_MS };
  const playsAt = ({ method, n }: Site): Play[] =>
    faultsAt(method)
      .map((fault) => injection(method, n, fault, persists))
      .map((injected) => ({
        name: injected.name,
        play: async (bed) => {
          await bed.respond(inject(injected));
          return deliverLast(bed, kind);
        },
      }));
  // Each fault has its own moment, so one site for each call suffices.
  const sites: Sites = { moments: ['before'], every: 3 };
  const what = persists ? 'lasting faults' : 'a fault';
  return atEveryCall(what, { ...kind, options }, extent, playsAt, sites);
}

/** For each meeting of two processes: the work of the other process, and the work of this process. */
const CONCURRENT_WORK = {
  'a response of another process': ['response', 'response'],
  'a rotation of another process': ['rotation', 'response'],
  'a rotation, and a response of another process': ['response', 'rotation'],
} as const;
type Meeting = keyof typeof CONCURRENT_WORK;

/** While a process is at a call, another process responds to the same message, or rotates. */
function otherProcess(kind: CompromisedKind, extent: Extent, meeting: Meeting): Case {
  const [inner, outer] = CONCURRENT_WORK[meeting];
  const playsAt = (site: Site): Play[] => [
    {
      play: async (bed) => {
        bed.keyInvariants.hasOtherProcess = true;
        const bodies = { response: bed.response, rotation: { force: true } };
        const onCall = once(site, async () => {
          await bed.runOn(bed.otherInstance(), {}, bodies[inner]);
        });
        await bed.run({ onCall, body: bodies[outer] });
        return [...workingAfterBoth(bed), ...(await deliverLast(bed, kind))];
      },
    },
  ];
  return atEveryCall(meeting, kind, extent, playsAt, { makes: outer, every: 3 });
}

/** Each process can revoke the new key of the other process. In the end, applications must have a working key. */
function workingAfterBoth(bed: TestBed): string[] {
  bed.keyInvariants.hasOtherProcess = false;
  return bed.compromised
    .filter(({ name }) => !bed.momento.accepts(keyIn(bed.secretManager.latest(name))))
    .map(({ name }) => `invariant 1: two processes left no working key in ${name}`);
}

function operatorActions(kind: CompromisedKind, extent: Extent): Case[] {
  const { renewal = 'v1' } = kind.options;
  const actions = ACTIONS.filter(({ renewals }) => renewals?.includes(renewal) ?? true);
  return actions.map((action) => {
    const playsAt = (site: Site): Play[] => [
      {
        play: async (bed) => {
          const chance = new Chance(0);
          const act = () => bed.operator(() => action.do(bed, chance));
          await bed.respond(once(site, act));
          repair(bed);
          return deliverLast(bed, kind);
        },
      },
    ];
    return atEveryCall(`an operator ${action.name}`, kind, extent, playsAt, { every: 3 });
  });
}

/** Random orders of the calls of two processes. */
function interleaved(kind: CompromisedKind, orders: number): Case[] {
  return Array.from({ length: orders }, (_, seed) =>
    testCase(`${kind.name}: two processes, order ${seed}`, kind.options, async (bed) => {
      const chance = new Chance(seed);
      const interleaving = new Interleaving(bed);
      bed.keyInvariants.hasOtherProcess = true;
      const { response } = bed;
      const runs = interleaving.start([response, chance.is(0.5) ? response : { force: true }]);
      for (;;) {
        const choices = await interleaving.choices();
        if (choices.length === 0) break;
        chance.of(choices).go();
      }
      await Promise.all(runs);
      return [...workingAfterBoth(bed), ...(await deliverLast(bed, kind))];
    }),
  );
}

/** A response that can't be contained at first, and its repeat after a repair. */
function containedLater(
  name: string,
  prepare: (bed: TestBed) => OnCall | undefined,
  repairIt: (bed: TestBed) => void = () => undefined,
  kind = MINTED,
): Case {
  return testCase(name, kind.options, async (bed) => {
    const onCall = prepare(bed);
    const violations: string[] = [];
    for (let delivery = 1; delivery <= 2; delivery += 1) {
      const { result } = await bed.respond(onCall);
      if (result.contained !== false) violations.push(`delivery ${delivery} is contained`);
    }
    repairIt(bed);
    return [...violations, ...(await deliverLast(bed, kind))];
  });
}

const CONTAINED_LATER: readonly Case[] = [
  containedLater(
    "a version can't be read",
    ({ secretManager, secret }) => {
      secretManager.setKeyState(secret.name, '2', 'DISABLED');
      return undefined;
    },
    ({ secretManager, secret }) => secretManager.setKeyState(secret.name, '2', 'ENABLED'),
  ),
  containedLater(
    'Momento rejects the new key',
    ({ keyApi }) => {
      keyApi.newKeyRejections = 1000;
      return undefined;
    },
    ({ keyApi }) => (keyApi.newKeyRejections = 0),
  ),
  ...[MINTED, FROM_CONSOLE].map((kind) =>
    containedLater(
      `${kind.name}: Momento goes on accepting an old key`,
      () =>
        ({ method, when }) =>
          method === 'RevokeKey' && when === 'before'
            ? { kind: 'status', status: 404, when }
            : undefined,
      undefined,
      kind,
    ),
  ),
];

export const compromise: Group = {
  name: 'compromise',
  title:
    'a response to compromised keys, with a kill, a fault, a process or an operator at every call',
  concurrency: 4,
  // A case plays an event at every call, each in a test bed of its own.
  caseLimitMs: 1_800_000,
  cases: (extent) => {
    const isFull = extent === 'full';
    const representative = KINDS.filter(({ name }) => REPRESENTATIVE.includes(name));
    return [
      ...CONTAINED_LATER,
      ...(isFull ? KINDS : representative).flatMap((kind) => [
        kills(kind, extent),
        ...(Object.keys(CONCURRENT_WORK) as Meeting[]).map((each) =>
          otherProcess(kind, extent, each),
        ),
        ...interleaved(kind, isFull ? 20 : 1),
      ]),
      ...representative.flatMap((kind) => [
        faults(kind, extent, false),
        faults(kind, extent, true),
        ...operatorActions(kind, extent),
      ]),
    ];
  },
};
