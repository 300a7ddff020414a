/**
 * Push messages of Pub/Sub. Pub/Sub delivers a message again unless the answer is 2xx. So the function answers 503 only if
 * another delivery can succeed. The function logs and acknowledges all other failures.
 *
 * https://cloud.google.com/pubsub/docs/push#receive_push
 */
import { HOUR, isoTime, SECOND } from '../duration';
import { RotationError, toRotationError } from '../errors';
import type { LogEntry } from '../log';
import { TIME_TO_ANSWER } from '../rotation/deadlines';
import type { Secret } from '../rotation/ports';
import { errorReport } from '../rotation/result';
import { isSameSecret, parseSecretName } from '../secret-name';
import { carryOut, type Answer, type RequestContext } from './carry-out';
import { requestLine, type Origin } from './log-lines';
import {
  invalidRequest,
  MAX_REQUEST_BYTES,
  parseJson,
  parseOperatorRequest,
  parseTime,
  type OperatorRequest,
} from './request';

/** The function ignores messages that are older than this, except messages about compromised keys. */
const MAX_AGE = HOUR;

/** Pub/Sub waits 600 s at most for an answer, and then delivers the message again. */
const MAX_PUSH_TIMEOUT = 570 * SECOND;

interface MessageContext extends RequestContext {
  readonly timeoutMs: number;
}

/** @param body the body, or why it couldn't be read */
export async function receiveMessage(
  body: Buffer | RotationError,
  context: MessageContext,
): Promise<Answer> {
  const { rotator, timeoutMs, clock, log } = context;
  const deadline = clock.monotonic() + Math.min(timeoutMs, MAX_PUSH_TIMEOUT) - TIME_TO_ANSWER;
  let origin: Origin = { trigger: 'operator' };
  try {
    if (body instanceof RotationError) throw body;
    const message = parseMessage(body);
    const { messageId } = message;
    const isEvent = message.attributes.eventType !== undefined;
    origin = { trigger: isEvent ? 'secret-manager' : 'operator', messageId };
    const kind = kindOf(message, rotator.secrets);
    if (kind.kind === 'ignore') return ignored("this event doesn't request a rotation");
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

/** The longest body of a push message, in bytes. */
export const MAX_PUSH_BYTES = 256 * 1024;

/** A message, as far as the function uses it. */
export interface Message {
  readonly messageId: string;
  /** When Pub/Sub received the message, in milliseconds since the epoch. It is the same in all deliveries. */
  readonly publishedAt: number;
  readonly attributes: Readonly<Record<string, string>>;
  readonly data: Buffer;
}

/** The meaning of a message. `request`: its data is the JSON of a request. */
type MessageKind =
  | { readonly kind: 'rotate'; readonly secrets: readonly Secret[] }
  | { readonly kind: 'ignore' }
  | { readonly kind: 'request' };

type JsonObject = Readonly<Partial<Record<string, unknown>>>;

/** The fields of requests, which no push message has. */
const REQUEST_FIELDS = ['secrets', 'force', 'dryRun', 'compromised', 'all', 'since', 'revokeFirst'];

/** Whether a long body begins like a push message. `isPush` recognizes a whole body. */
export function beginsLikePush(start: Buffer): boolean {
  const text = start.subarray(0, 1024).toString('latin1');
  return /^(\xef\xbb\xbf)?\s*\{\s*"(message|subscription|deliveryAttempt)"\s*:/.test(text);
}

/**
 * Whether a body is a push message, even a malformed one. Only the shape of the body decides, because the framework and
 * proxies can change headers.
 */
export function isPush(body: Buffer): boolean {
  if (!body.includes('"message"') && !body.includes('"subscription"')) return false;
  const fields = readJson(body);
  if (fields === undefined) return beginsLikePush(body);
  if (isJsonObject(fields.message)) return true;
  const hasRequestField = REQUEST_FIELDS.some((name) => name in fields);
  return ('message' in fields || 'subscription' in fields) && !hasRequestField;
}

/**
 * Reads the envelope.
 *
 * @throws RotationError INVALID_REQUEST
 */
function parseMessage(body: Buffer): Message {
  const fields = readJson(body);
  if (fields === undefined) throw invalidRequest("the push message isn't a JSON object in UTF-8");
  const { message } = fields;
  if (!isJsonObject(message)) throw invalidRequest("the push message has no 'message'");
  // Pub/Sub sends both spellings.
  const messageId = message.messageId ?? message.message_id;
  const publishTime = message.publishTime ?? message.publish_time;
  const publishedAt = typeof publishTime === 'string' ? parseTime(publishTime) : undefined;
  if (typeof messageId !== 'string' || !/^[\w.:/-]{1,128}$/.test(messageId)) {
    throw invalidRequest("the push message has no valid 'messageId'");
  }
  // Without the publish time, a redelivery would rotate again.
  if (publishedAt === undefined) {
    throw invalidRequest("the push message has no valid 'publishTime'");
  }
  const attributes = message.attributes ?? {};
  if (!isAttributes(attributes)) {
    throw invalidRequest("the 'attributes' of the push message aren't texts");
  }
  return { messageId, publishedAt, attributes, data: decodeBase64(message.data ?? '') };
}

/**
 * The meaning of a message. Secret Manager's events have the attribute `eventType`. Their data is ignored, because every
 * publisher can write it.
 *
 * https://cloud.google.com/secret-manager/docs/event-notifications
 *
 * @throws RotationError INVALID_REQUEST, SECRET_NOT_CONFIGURED
 */
function kindOf({ attributes, data }: Message, configured: readonly Secret[]): MessageKind {
  const { eventType, secretId } = attributes;
  if (eventType === undefined) {
    if (data.length === 0) throw invalidRequest('the message has no data');
    if (data.length > MAX_REQUEST_BYTES) {
      throw invalidRequest(`the data of the message is longer than ${MAX_REQUEST_BYTES} bytes`);
    }
    return { kind: 'request' };
  }
  if (eventType !== 'SECRET_ROTATE') return { kind: 'ignore' };
  const rotated = parseSecretName(secretId ?? '');
  if (rotated === undefined) {
    throw invalidRequest("the event SECRET_ROTATE has no valid attribute 'secretId'");
  }
  const secrets = configured.filter((secret) => isSameSecret(secret, rotated));
  if (secrets.length > 0) return { kind: 'rotate', secrets };
  throw new RotationError('SECRET_NOT_CONFIGURED', {
    problem: `Secret Manager requested the rotation of ${rotated.name}, which isn't a configured secret. Nothing was done.`,
    action: 'Add the secret to SECRETS, or remove the topic from the secret.',
  });
}

function decodeBase64(data: unknown): Buffer {
  const bytes = typeof data === 'string' ? Buffer.from(data, 'base64') : undefined;
  // Buffer skips characters that aren't base64.
  if (bytes === undefined || bytes.toString('base64') !== data) {
    throw invalidRequest("the 'data' of the push message isn't base64");
  }
  return bytes;
}

function isAttributes(value: unknown): value is Record<string, string> {
  return isJsonObject(value) && Object.values(value).every((text) => typeof text === 'string');
}

function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function readJson(body: Buffer): JsonObject | undefined {
  try {
    const value = parseJson(body);
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
