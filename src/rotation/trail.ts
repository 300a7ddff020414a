import { toRotationError, type RotationError } from '../errors';
import type { Clock } from '../retry';
import type { Outputs, Step } from './steps';

/** Why a run is not what it should be: it `failed`, or left something to do for the next one. */
export interface Failure {
  readonly outcome: 'failed' | 'incomplete';
  readonly step: Step;
  readonly error: RotationError;
}

/** What a run leaves behind for its report: each step's output and time, warnings, and the first failure. */
export class Trail {
  readonly outputs: Outputs = {};
  /** How long each step took, in milliseconds. */
  readonly steps: Partial<Record<Step, number>> = {};
  readonly warnings = new Set<string>();
  /** Ids of keys that this run minted and revoked again, because no version will hold them. */
  readonly discarded: string[] = [];
  failure: Failure | undefined;
  /** The step that the run is at. */
  at: Step = 'gather';

  readonly #clock: Clock;
  readonly #startedAt: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startedAt = clock.now();
  }

  get durationMs(): number {
    return this.#clock.now() - this.#startedAt;
  }

  /** Goes through a step: notes what it gives, and how long it takes. */
  async step<S extends Step, T extends NonNullable<Outputs[S]>>(
    step: S,
    action: () => Promise<T>,
  ): Promise<T> {
    this.at = step;
    const startedAt = this.#clock.now();
    try {
      const output = await action();
      this.outputs[step] = output;
      return output;
    } finally {
      this.steps[step] = (this.steps[step] ?? 0) + this.#clock.now() - startedAt;
    }
  }

  warn(warning: string): void {
    this.warnings.add(warning);
  }

  /** Notes what went wrong, in the step that the run is at. What follows from a first failure is a warning. */
  fail(thrown: unknown, outcome: Failure['outcome'] = 'failed', step = this.at): void {
    const error = toRotationError(thrown);
    if (this.failure === undefined) this.failure = { outcome, step, error };
    else this.warn(`${step}: ${error.code}: ${error.message}`);
  }
}
