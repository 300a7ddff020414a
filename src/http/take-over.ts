import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Log } from '../log';
import { invalidRequest } from './body';

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly socket: Socket;
}

/**
 * Leaves every request to the handler. Otherwise functions-framework would read, inflate and parse up to 1 GiB of a body
 * before the handler runs, and answer some paths in HTML or without a body. Node.js itself answers malformed HTTP without a
 * body. The framework doesn't expose its server, so this listens to the diagnostics channels of all servers of the process.
 *
 * @returns ends it, for tests, whose process has other servers
 */
export function takeOverRequests(log: Log): () => void {
  const lastExchange = new WeakMap<Socket, Exchange>();

  const takeOver = (message: unknown): void => {
    const exchange = message as Exchange;
    const { request, socket } = exchange;
    lastExchange.set(socket, exchange);
    // The framework reads only bodies with a content type.
    delete request.headers['content-type'];
    // It answers targets that it can't decode.
    request.url = simplified(request.url ?? '');
  };

  const known = new WeakSet<Server>();
  const listen = (message: unknown): void => {
    const { server } = (message as { socket: Socket & { server: Server } }).socket;
    if (known.has(server)) return;
    known.add(server);
    server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
      const last = lastExchange.get(socket);
      // If a request had begun, the handler sees the connection end and logs it.
      const isHandled = last !== undefined && !last.request.complete;
      const isMalformed = error.code?.startsWith('HPE_') === true;
      const { code, message, retryable } = invalidRequest(
        isHandled ? 'it ended before its body was complete' : "it isn't valid HTTP",
      );
      const answer = { error: { code, message, retryable } };
      if (isMalformed && !isHandled) {
        log({ severity: 'WARNING', message: `${code}: ${message}`, event: 'request', ...answer });
      }
      if (socket.writable && last?.response.headersSent !== true) socket.write(rawAnswer(answer));
      socket.destroySoon();
    });
  };

  subscribe('http.server.request.start', takeOver);
  subscribe('net.server.socket', listen);
  return () => {
    unsubscribe('http.server.request.start', takeOver);
    unsubscribe('net.server.socket', listen);
  };
}

/**
 * A request's target, a path or a whole URL, as far as the handler distinguishes them: `/`, `/` with a query, or anything
 * else. The handler refuses a query without reading it.
 */
function simplified(target: string): '/' | '/?' | '/elsewhere' {
  const [root, query] = /^(?:https?:\/\/[^/?#]*)?\/?(\?|$)/i.exec(target) ?? [];
  if (root === undefined) return '/elsewhere';
  return query === '?' ? '/?' : '/';
}

function rawAnswer(answer: object): string {
  const body = JSON.stringify(answer);
  return [
    'HTTP/1.1 400 Bad Request',
    'Connection: close',
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    '',
    body,
  ].join('\r\n');
}
