import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** An HTTP proxy on loopback that serves CONNECT, and connects to the local ports that a test chooses. */
export class ConnectProxy {
  /** The `host:port` of each requested connection. */
  readonly asked: string[] = [];
  /** The Proxy-Authorization header of each requested connection. */
  readonly credentials: (string | undefined)[] = [];
  /** Called when a connection is requested. */
  onAsked: (() => void) | undefined;
  /** If set, the proxy refuses connections with this status. */
  refusal: number | undefined;
  /** Local ports by the requested host. */
  readonly #routes: ReadonlyMap<string, number>;
  readonly #sockets = new Set<Duplex>();
  readonly #server = createServer((_, response) => response.writeHead(405).end());

  constructor(routes: Readonly<Record<string, number>> = {}) {
    this.#routes = new Map(Object.entries(routes));
    this.#server.on('connect', ({ url = '', headers }, socket: Duplex) => {
      this.asked.push(url);
      this.credentials.push(headers['proxy-authorization']);
      this.onAsked?.();
      this.#tunnel(url, socket);
    });
  }

  async listen(): Promise<string> {
    await once(this.#server.listen(0, '127.0.0.1'), 'listening');
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  stop(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #tunnel(url: string, socket: Duplex): void {
    this.#keep(socket);
    const port = this.#routes.get(url.replace(/:\d+$/, ''));
    if (this.refusal !== undefined || port === undefined) {
      socket.end(`HTTP/1.1 ${this.refusal ?? 502} Refused\r\n\r\n`);
      return;
    }
    const server: Socket = connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      socket.pipe(server).pipe(socket);
    });
    this.#keep(server);
    socket.on('close', () => server.destroy());
    server.on('close', () => socket.destroy());
  }

  #keep(socket: Duplex): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => this.#sockets.delete(socket));
  }
}
