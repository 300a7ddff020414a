/** The variable SECRETS, as names or as JSON. */
import * as v from 'valibot';
import { DURATION, parseDuration } from '../duration';
import type { Secret } from '../rotation/ports';
import { parseSecretName } from '../secret-name';

const FULL_NAME =
  'a full name such as projects/PROJECT/secrets/SECRET or projects/PROJECT/locations/LOCATION/secrets/SECRET';

// Momento's own roles look like r-owner, custom roles like r-abcdefg. The pattern refuses only impossible ids.
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
    payload: v.optional(v.picklist(['json', 'key'], 'payload must be json or key')),
  },
  'it must be a name, or an object with the field name and optionally role, lifetime and payload',
);

type Entry = v.InferOutput<typeof Entry>;

interface SecretsOptions {
  /** Whether a management key is configured. Without one, role, lifetime and payload have no effect. */
  readonly canMint: boolean;
}

/**
 * Reads SECRETS: comma-separated names, or a JSON list of names and of objects.
 *
 * @param problems gets a sentence without a period for each problem. The sentences don't quote the text, because it could be
 *   a secret in the wrong variable
 */
export function parseSecrets(
  text: string,
  { canMint }: SecretsOptions,
  problems: string[],
): Secret[] {
  const entries = text.trimStart().startsWith('[') ? parseList(text, problems) : splitNames(text);
  if (entries?.length === 0) {
    problems.push('SECRETS must name at least one secret, as projects/PROJECT/secrets/SECRET');
  }
  const secrets = (entries ?? []).flatMap((entry, index) => {
    const report = (problem: string) =>
      void problems.push(`Entry ${index + 1} of SECRETS: ${problem}`);
    return parseEntry(entry, canMint, report);
  });
  if (new Set(secrets.map(({ name }) => name)).size < secrets.length) {
    problems.push('SECRETS must name each secret only once');
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
    // The parser's message quotes the text, so it isn't reported.
  }
  problems.push("SECRETS starts like a JSON list and isn't valid JSON");
  return undefined;
}

function parseEntry(value: unknown, canMint: boolean, report: (problem: string) => void): Secret[] {
  const parsed = v.safeParse(Entry, typeof value === 'string' ? { name: value } : value);
  if (!parsed.success) {
    for (const problem of new Set(parsed.issues.map(({ message }) => message))) report(problem);
    return [];
  }
  const { name, role, lifetime, payload = 'json' } = parsed.output;
  for (const problem of withoutEffect(parsed.output, canMint)) report(problem);
  const secret = parseSecretName(name);
  if (secret === undefined) {
    report(`the name must be ${FULL_NAME}`);
    return [];
  }
  return [{ ...secret, role, lifetimeMs: lifetime, payload }];
}

function withoutEffect(entry: Entry, canMint: boolean): string[] {
  if (!canMint) {
    return (['role', 'lifetime', 'payload'] as const)
      .filter((field) => entry[field] !== undefined)
      .map((field) => `${field} needs MANAGEMENT_KEY, because it applies only to minted keys`);
  }
  return entry.payload !== undefined && entry.role === undefined
    ? ['payload needs role, because only a secret with a role gets its first key minted']
    : [];
}
