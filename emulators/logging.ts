import { HttpHost, type HttpAnswer, type HttpRequest } from './http-host';
import { Ledger, LocalService } from './local-service';

/** A structured line that the function wrote. */
type Line = Readonly<Record<string, unknown>>;

/**
 * Cloud Logging's `entries:list`, as far as `npm run request` uses it: it returns the lines of one message, which the filter
 * names, in pages of one entry.
 */
export class LoggingEmulator extends LocalService {
  /** How many calls find nothing: Cloud Logging shows an entry some seconds after it was written. */
  lateBy = 0;
  readonly #lines: () => readonly Line[];

  private constructor(lines: () => readonly Line[]) {
    const http = new HttpHost('logging');
    super(http, new Ledger(Date.now));
    this.#lines = lines;
    http.serve({
      ListEntries: {
        method: 'POST',
        path: /^\/v2\/entries:list$/,
        act: (request) => this.#list(request),
      },
    });
  }

  /** @param lines what the function has written until now */
  static start(lines: () => readonly Line[]): Promise<LoggingEmulator> {
    return new LoggingEmulator(lines).listen();
  }

  #list({ body }: HttpRequest): HttpAnswer {
    const { filter = '', pageToken = '0' } = body as { filter?: string; pageToken?: string };
    const id = /jsonPayload\.messageId="([^"]+)"/.exec(filter)?.[1];
    if (this.lateBy > 0) {
      this.lateBy -= 1;
      return { answer: {}, corrupted: {} };
    }
    const found = this.#lines().filter(({ messageId }) => messageId === id);
    const index = Number(pageToken);
    const line = found[index];
    if (line === undefined) return { answer: {}, corrupted: {} };
    const { severity, ...jsonPayload } = line;
    return {
      answer: {
        entries: [{ severity, timestamp: new Date(this.now()).toISOString(), jsonPayload }],
        ...(index + 1 < found.length && { nextPageToken: String(index + 1) }),
      },
      corrupted: {},
    };
  }
}
