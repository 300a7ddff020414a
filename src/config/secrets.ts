/** The variable SECRETS, in both its forms. */
import * as v from 'valibot';
import { DURATION, parseDuration } from '../duration';
import type { Secret } from '../rotation/ports';
import { parseSecretName } from '../secret-name';

const FULL_NAME =
  'a full name, projects/PROJECT/secrets/SECRET or projects/PROJECT/locations/LOCATION/secrets/SECRET';

// Momento's own roles look like r-owner, custom ones like r-abcdefg; only what could not be an id at all is refused.
const role = v.pipe(
  v.string('role must be text'),
  v.regex(/^[\w.-]{1,100}$/, 'role must be the id of a role, such as r-viewer'),
);

const lifetime = v.pipe(
  v.string('lifetime must be text'),
  v.transform(parseDuration),
  v.number(`lifetime must be ${DURATION}`),
  v.minValue(1, 'lifetime must be more than 0'),
);

const Entry = v.strictObject(
  {
    name: v.string('name must be text'),
    role: v.optional(role),
    lifetime: v.optional(lifetime),
    payload: v.optional(v.picklist(['json', 'key'], 'payload must be json or key'), 'json'),
  },
  'it must be a name, or an object with name, and with role, lifetime and payload where they are wanted',
);

/**
 * Reads SECRETS: names with commas between them, or a JSON list of names and of objects.
 *
 * @param problems what is wrong is added to it, without quoting any of it: it may be a secret in the wrong variable
 */
export function parseSecrets(text: string, problems: string[]): Secret[] {
  const entries = text.trimStart().startsWith('[') ? parseList(text, problems) : splitNames(text);
  if (entries?.length === 0) {
    problems.push('SECRETS must name at least one secret, as projects/PROJECT/secrets/SECRET');
  }
  const secrets = (entries ?? []).flatMap((entry, index) =>
    parseEntry(entry, (problem) => problems.push(`entry ${index + 1} of SECRETS: ${problem}`)),
  );
  if (new Set(secrets.map(({ name }) => name)).size < secrets.length) {
    problems.push('SECRETS names a secret more than once');
  }
  return secrets;
}

function splitNames(text: string): string[] {
  return text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}

function parseList(text: string, problems: string[]): unknown[] | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (Array.isArray(value)) return value as unknown[];
  } catch {
    // Told below, and without the parser's message, which quotes the text.
  }
  problems.push('SECRETS begins like a JSON list and is none');
  return undefined;
}

function parseEntry(entry: unknown, report: (problem: string) => void): Secret[] {
  const parsed = v.safeParse(Entry, typeof entry === 'string' ? { name: entry } : entry);
  if (!parsed.success) {
    for (const problem of new Set(parsed.issues.map(({ message }) => message))) report(problem);
    return [];
  }
  const { name, role, lifetime, payload } = parsed.output;
  const secret = parseSecretName(name);
  if (secret === undefined) {
    report(`it is not ${FULL_NAME}`);
    return [];
  }
  return [
    {
      ...secret,
      payload,
      ...(role !== undefined && { role }),
      ...(lifetime !== undefined && { lifetimeMs: lifetime }),
    },
  ];
}
