import type { IncomingMessage } from 'node:http';
import { RotationError } from '../errors';

/** The longest body of a request. */
export const MAX_REQUEST_BYTES = 16 * 1024;

/** If a body is announced as longer, these bytes decide which limit it has. */
const START_BYTES = 64;

/**
 * Reads a request's body up to the limit. The rest of the request is read and dropped, because a client that sends everything
 * before it reads would otherwise never get the answer.
 *
 * @param limitOf returns the limit of a body longer than 16 KiB, from its beginning; default 16 KiB
 * @throws RotationError INVALID_REQUEST
 */
export async function readBody(
  request: IncomingMessage,
  limitOf?: (start: Buffer) => number,
): Promise<Buffer> {
  const announced = Number(request.headers['content-length'] ?? 0);
  try {
    if (limitOf === undefined && announced > MAX_REQUEST_BYTES) throw tooLong(MAX_REQUEST_BYTES);
    const chunks: Buffer[] = [];
    let length = 0;
    let limit: number | undefined;
    for await (const chunk of request.iterator({
      destroyOnReturn: false,
    }) as AsyncIterable<Buffer>) {
      length += chunk.length;
      chunks.push(chunk);
      const isStartKnown = length >= START_BYTES;
      if (length > MAX_REQUEST_BYTES || (isStartKnown && announced > MAX_REQUEST_BYTES)) {
        limit ??= limitOf?.(Buffer.concat(chunks)) ?? MAX_REQUEST_BYTES;
        if (Math.max(length, announced) > limit) throw tooLong(limit);
      }
    }
    // If other code has read the body, it looks empty, and an empty body names all secrets.
    if (length === 0 && announced > 0) throw invalidRequest('its body was already read');
    return Buffer.concat(chunks);
  } catch (thrown) {
    if (thrown instanceof RotationError) throw thrown;
    throw invalidRequest('it ended before its body was complete', { cause: thrown });
  } finally {
    request.resume();
  }
}

/** @param reason continues "The request is invalid, because". It must not quote the request, which could contain a secret */
export function invalidRequest(reason: string, options?: ErrorOptions): RotationError {
  return new RotationError(
    'INVALID_REQUEST',
    {
      problem: `The request is invalid, because ${reason}. Nothing was done.`,
      action: 'Correct the request. docs/reference/requests.md describes it.',
    },
    options,
  );
}

export function tooLong(limit: number): RotationError {
  return invalidRequest(`its body is longer than ${limit} bytes`);
}
