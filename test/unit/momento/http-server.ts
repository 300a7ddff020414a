import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** The bytes of an answer, or an action on the connection. */
export type Reaction = string | ((socket: Socket) => void);

/** A server with arbitrary answers. The emulator of the key API sends only valid ones. */
export class RawServer {
  /** The requests, as they came. */
  readonly requests: string[] = [];
  readonly sockets = new Set<Socket>();
  #reaction: Reaction = '';
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((socket) => {
      this.sockets.add(socket);
      let received = '';
      socket.on('error', () => undefined);
      socket.on('close', () => this.sockets.delete(socket));
      socket.on('data', (chunk) => {
        received += chunk.toString();
        if (!isWhole(received)) return;
        this.requests.push(received);
        received = '';
        if (typeof this.#reaction === 'string') socket.write(this.#reaction);
        else this.#reaction(socket);
      });
    });
  }

  static async start(): Promise<RawServer> {
    const server = new RawServer();
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  answers(reaction: Reaction): void {
    this.requests.length = 0;
    this.#reaction = reaction;
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

export function http(status: number, body: unknown, headers: Record<string, string> = {}): string {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const lines = Object.entries({ 'content-length': String(Buffer.byteLength(text)), ...headers });
  return `HTTP/1.1 ${status} X\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${text}`;
}

function isWhole(request: string): boolean {
  const [head, body] = request.split('\r\n\r\n');
  const length = /content-length: (\d+)/i.exec(head ?? '')?.[1] ?? '0';
  return body !== undefined && body.length >= Number(length);
}
