import { setTimeout as sleep } from 'node:timers/promises';
import type { status } from '@grpc/grpc-js';

/** Which of the local services a call went to. */
export type Service = 'secretmanager' | 'momento' | 'keyapi' | 'pubsub' | 'logging';

/** A call's effect is one instant; a fault or a hook comes before or after it. */
export type Moment = 'before' | 'after';

/** Another answer than the service's own: of a gRPC service the first kind, of an HTTP service the others. */
export type Failure =
  | { kind: 'error'; code: status; when: Moment }
  /** An error in the service's own form. `retryAfter` is the header as it is sent: seconds, or a date. */
  | { kind: 'status'; status: number; retryAfter?: string; when: Moment }
  /** A page by something on the way, as load balancers and proxies write it. */
  | { kind: 'html'; status: number; when: Moment };

/**
 * What becomes of an answer on its way: it is another one; half of it arrives before the connection ends; it is no JSON.
 * Of a gRPC service only the first.
 */
export type Garbling = 'corrupt' | 'half' | 'not-json';

/** An HTTP answer as it arrives, whatever the service answered. */
export interface RawAnswer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array;
}

/** What can go wrong with one call. */
export type Fault =
  | Failure
  /** The client never gets an answer. */
  | { kind: 'hang'; when: Moment }
  /**
   * The connection is reset, and with it every other call that is under way on it. For a client that was killed, let the
   * call hang instead: a process that resets a connection whose other end is gone may never end (Node.js 24.21 does not
   * close such a handle, and waits for it).
   */
  | { kind: 'drop'; when: Moment }
  /** The effect happens, and the answer that arrives is not the one that the service gave. */
  | { kind: Garbling }
  /** The same, of an HTTP service only: with the answer that the test makes of the service's body. */
  | { kind: 'rewrite'; rewrite: (body: string) => RawAnswer }
  /** The connection changes to another protocol (HTTP 101), of an HTTP service only. */
  | { kind: 'upgrade'; when: Moment }
  /** The request arrives this much later. */
  | { kind: 'slow'; ms: number };

export type Rewrite = Extract<Fault, { kind: 'rewrite' }>['rewrite'];

/** One call in the hands of a service: what can be done with it. */
export interface Exchange {
  /** Lets the call have its effect, in one synchronous step, and keeps the answer. */
  act(): void;
  /** Sends the answer that was kept, or what it has become on its way. */
  answer(garbling: Garbling | Rewrite | undefined): void;
  /** Sends another answer. */
  fail(failure: Failure): void;
  /** Resets the connection. */
  drop(): void;
  /** Answers with HTTP 101. */
  upgrade?(): void;
}

/** One call that arrived. */
export class Call {
  readonly #request: unknown;

  constructor(
    readonly service: Service,
    readonly method: string,
    /** The how manieth call of this method it is, from 1. */
    readonly n: number,
    request: unknown,
  ) {
    this.#request = request;
  }

  /** What the client sent. A getter, so that printing a call prints no secret. */
  get request(): unknown {
    return this.#request;
  }
}

/**
 * Awaited before and after the effect of every call, also of a refused one: the place for barriers,
 * for killing the client, and for what a person does in between. A fault that it returns strikes at
 * once.
 */
export type Hook = (
  call: Call,
  when: Moment,
  // eslint-disable-next-line @typescript-eslint/no-invalid-void-type -- most hooks return nothing
) => void | Fault | Promise<void | Fault>;

/** What one local service does to its callers, and what they asked of it. */
export class FaultPlan {
  /** Everything that arrived, in order. */
  readonly calls: Call[] = [];
  /** Added to every call. */
  latencyMs = 0;
  intercept: Hook | undefined;
  /** How latency and slow calls wait: a test can let them share its clock. */
  sleep: (ms: number, signal: AbortSignal) => Promise<void> = (ms, signal) =>
    sleep(ms, undefined, { signal });

  readonly #counts = new Map<string, number>();
  readonly #planned = new Map<string, Map<number | 'every', Fault>>();

  /**
   * Lets `fault` strike the nth call of `method`, or every one. They count from 1, at the start and
   * after `forget`.
   */
  inject(method: string, nth: number | 'every', fault: Fault): void {
    const planned = this.#planned.get(method) ?? new Map<number | 'every', Fault>();
    this.#planned.set(method, planned.set(nth, fault));
  }

  /** Ends all faults, the latency and the hook. The calls so far stay. */
  clear(): void {
    this.#planned.clear();
    this.latencyMs = 0;
    this.intercept = undefined;
  }

  /** Forgets the calls so far and counts from 1 again. The faults stay. */
  forget(): void {
    this.calls.length = 0;
    this.#counts.clear();
  }

  /** For the services: notes a call. */
  receive(service: Service, method: string, request: unknown): Call {
    const n = (this.#counts.get(method) ?? 0) + 1;
    this.#counts.set(method, n);
    const call = new Call(service, method, n, request);
    this.calls.push(call);
    return call;
  }

  /** For the services: takes a call from its arrival to its answer, through whatever is planned for it. */
  async conduct(call: Call, exchange: Exchange, signal: AbortSignal): Promise<void> {
    let garbling: Garbling | Rewrite | undefined;

    /** Lets hook and plan strike; says whether the call is over. */
    const strike = async (when: Moment): Promise<boolean> => {
      const hooked = await this.intercept?.(call, when);
      for (const fault of [hooked, this.#plannedFor(call, when)]) {
        switch (fault?.kind) {
          case 'error':
          case 'status':
          case 'html':
            exchange.fail(fault);
            return true;
          case 'hang':
            return true;
          case 'drop':
            exchange.drop();
            return true;
          case 'upgrade':
            if (exchange.upgrade === undefined) throw new Error('only HTTP services upgrade');
            exchange.upgrade();
            return true;
          case 'rewrite':
            garbling = fault.rewrite;
            break;
          case 'corrupt':
          case 'half':
          case 'not-json':
            garbling = fault.kind;
            break;
          case 'slow':
            await this.sleep(fault.ms, signal);
            break;
          case undefined:
            break;
        }
      }
      return signal.aborted;
    };

    if (this.latencyMs > 0) await this.sleep(this.latencyMs, signal);
    if (await strike('before')) return;
    exchange.act();
    if (await strike('after')) return;
    exchange.answer(garbling);
  }

  #plannedFor({ method, n }: Call, when: Moment): Fault | undefined {
    const planned = this.#planned.get(method);
    const fault = planned?.get(n) ?? planned?.get('every');
    const due = fault && 'when' in fault ? fault.when : 'before';
    return due === when ? fault : undefined;
  }
}
