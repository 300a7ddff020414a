/** An HTTP client for one host, with limits for the time of an exchange and the size of an answer. */
import http, { type ClientRequest, type IncomingMessage } from 'node:http';
import https from 'node:https';
import { urlToHttpOptions } from 'node:url';
import { brotliDecompressSync, gunzipSync, inflateRawSync, inflateSync } from 'node:zlib';
import { HttpsProxyAgent } from 'https-proxy-agent';
import { withDeadline, type Clock } from '../clock';
import { SECOND } from '../duration';
import type { RotationError } from '../errors';
import { proxyFor } from '../proxy';
import type { CallLimits } from '../rotation/ports';
import { connectionFailed, unavailable } from './errors';

export interface Exchange {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** The path and the query. */
  readonly path: string;
  /** The value of the header `Authorization`. */
  readonly authorization: string;
  /** Sent as JSON. */
  readonly body?: object | undefined;
}

export interface HttpAnswer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  /** The decoded body, without a byte order mark. Undefined if decoding failed or the answer was too long. */
  readonly text: string | undefined;
  /** Why `text` is undefined, as the end of a sentence that begins with "it". */
  readonly problem?: string | undefined;
}

export interface HttpOptions {
  readonly clock: Clock;
  /** The longest time of one exchange. */
  readonly timeoutMs?: number | undefined;
  /** The longest body, before and after decoding. */
  readonly maxBytes?: number | undefined;
}

const TIMEOUT = 10 * SECOND;
const MAX_BYTES = 16 * 1024 * 1024;

/** Verifies certificates even if NODE_TLS_REJECT_UNAUTHORIZED is 0. */
const TLS = { rejectUnauthorized: true };

/** Sends requests to one server, through the proxy if one is configured. Redirects aren't followed. */
export class HttpClient {
  /** The host, for messages. */
  readonly host: string;
  readonly #base: URL;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #maxBytes: number;
  readonly #proxy: URL | undefined;
  readonly #agent: http.Agent;

