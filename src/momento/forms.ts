/** Which form a payload has. */
import { API_KEY_FIELD, ApiJson } from './api-json';
import { BareKey } from './bare-key';
import { CONSOLE_KEY_FIELDS, ConsoleJson } from './console-json';
import { isObject, parseJson } from './json';
import { readKey } from './key';
import { invalid, type Payload } from './payload';

/** @throws RotationError PAYLOAD_INVALID */
export function readPayload(payload: Uint8Array): Payload {
  const text = decode(payload);
  let value: unknown;
  try {
    value = parseJson(text);
  } catch {
    const key = text.trim();
    if (key === '') throw invalid('it is empty');
    if (readKey(key) === undefined) throw invalid('it is neither JSON nor a Momento API key');
    return new BareKey(key);
  }
  if (!isObject(value)) throw invalid('it is JSON, but not an object');
  const isApiJson = API_KEY_FIELD in value;
  const consoleField = CONSOLE_KEY_FIELDS.find((name) => name in value);
  if (isApiJson && consoleField !== undefined) {
    throw invalid(
      `it has '${consoleField}' and '${API_KEY_FIELD}', which belong to two forms; keep one of them`,
    );
  }
  if (isApiJson) return new ApiJson(value);
  if (consoleField !== undefined) return new ConsoleJson(value);
  throw invalid(`it has no field 'apiKey' or '${API_KEY_FIELD}'`);
}

function decode(payload: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(payload);
  } catch {
    throw invalid('it is not UTF-8');
  }
}
