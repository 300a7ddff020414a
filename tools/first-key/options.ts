/** Parses the options of `npx tsx tools/first-key.ts`, and lists every problem with them. */
import { parseArgs } from 'node:util';
import {
  AllCaches,
  AllTopics,
  CacheRole,
  TopicRole,
  type CacheSelector,
  type Permission,
  type Permissions,
} from '@gomomento/sdk';
import { reader, readServices, type Environment, type Services } from '../../src/config/variables';
import { DURATION, parseDuration } from '../../src/duration';
import { parseSecretName, type SecretName } from '../../src/secret-name';

export interface Options extends Services {
  readonly lifetimeMs: number;
  readonly permissions: Permissions;
  /** The secret with the super user key. Without this option, the key is read from standard input. */
  readonly from?: SecretName | undefined;
  /** The secret to add the new key to. Without this option, the key is written to standard output. */
  readonly to?: SecretName | undefined;
}

export const USAGE = `npx tsx tools/first-key.ts --lifetime 30d (--all-caches | --cache NAME ...)
    [--access read|write|read-write] [--topics subscribe|publish|publish-subscribe] [--from SECRET] [--to SECRET]

The super user key is read from standard input, or with --from from a secret. It can't be an argument, because other processes
see arguments. The new key is written to standard output, or with --to added to a secret that has no version yet.
SECRET is projects/PROJECT/secrets/NAME or projects/PROJECT/locations/LOCATION/secrets/NAME.
`;

const OPTIONS = {
  lifetime: { type: 'string' },
  'all-caches': { type: 'boolean' },
  cache: { type: 'string', multiple: true },
  access: { type: 'string' },
  topics: { type: 'string' },
  from: { type: 'string' },
  to: { type: 'string' },
} as const;

type Name = keyof typeof OPTIONS;

const ACCESS = new Map([
  ['read', CacheRole.ReadOnly],
  ['write', CacheRole.WriteOnly],
  ['read-write', CacheRole.ReadWrite],
]);
const TOPICS = new Map([
  ['subscribe', TopicRole.SubscribeOnly],
  ['publish', TopicRole.PublishOnly],
  ['publish-subscribe', TopicRole.PublishSubscribe],
]);

/** @returns the options or the problems. No problem quotes an argument, because it might be a key in the wrong place. */
export function parseOptions(args: readonly string[], env: Environment): Options | string[] {
  const problems: string[] = [];
  const values = readArguments(args, problems);

  function one<T>(name: Name, parse: (text: string) => T | undefined, expected: string) {
    const [text = ''] = values.get(name) ?? [];
    const value = text === '' ? undefined : parse(text);
    if (text !== '' && value === undefined) problems.push(`--${name} must be ${expected}`);
    return value;
  }

  const lifetimeMs = one('lifetime', parseLifetime, `more than 0: ${DURATION}`);
  const cacheRole = one('access', (text) => ACCESS.get(text), 'read, write or read-write');
  const topicRole = one(
    'topics',
    (text) => TOPICS.get(text),
    'subscribe, publish or publish-subscribe',
  );
  const from = one('from', parseSecretName, 'the full name of a secret');
  const to = one('to', parseSecretName, 'the full name of a secret');
  const services = readServices(reader(env, problems));

  if (!values.has('lifetime')) {
    problems.push("--lifetime is missing: a key that never expires can't be rotated");
  }
  if (values.has('all-caches') === values.has('cache')) {
    problems.push('give either --all-caches or --cache NAME');
  }
  if (!values.has('access') && !values.has('topics')) {
    problems.push('give --access or --topics: a key without permissions is useless');
  }
  if (problems.length > 0 || lifetimeMs === undefined) return problems;

  const caches: CacheSelector[] = values.get('cache') ?? [AllCaches];
  const permissions = caches.flatMap((cache) => forCache(cache, cacheRole, topicRole));
  return { ...services, lifetimeMs, permissions: { permissions }, from, to };
}

function forCache(
  cache: CacheSelector,
  cacheRole: CacheRole | undefined,
  topicRole: TopicRole | undefined,
): Permission[] {
  const permissions: Permission[] = [];
  if (cacheRole !== undefined) permissions.push({ role: cacheRole, cache });
  if (topicRole !== undefined) permissions.push({ role: topicRole, cache, topic: AllTopics });
  return permissions;
}

/** Returns the values of each option. `parseArgs` in strict mode would stop at the first problem, and quote it. */
function readArguments(args: readonly string[], problems: string[]): Map<Name, string[]> {
  const { tokens } = parseArgs({
    args: [...args],
    options: OPTIONS,
    strict: false,
    tokens: true,
  });
  const values = new Map<Name, string[]>();
  for (const token of tokens) {
    if (token.kind !== 'option' || !isName(token.name)) {
      problems.push(`argument ${token.index + 1} is unknown`);
      continue;
    }
    const { name, value, inlineValue } = token;
    const { type, multiple = false }: { type: string; multiple?: boolean } = OPTIONS[name];
    // In `--lifetime --from`, the next option follows instead of a value.
    const isLeftOut =
      value === undefined || value === '' || (!inlineValue && value.startsWith('-'));
    if (type === 'string' && isLeftOut) problems.push(`--${name} needs a value`);
    if (type === 'boolean' && value !== undefined) problems.push(`--${name} takes no value`);
    if (values.has(name) && !multiple) problems.push(`--${name} is given more than once`);
    values.set(name, [...(values.get(name) ?? []), isLeftOut ? '' : value]);
  }
  return values;
}

function isName(name: string): name is Name {
  return Object.hasOwn(OPTIONS, name);
}

function parseLifetime(text: string): number | undefined {
  const ms = parseDuration(text);
  return ms === 0 ? undefined : ms;
}
