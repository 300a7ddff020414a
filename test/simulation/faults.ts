/** Faults at the calls of a run. */
import { status } from '@grpc/grpc-js';
import type { Fault, Moment } from '../../emulators/faults';
import type { OnCall } from './test-bed';

/** The nth call of a method. */
export type CallSite = readonly [method: string, n: number];

/** A fault at the nth call of a method, and also at every later call if it persists. */
export interface Injection {
  readonly name: string;
  readonly method: string;
  readonly n: number;
  readonly fault: Fault;
  readonly persists: boolean;
}

export const MOMENTS: readonly Moment[] = ['before', 'after'];

export const KEY_API_METHODS: readonly string[] = [
  'CreateKey',
  'ListKeys',
  'VerifyKey',
  'RevokeKey',
  'RefreshKey',
];

/** The shortest timeout of the function, for faults that last until the deadline. */
export const SHORTEST_TIMEOUT_MS = 120_000;

export function errors(when: Moment, codes: readonly status[]): Fault[] {
  return codes.map((code) => ({ kind: 'error', code, when }));
}

export function statuses(when: Moment, codes: readonly number[]): Fault[] {
  return codes.map((code) => ({
    kind: 'status',
    status: code,
    when,
    ...(code === 429 && { retryAfter: '2' }),
  }));
}

/** Every fault at every call, once and persistently. */
export function injections(
  calls: readonly CallSite[],
  faultsAt: (method: string) => readonly Fault[],
): Injection[] {
  return calls.flatMap(([method, n]) =>
    faultsAt(method).flatMap((fault) =>
      [false, true].map((persists) => injection(method, n, fault, persists)),
    ),
  );
}

export function injection(method: string, n: number, fault: Fault, persists: boolean): Injection {
  const what =
    fault.kind === 'error'
      ? status[fault.code]
      : 'status' in fault
        ? `${fault.kind} ${fault.status}`
        : fault.kind;
  const when = 'when' in fault ? ` ${fault.when}` : '';
  const name = `${method}#${n} ${what}${when}${persists ? ' persistently' : ''}`;
  return { name, method, n, fault, persists };
}

/** Injects faults into the calls of one run. */
export function inject(...all: readonly Injection[]): OnCall {
  return ({ method, n, when }) =>
    all.find((one) => {
      const { fault } = one;
      const due = 'when' in fault ? fault.when : fault.kind === 'slow' ? 'before' : 'after';
      return one.method === method && due === when && (one.persists ? n >= one.n : n === one.n);
    })?.fault;
}
