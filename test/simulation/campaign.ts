/** What a campaign is made of, and how its cases are played. */
import './quick-errors';
import { Scene, type SceneOptions } from './scene';
import { Stage } from './stage';

/** One thing that is tried. */
export interface Case {
  /** Unique in its group: `--case` finds it by this. */
  readonly name: string;
  /** Plays the case; returns what did not survive, one line each. */
  readonly play: (stage: Stage) => Promise<readonly string[]>;
  /** How many this stands for, where one case tries many things. */
  readonly tries?: () => number;
  /** What there is to say about it besides. */
  readonly note?: () => string;
}

export interface Group {
  readonly name: string;
  /** What is tried, for the table. */
  readonly title: string;
  /** How many cases are played at a time in one process. */
  readonly concurrency: number;
  /** Cases that mostly wait are played beside all others. */
  readonly inBackground?: boolean;
  /** How long a case may take, where that is longer than usual. */
  readonly caseLimitMs?: number;
  readonly cases: (extent: Extent) => readonly Case[];
}

/** `short`: the part that belongs to the tests. */
export type Extent = 'short' | 'full';

export interface Failure {
  readonly group: string;
  readonly case: string;
  readonly violations: readonly string[];
}

export interface Score {
  readonly group: string;
  readonly title: string;
  tried: number;
  failed: number;
  seconds: number;
  readonly failures: Failure[];
  readonly notes: string[];
}

/** How many failures are told in full. */
const TOLD = 20;

/** No case may hang: a refresh that nobody answers takes 60 s, and is tried twice. */
const CASE_LIMIT_MS = 200_000;

/** Plays cases with a pool of stages, as many at a time as the group wants. */
export async function play(
  group: Group,
  cases: readonly Case[],
  limitMs = group.caseLimitMs ?? CASE_LIMIT_MS,
): Promise<Score> {
  const { name, title, concurrency } = group;
  const score: Score = {
    group: name,
    title,
    tried: 0,
    failed: 0,
    seconds: 0,
    failures: [],
    notes: [],
  };
  const startedAt = performance.now();
  const remaining = cases.values();
  const worker = async (): Promise<void> => {
    const stage = await Stage.start();
    for (const one of remaining) {
      const violations = await judged(one, stage, limitMs);
      score.tried += one.tries?.() ?? 1;
      if (one.note !== undefined) score.notes.push(one.note());
      if (violations.length === 0) continue;
      score.failed += 1;
      if (score.failures.length < TOLD) {
        score.failures.push({ group: name, case: one.name, violations });
      }
    }
    await stage.stop();
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, cases.length) }, worker));
  score.seconds = (performance.now() - startedAt) / 1000;
  return score;
}

async function judged(
  { play: playCase }: Case,
  stage: Stage,
  limitMs: number,
): Promise<readonly string[]> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<string[]>((resolve) => {
    const why = `invariant 6: no end within ${limitMs / 1000} s`;
    timer = setTimeout(() => resolve([why]), limitMs);
  });
  try {
    return await Promise.race([playCase(stage), limit]);
  } catch (error) {
    return [
      `the case itself failed: ${error instanceof Error ? String(error.stack) : String(error)}`,
    ];
  } finally {
    clearTimeout(timer);
  }
}

/** A case in a scene of its own. */
export function scene(
  name: string,
  options: SceneOptions,
  playScene: (scene: Scene) => Promise<readonly string[] | undefined>,
): Case {
  return {
    name,
    play: async (stage) => {
      const opened = await Scene.open(stage, options);
      try {
        const violations = await playScene(opened);
        return [...(violations ?? []), ...(await opened.close())];
      } catch (error) {
        await opened.close();
        throw error;
      }
    },
  };
}

/** Every `n`th of a list: what the short campaign plays. */
export function everyNth<T>(items: readonly T[], n: number, first = 0): T[] {
  return items.filter((_, index) => index % n === first % n);
}
