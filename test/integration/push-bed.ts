import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Request, Response } from '@google-cloud/functions-framework';
import { createHandler, type Handler } from '../../src/http/handler';
import type { LogEntry } from '../../src/log';
import type { Secret } from '../../src/rotation/ports';
import type { RotationResult } from '../../src/rotation/result';
import { PubSubEmulator } from '../../emulators/pubsub';
import type { Setup, TestBed } from './test-bed';

export const TOPIC = 'projects/p/topics/rotator-requests';
export const DEAD_LETTERS = 'projects/p/topics/dead-letters';

interface Answer {
  readonly status: number;
  readonly body: {
    readonly results?: readonly RotationResult[];
    readonly secrets?: readonly object[];
    readonly error?: { readonly code: string };
    readonly ignored?: string;
  };
}

/** An instance of the function behind HTTP, with Pub/Sub in front of it, on the clock of a test bed. */
export class PushBed {
  private constructor(
    readonly pubsub: PubSubEmulator,
    readonly entries: LogEntry[],
    private readonly server: Server,
  ) {}

  static async start(
    bed: TestBed,
    secrets: readonly Secret[],
    setup: Setup & {
      readonly maxDeliveryAttempts?: number;
      readonly onLine?: (entry: LogEntry) => void;
    } = {},
  ): Promise<PushBed> {
    const { clock } = bed;
    const { rotator } = bed.instance(secrets, setup);
    const entries: LogEntry[] = [];
    const handler = createHandler({
      rotator,
      timeoutMs: 540_000,
      traceProject: 'p',
      clock,
      log: (entry) => {
        const line = JSON.parse(JSON.stringify(entry)) as LogEntry;
        entries.push(line);
        setup.onLine?.(line);
      },
    });
    const server = createServer((request, response) => serve(handler, request, response));
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const pubsub = await PubSubEmulator.start(clock);
    const push = new PushBed(pubsub, entries, server);
    for (const topic of [TOPIC, DEAD_LETTERS]) pubsub.createTopic(topic);
    const { maxDeliveryAttempts } = setup;
    pubsub.subscribe({
      name: 'projects/p/subscriptions/rotator-requests',
      topic: TOPIC,
      pushEndpoint: push.url,
      ...(maxDeliveryAttempts !== undefined && {
        deadLetter: { topic: DEAD_LETTERS, maxDeliveryAttempts },
      }),
    });
    return push;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`;
  }

  /** Publishes a request, and waits until it is acknowledged. */
  async request(request: object): Promise<{ messageId: string; lines: LogEntry[] }> {
    const messageId = this.pubsub.publishRequest(TOPIC, request);
    await this.pubsub.settled();
    return { messageId, lines: this.linesOf(messageId) };
  }

  linesOf(messageId: string): LogEntry[] {
    return this.entries.filter((entry) => entry.messageId === messageId);
  }

  /** Posts a request over HTTP, without Pub/Sub. */
  async post(body: object): Promise<Answer> {
    const response = await fetch(this.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', connection: 'close' },
      body: JSON.stringify(body),
    });
    return { status: response.status, body: (await response.json()) as Answer['body'] };
  }

  async stop(): Promise<void> {
    await this.pubsub.stop();
    this.server.closeAllConnections();
    this.server.close();
  }
}

/**
 * Calls the handler without the framework, whose guard changes the requests of all servers of the process, also those of the
 * emulators.
 */
function serve(handler: Handler, request: IncomingMessage, response: ServerResponse): void {
  const asked = Object.assign(request, {
    path: (request.url ?? '').replace(/\?.*/, ''),
    get: (name: string) => request.headers[name],
  }) as unknown as Request;
  const answer = Object.assign(response, {
    status: (status: number) => Object.assign(response, { statusCode: status }),
    json: (body: object) => response.end(JSON.stringify(body)),
  }) as unknown as Response;
  void handler(asked, answer);
}
