/** The assumptions about one service, and the test bed that checks them. */
import { check, NotChecked, type Assumption, type Line, type Source } from './assumption';
import type { Target } from './target';

/** Calls one service, and remembers what it created there. */
export interface TestBed {
  /** Removes everything that was created. Returns what couldn't be removed. */
  remove(): Promise<string[]>;
}

export interface Group {
  readonly title: string;
  readonly assumptions: readonly { readonly id: string; readonly source: Source }[];
  /** Reports the result of each check. After the last check, removes everything that was created. */
  readonly check: (
    target: Target,
    signal: AbortSignal,
    report: (line: Line) => void,
  ) => Promise<string[]>;
}

export interface GroupOptions<B extends TestBed> {
  readonly title: string;
  readonly assumptions: readonly Assumption<B>[];
  /** @throws NotChecked if its settings are missing */
  readonly open: (target: Target) => B;
}

export function group<B extends TestBed>({ title, assumptions, open }: GroupOptions<B>): Group {
  return {
    title,
    assumptions,
    check: async (target, signal, report) => {
      let testBed: B;
      try {
        testBed = open(target);
      } catch (thrown) {
        if (!(thrown instanceof NotChecked)) throw thrown;
        for (const assumption of assumptions) report(notChecked(assumption, thrown.message));
        return [];
      }
      for (const assumption of assumptions) {
        // `check` never throws, so everything that was created is removed.
        report(
          signal.aborted ? notChecked(assumption, 'interrupted') : await check(assumption, testBed),
        );
      }
      return testBed.remove();
    },
  };
}

function notChecked<B>(assumption: Assumption<B>, why: string): Line {
  const { id, words, source, assumed } = assumption;
  return { id, words, source, assumed, verdict: 'not checked', observed: why };
}
