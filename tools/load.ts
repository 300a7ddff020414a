import { Agent, request } from 'node:http';

/** One request and what became of it. Times are in milliseconds. */
export interface Sent {
  /** Since the epoch. */
  readonly at: number;
  readonly took: number;
  /** The status, or that there was no answer. */
  readonly outcome: string;
  readonly failed: boolean;
}

const ITEMS = 50;
const TICK_MS = 5;

/** Stores and reads items of the application, at a steady rate that does not wait for answers. */
export class Load {
  readonly #agent = new Agent({ keepAlive: true });
  readonly #underWay = new Set<Promise<void>>();
  readonly #sent: Sent[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly url: string,
    private readonly perSecond: number,
  ) {}

  /** Resolves when every item is there; then the load begins. */
  async start(): Promise<void> {
    const items = Array.from({ length: ITEMS }, (_, item) => this.#request('PUT', item));
    await Promise.all(items);
    const startedAt = performance.now();
    let count = 0;
    this.#timer = setInterval(() => {
      const due = ((performance.now() - startedAt) / 1000) * this.perSecond;
      for (; count < due; count += 1) {
        const request = this.#send(count).finally(() => this.#underWay.delete(request));
        this.#underWay.add(request);
      }
    }, TICK_MS);
  }

  /** Resolves when every request has its answer. */
  async stop(): Promise<readonly Sent[]> {
    clearInterval(this.#timer);
    await Promise.all(this.#underWay);
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

  /** Resolves with the status; undefined where no answer comes. */
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
