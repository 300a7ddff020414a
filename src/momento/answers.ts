/** What Momento's HTTP API answers, as far as it is relied on. What does not fit is never printed: it may hold a key. */
import * as v from 'valibot';
import { ID, isToken } from './key';

const Id = v.pipe(v.string(), v.regex(ID));
const Seconds = v.pipe(v.number(), v.integer(), v.minValue(1e9), v.maxValue(1e11 - 1));
const Token = v.pipe(v.string(), v.check(isToken));

const KeyInfo = v.looseObject({
  key_id: Id,
  role_id: Id,
  description: v.nullish(v.string()),
  issued_at_epoch_seconds: Seconds,
  expires_at_epoch_seconds: v.nullish(Seconds),
});
export type KeyInfo = v.InferOutput<typeof KeyInfo>;

export const MintedKey = v.object({ api_key: Token, key_info: KeyInfo });
export type MintedKey = v.InferOutput<typeof MintedKey>;

/** A refresh cannot be had twice, so nothing in its answer is asked for that the key works without. */
export const RefreshedKey = v.object({
  api_key: Token,
  refresh_token: Token,
  key_info: v.fallback(v.optional(KeyInfo), undefined),
});
export type RefreshedKey = v.InferOutput<typeof RefreshedKey>;

export const Page = v.object({
  key_info: v.nullable(v.array(KeyInfo)),
  next_token: v.nullish(v.string()),
});
export type Page = v.InferOutput<typeof Page>;

/** Undefined for an answer that does not fit. */
export function readAnswer<T extends v.GenericSchema>(
  schema: T,
  text: string | undefined,
): v.InferOutput<T> | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text ?? '');
  } catch {
    return undefined;
  }
  const result = v.safeParse(schema, value, { abortEarly: true });
  return result.success ? result.output : undefined;
}

/** The word that the service has for an error, if it looks like one. */
export function errorWord(text: string | undefined): string | undefined {
  const Word = v.object({ code: v.pipe(v.string(), v.regex(/^[A-Za-z]{1,40}$/)) });
  return readAnswer(Word, text)?.code;
}
