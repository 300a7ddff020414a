import { setTimeout as sleep } from 'node:timers/promises';
import type { status } from '@grpc/grpc-js';

/** The services that have an emulator. */
export type Service = 'secretmanager' | 'momento' | 'keyapi' | 'pubsub' | 'logging';

/** A fault or a hook comes before or after the effect of a call. */
export type Moment = 'before' | 'after';

/** An error instead of an answer: `error` over gRPC, `status` and `html` over HTTP. */
export type Failure =
  | { kind: 'error'; code: status; when: Moment }
  /** An error in the service's own format. `retryAfter` is the value of the Retry-After header. */
  | { kind: 'status'; status: number; retryAfter?: string; when: Moment }
  /** A page of a load balancer or proxy. */
  | { kind: 'html'; status: number; when: Moment };

/**
 * Damage to an answer. `corrupt`: the content is wrong. `half`: the connection ends after half of the bytes. `not-json`: the
 * JSON is invalid. Over gRPC only `corrupt` is possible.
 */
export type Garbling = 'corrupt' | 'half' | 'not-json';

/** An HTTP answer in place of the service's own. */
export interface RawAnswer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array;
}

/** A fault of one call. */
export type Fault =
  | Failure
  /** The client never gets an answer. */
  | { kind: 'hang'; when: Moment }
  /**
   * The connection is reset with all its calls. If the test kills the client, use `hang` instead. Node.js 24.21 never closes
   * a connection that is reset after the client is gone.
   */
  | { kind: 'drop'; when: Moment }
  /** The call has its effect, and its answer is damaged. */
  | { kind: Garbling }
  /** Over HTTP only: the call has its effect, and the test computes the answer from the service's body. */
  | { kind: 'rewrite'; rewrite: (body: string) => RawAnswer }
  /** The connection changes to another protocol (HTTP 101), over HTTP only. */
  | { kind: 'upgrade'; when: Moment }
  /** The request arrives this much later. */
  | { kind: 'slow'; ms: number };

export type Rewrite = Extract<Fault, { kind: 'rewrite' }>['rewrite'];

/** The ways in which an emulator can handle one call. */
export interface Exchange {
  /** Carries out the call in one synchronous step, and keeps the answer. */
  act(): void;
  /** Sends the answer, damaged or not. */
  answer(garbling: Garbling | Rewrite | undefined): void;
  /** Sends an error. */
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
    /** The number of this call, counted from 1 for each method. */
    readonly n: number,
    request: unknown,
  ) {
    this.#request = request;
  }

  /** The client's request. A getter, so that printing a call prints no secret. */
  get request(): unknown {
    return this.#request;
  }
}

/**
 * The emulator awaits the hook before and after the effect of every call, also of a refused call. Tests use hooks for barriers,
 * kills and operator actions. If the hook returns a fault, the emulator injects it at once.
 */
export type Hook = (
  call: Call,
  when: Moment,
  // eslint-disable-next-line @typescript-eslint/no-invalid-void-type -- most hooks return nothing
) => void | Fault | Promise<void | Fault>;

/** The faults of one emulator, and the calls that it received. */
export class FaultPlan {
  /** All received calls, in order. */
  readonly calls: Call[] = [];
  /** The delay of every call. */
  latencyMs = 0;
  intercept: Hook | undefined;
  /** Waits for the latency and for slow calls. A test can replace it by the `sleep` of its own clock. */
  sleep: (ms: number, signal: AbortSignal) => Promise<void> = (ms, signal) =>
    sleep(ms, undefined, { signal });

  readonly #counts = new Map<string, number>();
  readonly #planned = new Map<string, Map<number | 'every', Fault>>();

  /** Injects a fault into the nth call of a method, counted from 1 or from `forget`, or into every call. */
  inject(method: string, nth: number | 'every', fault: Fault): void {
    const planned = this.#planned.get(method) ?? new Map<number | 'every', Fault>();
    this.#planned.set(method, planned.set(nth, fault));
  }

  /** Removes all faults, the latency and the hook. Keeps the recorded calls. */
  clear(): void {
    this.#planned.clear();
    this.latencyMs = 0;
    this.intercept = undefined;
  }

  /** Deletes the recorded calls and counts from 1 again. Keeps the faults. */
  forget(): void {
    this.calls.length = 0;
    this.#counts.clear();
  }

  /** For emulators: records a call. */
  receive(service: Service, method: string, request: unknown): Call {
    const n = (this.#counts.get(method) ?? 0) + 1;
    this.#counts.set(method, n);
    const call = new Call(service, method, n, request);
    this.calls.push(call);
    return call;
  }

  /** For emulators: carries out a call with the faults that are planned for it. */
  async conduct(call: Call, exchange: Exchange, signal: AbortSignal): Promise<void> {
    let garbling: Garbling | Rewrite | undefined;

    /** Injects the faults of the hook and of the plan. Returns whether the call is over. */
    const injectAll = async (when: Moment): Promise<boolean> => {
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
            if (exchange.upgrade === undefined) throw new Error('only an HTTP service can upgrade');
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
    if (await injectAll('before')) return;
    exchange.act();
    if (await injectAll('after')) return;
    exchange.answer(garbling);
  }

  #plannedFor({ method, n }: Call, when: Moment): Fault | undefined {
    const planned = this.#planned.get(method);
    const fault = planned?.get(n) ?? planned?.get('every');
    const due = fault && 'when' in fault ? fault.when : 'before';
    return due === when ? fault : undefined;
  }
}
