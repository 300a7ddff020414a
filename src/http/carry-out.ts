/** Carries out a request, from HTTP or from a message, and logs a line for each secret. */
import type { Clock } from '../clock';
import type { Log } from '../log';
import type { RunResult } from '../rotation/result';
import type { Rotator } from '../rotation/rotator';
import { rotationLine, statusLine, type Origin } from './log-lines';
import type { OperatorRequest } from './request';

export interface RequestContext {
  readonly rotator: Rotator;
  readonly clock: Clock;
  readonly log: Log;
}

/** Where a request came from, and its times. */
interface Arrival {
  readonly origin: Origin;
  /** On the monotonic clock. */
  readonly deadline: number;
  readonly scheduledAt?: number | undefined;
  readonly publishedAt?: number | undefined;
}

/** What a request is answered with. */
export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** What is known about each secret then. */
interface Completion {
  readonly body: object;
  readonly statuses: readonly number[];
  /** Whether the same request can succeed later. */
  readonly retryable: boolean;
}

export async function carryOut(
  request: OperatorRequest,
  { origin, ...arrival }: Arrival,
  { rotator, clock, log }: RequestContext,
): Promise<Completion> {
  const { secrets } = request;
  if (request.kind === 'status') {
    const reports = await rotator.status(secrets);
    for (const report of reports) log(statusLine(report, origin));
    return {
      body: { secrets: reports.map(({ status }) => status) },
      statuses: reports.map(({ httpStatus }) => httpStatus),
      retryable: reports.some(({ error }) => error?.retryable),
    };
  }
  const onResult = (run: RunResult): void => log(rotationLine(run, clock.now(), origin));
  const runs =
    request.kind === 'compromise'
      ? await rotator.respond(
          secrets,
          { ...request, ...arrival, since: request.since ?? arrival.publishedAt },
          onResult,
        )
      : await rotator.rotate(secrets, { ...request, ...arrival }, onResult);
  return {
    body: { results: runs.map(({ result }) => result) },
    statuses: runs.map(({ status }) => status),
    retryable: runs.some(({ result }) => result.error?.retryable),
  };
}