  /** @param base an address with `http:` belongs to an emulator, which is never called through a proxy */
  constructor(base: URL, { clock, timeoutMs = TIMEOUT, maxBytes = MAX_BYTES }: HttpOptions) {
    this.host = base.host;
    this.#base = base;
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#maxBytes = maxBytes;
    const proxy = base.protocol === 'https:' ? proxyFor(base.hostname) : undefined;
    this.#proxy = proxy === undefined ? undefined : new URL(proxy);
    this.#agent =
      base.protocol === 'http:'
        ? new http.Agent({ keepAlive: true })
        : this.#proxy === undefined
          ? new https.Agent({ keepAlive: true, ...TLS })
          : new HttpsProxyAgent(this.#proxy, { keepAlive: true });
  }

  /**
   * @throws RotationError MOMENTO_UNAVAILABLE or CERTIFICATE_NOT_TRUSTED if no complete answer arrives. The outcome is
   *   unknown if a connection existed and the method isn't GET
   */
  async send(
    exchange: Exchange,
    limits: CallLimits,
    timeoutMs = this.#timeoutMs,
  ): Promise<HttpAnswer> {
    const deadline = Math.min(limits.deadline, this.#clock.monotonic() + timeoutMs);
    const request = this.#request(exchange);
    const progress = new Progress(request);
    const outcomeUnknown = (): boolean => progress.isConnected && exchange.method !== 'GET';
    const answer = this.#answer(request, exchange, progress).catch((thrown: unknown) => {
      request.destroy();
      throw this.#failure(thrown, progress, outcomeUnknown());
    });
    return withDeadline(this.#clock, deadline, answer, () => {
      request.destroy();
      throw unavailable(this.host, "didn't answer in time", { outcomeUnknown: outcomeUnknown() });
    });
  }

  close(): void {
    this.#agent.destroy();
  }

  #request({ method, path, authorization, body }: Exchange): ClientRequest {
    const client = this.#base.protocol === 'http:' ? http : https;
    return client.request({
      ...urlToHttpOptions(this.#base),
      path,
      method,
      agent: this.#agent,
      ...TLS,
      headers: {
        accept: 'application/json',
        // Compressed answers are decoded nevertheless: a proxy can ignore this.
        'accept-encoding': 'identity',
        authorization,
        'user-agent': 'momento-key-rotator',
        ...(body !== undefined && {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(JSON.stringify(body)),
        }),
      },
    });
  }

  async #answer(
    request: ClientRequest,
    { body }: Exchange,
    progress: Progress,
  ): Promise<HttpAnswer> {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      request
        .on('response', (answer: IncomingMessage) => {
          // No answer follows status 101.
          if (answer.statusCode === 101) reject(new FailedExchange(OTHER_PROTOCOL));
          else resolve(answer);
        })
        .on('error', reject)
        // Without a listener Node.js would close the connection without an event.
        .on('upgrade', (_response, socket) => {
          socket.destroy();
          reject(new FailedExchange(OTHER_PROTOCOL));
        })
        .on('proxyConnect', ({ statusCode }: { statusCode: number }) => {
          progress.isThroughProxy = statusCode === 200;
          if (statusCode !== 200)
            reject(new FailedExchange(`refused the connection (HTTP ${statusCode})`));
        })
        .on('close', () => reject(new FailedExchange('closed the connection without an answer')))
        .end(body && JSON.stringify(body));
    });
    return {
      status: response.statusCode ?? 0,
      retryAfter: response.headers['retry-after'],
      ...(await this.#read(response)),
    };
  }

  async #read(response: IncomingMessage): Promise<Pick<HttpAnswer, 'text' | 'problem'>> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      // Leaving the loop ends the connection.
      if (bytes > this.#maxBytes) return { text: undefined, problem: 'is too long' };
      chunks.push(chunk);
    }
    try {
      const encodings = (response.headers['content-encoding'] ?? '').split(',');
      const body = decompress(Buffer.concat(chunks), encodings, this.#maxBytes);
      // TextDecoder removes the byte order mark.
      return { text: new TextDecoder().decode(body) };
    } catch {
      return { text: undefined, problem: "can't be decompressed" };
    }
  }

  #failure(thrown: unknown, progress: Progress, outcomeUnknown: boolean): RotationError {
    const isProxy = this.#proxy !== undefined && !progress.isThroughProxy;
    const host = isProxy ? `The proxy ${this.#proxy.host}` : this.host;
    if (thrown instanceof FailedExchange)
      return unavailable(host, thrown.problem, { outcomeUnknown });
    // The error of Node's parser contains the received bytes, so it doesn't become the cause.
    const { code = '' } = thrown as NodeJS.ErrnoException;
    return connectionFailed({
      host,
      text: code,
      wasConnected: progress.isConnected,
      outcomeUnknown,
    });
  }
}

const OTHER_PROTOCOL = 'answered with another protocol (HTTP 101)';

/** A failure for which Node.js has no error. */
class FailedExchange extends Error {
  constructor(
    /** The end of a sentence that begins with the host. */
    readonly problem: string,
  ) {
    super(problem);
  }
}

/** How far a request has come. */
class Progress {
  /** Whether a connection existed over which the request might have been sent. */
  isConnected = false;
  isThroughProxy = false;

  constructor(request: ClientRequest) {
    request.on('socket', (socket) => {
      this.isConnected = request.reusedSocket;
      this.isThroughProxy ||= request.reusedSocket;
      if (this.isConnected) return;
      socket.once(request.protocol === 'http:' ? 'connect' : 'secureConnect', () => {
        this.isConnected = true;
      });
    });
  }
}

/** `maxOutputLength` also limits the work, so decoding can be synchronous. */
function decompress(body: Buffer, encodings: readonly string[], maxOutputLength: number): Buffer {
  const limits = { maxOutputLength };
  let decoded = body;
  for (const encoding of encodings.map((name) => name.trim().toLowerCase()).reverse()) {
    switch (encoding) {
      case '':
      case 'identity':
        break;
      case 'gzip':
      case 'x-gzip':
        decoded = gunzipSync(decoded, limits);
        break;
      case 'br':
        decoded = brotliDecompressSync(decoded, limits);
        break;
      case 'deflate': {
        try {
          decoded = inflateSync(decoded, limits);
        } catch {
          // Some servers omit the zlib header that RFC 9110 requires.
          decoded = inflateRawSync(decoded, limits);
        }
        break;
      }
      default:
        throw new Error('an unknown encoding');
    }
  }
  return decoded;
}
