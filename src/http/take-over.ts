import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Log } from '../log';
import { badRequest } from './body';

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly socket: Socket;
}

/**
 * Leaves every request to the handler. Left to itself functions-framework would read up to 1 GiB of a body, inflate it
 * and parse it before, and answer some paths in HTML or with nothing; Node answers what is not HTTP with nothing. The
 * framework does not hand out its server, so this listens to what Node tells of all servers of the process.
 *
 * @returns ends it, for tests, whose process has other servers
 */
export function takeOverRequests(log: Log): () => void {
  const lastExchange = new WeakMap<Socket, Exchange>();

  const takeOver = (message: unknown): void => {
    const exchange = message as Exchange;
    const { request, socket } = exchange;
    lastExchange.set(socket, exchange);
    // It reads only bodies that have a type.
    delete request.headers['content-type'];
    // It answers what it cannot decode. The handler knows one path, and everything else is alike.
    request.url = isRoot(request.url ?? '') ? '/' : '/elsewhere';
  };

  const known = new WeakSet<Server>();
  const listen = (message: unknown): void => {
    const { server } = (message as { socket: Socket & { server: Server } }).socket;
    if (known.has(server)) return;
    known.add(server);
    server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
      const last = lastExchange.get(socket);
      // A request that had begun is the handler's: it sees the connection end, and tells of it.
      const isHandled = last !== undefined && !last.request.complete;
      const isMalformed = error.code?.startsWith('HPE_') === true;
      const { code, message, retryable } = badRequest(
        isHandled ? 'it ended before all of it had arrived' : 'it cannot be read as HTTP',
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

/** Whether a request's target, a path or a whole URL, leads to `/`. */
function isRoot(target: string): boolean {
  return /^(https?:\/\/[^/?#]*)?\/?([?#]|$)/i.test(target);
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
