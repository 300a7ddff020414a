/** Reads a rotate request: its target, its body, and Cloud Scheduler's header. */
import * as v from 'valibot';
import { DAY, SECOND } from '../duration';
import { RotationError } from '../errors';
import type { Secret } from '../rotation/ports';
import { parseSecretName } from '../secret-name';
import { invalidRequest } from './body';

export interface RotateRequest {
  readonly secrets: readonly Secret[];
  readonly force: boolean;
  readonly dryRun: boolean;
}

// The library accepts a list as an object.
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
      force: v.optional(v.boolean("'force' isn't true or false"), false),
      dryRun: v.optional(v.boolean("'dryRun' isn't true or false"), false),
    },
    "it has fields other than 'secrets', 'force' and 'dryRun'",
  ),
);

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
export function parseRotateRequest(body: Buffer, configured: readonly Secret[]): RotateRequest {
  const parsed = v.safeParse(Body, body.length === 0 ? {} : parseJson(body), { abortEarly: true });
  if (!parsed.success) throw invalidRequest(parsed.issues[0].message);
  const { secrets, force, dryRun } = parsed.output;
  if (secrets === undefined) return { secrets: configured, force, dryRun };
  const named = secrets.map((name, index) => findSecret(name, index, configured));
  return { secrets: [...new Set(named)], force, dryRun };
}

const TIME =
  /^(\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))T((?:[01]\d|2[0-3]):[0-5]\d:)([0-5]\d|60)((?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d))$/;

/**
 * The scheduled time of a run, which is the same in all attempts. Runs that an operator starts don't need one.
 *
 * @throws RotationError INVALID_REQUEST unless the header is empty or an RFC 3339 time
 */
export function parseScheduleTime(header = ''): number | undefined {
  const text = header.trim().toUpperCase();
  if (text === '') return undefined;
  const [, date = '', minute = '', second = '', rest = ''] = TIME.exec(text) ?? [];
  const isLeap = second === '60';
  const time = Date.parse(`${date}T${minute}${isLeap ? '59' : second}${rest}`);
  // Date reads 30 February as 2 March.
  const isDate = !Number.isNaN(time) && isoDate(date) === date;
  const next = isLeap ? time + SECOND : time;
  // A leap second ends a day in UTC.
  if (!isDate || (isLeap && next % DAY >= SECOND)) {
    throw invalidRequest("X-CloudScheduler-ScheduleTime isn't an RFC 3339 time");
  }
  return next;
}

function isoDate(date: string): string {
  return new Date(date).toISOString().slice(0, 10);
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw invalidRequest("its body isn't JSON in UTF-8");
  }
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
