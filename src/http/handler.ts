/** The HTTP side of the rotator: POST rotates, GET reports. */
import { finished } from 'node:stream/promises';
import type { Request, Response } from '@google-cloud/functions-framework';
import { RotationError, toRotationError } from '../errors';
import type { Fleet } from '../fleet/fleet';
import type { Log } from '../log';
import type { Clock } from '../retry';
import { ANSWER_RESERVE } from '../rotation/budget';
import { readBody } from './body';
import { requestLine, rotationLine } from './log-lines';
import { parseRotateRequest, parseScheduleTime } from './request';

export interface HandlerOptions {
  readonly fleet: Fleet;
  /** The function's own timeout. */
  readonly timeoutMs: number;
  /** The project in which traces are looked up. */
  readonly traceProject: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** What a request is answered with. */
interface Answer {
  readonly status: number;
  readonly body: unknown;
}

export type Handler = (request: Request, response: Response) => Promise<void>;

export function createHandler(options: HandlerOptions): Handler {
  return async (request, response) => {
    let answer: Answer;
    try {
      answer = await route(request, options);
    } catch (thrown) {
      const error = toRotationError(thrown);
      options.log({ ...requestLine(error), ...origin(request, options) });
      const { code, message, retryable } = error;
      answer = { status: error.status, body: { error: { code, message, retryable } } };
      if (code === 'METHOD_NOT_ALLOWED') response.set('Allow', 'GET, POST');
    }
    response.status(answer.status).json(answer.body);
    // Only then is it out of our hands; a caller that went away is none of our concern.
    await finished(response).catch(() => undefined);
  };
}

async function route(request: Request, options: HandlerOptions): Promise<Answer> {
  if (request.path !== '/') {
    throw new RotationError('NOT_FOUND', 'There is nothing at this path. POST / or GET /.');
  }
  if (request.method === 'GET') return status(request, options);
  if (request.method === 'POST') return rotate(request, options);
  throw new RotationError('METHOD_NOT_ALLOWED', 'POST / rotates, GET / reports; nothing was done.');
}

async function rotate(request: Request, options: HandlerOptions): Promise<Answer> {
  const { fleet, timeoutMs, clock, log } = options;
  const deadline = clock.now() + timeoutMs - ANSWER_RESERVE;
  const { secrets, ...choices } = parseRotateRequest(await readBody(request), fleet.secrets);
  const scheduledAt = parseScheduleTime(request.get('x-cloudscheduler-scheduletime'));
  const run = { ...choices, deadline, ...(scheduledAt !== undefined && { scheduledAt }) };
  const reports = await fleet.rotate(secrets, run, (report) =>
    log({ ...rotationLine(report, clock.now()), ...origin(request, options) }),
  );
  return {
    status: Math.max(...reports.map((report) => report.status)),
    body: { results: reports.map(({ result }) => result) },
  };
}

async function status(request: Request, options: HandlerOptions): Promise<Answer> {
  const looks = await options.fleet.status();
  for (const { error } of looks) {
    if (error?.code === 'INTERNAL') {
      options.log({ ...requestLine(error), ...origin(request, options) });
    }
  }
  return {
    status: Math.max(...looks.map(({ httpStatus }) => httpStatus)),
    body: { secrets: looks.map((look) => look.status) },
  };
}

/**
 * The fields by which Cloud Logging groups a request's lines.
 *
 * https://cloud.google.com/logging/docs/structured-logging#structured_logging_special_fields
 */
function origin(request: Request, { traceProject }: HandlerOptions): Record<string, string> {
  const trace =
    /^([0-9a-f]{32})\//i.exec(request.get('x-cloud-trace-context') ?? '')?.[1] ??
    /^[0-9a-f]{2}-([0-9a-f]{32})-/i.exec(request.get('traceparent') ?? '')?.[1];
  const { executionId } = request;
  return {
    ...(trace !== undefined && {
      'logging.googleapis.com/trace': `projects/${traceProject}/traces/${trace}`,
    }),
    ...(executionId !== undefined && /^[\w-]{1,64}$/.test(executionId) && { executionId }),
  };
}
