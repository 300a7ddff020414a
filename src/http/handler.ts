/** The HTTP side of the rotator: POST rotates, GET reports. */
import { finished } from 'node:stream/promises';
import type { Request, Response } from '@google-cloud/functions-framework';
import { RotationError, toRotationError } from '../errors';
import type { Log } from '../log';
import { TIME_TO_ANSWER } from '../rotation/deadlines';
import { errorReport } from '../rotation/result';
import { carryOut, type Answer, type RequestContext } from './carry-out';
import { requestLine, type Origin } from './log-lines';
import { beginsLikePush, isPush, MAX_PUSH_BYTES, receiveMessage } from './messages';
import {
  MAX_REQUEST_BYTES,
  parseRequest,
  parseScheduleTime,
  readBody,
  refuseQuery,
  tooLong,
} from './request';

interface HandlerOptions extends RequestContext {
  /** The function's own timeout. */
  readonly timeoutMs: number;
  /** The project in which traces are looked up. */
  readonly traceProject: string;
}

export type Handler = (request: Request, response: Response) => Promise<void>;

export function createHandler(options: HandlerOptions): Handler {
  return async (request, response) => {
    let answer: Answer;
    try {
      answer = await route(request, options);
    } catch (thrown) {
      const error = toRotationError(thrown);
      options.log({ ...requestLine(error, sender(request)), ...trace(request, options) });
      answer = { status: error.status, body: { error: errorReport(error) } };
      if (error.code === 'METHOD_NOT_ALLOWED') response.set('Allow', 'GET, POST');
    }
    response.status(answer.status).json(answer.body);
    // Wait until the answer is sent, because the shutdown waits for this promise. A caller might have disconnected.
    await finished(response).catch(() => undefined);
  };
}

async function route(request: Request, options: HandlerOptions): Promise<Answer> {
  if (request.path !== '/') {
    throw new RotationError('NOT_FOUND', {
      problem: 'The function has only the path /.',
      action: 'Send POST / to rotate, or GET / for a report.',
    });
  }
  refuseQuery(request.url);
  if (request.method === 'GET') return status(request, options);
  if (request.method === 'POST') return post(request, options);
  throw new RotationError('METHOD_NOT_ALLOWED', {
    problem: 'The function accepts only the methods GET and POST.',
    action: 'Send POST / to rotate, or GET / for a report.',
  });
}

async function post(request: Request, options: HandlerOptions): Promise<Answer> {
  let mightBePush = false;
  const body = await readBody(request, (start) => {
    mightBePush = beginsLikePush(start);
    return mightBePush ? MAX_PUSH_BYTES : MAX_REQUEST_BYTES;
  }).catch(toRotationError);
  const log: Log = (entry) => options.log({ ...entry, ...trace(request, options) });
  const isMessage = body instanceof RotationError ? mightBePush : isPush(body);
  if (isMessage) return receiveMessage(body, { ...options, log });
  if (body instanceof RotationError) throw body;
  if (body.length > MAX_REQUEST_BYTES) throw tooLong(MAX_REQUEST_BYTES);
  const { rotator, timeoutMs, clock } = options;
  const deadline = clock.monotonic() + timeoutMs - TIME_TO_ANSWER;
  const parsed = parseRequest(body, rotator.secrets, clock.now());
  const scheduledAt = parseScheduleTime(request.get('x-cloudscheduler-scheduletime'));
  const origin: Origin = { ...sender(request), reason: parsed.reason };
  const { statuses, ...outcome } = await carryOut(
    parsed,
    { origin, deadline, scheduledAt },
    { ...options, log },
  );
  return { status: Math.max(...statuses), body: outcome.body };
}

async function status(request: Request, options: HandlerOptions): Promise<Answer> {
  const reports = await options.rotator.status();
  for (const { error } of reports) {
    if (error?.code === 'INTERNAL') {
      options.log({ ...requestLine(error, sender(request)), ...trace(request, options) });
    }
  }
  return {
    status: Math.max(...reports.map(({ httpStatus }) => httpStatus)),
    body: { secrets: reports.map((report) => report.status) },
  };
}

/** How the request was triggered. Cloud Scheduler also sends its headers if an operator starts the job by hand. */
function sender(request: Request): Origin {
  const isScheduled =
    request.get('x-cloudscheduler') !== undefined ||
    (request.get('x-cloudscheduler-scheduletime') ?? '') !== '';
  return { trigger: isScheduled ? 'schedule' : 'http' };
}

/**
 * The fields by which Cloud Logging groups a request's lines.
 *
 * https://cloud.google.com/logging/docs/structured-logging#structured_logging_special_fields
 */
function trace(request: Request, { traceProject }: HandlerOptions): Record<string, string> {
  const id =
    /^([0-9a-f]{32})\//i.exec(request.get('x-cloud-trace-context') ?? '')?.[1] ??
    /^[0-9a-f]{2}-([0-9a-f]{32})-/i.exec(request.get('traceparent') ?? '')?.[1];
  const { executionId } = request;
  return {
    ...(id !== undefined && {
      'logging.googleapis.com/trace': `projects/${traceProject}/traces/${id}`,
    }),
    ...(executionId !== undefined && /^[\w-]{1,64}$/.test(executionId) && { executionId }),
  };
}
