import { HttpHost, HttpRefusal, type HttpAnswer, type HttpRequest } from './http-host';
import { Ledger, Emulator } from './emulator';

/** A structured line that the function writes. */
type Line = Readonly<Record<string, unknown>>;

interface Entry {
  readonly writtenAt: number;
  readonly answer: object;
  readonly jsonPayload: Line;
}

interface Query {
  readonly resourceNames?: readonly string[];
  readonly filter?: string;
  readonly orderBy?: string;
  readonly pageSize?: number;
  readonly pageToken?: string;
}

/** https://cloud.google.com/logging/quotas */
const READS_PER_MINUTE = 60;

/**
 * Cloud Logging's `entries:list` for the lines of one function. The emulator supports equality of a field, a minimum time, and
 * `AND`. All other filters fail with 400, because a test must not pass with an ignored filter.
 *
 * https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list
 */
export class LoggingEmulator extends Emulator {
  /** How long a line stays invisible after it was written. */
  delayMs = 0;
  /** How many reads first return an empty page, like a search that runs out of time. */
  emptyPages = 0;
  readonly #entries: Entry[] = [];
  #reads: number[] = [];

  private constructor(now: () => number) {
    const http = new HttpHost('logging');
    super(http, new Ledger(now));
    http.serve({
      ListEntries: {
        method: 'POST',
        path: /^\/v2\/entries:list$/,
        act: ({ body }: HttpRequest) => this.#list(body ?? {}),
      },
    });
  }

  static start({ now }: { now: () => number } = Date): Promise<LoggingEmulator> {
    return new LoggingEmulator(now).listen();
  }

  /** Adds a line. As in Cloud Run, the severity becomes a field of the entry. */
  write(line: Line): void {
    const { severity, ...jsonPayload } = line;
    const timestamp = new Date(this.now()).toISOString();
    const resource = { type: 'cloud_run_revision', labels: { location: 'us-central1' } };
    const insertId = String(this.#entries.length + 1);
    this.#entries.push({
      writtenAt: this.now(),
      answer: { insertId, timestamp, receiveTimestamp: timestamp, resource, severity, jsonPayload },
      jsonPayload,
    });
  }

  #list({ resourceNames, filter = '', orderBy, pageSize = 50, pageToken }: Query): HttpAnswer {
    this.#count();
    if (resourceNames?.length !== 1 || !/^projects\/[^/]+$/.test(resourceNames[0] ?? '')) {
      throw refusal(400, 'INVALID_ARGUMENT', 'resource_names is invalid');
    }
    const tests = filter.split(' AND ').map(parseTerm);
    const found = this.#entries.filter(
      (entry) => entry.writtenAt + this.delayMs <= this.now() && tests.every((test) => test(entry)),
    );
    if (orderBy === 'timestamp desc') found.reverse();
    const start = Number(pageToken ?? 0);
    if (this.emptyPages > 0) {
      this.emptyPages -= 1;
      return { answer: { nextPageToken: String(start) }, corrupted: {} };
    }
    const end = start + pageSize;
    const entries = found.slice(start, end).map(({ answer }) => answer);
    return {
      answer: {
        ...(entries.length > 0 && { entries }),
        ...(end < found.length && { nextPageToken: String(end) }),
      },
      corrupted: {},
    };
  }

  #count(): void {
    this.#reads = [...this.#reads.filter((at) => at > this.now() - 60_000), this.now()];
    if (this.#reads.length > READS_PER_MINUTE) {
      throw refusal(429, 'RESOURCE_EXHAUSTED', 'Quota exceeded for Read requests per minute');
    }
  }
}

function parseTerm(term: string): (entry: Entry) => boolean {
  const [, path = '', operator, value = ''] = /^([\w.]+)(=|>=)"([^"]*)"$/.exec(term) ?? [];
  if (path === 'timestamp' && operator === '>=') {
    return ({ writtenAt }) => writtenAt >= Date.parse(value);
  }
  if (path === 'resource.type' && operator === '=') return () => value === 'cloud_run_revision';
  const [, field] = /^jsonPayload\.(\w+)$/.exec(path) ?? [];
  if (field === undefined || operator !== '=') {
    throw refusal(400, 'INVALID_ARGUMENT', `Unparseable filter: ${term}`);
  }
  return ({ jsonPayload }) => jsonPayload[field] === value;
}

function refusal(code: number, status: string, message: string): HttpRefusal {
  return new HttpRefusal(code, { error: { code, message, status } });
}
