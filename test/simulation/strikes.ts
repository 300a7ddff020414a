/** Faults at calls of a run, and what becomes of runs that are struck by them. */
import { status } from '@grpc/grpc-js';
import type { Fault, Moment } from '../../emulators/faults';
import { scene, type Case } from './campaign';
import type { Director, SceneOptions } from './scene';

/** The how manieth call of a method. */
export type CallSite = readonly [method: string, n: number];

/** A fault at one call, once or in every repetition until the end of the run. */
export interface Strike {
  readonly name: string;
  readonly method: string;
  readonly n: number;
  readonly fault: Fault;
  readonly persists: boolean;
}

export const MOMENTS: readonly Moment[] = ['before', 'after'];

/** The codes of Secret Manager on which the function goes different ways; on all others it goes one of these. */
export const STORE_CLASSES = [
  status.UNAVAILABLE,
  status.RESOURCE_EXHAUSTED,
  status.NOT_FOUND,
  status.FAILED_PRECONDITION,
  status.PERMISSION_DENIED,
];

export const CHANGES: readonly string[] = [
  'RefreshApiToken',
  'RefreshKey',
  'CreateKey',
  'RevokeKey',
  'AddSecretVersion',
  'DisableSecretVersion',
  'DestroySecretVersion',
];

/** The shortest that the function takes: what lasts until the deadline need not last longer. */
export const SHORTEST_TIMEOUT_MS = 120_000;

export function errors(when: Moment, codes: readonly status[]): Fault[] {
  return codes.map((code) => ({ kind: 'error', code, when }));
}

/** Errors of an HTTP service; one that limits its callers says for how long. */
export function statuses(when: Moment, codes: readonly number[]): Fault[] {
  return codes.map((code) => ({
    kind: 'status',
    status: code,
    when,
    ...(code === 429 && { retryAfter: '2' }),
  }));
}

/** Every fault at every call, once and persistently. */
export function strikes(
  calls: readonly CallSite[],
  faultsAt: (method: string) => readonly Fault[],
): Strike[] {
  return calls.flatMap(([method, n]) =>
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

export function named(fault: Fault): string {
  const what =
    fault.kind === 'error'
      ? status[fault.code]
      : 'status' in fault
        ? `${fault.kind} ${fault.status}`
        : fault.kind;
  return 'when' in fault ? `${what} ${fault.when}` : what;
}

/** Whether the function makes a call again that met this fault. */
export function isMetAgain({ method, fault }: Strike): boolean {
  if (fault.kind === 'corrupt') return true;
  if (fault.kind === 'status') {
    const isRejection = method === 'ProveKey' && fault.status === 401;
    return isRejection || fault.status >= 429;
  }
  if (fault.kind !== 'error') return false;
  const isRejection = method === 'ListCaches' && fault.code === status.UNAUTHENTICATED;
  return (
    isRejection || fault.code === status.UNAVAILABLE || fault.code === status.RESOURCE_EXHAUSTED
  );
}

/** Strikes the calls of one run. */
export function directed(...all: readonly Strike[]): Director {
  return ({ method, n, when }) =>
    all.find((strike) => {
      const { fault } = strike;
      const due = 'when' in fault ? fault.when : fault.kind === 'slow' ? 'before' : 'after';
      const isMet = strike.persists ? n >= strike.n : n === strike.n;
      return strike.method === method && due === when && isMet;
    })?.fault;
}

export interface Repetition {
  /** Whether each run is in a process of its own, so that what one kept in memory is lost. */
  readonly restarts?: boolean;
  /** Whether the last run is the repeat of the first, as Cloud Scheduler makes it after a failure. */
  readonly repeats?: boolean;
}

/** One run for each list of strikes, then what puts everything right. */
export function struckRuns(
  name: string,
  options: SceneOptions,
  strikesOfRuns: readonly Strike[][],
  { restarts = false, repeats = false }: Repetition = {},
): Case {
  const title = [name, ...(restarts ? ['new process'] : []), ...(repeats ? ['repeat'] : [])];
  return scene(title.join(', '), options, async (played) => {
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
    const isRepeat = repeats && versions > 0;
    await played.runLast({
      lost,
      headers,
      afterFirst: () => {
        if (isRepeat && played.versions > versions) {
          violations.push('the repeat of a run that had rotated issued again');
        }
      },
    });
    return violations;
  });
}
