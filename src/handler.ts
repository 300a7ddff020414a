import { finished } from 'node:stream/promises';
import type { Request, Response } from '@google-cloud/functions-framework';
import type { Config } from './config';
import { RotationError, toRotationError } from './errors';
import { badRequest, readBody } from './http/body';
import { stackFrames, type Log, type Severity } from './log';
import type { Clock } from './retry';
import { daysLeft, type RotationReport, type RunOptions } from './rotation';
import type { Rotator } from './rotator';
import { parseSecretName, type SecretName } from './secret-name';

/** The function's timeout less this is when a run has to have ended, so that its answer is still sent. */
const ANSWER_RESERVE_MS = 15_000;

/** How many secrets of one request are worked on at a time. */
const CONCURRENCY = 16;

export interface HandlerOptions {
  readonly config: Config;
  readonly rotator: Rotator;
  readonly clock: Clock;
  readonly log: Log;
}

interface RotateRequest {
  readonly secrets: readonly SecretName[];
  readonly force: boolean;
  readonly dryRun: boolean;
}

/** What a request is answered with. */
interface Answer {
  readonly status: number;
  readonly body: unknown;
}

export type Handler = (request: Request, response: Response) => Promise<void>;

/** The HTTP side of the rotator: POST rotates, GET reports. */
export function createHandler(options: HandlerOptions): Handler {
  return async (request, response) => {
    let answer: Answer;
    try {
      answer = await route(request, options);
    } catch (thrown) {
      const error = toRotationError(thrown);
      logFailedRequest(request, error, options);
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
  const { config, rotator, clock, log } = options;
  const startedAt = clock.now();
  const { secrets, force, dryRun } = parseBody(await readBody(request), config.secrets);
  const scheduledAt = parseScheduleTime(request.get('x-cloudscheduler-scheduletime'));
  const run: RunOptions = {
    force,
    dryRun,
    deadline: startedAt + config.timeoutMs - ANSWER_RESERVE_MS,
    ...(scheduledAt !== undefined && { scheduledAt }),
  };
  const origin = traceFields(request, config.traceProject);
  const reports = await mapConcurrently(secrets, async (secret) => {
    const { report, joined } = await rotator.rotate(secret, run);
    // A run that others joined is still one run, and has one line.
    if (!joined) log({ ...rotationEntry(report, clock.now()), ...origin });
    return report;
  });
  return {
    status: Math.max(...reports.map((report) => report.status)),
    body: { results: reports.map(({ result }) => result) },
  };
}

async function status(request: Request, options: HandlerOptions): Promise<Answer> {
  const { config, rotator } = options;
  const statuses = await mapConcurrently(config.secrets, (secret) => rotator.status(secret));
  for (const { error } of statuses) {
    if (error?.code === 'INTERNAL') logFailedRequest(request, error, options);
  }
  return {
    status: Math.max(...statuses.map(({ httpStatus }) => httpStatus)),
    body: { secrets: statuses.map((entry) => entry.status) },
  };
}

/** Reads the body whatever its content type: Cloud Scheduler's default is octet-stream. */
function parseBody(body: Buffer, configured: readonly SecretName[]): RotateRequest {
  const fields = parseJsonObject(body);
  const { secrets, force = false, dryRun = false, ...unknown } = fields;
  // What is wrong is not quoted: a body may hold a secret by mistake.
  if (Object.keys(unknown).length > 0) {
    throw badRequest("it has fields other than 'secrets', 'force' and 'dryRun'");
  }
  if (typeof force !== 'boolean') throw badRequest("'force' is not true or false");
  if (typeof dryRun !== 'boolean') throw badRequest("'dryRun' is not true or false");
  if (secrets === undefined) return { secrets: configured, force, dryRun };
  if (!Array.isArray(secrets) || secrets.length === 0) {
    throw badRequest("'secrets' is not a list of at least one secret; leave it out to name all");
  }
  const named = secrets.map((name: unknown, index) => findSecret(name, index, configured));
  return { secrets: [...new Set(named)], force, dryRun };
}

function parseJsonObject(body: Buffer): Record<string, unknown> {
  if (body.length === 0) return {};
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw badRequest('it is not JSON in UTF-8');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw badRequest('it is not a JSON object');
  }
  return value as Record<string, unknown>;
}

function findSecret(name: unknown, index: number, configured: readonly SecretName[]): SecretName {
  if (typeof name !== 'string') throw badRequest(`secrets[${index}] is not a string`);
  const isFullName = parseSecretName(name) !== undefined;
  const [found, another] = configured.filter((secret) =>
    isFullName ? secret.name === name : secret.id === name,
  );
  if (another !== undefined) {
    throw badRequest(`secrets[${index}] is the short name of several secrets; use the full name`);
  }
  if (found === undefined) {
    throw new RotationError(
      'SECRET_NOT_CONFIGURED',
      `secrets[${index}] is not one of the secrets that this function may rotate, so nothing was done for any. ` +
        `They are: ${configured.map((secret) => secret.name).join(', ')}. SECRETS sets them.`,
    );
  }
  return found;
}

/** RFC 3339, the same in all tries of one scheduled run; a run by hand may have none. */
function parseScheduleTime(header: string | undefined): number | undefined {
  if (header === undefined || header.trim() === '') return undefined;
  const isRfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(header.trim());
  const time = isRfc3339 ? Date.parse(header) : NaN;
  if (Number.isNaN(time)) throw badRequest('X-CloudScheduler-ScheduleTime is not an RFC 3339 time');
  return time;
}

/** The log line of one run for one secret. */
function rotationEntry(report: RotationReport, now: number) {
  const { result, keyFingerprint, keyAgeDays, overdueDays, durationMs, steps, cause } = report;
  return {
    severity: severityOf(report),
    message: summary(report),
    event: 'rotation',
    ...result,
    ...(keyFingerprint !== undefined && { keyFingerprint }),
    ...(result.expiresAt !== undefined && { daysLeft: daysLeft(result.expiresAt, now) }),
    ...(keyAgeDays !== undefined && { keyAgeDays }),
    ...(overdueDays !== undefined && { overdueDays }),
    durationMs,
    steps,
    ...(cause !== undefined && { stack: stackFrames(cause) }),
  };
}

function severityOf({ result }: RotationReport): Severity {
  if (result.error?.code === 'CREDENTIAL_NOT_STORED') return 'CRITICAL';
  if (result.outcome === 'failed' || result.outcome === 'incomplete') return 'ERROR';
  return result.warnings === undefined ? 'INFO' : 'WARNING';
}

function summary({ result }: RotationReport): string {
  const { outcome, secret, reason, error, version, disabled = [], destroyed = [] } = result;
  const parts = [
    `${outcome} ${secret}`,
    ...(version === undefined ? [] : [`newest version ${version}`]),
    ...(disabled.length === 0 ? [] : [`disabled ${disabled.join(', ')}`]),
    ...(destroyed.length === 0 ? [] : [`destroyed ${destroyed.join(', ')}`]),
    ...(reason === undefined ? [] : [reason]),
    ...(error === undefined ? [] : [`${error.code}: ${error.message}`]),
  ];
  return parts.join('; ');
}

/** A request that was turned away, or that failed before any run: there is no run's line to tell of it. */
function logFailedRequest(request: Request, error: RotationError, options: HandlerOptions): void {
  options.log({
    severity: error.status >= 500 ? 'ERROR' : 'WARNING',
    message: `${error.code}: ${error.message}`,
    event: 'request',
    error: { code: error.code, message: error.message, retryable: error.retryable },
    ...(error.code === 'INTERNAL' && { stack: stackFrames(error.cause) }),
    ...traceFields(request, options.config.traceProject),
  });
}

/**
 * The fields by which Cloud Logging groups a request's lines.
 *
 * https://cloud.google.com/logging/docs/structured-logging#structured_logging_special_fields
 */
function traceFields(request: Request, project: string): Record<string, string> {
  const trace =
    /^([0-9a-f]{32})\//i.exec(request.get('x-cloud-trace-context') ?? '')?.[1] ??
    /^[0-9a-f]{2}-([0-9a-f]{32})-/i.exec(request.get('traceparent') ?? '')?.[1];
  const { executionId } = request;
  return {
    ...(trace !== undefined && {
      'logging.googleapis.com/trace': `projects/${project}/traces/${trace}`,
    }),
    ...(executionId !== undefined && /^[\w-]{1,64}$/.test(executionId) && { executionId }),
  };
}

/** Like `Promise.all` over a `map`, with at most CONCURRENCY calls under way. */
async function mapConcurrently<T, R>(
  items: readonly T[],
  call: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  const remaining = items.entries();
  const worker = async (): Promise<void> => {
    for (const [index, item] of remaining) results[index] = await call(item);
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  return results;
}
