/**
 * What the function does with a push message. Pub/Sub delivers a message again unless the answer is 2xx. So only failures
 * that another delivery can repair are answered with 503; all others are logged and acknowledged.
 */
import type { Clock } from '../clock';
import { HOUR, isoTime, SECOND } from '../duration';
import { RotationError, toRotationError } from '../errors';
import type { Log, LogEntry } from '../log';
import { TIME_TO_ANSWER } from '../rotation/deadlines';
import type { Rotator } from '../rotation/rotator';
import { requestLine, rotationLine, statusLine, type Origin } from './log-lines';
import { kindOf, parseMessage, type Message } from './push';
import { parseOperatorRequest, type OperatorRequest } from './request';

/** A message that is older is ignored: its time has passed. A compromised key stays compromised. */
const MAX_AGE = HOUR;

/** Pub/Sub waits 600 s at most for an answer, and then delivers the message again. */
const MAX_TIMEOUT = 570 * SECOND;

export interface MessageContext {
  readonly rotator: Rotator;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** What a request is answered with. */
export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** A message and what it asks for. */
interface Task {
  readonly message: Message;
  readonly request: OperatorRequest;
  readonly origin: Origin;
}

/** @param body the body, or why it couldn't be read */
export async function receiveMessage(
  body: Buffer | RotationError,
  context: MessageContext,
): Promise<Answer> {
  const { rotator, clock, log } = context;
  let origin: Origin = { trigger: 'operator' };
  try {
    if (body instanceof RotationError) throw body;
    const message = parseMessage(body);
    const { messageId } = message;
    const isEvent = message.attributes.eventType !== undefined;
    origin = { trigger: isEvent ? 'secret-manager' : 'operator', messageId };
    const kind = kindOf(message, rotator.secrets);
    if (kind.kind === 'ignore') return ignored('this event asks for nothing');
    const request: OperatorRequest =
      kind.kind === 'rotate'
        ? { kind: 'rotate', secrets: kind.secrets, force: true, dryRun: false }
        : parseOperatorRequest(message.data, rotator.secrets, clock.now());
    origin = { ...origin, reason: request.reason, requestedSecrets: request.secrets.length };
    if (request.kind !== 'compromise' && clock.now() - message.publishedAt > MAX_AGE) {
      log({ ...tooOld(message), ...origin });
      return ignored('the message is older than an hour');
    }
    return await carryOut({ message, request, origin }, context);
  } catch (thrown) {
    const error = toRotationError(thrown);
    const { code, message, retryable } = error;
    log({ ...requestLine(error, origin), severity: 'ERROR' });
    return { status: statusFor([error]), body: { error: { code, message, retryable } } };
  }
}

async function carryOut(
  { message, request, origin }: Task,
  { rotator, timeoutMs, clock, log }: MessageContext,
): Promise<Answer> {
  const { publishedAt } = message;
  const deadline = clock.monotonic() + Math.min(timeoutMs, MAX_TIMEOUT) - TIME_TO_ANSWER;
  if (request.kind === 'status') {
    const reports = await rotator.status(request.secrets);
    for (const report of reports) log(statusLine(report, origin));
    return {
      status: statusFor(reports.map(({ error }) => error)),
      body: { secrets: reports.map(({ status }) => status) },
    };
  }
  const onResult = (result: Parameters<typeof rotationLine>[0]): void =>
    log(rotationLine(result, clock.now(), origin));
  const results =
    request.kind === 'compromise'
      ? await rotator.respond(
          request.secrets,
          { ...request, since: request.since ?? publishedAt, deadline },
          onResult,
        )
      : await rotator.rotate(request.secrets, { ...request, publishedAt, deadline }, onResult);
  return {
    status: statusFor(results.map(({ result }) => result.error)),
    body: { results: results.map(({ result }) => result) },
  };
}

function statusFor(errors: readonly ({ readonly retryable: boolean } | undefined)[]): number {
  return errors.some((error) => error?.retryable === true) ? 503 : 200;
}

function ignored(reason: string): Answer {
  return { status: 200, body: { ignored: reason } };
}

function tooOld({ publishedAt }: Message): LogEntry {
  return {
    severity: 'WARNING',
    message: `A message was published at ${isoTime(publishedAt)}, more than an hour ago. So nothing was done. If the request is still needed, publish it again.`,
    event: 'request',
  };
}
