import type { FaultPlan } from './faults';

/** What listens for a local service, and speaks its protocol. */
export interface Host {
  readonly faults: FaultPlan;
  /** Starts to listen on a free loopback port; returns `host:port`. */
  listen(): Promise<string>;
  /** Ends every connection, also those with unanswered calls, and stops to listen. */
  stop(): Promise<void>;
}

/** What every local service has: a clock, an address, faults, those who follow its changes, an end. */
export abstract class LocalService {
  /** The service's clock, in epoch milliseconds. */
  now: () => number;

  readonly #server: Host;
  readonly #listeners = new Set<() => void>();
  #host = '';

  protected constructor(server: Host, now: () => number) {
    this.#server = server;
    this.now = now;
  }

  /** `127.0.0.1:port` */
  get host(): string {
    return this.#host;
  }

  get faults(): FaultPlan {
    return this.#server.faults;
  }

  /** Calls `listener` synchronously after every single change of state; returns how to end that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Stops the service, whatever is still under way. */
  stop(): Promise<void> {
    return this.#server.stop();
  }

  /** Starts the service on a free loopback port. */
  protected async listen(): Promise<this> {
    this.#host = await this.#server.listen();
    return this;
  }

  protected changed(): void {
    for (const listener of this.#listeners) listener();
  }
}
