/** A request of an operator or a scheduler: its target, its body, and the header that names Cloud Scheduler's run. */
import type { IncomingMessage } from 'node:http';
import * as v from 'valibot';
import { DAY, MINUTE, SECOND } from '../duration';
import { RotationError } from '../errors';
import type { Secret } from '../rotation/ports';
import { parseSecretName } from '../secret-name';

interface RotateRequest {
  readonly kind: 'rotate';
  readonly secrets: readonly Secret[];
  readonly force: boolean;
  readonly dryRun: boolean;
  /** Why the operator sent the request, for the log. */
  readonly reason?: string | undefined;
}

interface StatusRequest {
  readonly kind: 'status';
  readonly secrets: readonly Secret[];
  readonly reason?: string | undefined;
}

/** The keys of these secrets might be in the wrong hands. */
interface CompromiseRequest {
  readonly kind: 'compromise';
  readonly secrets: readonly Secret[];
  /** A version that was created since this time contains a key that isn't compromised. */
  readonly since?: number | undefined;
  readonly revokeFirst: boolean;
  readonly reason?: string | undefined;
}

export type OperatorRequest = RotateRequest | StatusRequest | CompromiseRequest;

/** The clock of an operator can be ahead of the function's clock by this much. */
const CLOCK_DIFFERENCE = 5 * MINUTE;

const flag = (name: string) => v.optional(v.boolean(`'${name}' isn't true or false`), false);

// valibot would accept a list as an object.
const Body = v.pipe(
  v.custom<object>(
    (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
    "its body isn't a JSON object",
  ),
  v.strictObject(
    {
      secrets: v.optional(
        v.pipe(
          v.array(
            v.string("'secrets' contains a value that isn't a string"),
            "'secrets' isn't a list",
          ),
          v.minLength(1, "'secrets' is an empty list (leave it out to name all secrets)"),
        ),
      ),
      force: flag('force'),
      dryRun: flag('dryRun'),
      status: flag('status'),
      compromised: flag('compromised'),
      all: flag('all'),
      revokeFirst: flag('revokeFirst'),
      since: v.optional(v.string("'since' isn't a string")),
      reason: v.optional(
        v.pipe(
          v.string("'reason' isn't a string"),
          v.regex(
            /^\P{Cc}{1,256}$/u,
            "'reason' is empty, has control characters or is longer than 256 characters",
          ),
        ),
      ),
    },
    "it has a field other than 'secrets', 'force', 'dryRun', 'reason', 'compromised', 'all', 'since' and 'revokeFirst'",
  ),
);

type RequestFields = v.InferOutput<typeof Body>;

/**
 * Refuses a query string. The fields belong in the body, and if the function ignored `?dryRun=true`, it would rotate.
 *
 * @throws RotationError INVALID_REQUEST
 */
export function refuseQuery(target: string): void {
  if (target.includes('?')) throw invalidRequest('it has a query string, which is never used');
}

/**
 * Reads the body, whatever its content type: Cloud Scheduler's default is octet-stream.
 *
 * @throws RotationError INVALID_REQUEST, SECRET_NOT_CONFIGURED
 */
export function parseRequest(
  body: Buffer,
  configured: readonly Secret[],
  now: number,
): RotateRequest | CompromiseRequest {
  const fields = parseFields(body.length === 0 ? {} : parseJson(body));
  if (fields.status) throw invalidRequest("'status' is for Pub/Sub messages (send GET / instead)");
  return fields.compromised
    ? toCompromiseRequest(fields, configured, now)
    : toRotateRequest(fields, configured);
}

/**
 * Reads the data of a message.
 *
 * @throws RotationError INVALID_REQUEST, SECRET_NOT_CONFIGURED
 */
export function parseOperatorRequest(
  data: Buffer,
  configured: readonly Secret[],
  now: number,
): OperatorRequest {
  const fields = parseFields(parseJson(data));
  if (fields.compromised) return toCompromiseRequest(fields, configured, now);
  const { force, dryRun, ...rotate } = toRotateRequest(fields, configured);
  if (!fields.status) return { force, dryRun, ...rotate };
  if (force || dryRun) throw invalidRequest("'status' excludes 'force' and 'dryRun'");
  return { ...rotate, kind: 'status' };
}

function parseFields(body: unknown): RequestFields {
  const parsed = v.safeParse(Body, body, { abortEarly: true });
  if (!parsed.success) throw invalidRequest(parsed.issues[0].message);
  return parsed.output;
}

function toRotateRequest(
  { secrets, force, dryRun, reason, all, revokeFirst, since }: RequestFields,
  configured: readonly Secret[],
): RotateRequest {
  if (all || revokeFirst || since !== undefined) {
    throw invalidRequest("'all', 'since' and 'revokeFirst' need 'compromised'");
  }
  return { kind: 'rotate', secrets: findSecrets(secrets, configured), force, dryRun, reason };
}

/** A compromise response revokes keys, so it doesn't take all secrets without `all`. */
function toCompromiseRequest(
  { secrets, all, since: sinceText, revokeFirst, reason, dryRun, status }: RequestFields,
  configured: readonly Secret[],
  now: number,
): CompromiseRequest {
  if (dryRun || status) throw invalidRequest("'compromised' excludes 'dryRun' and 'status'");
  if (all === (secrets !== undefined)) {
    throw invalidRequest("'compromised' needs either 'secrets' or 'all'");
  }
  const since = sinceText === undefined ? undefined : parseTime(sinceText);
  if (sinceText !== undefined && since === undefined) {
    throw invalidRequest("'since' isn't an RFC 3339 time");
  }
  if ((since ?? 0) > now + CLOCK_DIFFERENCE) throw invalidRequest("'since' is in the future");
  return {
    kind: 'compromise',
    secrets: findSecrets(secrets, configured),
    since,
    revokeFirst,
    reason,
  };
}

const TIME =
  /^(\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))T((?:[01]\d|2[0-3]):[0-5]\d:)([0-5]\d|60)((?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d))$/;

