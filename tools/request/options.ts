/** The arguments of `npm run request`. */
import { parseArgs } from 'node:util';
import type { Environment } from '../../src/config/variables';
import { MINUTE, parseDuration } from '../../src/duration';

export const USAGE = `Usage: npm run request -- ACTION [OPTIONS]

  rotate          rotate now, due or not
  dry-run         show what a run would do
  status          show the state of each secret
  compromised     replace leaked keys and revoke the old ones
  watch ID        show the result of a message that is already published

  --project=P     default: the variable GOOGLE_CLOUD_PROJECT
  --topic=T       default: momento-key-rotator-requests
  --secret=S      short or full name, can be repeated. Default: all secrets
  --reason=TEXT   text for the log
  --wait=15m      how long to wait for the result
  --all, --revoke-first, --since=TIME   only with compromised
`;

export interface Options {
  readonly project: string;
  readonly topic: string;
  readonly waitMs: number;
  /** The request to publish. The function checks it. Unset if the command watches a published message. */
  readonly request?: object;
  readonly messageId?: string;
}

const ACTIONS = new Map<string | undefined, object>([
  ['rotate', { force: true }],
  ['dry-run', { dryRun: true }],
  ['status', { status: true }],
  ['compromised', { compromised: true }],
]);

/** @returns the options, or a problem that quotes no argument, because an argument could be a key */
export function parseOptions(args: readonly string[], env: Environment): Options | string {
  const parsed = readArguments(args);
  if (parsed === undefined) return 'There is an unknown option, or an option without its value.';
  const { values, positionals } = parsed;
  const [action, messageId] = positionals;
  const { topic, all, since, reason, secret: secrets, 'revoke-first': revokeFirst } = values;
  const project = values.project ?? env.GOOGLE_CLOUD_PROJECT ?? '';
  const waitMs = parseDuration(values.wait) ?? 0;
  if (!/^[\w.:-]+$/.test(project)) return 'The project is missing or invalid. Add --project.';
  if (!/^[\w.~+%-]+$/.test(topic)) return '--topic must be the short name of a topic.';
  // gcloud's tokens are valid for an hour.
  if (waitMs < MINUTE || waitMs > 50 * MINUTE) return '--wait must be between 1m and 50m.';
  const common = { project, topic, waitMs };
  const fields = ACTIONS.get(action);
  if (fields !== undefined && positionals.length === 1) {
    return { ...common, request: { ...fields, secrets, all, since, revokeFirst, reason } };
  }
  const isWatch = action === 'watch' && positionals.length === 2;
  if (isWatch && isMessageId(messageId)) return { ...common, messageId };
  return 'The action must be rotate, dry-run, status, compromised, or watch with the id of a message.';
}

export function isMessageId(value: unknown): value is string {
  return typeof value === 'string' && /^[\w.-]{1,64}$/.test(value);
}

function readArguments(args: readonly string[]) {
  const options = {
    project: { type: 'string' },
    topic: { type: 'string', default: 'momento-key-rotator-requests' },
    secret: { type: 'string', multiple: true },
    reason: { type: 'string' },
    since: { type: 'string' },
    wait: { type: 'string', default: '15m' },
    all: { type: 'boolean' },
    'revoke-first': { type: 'boolean' },
  } as const;
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch {
    return undefined;
  }
}
