import { setImmediate } from 'node:timers/promises';
import type { Clock } from '../src/clock';
import { eventsHandled, isQuiet } from './loopback-traffic';

interface Sleeper {
  /** The time on the monotonic clock. */
  readonly wakesAt: number;
  readonly wake: () => void;
}

/** The time of day at which a virtual clock starts. */
export const START = Date.parse('2026-11-01T00:00:00Z');

/** Differs from the time of day and from zero, so that code that confuses the clocks fails at once. */
const MONOTONIC_START = 1_000_000;

/**
 * The process counts as idle after this many turns of the event loop without activity. Libraries defer work by a few turns,
 * which isn't visible as activity.
 */
const IDLE_TURNS = 16;

const clocks = new Set<VirtualClock>();

// In Jest, each clock stops at the end of its test file. Otherwise the clock of a remaining sleeper would never stop waiting,
// because the sockets of later test files count as activity.
if (typeof afterAll === 'function') {
  afterAll(() => {
    for (const clock of clocks) clock.stop();
  });
}

/**
 * A clock whose time passes only while the process is idle. The time then jumps to the moment at which the next sleeper
 * wakes. Work takes no time, even over sockets between clients and servers of this process. So the results of tests don't
 * depend on the speed of the machine.
 *
 * The clock doesn't control timers of Node.js and of libraries. While the process waits for such a timer, `hold` the clock.
 */
export class VirtualClock implements Clock {
  /** Sleepers in the order in which they wake. Of sleepers with the same time, the first to sleep is first. */
  readonly #sleepers: Sleeper[] = [];
  #monotonic = MONOTONIC_START;
  /** The time of day, less the monotonic time. */
  #offset: number;
  #holds = 0;
  #isRunning = false;
  #isStopped = false;
  /** Counts all uses of the clock. */
  #uses = 0;

  constructor(start = START) {
    this.#offset = start - MONOTONIC_START;
    clocks.add(this);
  }

  readonly now = (): number => this.#monotonic + this.#offset;

  readonly monotonic = (): number => this.#monotonic;

  readonly sleep = (ms: number, signal?: AbortSignal): Promise<void> => {
    if (Number.isNaN(ms)) return Promise.reject(new RangeError('a sleep of NaN milliseconds'));
    this.#uses += 1;
    if (signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const sleeper: Sleeper = {
        wakesAt: this.#monotonic + Math.max(0, ms),
        wake: () => {
          signal?.removeEventListener('abort', end);
          resolve();
        },
      };
      const end = (): void => {
        this.#uses += 1;
        this.#sleepers.splice(this.#sleepers.indexOf(sleeper), 1);
        sleeper.wake();
      };
      signal?.addEventListener('abort', end, { once: true });
      const later = this.#sleepers.findLastIndex(({ wakesAt }) => wakesAt <= sleeper.wakesAt) + 1;
      this.#sleepers.splice(later, 0, sleeper);
      this.#run();
    });
  };

  /** How many sleepers there are. */
  get sleepers(): number {
    return this.#sleepers.length;
  }

  /** Moves both clocks at once. Sleepers whose time has come wake in order. */
  advance(ms: number): void {
    this.#uses += 1;
    this.#monotonic += ms;
    const awake = this.#sleepers.findIndex(({ wakesAt }) => wakesAt > this.#monotonic);
    const due = this.#sleepers.splice(0, awake < 0 ? this.#sleepers.length : awake);
    for (const { wake } of due) wake();
  }

  /** Sets the time of day. The monotonic time doesn't change. */
  setWallClock(epochMs: number): void {
    this.#offset = epochMs - this.#monotonic;
  }

  /** Stops the time until the returned function is called. */
  hold(): () => void {
    this.#holds += 1;
    let isHeld = true;
    return () => {
      if (isHeld) this.#holds -= 1;
      isHeld = false;
      this.#run();
    };
  }

  /** Stops the clock: sleepers never wake. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Resolves when the process is idle, and only passing time can lead to activity. */
  async idle(): Promise<void> {
    let last = this.#activity();
    for (let turns = 0; !this.#isStopped && (turns < IDLE_TURNS || !isQuiet());) {
      await setImmediate();
      const activity = this.#activity();
      turns = activity === last ? turns + 1 : 0;
      last = activity;
    }
  }

  /** Waits until the process is idle, and moves to the time of the next sleeper, even if `hold` stopped the time. */
  async step(): Promise<void> {
    await this.idle();
    this.#wakeNext();
  }

  #activity(): number {
    return this.#uses + eventsHandled();
  }

  #run(): void {
    if (!this.#isRunning) void this.#passTime();
  }

  async #passTime(): Promise<void> {
    this.#isRunning = true;
    while (!this.#isHeld() && this.#next < Infinity) {
      await this.idle();
      // A caller might have called `hold` during the wait.
      if (!this.#isHeld()) this.#wakeNext();
    }
    this.#isRunning = false;
  }

  #isHeld(): boolean {
    return this.#holds > 0 || this.#isStopped;
  }

  /** The time at which the next sleeper wakes. */
  get #next(): number {
    return this.#sleepers[0]?.wakesAt ?? Infinity;
  }

  #wakeNext(): void {
    if (this.#next < Infinity) this.advance(Math.max(0, this.#next - this.#monotonic));
  }
}