/**
 * The scheduled time of a run, which is the same in all attempts. Runs that an operator starts don't need one.
 *
 * @throws RotationError INVALID_REQUEST unless the header is empty or an RFC 3339 time
 */
export function parseScheduleTime(header = ''): number | undefined {
  const text = header.trim();
  if (text === '') return undefined;
  const time = parseTime(text);
  if (time === undefined) {
    throw invalidRequest("X-CloudScheduler-ScheduleTime isn't an RFC 3339 time");
  }
  return time;
}

/** @returns undefined unless the text is an RFC 3339 time */
export function parseTime(text: string): number | undefined {
  const [, date = '', minute = '', second = '', rest = ''] = TIME.exec(text.toUpperCase()) ?? [];
  const isLeap = second === '60';
  const time = Date.parse(`${date}T${minute}${isLeap ? '59' : second}${rest}`);
  // Date reads 30 February as 2 March.
  if (Number.isNaN(time) || isoDate(date) !== date) return undefined;
  const next = isLeap ? time + SECOND : time;
  // A leap second ends a day in UTC.
  return isLeap && next % DAY >= SECOND ? undefined : next;
}

function isoDate(date: string): string {
  return new Date(date).toISOString().slice(0, 10);
}

/** @throws RotationError INVALID_REQUEST */
export function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw invalidRequest("its body isn't JSON in UTF-8");
  }
}

function findSecrets(
  names: readonly string[] | undefined,
  configured: readonly Secret[],
): readonly Secret[] {
  if (names === undefined) return configured;
  return [...new Set(names.map((name, index) => findSecret(name, index, configured)))];
}

function findSecret(name: string, index: number, configured: readonly Secret[]): Secret {
  const isFullName = parseSecretName(name) !== undefined;
  const [found, another] = configured.filter((secret) =>
    isFullName ? secret.name === name : secret.id === name,
  );
  if (another !== undefined) {
    throw invalidRequest(
      `secrets[${index}] is the short name of several secrets (use the full name)`,
    );
  }
  if (found === undefined) {
    throw new RotationError('SECRET_NOT_CONFIGURED', {
      problem: `secrets[${index}] of the request isn't a configured secret. Nothing was done for any secret.`,
      action: `Add it to SECRETS, or name one of ${configured.map((secret) => secret.name).join(', ')}.`,
    });
  }
  return found;
}

/** The longest body of a request, in bytes. */
export const MAX_REQUEST_BYTES = 16 * 1024;

/** If `content-length` exceeds MAX_REQUEST_BYTES, the first bytes decide which limit the body has: at least this many. */
const START_BYTES = 64;

/**
 * Reads a request's body up to the limit. Drops the remaining bytes, but reads them: a client that sends its whole request
 * before it reads would otherwise never get the answer.
 *
 * @param limitOf returns the limit of a body longer than 16 KiB, from its beginning; default 16 KiB
 * @throws RotationError INVALID_REQUEST
 */
export async function readBody(
  request: IncomingMessage,
  limitOf?: (start: Buffer) => number,
): Promise<Buffer> {
  const announced = Number(request.headers['content-length'] ?? 0);
  try {
    if (limitOf === undefined && announced > MAX_REQUEST_BYTES) throw tooLong(MAX_REQUEST_BYTES);
    const chunks: Buffer[] = [];
    let length = 0;
    let limit: number | undefined;
    for await (const chunk of request.iterator({
      destroyOnReturn: false,
    }) as AsyncIterable<Buffer>) {
      length += chunk.length;
      chunks.push(chunk);
      const isStartKnown = length >= START_BYTES;
      if (length > MAX_REQUEST_BYTES || (isStartKnown && announced > MAX_REQUEST_BYTES)) {
        limit ??= limitOf?.(Buffer.concat(chunks)) ?? MAX_REQUEST_BYTES;
        if (Math.max(length, announced) > limit) throw tooLong(limit);
      }
    }
    // If other code has read the body, it looks empty, and an empty body names all secrets.
    if (length === 0 && announced > 0) throw invalidRequest('its body was already read');
    return Buffer.concat(chunks);
  } catch (thrown) {
    if (thrown instanceof RotationError) throw thrown;
    throw invalidRequest('it ended before its body was complete', { cause: thrown });
  } finally {
    request.resume();
  }
}

/** @param reason continues "The request is invalid, because". It must not quote the request, which could contain a secret */
export function invalidRequest(reason: string, options?: ErrorOptions): RotationError {
  return new RotationError(
    'INVALID_REQUEST',
    {
      problem: `The request is invalid, because ${reason}. Nothing was done.`,
      action: 'Correct the request. docs/reference/requests.md describes it.',
    },
    options,
  );
}

export function tooLong(limit: number): RotationError {
  return invalidRequest(`its body is longer than ${limit} bytes`);
}
