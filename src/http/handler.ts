/** The HTTP side of the rotator: POST rotates, GET reports. */
import { finished } from 'node:stream/promises';
import type { Request, Response } from '@google-cloud/functions-framework';
import type { Clock } from '../clock';
import { RotationError, toRotationError } from '../errors';
import type { Log } from '../log';
import { TIME_TO_ANSWER } from '../rotation/deadlines';
import type { Rotator } from '../rotation/rotator';
import { readBody } from './body';
import { requestLine, rotationLine } from './log-lines';
import { parseRotateRequest, parseScheduleTime, refuseQuery } from './request';

export interface HandlerOptions {
  readonly rotator: Rotator;
  /** The function's own timeout. */
  readonly timeoutMs: number;
  /** The project in which traces are looked up. */
  readonly traceProject: string;
  readonly clock: Clock;
  readonly log: Log;
}

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
    // Wait until the answer is sent, because the shutdown waits for this promise. A caller might have disconnected.
    await finished(response).catch(() => undefined);
  };
}

async function route(request: Request, options: HandlerOptions): Promise<Answer> {
  if (request.path !== '/') {
    throw new RotationError('NOT_FOUND', {
      problem: 'The function has no such path.',
      action: 'Send POST / to rotate, or GET / for a report.',
    });
  }
  refuseQuery(request.url);
  if (request.method === 'GET') return status(request, options);
  if (request.method === 'POST') return rotate(request, options);
  throw new RotationError('METHOD_NOT_ALLOWED', {
    problem: 'The function has no such method.',
    action: 'Send POST / to rotate, or GET / for a report.',
  });
}

async function rotate(request: Request, options: HandlerOptions): Promise<Answer> {
  const { rotator, timeoutMs, clock, log } = options;
  const deadline = clock.monotonic() + timeoutMs - TIME_TO_ANSWER;
  const { secrets, ...choices } = parseRotateRequest(await readBody(request), rotator.secrets);
  const scheduledAt = parseScheduleTime(request.get('x-cloudscheduler-scheduletime'));
  const results = await rotator.rotate(secrets, { ...choices, scheduledAt, deadline }, (result) =>
    log({ ...rotationLine(result, clock.now()), ...origin(request, options) }),
  );
  return {
    status: Math.max(...results.map((run) => run.status)),
    body: { results: results.map(({ result }) => result) },
  };
}

async function status(request: Request, options: HandlerOptions): Promise<Answer> {
  const reports = await options.rotator.status();
  for (const { error } of reports) {
    if (error?.code === 'INTERNAL') {
      options.log({ ...requestLine(error), ...origin(request, options) });
    }
  }
  return {
    status: Math.max(...reports.map(({ httpStatus }) => httpStatus)),
    body: { secrets: reports.map((report) => report.status) },
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
