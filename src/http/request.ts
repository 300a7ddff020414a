/** A request to rotate: its body, and the header by which Cloud Scheduler says which run it is. */
import * as v from 'valibot';
import { RotationError } from '../errors';
import type { Secret } from '../rotation/ports';
import { parseSecretName } from '../secret-name';
import { badRequest } from './body';

export interface RotateRequest {
  readonly secrets: readonly Secret[];
  readonly force: boolean;
  readonly dryRun: boolean;
}

// To the library a list is an object, too.
const Body = v.pipe(
  v.custom<object>(
    (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
    'it is not a JSON object',
  ),
  v.strictObject(
    {
      secrets: v.optional(
        v.pipe(
          v.array(v.string("'secrets' holds what is not a string"), "'secrets' is not a list"),
          v.minLength(1, "'secrets' is an empty list; leave it out to name all"),
        ),
      ),
      force: v.optional(v.boolean("'force' is not true or false"), false),
      dryRun: v.optional(v.boolean("'dryRun' is not true or false"), false),
    },
    "it has fields other than 'secrets', 'force' and 'dryRun'",
  ),
);

/**
 * Reads the body, whatever its content type: Cloud Scheduler's default is octet-stream.
 *
 * @throws RotationError INVALID_REQUEST, SECRET_NOT_CONFIGURED
 */
export function parseRotateRequest(body: Buffer, configured: readonly Secret[]): RotateRequest {
  const parsed = v.safeParse(Body, body.length === 0 ? {} : parseJson(body), { abortEarly: true });
  if (!parsed.success) throw badRequest(parsed.issues[0].message);
  const { secrets, force, dryRun } = parsed.output;
  if (secrets === undefined) return { secrets: configured, force, dryRun };
  const named = secrets.map((name, index) => findSecret(name, index, configured));
  return { secrets: [...new Set(named)], force, dryRun };
}

/** RFC 3339, the same in all tries of one scheduled run; a run by hand may have none. */
export function parseScheduleTime(header: string | undefined): number | undefined {
  if (header === undefined || header.trim() === '') return undefined;
  const isRfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(header.trim());
  const time = isRfc3339 ? Date.parse(header) : NaN;
  if (Number.isNaN(time)) throw badRequest('X-CloudScheduler-ScheduleTime is not an RFC 3339 time');
  return time;
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw badRequest('it is not JSON in UTF-8');
  }
}

function findSecret(name: string, index: number, configured: readonly Secret[]): Secret {
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
