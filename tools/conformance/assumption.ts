/** An assumption about a service, and the verdict after a check. */
import { status } from '@grpc/grpc-js';
import { RotationError } from '../../src/errors';

/** The evidence for an assumption before this tool checked the real service. */
export type Source =
  /** In the service's documentation, or its own clients rely on it. */
  | 'documented'
  /** Observed at the real service. */
  | 'measured'
  | 'guess';

export interface Assumption<TestBed> {
  /** Stable, because reports quote it. */
  readonly id: string;
  /** The subject of the check. */
  readonly words: string;
  readonly source: Source;
  /** The answer that the rotator relies on, or several answers that it accepts. */
  readonly assumed: string | readonly string[];
  /** Observes the service. The observation must not contain a secret. */
  readonly observe: (testBed: TestBed) => Promise<Observed>;
}

export type Observed = string | { readonly is: string; readonly detail: string };

export type Verdict = 'same' | 'DIFFERS' | 'NO ANSWER' | 'not checked';

export interface Line extends Pick<Assumption<never>, 'id' | 'words' | 'source' | 'assumed'> {
  readonly verdict: Verdict;
  /** The observation, or the reason why there is none. */
  readonly observed: string;
}

/** The user didn't allow this check, or didn't provide the key or secret that it needs. */
export class NotChecked extends Error {}

/** The set-up of a check failed. The message contains no secret. */
export class Unanswered extends Error {}

export async function check<TestBed>(
  { observe, ...assumption }: Assumption<TestBed>,
  testBed: TestBed,
): Promise<Line> {
  const { assumed } = assumption;
  try {
    const observed = await observe(testBed);
    const { is, detail } = typeof observed === 'string' ? { is: observed, detail: '' } : observed;
    return {
      ...assumption,
      verdict: [assumed].flat().includes(is) ? 'same' : 'DIFFERS',
      observed: detail === '' ? is : `${is} (${detail})`,
    };
  } catch (thrown) {
    const verdict = thrown instanceof NotChecked ? 'not checked' : 'NO ANSWER';
    return { ...assumption, verdict, observed: reasonOf(thrown) };
  }
}

/** Returns only texts that are known to contain no secret. */
export function reasonOf(thrown: unknown): string {
  if (thrown instanceof NotChecked || thrown instanceof Unanswered) return thrown.message;
  if (thrown instanceof RotationError) return thrown.code;
  const grpc = statusName(thrown);
  if (grpc !== undefined) return grpc;
  return `a fault of this tool: ${thrown instanceof Error ? thrown.name : typeof thrown}`;
}

/** The name of the gRPC status in an error, if it has one. */
export function statusName(thrown: unknown): string | undefined {
  const code: unknown = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
  return Object.entries(status).find(([, known]) => known === code)?.[0];
}

/** Creates a value that several checks share when the first of them needs it. */
export function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}

/** @throws Unanswered */
export function failed(why: string): never {
  throw new Unanswered(why);
}
