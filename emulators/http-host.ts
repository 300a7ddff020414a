import { createServer, STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { FaultPlan, type RawAnswer, type Service } from './faults';
import type { Host } from './emulator';

/** A request as a route sees it. */
export interface HttpRequest {
  /** The named groups of the route's path, decoded. */
  readonly parts: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** All values of each header. */
  readonly headers: IncomingMessage['headersDistinct'];
  /** The parsed JSON; undefined for an empty body. */
  readonly body: unknown;
}

/** The answer of a route with status 200, and the answer that arrives instead if a fault corrupts it. */
export interface HttpAnswer {
  readonly answer: object;
  readonly corrupted: object;
}

/** A method and a path that the server serves. */
export interface Route {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: RegExp;
  /**
   * Carries out the request and returns the answer, in one synchronous step, so that no other request can interleave. Throws
   * an `HttpRefusal` for an error.
   */
  readonly act: (request: HttpRequest) => HttpAnswer;
}

/** An error with the status and the body that the client sees. */
export class HttpRefusal extends Error {
  constructor(
    readonly status: number,
    readonly body: object,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(JSON.stringify(body));
  }
}

interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: object;
  readonly corrupted: object;
}

/** Serves JSON over HTTP on a plaintext loopback port, with the faults of a plan. */
export class HttpHost implements Host {
  readonly faults = new FaultPlan();
  readonly #service: Service;
  readonly #routes = new Map<string, Route>();
  readonly #server = createServer((request, response) => void this.#handle(request, response));
  readonly #stopping = new AbortController();

  constructor(service: Service) {
    this.#service = service;
  }

  /**
   * Adds routes. The fault plan uses the names of routes, and the method and path of a request without a route. Requests
   * without a route fail with 405 if another method has a route with this path, and otherwise with 404.
   */
  serve(routes: Readonly<Record<string, Route>>): void {
    for (const [name, route] of Object.entries(routes)) this.#routes.set(name, route);
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    const { address, port } = this.#server.address() as AddressInfo;
    return `${address}:${port}`;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { signal } = this.#stopping;
    try {
      const sent = await text(request);
      const { pathname, searchParams } = new URL(request.url ?? '', 'http://localhost');
      const fitting = [...this.#routes].filter(([, { path }]) => path.test(pathname));
      const [name, route] = fitting.find(([, { method }]) => method === request.method) ?? [
        `${request.method} ${pathname}`,
      ];
      const asked = {
        parts: partsOf(route, pathname),
        query: searchParams,
        headers: request.headersDistinct,
        body: parsed(sent),
      };
      const received = this.faults.receive(this.#service, name, asked);
      let reply: Reply;
      await this.faults.conduct(
        received,
        {
          act: () => {
            try {
              if (route === undefined) throw refusal(fitting.length > 0 ? 405 : 404);
              if (asked.body === NOT_JSON) throw refusal(400, 'The body is not JSON');
              const { answer, corrupted } = route.act(asked);
              reply = { status: 200, headers: {}, body: answer, corrupted };
            } catch (error) {
              reply = refused(error);
            }
          },
          answer: (garbling) => {
            const { status, headers } = reply;
            for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
            const body = JSON.stringify(garbling === 'corrupt' ? reply.corrupted : reply.body);
            if (typeof garbling === 'function') sendRaw(response, status, garbling(body));
            else if (garbling === 'half') sendHalf(response, status, body);
            // The body stays complete, because the message of JSON.parse quotes a piece of it, which must not leak.
            else if (garbling === 'not-json') send(response, status, body.replace('{', '{,'));
            else send(response, status, body);
          },
          fail: (failure) => {
            switch (failure.kind) {
              case 'error':
                throw new Error('an HTTP service has no gRPC status');
              case 'html':
                response.setHeader('content-type', 'text/html; charset=UTF-8');
                send(response, failure.status, page(failure.status));
                break;
              case 'status': {
                const { status, retryAfter } = failure;
                if (retryAfter !== undefined) response.setHeader('retry-after', retryAfter);
                send(response, status, JSON.stringify(refusal(status, INJECTED).body));
              }
            }
          },
          drop: () => request.socket.resetAndDestroy(),
          upgrade: () =>
            request.socket.write(
              'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n',
            ),
        },
        signal,
      );
    } catch (error) {
      // If a client disconnects before the whole request arrived, the request doesn't count as a call.
      if (signal.aborted || !request.complete) return;
      const { status, body } = refused(error);
      send(response, status, JSON.stringify(body));
    }
  }
}

const INJECTED = 'injected by the test';
const NOT_JSON = Symbol('not JSON');

function parsed(sent: string): unknown {
  if (sent === '') return undefined;
  try {
    return JSON.parse(sent);
  } catch {
    return NOT_JSON;
  }
}

function partsOf(route: Route | undefined, pathname: string): Record<string, string> {
  const groups = route?.path.exec(pathname)?.groups ?? {};
  return Object.fromEntries(
    Object.entries(groups).map(([name, part]) => [name, decodeURIComponent(part)]),
  );
}

function refusal(status: number, message = STATUS_CODES[status] ?? ''): HttpRefusal {
  return new HttpRefusal(status, { code: STATUS_CODES[status], message });
}

function refused(error: unknown): Reply {
  const { status, headers, body } =
    error instanceof HttpRefusal ? error : refusal(500, `the emulator failed: ${String(error)}`);
  return { status, headers, body, corrupted: {} };
}

function sendRaw(
  response: ServerResponse,
  status: number,
  { status: other = status, headers = {}, body }: RawAnswer,
): void {
  response.writeHead(other, { 'content-type': 'application/json', ...headers }).end(body);
}

function send(response: ServerResponse, status: number, body: string): void {
  if (!response.hasHeader('content-type')) response.setHeader('content-type', 'application/json');
  response.writeHead(status, { 'content-length': Buffer.byteLength(body) }).end(body);
}

/** Sends the length of the whole answer and half of its bytes, and ends the connection. */
function sendHalf(response: ServerResponse, status: number, body: string): void {
  const whole = Buffer.from(body);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': whole.length,
  });
  response.write(whole.subarray(0, Math.floor(whole.length / 2)), () => response.destroy());
}

function page(status: number): string {
  const title = `${status} ${STATUS_CODES[status] ?? ''}`;
  return `<!DOCTYPE html>\n<html><head><title>${title}</title></head><body><h1>${title}</h1></body></html>\n`;
}
