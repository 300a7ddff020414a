import { setImmediate } from 'node:timers/promises';
import type { Clock } from '../src/clock';
import { eventsHandled, isQuiet } from './loopback-traffic';

interface Sleeper {
  /** On the monotonic clock. */
  readonly wakesAt: number;
  readonly wake: () => void;
}

/** The time of day at which a virtual clock starts. */
export const START = Date.parse('2026-11-01T00:00:00Z');

/** Not the time of day, and not zero: code that mixes up the two clocks fails at once. */
const MONOTONIC_START = 1_000_000;

/**
 * For how many turns of the event loop nothing must happen before the process counts as idle. Libraries put off work by a
 * few turns, without anything that could be seen from outside.
 */
const IDLE_TURNS = 16;

const clocks = new Set<VirtualClock>();

// In Jest a clock ends with its test file. Otherwise a sleeper that a test left behind would keep the process busy for ever:
// the sockets of later test files count as activity.
if (typeof afterAll === 'function') {
  afterAll(() => {
    for (const clock of clocks) clock.stop();
  });
}

/**
 * Time that passes only when the process is idle: then it moves to the next time at which a sleeper wakes. Work takes no time, also not over sockets between clients and servers of this process. So what a test
 * sees doesn't depend on the speed of the machine.
 *
 * Timers of Node.js and of libraries aren't part of this time. While the process waits for one, `hold` the clock.
 */
export class VirtualClock implements Clock {
  /** Ordered by the time at which they wake; of those that wake at the same time, the first to sleep comes first. */
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

  /** Resolves when nothing but time can lead to anything more. */
  async idle(): Promise<void> {
    let last = this.#activity();
    for (let turns = 0; !this.#isStopped && (turns < IDLE_TURNS || !isQuiet());) {
      await setImmediate();
      const activity = this.#activity();
      turns = activity === last ? turns + 1 : 0;
      last = activity;
    }
  }

  /** Waits until the process is idle, and moves to the next time at which a sleeper wakes; also while the time is held. */
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
      // The clock can be held since then.
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
