import type { FaultPlan } from './faults';

/** The server of an emulator, which implements its protocol. */
export interface Host {
  readonly faults: FaultPlan;
  /** Starts to listen on a free loopback port; returns `host:port`. */
  listen(): Promise<string>;
  /** Closes every connection, also those with unanswered calls, and the server. */
  stop(): Promise<void>;
}

/** A clock and listeners for changes, for one emulator or for several emulators with common state. */
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

/** An emulator of a service: it has a clock, an address, faults and listeners for changes. */
export abstract class Emulator {
  readonly #server: Host;
  readonly #ledger: Ledger;
  #host = '';

  protected constructor(server: Host, ledger: Ledger) {
    this.#server = server;
    this.#ledger = ledger;
  }

  /** The clock, in epoch milliseconds. Emulators with common state have one clock. */
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
   * Calls `listener` synchronously after every change of state. If emulators have common
   * state, a change in one of them calls the listeners of all, and each listener only once.
   *
   * @returns a function that removes the listener
   */
  onChange(listener: () => void): () => void {
    return this.#ledger.onChange(listener);
  }

  /** Stops the emulator and ends all calls. */
  stop(): Promise<void> {
    return this.#server.stop();
  }

  /** Starts the emulator on a free loopback port. */
  protected async listen(): Promise<this> {
    this.#host = await this.#server.listen();
    return this;
  }

  protected changed(): void {
    this.#ledger.changed();
  }
}
