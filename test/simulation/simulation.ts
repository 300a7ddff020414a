/** Groups of cases, and how they are run. */
import '../schema-once';
import { TestBed, Worker, type TestBedOptions } from './test-bed';

export interface Case {
  /** The name for `--case`, unique in its group. */
  readonly name: string;
  /** Runs the case; returns one line for each violation. */
  readonly run: (worker: Worker) => Promise<readonly string[]>;
  /** The number of cases in the results; 1 by default. */
  readonly count?: () => number;
  /** Figures for the results page. */
  readonly note?: () => string;
}

export interface Group {
  readonly name: string;
  readonly title: string;
  /** How many cases run at a time in one process. */
  readonly concurrency: number;
  /** Whether the group mostly waits, so that it runs beside all others. */
  readonly inBackground?: boolean;
  readonly caseLimitMs?: number;
  readonly cases: (extent: Extent) => readonly Case[];
}

/** `short`: a part that takes about a minute for all groups. */
export type Extent = 'short' | 'full';

export interface Failure {
  readonly group: string;
  readonly case: string;
  readonly violations: readonly string[];
}

export interface Score {
  readonly group: string;
  readonly title: string;
  cases: number;
  failed: number;
  seconds: number;
  readonly failures: Failure[];
  readonly notes: string[];
}

/** How many failures of a group are printed in full. */
const PRINTED = 20;

/** A refresh without an answer takes 60 s, and is repeated. */
const CASE_LIMIT_MS = 200_000;

/** Runs cases with as many workers as the group allows. */
export async function runCases(
  group: Group,
  cases: readonly Case[],
  limitMs = group.caseLimitMs ?? CASE_LIMIT_MS,
): Promise<Score> {
  const { name, title, concurrency } = group;
  const score: Score = {
    group: name,
    title,
    cases: 0,
    failed: 0,
    seconds: 0,
    failures: [],
    notes: [],
  };
  const startedAt = performance.now();
  const remaining = cases.values();
  const work = async (): Promise<void> => {
    const worker = await Worker.start();
    for (const one of remaining) {
      const violations = await runCase(one, worker, limitMs);
      score.cases += one.count?.() ?? 1;
      if (one.note !== undefined) score.notes.push(one.note());
      if (violations.length === 0) continue;
      score.failed += 1;
      if (score.failures.length < PRINTED) {
        score.failures.push({ group: name, case: one.name, violations });
      }
    }
    await worker.stop();
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, cases.length) }, work));
  score.seconds = (performance.now() - startedAt) / 1000;
  return score;
}

async function runCase({ run }: Case, worker: Worker, limitMs: number): Promise<readonly string[]> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<string[]>((resolve) => {
    const violation = `invariant 6: no end within ${limitMs / 1000} s`;
    timer = setTimeout(() => resolve([violation]), limitMs);
  });
  try {
    return await Promise.race([run(worker), limit]);
  } catch (error) {
    return [`the case threw ${error instanceof Error ? String(error.stack) : String(error)}`];
  } finally {
    clearTimeout(timer);
  }
}

/** A case with a test bed of its own. */
export function testCase(
  name: string,
  options: TestBedOptions,
  run: (bed: TestBed) => Promise<readonly string[] | undefined>,
): Case {
  return {
    name,
    run: async (worker) => {
      const bed = await TestBed.open(worker, options);
      try {
        const violations = await run(bed);
        return [...(violations ?? []), ...(await bed.close())];
      } catch (error) {
        await bed.close();
        throw error;
      }
    },
  };
}

/** Everything, or every `n`th case for the short simulation. */
export function sample<T>(items: readonly T[], extent: Extent, n: number): readonly T[] {
  return extent === 'full' ? items : items.filter((_, index) => index % n === n - 1);
}
