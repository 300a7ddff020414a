/** A constant load of HTTP requests, for the demo of an application. */
import { Agent, request } from 'node:http';

/** One request and its outcome. Times are in milliseconds. */
export interface Sent {
  /** Since the epoch. */
  readonly at: number;
  readonly took: number;
  /** The method, and the status or `no answer`. */
  readonly outcome: string;
  readonly failed: boolean;
}

const ITEMS = 50;
const TICK_MS = 5;

/** Stores and reads items of the application at a constant rate, whether or not earlier requests have answers. */
export class Load {
  readonly #agent = new Agent({ keepAlive: true });
  readonly #pending = new Set<Promise<void>>();
  readonly #sent: Sent[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly url: string,
    private readonly perSecond: number,
  ) {}

  /** Stores every item once, and begins the load. */
  async start(): Promise<void> {
    const items = Array.from({ length: ITEMS }, (_, item) => this.#request('PUT', item));
    await Promise.all(items);
    const startedAt = performance.now();
    let count = 0;
    this.#timer = setInterval(() => {
      const due = ((performance.now() - startedAt) / 1000) * this.perSecond;
      for (; count < due; count += 1) {
        const request = this.#send(count).finally(() => this.#pending.delete(request));
        this.#pending.add(request);
      }
    }, TICK_MS);
  }

  /** Ends the load. Resolves when every request has an answer. */
  async stop(): Promise<readonly Sent[]> {
    clearInterval(this.#timer);
    await Promise.all(this.#pending);
    this.#agent.destroy();
    return this.#sent;
  }

  async #send(count: number): Promise<void> {
    const method = count % 2 === 0 ? 'PUT' : 'GET';
    const at = Date.now();
    const begun = performance.now();
    const status = await this.#request(method, Math.floor(count / 2) % ITEMS);
    this.#sent.push({
      at,
      took: performance.now() - begun,
      outcome: `${method} ${status ?? 'no answer'}`,
      failed: status !== (method === 'PUT' ? 204 : 200),
    });
  }

  /** Resolves with the status, or with undefined if there is no answer. */
  #request(method: 'PUT' | 'GET', item: number): Promise<number | undefined> {
    const url = new URL(`items/${item}`, this.url);
    return new Promise((resolve) => {
      request(url, { method, agent: this.#agent }, (response) => {
        response.resume().on('end', () => resolve(response.statusCode));
      })
        .on('error', () => resolve(undefined))
        .end(method === 'PUT' ? 'an item' : undefined);
    });
  }
}
