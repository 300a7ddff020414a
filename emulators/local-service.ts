import type { FaultPlan } from './faults';

/** What listens for a local service, and speaks its protocol. */
export interface Host {
  readonly faults: FaultPlan;
  /** Starts to listen on a free loopback port; returns `host:port`. */
  listen(): Promise<string>;
  /** Ends every connection, also those with unanswered calls, and stops to listen. */
  stop(): Promise<void>;
}

/** A clock, and those who follow the changes: of one service, or of all that share what they know. */
export class Ledger {
  readonly #listeners = new Set<() => void>();

  /** `now`: the clock, in epoch milliseconds. */
  constructor(public now: () => number) {}

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** What every local service has: a clock, an address, faults, those who follow its changes, an end. */
export abstract class LocalService {
  readonly #server: Host;
  readonly #ledger: Ledger;
  #host = '';

  protected constructor(server: Host, ledger: Ledger) {
    this.#server = server;
    this.#ledger = ledger;
  }

  /** The clock, in epoch milliseconds: of this service, and of those that share its state. */
  get now(): () => number {
    return this.#ledger.now;
  }

  set now(now: () => number) {
    this.#ledger.now = now;
  }

  /** `127.0.0.1:port` */
  get host(): string {
    return this.#host;
  }

  get faults(): FaultPlan {
    return this.#server.faults;
  }

  /**
   * Calls `listener` synchronously after every single change of state; returns how to end that. Services that share their
   * state tell of each other's changes, and a listener that follows several of them is called once.
   */
  onChange(listener: () => void): () => void {
    return this.#ledger.onChange(listener);
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
    this.#ledger.changed();
  }
}
