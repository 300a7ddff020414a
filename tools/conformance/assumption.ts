/** An assumption about a service, and its check. */
import { status } from '@grpc/grpc-js';
import { RotationError } from '../../src/errors';

/** The source of an assumption before this tool checked the real service. */
export type Source =
  /** The vendor documents it, or its own clients rely on it. */
  | 'documented'
  /** It was observed at the real service. */
  | 'measured'
  | 'guess';

export interface Assumption<TestBed> {
  /** Must not change, because reports quote the id. */
  readonly id: string;
  /** The property that is checked. */
  readonly words: string;
  readonly source: Source;
  /** The answer that the rotator expects, or several acceptable ones. */
  readonly assumed: string | readonly string[];
  /** Observes the service. The answer must not contain a secret. */
  readonly observe: (testBed: TestBed) => Promise<Observed>;
}

export type Observed = string | { readonly is: string; readonly detail: string };

export type Verdict = 'same' | 'DIFFERS' | 'NO ANSWER' | 'not checked';

export interface Line extends Pick<Assumption<never>, 'id' | 'words' | 'source' | 'assumed'> {
  readonly verdict: Verdict;
  /** The observation, or the reason why it is missing. */
  readonly observed: string;
}

/** The operator refused this check, or its settings are missing. */
export class NotChecked extends Error {}

/** A resource that the check needs couldn't be created. The message contains no secret. */
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

/** Describes an error without its message, which could contain a secret. */
export function reasonOf(thrown: unknown): string {
  if (thrown instanceof NotChecked || thrown instanceof Unanswered) return thrown.message;
  if (thrown instanceof RotationError) return thrown.code;
  const grpc = statusName(thrown);
  if (grpc !== undefined) return grpc;
  return `a fault of this tool: ${thrown instanceof Error ? thrown.name : typeof thrown}`;
}

/** The status of an error of a gRPC service. */
export function statusName(thrown: unknown): string | undefined {
  const code: unknown = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
  return Object.entries(status).find(([, known]) => known === code)?.[0];
}

/** Creates a resource when the first check needs it, and returns it to all later checks. */
export function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}

/** @throws Unanswered */
export function failed(why: string): never {
  throw new Unanswered(why);
}
