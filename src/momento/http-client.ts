/** HTTP with bounds: on the time of a whole exchange, on the size of an answer, on who is asked. */
import http, { type ClientRequest, type IncomingMessage } from 'node:http';
import https from 'node:https';
import { urlToHttpOptions } from 'node:url';
import { SECOND } from '../duration';
import { RotationError } from '../errors';

export interface Exchange {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** With its query. */
  readonly path: string;
  /** The header's whole value. */
  readonly authorization: string;
  /** Sent as JSON. */
  readonly body?: object;
}

export interface Answer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  /** Undefined for one that is longer than is allowed. */
  readonly text: string | undefined;
}

export interface Bounds {
  readonly timeoutMs: number;
  readonly maxBytes: number;
}

const BOUNDS: Bounds = { timeoutMs: 10 * SECOND, maxBytes: 1024 * 1024 };

/**
 * Sends what a caller asks for to one server, and nowhere else: redirects are answers like others, and go to the caller.
 * Certificates are checked whatever NODE_TLS_REJECT_UNAUTHORIZED says.
 */
export class HttpClient {
  readonly #base: URL;
  readonly #bounds: Bounds;
  readonly #http: typeof http | typeof https;
  readonly #agent;

  constructor(base: URL, bounds: Partial<Bounds> = {}) {
    this.#base = base;
    this.#bounds = { ...BOUNDS, ...bounds };
    this.#http = base.protocol === 'http:' ? http : https;
    this.#agent = new this.#http.Agent({ keepAlive: true, ...TLS });
  }

  /**
   * @throws RotationError MOMENTO_UNAVAILABLE if no whole answer came; what was sent over a connection that stood may have
   *   had its effect
   */
  async send({ method, path, authorization, body }: Exchange): Promise<Answer> {
    const content = body && JSON.stringify(body);
    const request = this.#http.request({
      ...urlToHttpOptions(this.#base),
      path,
      method,
      agent: this.#agent,
      ...TLS,
      headers: {
        accept: 'application/json',
        authorization,
        'user-agent': 'momento-key-rotator',
        ...(content !== undefined && {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(content),
        }),
      },
    });
    const isConnected = watchConnection(request);
    const timer = setTimeout(
      () => request.destroy(Object.assign(new Error(), { code: 'TIMEOUT' })),
      this.#bounds.timeoutMs,
    );
    try {
      const response = await new Promise<IncomingMessage>((resolve, reject) => {
        request.on('response', resolve).on('error', reject).end(content);
      });
      return {
        status: response.statusCode ?? 0,
        retryAfter: response.headers['retry-after'],
        text: await this.#read(response),
      };
    } catch (thrown) {
      throw unavailable(thrown, isConnected() && method !== 'GET');
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  async #read(response: IncomingMessage): Promise<string | undefined> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      // Leaving the loop ends the connection.
      if (bytes > this.#bounds.maxBytes) return undefined;
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString();
  }
}

const TLS = { rejectUnauthorized: true };

/** Whether there has been a connection over which the request may have gone out. */
function watchConnection(request: ClientRequest): () => boolean {
  let isConnected = false;
  request.on('socket', (socket) => {
    isConnected = request.reusedSocket;
    if (isConnected) return;
    socket.once(request.protocol === 'http:' ? 'connect' : 'secureConnect', () => {
      isConnected = true;
    });
  });
  return () => isConnected;
}

function unavailable(thrown: unknown, mayHaveHadEffect: boolean): RotationError {
  const { code = 'cut off' } = thrown as NodeJS.ErrnoException;
  return new RotationError(
    'MOMENTO_UNAVAILABLE',
    `Momento's key API gave no answer (${code}), also when tried again. Readers keep the newest version. The ` +
      'next run goes on.',
    // The thrown error is not kept: a parser's holds all of what it could not parse.
    { mayHaveHadEffect },
  );
}
