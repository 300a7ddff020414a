/** Publishes an operator request, and waits for its result in the log: from the arguments to the exit code. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Environment } from '../../src/config/variables';
import { systemClock, type Clock } from '../../src/clock';
import { DAY, HOUR, isoTime, SECOND } from '../../src/duration';
import { RotationError } from '../../src/errors';
import { HttpClient } from '../../src/momento/http-client';
import type { Terminal } from '../terminal';
import { isMessageId, parseOptions, USAGE, type Options } from './options';
import { isFinal, isRetried, isSuccess, lastLines, remarksOn, show, type Line } from './result';

/** Cloud Logging allows 60 reads a minute in a project, and others read as well during an incident. */
const FIRST_PAUSE = 2 * SECOND;
const LONGEST_PAUSE = 10 * SECOND;

const CALL_TIMEOUT = 30 * SECOND;

export const HOSTS = {
  pubsub: 'https://pubsub.googleapis.com',
  logging: 'https://logging.googleapis.com',
};

export interface CommandContext {
  /** Ends the waiting. */
  readonly signal: AbortSignal;
  readonly clock?: Clock;
  readonly hosts?: typeof HOSTS;
}

const LOGIN = 'gcloud has no valid login. Run `gcloud auth login`.';

/** A failure whose message the command prints before it exits with 1. */
class Failure extends Error {}

/** @returns 0 if the request succeeded, 1 if it didn't, 2 if the arguments are invalid, 130 after an interruption */
export async function sendRequest(
  args: readonly string[],
  env: Environment,
  { stdout, stderr }: Pick<Terminal, 'stdout' | 'stderr'>,
  surroundings: CommandContext,
): Promise<number> {
  if (args.includes('--help')) {
    stdout.write(USAGE);
    return 0;
  }
  const options = parseOptions(args, env);
  if (typeof options === 'string') {
    stderr.write(`${options}\n\n${USAGE}`);
    return 2;
  }
  try {
    const token = await accessToken(env);
    const lines = await new Request(options, token, stderr, {
      clock: systemClock,
      hosts: HOSTS,
      ...surroundings,
    }).result();
    if (lines === undefined) return 130;
    stdout.write(`${show(lines)}\n`);
    return lines.every(isSuccess) ? 0 : 1;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    stderr.write(`${error.message}\n`);
    return 1;
  }
}

class Request {
  constructor(
    private readonly options: Options,
    private readonly token: string,
    private readonly stderr: Terminal['stderr'],
    private readonly surroundings: Required<CommandContext>,
  ) {}

  /** @returns the lines that count; undefined after an interruption */
  async result(): Promise<Line[] | undefined> {
    const messageId = this.options.messageId ?? (await this.#publish());
    const watch = `npm run request -- watch ${messageId} --project=${this.options.project}`;
    // Print the id before the wait, because a killed process prints nothing.
    if (this.options.messageId === undefined) {
      this.#say(`Published message ${messageId}. To see its result later: ${watch}`);
    }
    try {
      const lines = await this.#waitFor(messageId);
      if (lines === undefined)
        this.#say(`Interrupted. The rotator goes on. See the result: ${watch}`);
      return lines;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      throw new Failure(`${error.message} Then see the result: ${watch}`);
    }
  }

  async #publish(): Promise<string> {
    const { project, topic, request } = this.options;
    const name = `projects/${project}/topics/${topic}`;
    const data = Buffer.from(JSON.stringify(request)).toString('base64');
    try {
      const body = { messages: [{ data }] };
      const answer = await this.#post('pubsub', `/v1/${name}:publish`, body);
      const [messageId] = (answer.body.messageIds ?? []) as unknown[];
      if (answer.status === 200 && isMessageId(messageId)) return messageId;
      const isRefused = answer.status >= 400 && answer.status < 500;
      throw new Failure(`${impactOf(!isRefused)} ${refusal(answer.status, name)}`);
    } catch (error) {
      if (!(error instanceof RotationError)) throw error;
      const impact = impactOf(error.outcomeUnknown);
      throw new Failure(`${impact} ${error.problem} Repeat the command.`);
    }
  }

