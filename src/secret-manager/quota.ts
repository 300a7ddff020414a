/** The limits of one process for calls to Secret Manager: calls in flight, writes per second and project, and used-up quotas. */
import type { Clock } from '../clock';
import { SECOND } from '../duration';
import { deadlineExceeded, RotationError } from '../errors';
import { addBegins, earliestBegin, noBegins, type Begins, type Rate } from '../rate-limiter';

const MAX_IN_FLIGHT = 32;

/** 480 writes a minute. Google allows 600 in each project, so other programs of the project can make 120. */
export const WRITE_RATE: Rate = { calls: 8, windowMs: SECOND };

/** How long calls pause after a used-up quota. Google's quotas are per minute. */
const FIRST_QUOTA_PAUSE = SECOND;
const LONGEST_QUOTA_PAUSE = 20 * SECOND;

/** Secret Manager's quotas. Each project has its own. */
export type Quota = 'access' | 'read' | 'write';

/** The order in which queued calls begin. */
export const Priority = { ADD: 0, READ: 1, CHANGE: 2 } as const;
export type Priority = (typeof Priority)[keyof typeof Priority];

interface LimitedCall {
  readonly project: string;
  readonly quota: Quota;
  readonly priority: Priority;
  /** On the monotonic clock. */
  readonly deadline: number;
}

interface Pause {
  readonly lengthMs: number;
  readonly until: number;
  /** The error of the call that found the quota used up. */
  readonly error: RotationError;
}

interface QueuedCall {
  readonly call: LimitedCall;
  readonly begin: () => void;
  readonly fail: (error: RotationError) => void;
}

/** The last writes of each project. */
type Writes = Map<string, Begins>;

export class CallQueue {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #pauses = new Map<string, Pause>();
  /** By priority, then by arrival. */
  #queue: QueuedCall[] = [];
  #writes: Writes = new Map();
  #inFlight = 0;
  #alarm = new AbortController();

  constructor(clock: Clock, random: () => number = Math.random) {
    this.#clock = clock;
    this.#random = random;
  }

  /**
   * Makes a call when the limits allow it.
   *
   * @throws RotationError if the call can't begin before its deadline: the error of a used-up quota if that is the reason,
   *   otherwise DEADLINE_EXCEEDED
   */
  async run<T>(call: LimitedCall, make: () => Promise<T>): Promise<T> {
    await this.#begin(call);
    const begun = this.#clock.monotonic();
    const quota = quotaOf(call);
    try {
      const answer = await make();
      if (begun >= this.#pausedUntil(quota)) this.#pauses.delete(quota);
      return answer;
    } catch (error) {
      if (error instanceof RotationError && error.quota) this.#pause(quota, begun, error);
      throw error;
    } finally {
      this.#inFlight -= 1;
      this.#serve();
    }
  }

  #begin(call: LimitedCall): Promise<void> {
    return new Promise((begin, fail) => {
      const position = this.#queue.findIndex((other) => other.call.priority > call.priority);
      const end = position === -1 ? this.#queue.length : position;
      this.#queue.splice(end, 0, { call, begin, fail });
      this.#serve();
    });
  }

  /**
   * Begins every queued call that the limits allow now, and fails the calls that can't begin before their deadlines. One
   * function checks all limits together. Otherwise a write could pass the rate limit, wait for a free slot, and then begin at
   * the same time as later writes.
   */
  #serve(): void {
    const now = this.#clock.monotonic();
    // Includes planned writes, so that the earliest times of the calls behind them are right.
    const planned: Writes = new Map(this.#writes);
    let next = Infinity;
    this.#queue = this.#queue.filter(({ call, begin, fail }) => {
      const at = this.#earliest(call, planned, now);
      if (at > call.deadline) {
        fail(this.#tooLate(call, at, now));
        return false;
      }
      if (call.quota === 'write') addWrite(planned, call.project, at);
      if (at > now) next = Math.min(next, at);
      if (at > now || this.#inFlight === MAX_IN_FLIGHT) return true;
      if (call.quota === 'write') addWrite(this.#writes, call.project, now);
      this.#inFlight += 1;
      begin();
      return false;
    });
    this.#serveAt(next, now);
  }

  /** When the pause of its quota and the rate of writes allow a call. */
  #earliest(call: LimitedCall, writes: Writes, now: number): number {
    const earliest = Math.max(now, this.#pausedUntil(quotaOf(call)));
    if (call.quota !== 'write') return earliest;
    return earliestBegin(WRITE_RATE, writesOf(writes, call.project), 1, earliest);
  }

  #serveAt(time: number, now: number): void {
    this.#alarm.abort();
    if (time === Infinity) return;
    const alarm = new AbortController();
    this.#alarm = alarm;
    void this.#clock.sleep(time - now, alarm.signal).then(() => {
      if (!alarm.signal.aborted) this.#serve();
    });
  }

  #pausedUntil(quota: string): number {
    return this.#pauses.get(quota)?.until ?? -Infinity;
  }

  /** Begins a pause, or a longer one if the call began after the last pause. */
  #pause(quota: string, begun: number, error: RotationError): void {
    const last = this.#pauses.get(quota);
    if (last !== undefined && begun < last.until) return;
    const lengthMs = Math.min((last?.lengthMs ?? FIRST_QUOTA_PAUSE / 2) * 2, LONGEST_QUOTA_PAUSE);
    const until = this.#clock.monotonic() + lengthMs * (0.5 + this.#random() / 2);
    this.#pauses.set(quota, { lengthMs, until, error });
  }

  #tooLate(call: LimitedCall, at: number, now: number): RotationError {
    const pause = this.#pauses.get(quotaOf(call));
    if (pause !== undefined && pause.until > call.deadline) return usedUp(pause, now);
    return deadlineExceeded(
      at > now
        ? `The rotator writes at most ${WRITE_RATE.calls} times a second to Secret Manager, and the time of this run ends before this write can begin.`
        : 'The time of this run was over before a call to Secret Manager could begin.',
    );
  }
}

function quotaOf({ quota, project }: LimitedCall): string {
  return `${quota} ${project}`;
}

function writesOf(writes: Writes, project: string): Begins {
  return writes.get(project) ?? noBegins(WRITE_RATE);
}

function addWrite(writes: Writes, project: string, at: number): void {
  writes.set(project, addBegins(writesOf(writes, project), 1, at));
}

/** The call that gets this error wasn't made, so it certainly had no effect. */
function usedUp({ error, until }: Pause, now: number): RotationError {
  const { code, problem, action, cause } = error;
  return new RotationError(code, { problem, action }, { cause, retryAfterMs: until - now });
}
