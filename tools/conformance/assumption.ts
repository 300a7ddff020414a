/** What an assumption is, and what becomes of one when the services are asked. */
import { status } from '@grpc/grpc-js';
import { RotationError } from '../../src/errors';

/** How an assumption was known before anybody asked the real service with this tool. */
export type Source =
  /** The vendor says so, or its own clients rely on it. */
  | 'documented'
  /** Somebody saw it at the real service. */
  | 'measured'
  | 'guess';

export interface Assumption<TestBed> {
  /** Stable: people quote it in reports. */
  readonly id: string;
  /** What is looked at. */
  readonly words: string;
  readonly source: Source;
  /** The answer that the rotator counts on, or several where each is fine with it. */
  readonly assumed: string | readonly string[];
  /** Finds out what is so. Nothing in the answer may be secret. */
  readonly observe: (testBed: TestBed) => Promise<Observed>;
}

export type Observed = string | { readonly is: string; readonly detail: string };

export type Verdict = 'same' | 'DIFFERS' | 'NO ANSWER' | 'not checked';

export interface Line extends Pick<Assumption<never>, 'id' | 'words' | 'source' | 'assumed'> {
  readonly verdict: Verdict;
  /** What was seen, or why nothing was. */
  readonly observed: string;
}

/** Nobody wanted this to be checked, or gave what it takes. */
export class NotChecked extends Error {}

/** What has to be there before a line can be checked could not be had. The message holds no secret. */
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

/** Only what is known to hold no secret is told. */
export function reasonOf(thrown: unknown): string {
  if (thrown instanceof NotChecked || thrown instanceof Unanswered) return thrown.message;
  if (thrown instanceof RotationError) return thrown.code;
  const grpc = statusName(thrown);
  if (grpc !== undefined) return grpc;
  return `a fault of this tool: ${thrown instanceof Error ? thrown.name : typeof thrown}`;
}

/** Of an error that a gRPC service answered. */
export function statusName(thrown: unknown): string | undefined {
  const code: unknown = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
  return Object.entries(status).find(([, known]) => known === code)?.[0];
}

/** What several lines look at is made when the first of them needs it. */
export function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}

/** @throws Unanswered */
export function failed(why: string): never {
  throw new Unanswered(why);
}
