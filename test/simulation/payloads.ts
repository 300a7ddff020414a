/** Payloads as an application reads them, and as a person writes them. */
import type { IssuedV2Key, Key } from '../../emulators/account';
import { answerOf } from '../../emulators/account';

export type Form = 'api' | 'console' | 'key';

export interface Read {
  readonly apiKey: string;
  readonly refreshToken: string | undefined;
}

/** Undefined for what is no credential. */
export function readPayload(payload: Buffer): Read | undefined {
  const text = payload.toString();
  if (/^[\w.-]+$/.test(text)) return { apiKey: text, refreshToken: undefined };
  try {
    const fields = JSON.parse(text) as Partial<Record<string, string>>;
    const apiKey = String(fields.apiKey ?? fields.api_key);
    return { apiKey, refreshToken: fields.refreshToken ?? fields.refresh_token };
  } catch {
    return undefined;
  }
}

export function keyIn(payload: Buffer): string | undefined {
  return readPayload(payload)?.apiKey;
}

/** A v2 key as a person stores it, with a note of his own where there is room for one. */
export function payloadOf(issued: IssuedV2Key, form: Form, note: string): string {
  if (form === 'key') return issued.apiKey;
  const json = form === 'api' ? issued.apiJson : issued.consoleJson;
  return JSON.stringify({ ...(JSON.parse(json) as object), note });
}

/** A key that was minted, as the rotator stored it. */
export function mintedPayload(key: Key, form: Form, note: string): string {
  const { apiKey, info } = key;
  if (form === 'key') return apiKey;
  const fields =
    form === 'api' ? answerOf(key) : { apiKey, validUntil: info.expires_at_epoch_seconds };
  return JSON.stringify({ ...fields, note });
}