  async #waitFor(messageId: string): Promise<Line[] | undefined> {
    const { project, waitMs, request } = this.options;
    const { clock, signal } = this.surroundings;
    const deadline = clock.monotonic() + waitMs;
    // The hour allows for a wrong clock. A message that is watched later can be a week old, Pub/Sub's limit.
    const since = clock.now() - (request === undefined ? 8 * DAY : HOUR);
    const query = {
      resourceNames: [`projects/${project}`],
      filter: [
        'resource.type="cloud_run_revision"',
        `jsonPayload.messageId="${messageId}"`,
        `timestamp>="${isoTime(since)}"`,
      ].join(' AND '),
      orderBy: 'timestamp asc',
      pageSize: 1000,
    };
    let announced = 0;
    for (let pause = FIRST_PAUSE; ; pause = Math.min(pause * 1.5, LONGEST_PAUSE)) {
      await clock.sleep(pause, signal);
      if (signal.aborted) return undefined;
      const lines = await this.#read(query, deadline);
      const retried = (lines ?? []).filter(isRetried);
      for (const line of retried.slice(announced)) {
        this.#say(`${remarksOn(line).join('\n')}\nPub/Sub delivers the request again.`);
      }
      announced = Math.max(announced, retried.length);
      const last = lastLines(lines ?? []);
      if (isFinal(last)) return last;
      if (clock.monotonic() < deadline) continue;
      this.#say(show(last));
      const problem = lines === undefined ? "the log can't be read" : 'the log has no final result';
      throw new Failure(
        `The waiting time is over, and ${problem}. Check docs/operate/runbook.md#no-run-happens.`,
      );
    }
  }

  /** @returns undefined if Cloud Logging doesn't answer */
  async #read(query: object, deadline: number): Promise<Line[] | undefined> {
    const { clock, signal } = this.surroundings;
    const lines: Line[] = [];
    let pageToken: string | undefined;
    for (;;) {
      const { status, body } = await this.#post('logging', '/v2/entries:list', {
        ...query,
        pageToken,
      }).catch((error: unknown) => {
        if (error instanceof RotationError) return { status: 0, body: {} };
        throw error;
      });
      if (status === 401) throw new Failure(LOGIN);
      if (status === 403) {
        throw new Failure("You can't read the log. Ask for roles/logging.viewer on the project.");
      }
      if (status !== 200) return undefined;
      // A page can be empty even if more pages follow.
      const { entries = [], nextPageToken } = body as Page;
      lines.push(...entries.map(({ jsonPayload }) => jsonPayload));
      if (nextPageToken === undefined) return lines;
      pageToken = nextPageToken;
      await clock.sleep(FIRST_PAUSE, signal);
      if (signal.aborted || clock.monotonic() >= deadline) return undefined;
    }
  }

  /**
   * Both APIs charge the project of the resource, so no header names a quota project:
   * https://cloud.google.com/docs/quotas/quota-project
   *
   * @throws RotationError without an answer
   */
  async #post(api: keyof typeof HOSTS, path: string, body: object): Promise<Answer> {
    const { clock, hosts } = this.surroundings;
    const client = new HttpClient(new URL(hosts[api]), { clock, timeoutMs: CALL_TIMEOUT });
    const authorization = `Bearer ${this.token}`;
    const limits = { deadline: clock.monotonic() + CALL_TIMEOUT };
    try {
      const exchange = { method: 'POST', path, authorization, body } as const;
      const { status, text = '' } = await client.send(exchange, limits);
      return { status, body: parse(text) };
    } finally {
      client.close();
    }
  }

  #say(text: string): void {
    this.stderr.write(`${text}\n`);
  }
}

interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

interface Page {
  readonly entries?: readonly { readonly jsonPayload: Line }[];
  readonly nextPageToken?: string;
}

/** The impact of a failure. Repeating the request is safe: at worst, the rotator acts twice. */
function impactOf(mightBePublished: boolean): string {
  return mightBePublished ? 'The request might be published.' : 'Nothing was published.';
}

function refusal(status: number, topic: string): string {
  switch (status) {
    case 401:
      return LOGIN;
    case 403:
      return `You can't publish to ${topic}. Ask for roles/pubsub.publisher on the topic.`;
    case 404:
      return `The topic ${topic} doesn't exist. Check --project and --topic.`;
    default:
      return `Pub/Sub answered HTTP ${status}. Repeat the command.`;
  }
}

function parse(text: string): Answer['body'] {
  try {
    return (JSON.parse(text) ?? {}) as Answer['body'];
  } catch {
    return {};
  }
}

/** Application default credentials exist only after a second login, so this uses gcloud's own login. */
async function accessToken(env: Environment): Promise<string> {
  try {
    const args = ['auth', 'print-access-token', '--quiet'];
    const { stdout } = await promisify(execFile)('gcloud', args, { env: { ...env } });
    return stdout.trim();
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    const problem = isMissing ? 'gcloud is missing. Install it, or use Cloud Shell.' : LOGIN;
    throw new Failure(`${impactOf(false)} ${problem}`);
  }
}
