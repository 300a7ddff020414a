import type { FaultPlan, Service } from './faults';
import { GrpcHost } from './grpc-host';

/** What both local services have: a clock, an address, faults, those who follow its changes, an end. */
export abstract class LocalService {
  /** The service's clock, in epoch milliseconds. */
  now: () => number;

  protected readonly grpc: GrpcHost;
  readonly #listeners = new Set<() => void>();
  #host = '';

  protected constructor(service: Service, now: () => number) {
    this.grpc = new GrpcHost(service);
    this.now = now;
  }

  /** `127.0.0.1:port` */
  get host(): string {
    return this.#host;
  }

  get faults(): FaultPlan {
    return this.grpc.faults;
  }

  /** Calls `listener` synchronously after every single change of state; returns how to end that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Stops the service, whatever is still under way. */
  stop(): Promise<void> {
    return this.grpc.stop();
  }

  /** Starts the service on a free loopback port. */
  protected async listen(): Promise<this> {
    this.#host = await this.grpc.listen();
    return this;
  }

  protected changed(): void {
    for (const listener of this.#listeners) listener();
  }
}
