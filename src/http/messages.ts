/**
 * What the function does with a push message. Pub/Sub delivers a message again unless the answer is 2xx. So only failures
 * that another delivery can repair are answered with 503; all others are logged and acknowledged.
 */
import { HOUR, isoTime, SECOND } from '../duration';
import { RotationError, toRotationError } from '../errors';
import type { LogEntry } from '../log';
import { TIME_TO_ANSWER } from '../rotation/deadlines';
import { errorReport } from '../rotation/result';
import { carryOut, type Answer, type RequestContext } from './carry-out';
import { requestLine, type Origin } from './log-lines';
import { kindOf, parseMessage, type Message } from './push';
import { parseOperatorRequest, type OperatorRequest } from './request';

/** A message that is older is ignored: its time has passed. A compromised key stays compromised. */
const MAX_AGE = HOUR;

/** Pub/Sub waits 600 s at most for an answer, and then delivers the message again. */
const MAX_TIMEOUT = 570 * SECOND;

interface MessageContext extends RequestContext {
  readonly timeoutMs: number;
}

/** @param body the body, or why it couldn't be read */
export async function receiveMessage(
  body: Buffer | RotationError,
  context: MessageContext,
): Promise<Answer> {
  const { rotator, timeoutMs, clock, log } = context;
  const deadline = clock.monotonic() + Math.min(timeoutMs, MAX_TIMEOUT) - TIME_TO_ANSWER;
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
    const { publishedAt } = message;
    const arrival = { origin, publishedAt, deadline };
    const outcome = await carryOut(request, arrival, context);
    return { status: statusFor(outcome), body: outcome.body };
  } catch (thrown) {
    const error = toRotationError(thrown);
    log({ ...requestLine(error, origin), severity: 'ERROR' });
    return { status: statusFor(error), body: { error: errorReport(error) } };
  }
}

/** Pub/Sub delivers the message again after 503. */
function statusFor({ retryable }: { readonly retryable: boolean }): number {
  return retryable ? 503 : 200;
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
