import type { IncomingMessage } from 'node:http';
import { RotationError } from '../errors';

const MAX_BODY_BYTES = 16 * 1024;

/**
 * Reads a request's body up to the limit. A body that is announced as longer isn't kept at all. The rest of the request is
 * read and dropped, because a client that sends everything before it reads would otherwise never get the answer.
 *
 * @throws RotationError INVALID_REQUEST
 */
export async function readBody(request: IncomingMessage): Promise<Buffer> {
  try {
    if (Number(request.headers['content-length']) > MAX_BODY_BYTES) throw tooLong();
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of request.iterator({
      destroyOnReturn: false,
    }) as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > MAX_BODY_BYTES) throw tooLong();
      chunks.push(chunk);
    }
    // If other code has read the body, it looks empty, and an empty body names all secrets.
    if (length === 0 && Number(request.headers['content-length']) > 0)
      throw invalidRequest('its body was already read');
    return Buffer.concat(chunks);
  } catch (thrown) {
    if (thrown instanceof RotationError) throw thrown;
    throw invalidRequest('it ended before its body was complete', { cause: thrown });
  } finally {
    request.resume();
  }
}

/**
 * The error for a request that can't be accepted.
 *
 * @param reason completes "The request is invalid, because". It doesn't quote the request, which could contain a secret
 */
export function invalidRequest(reason: string, options?: ErrorOptions): RotationError {
  return new RotationError(
    'INVALID_REQUEST',
    {
      problem: `The request is invalid, because ${reason}. Nothing was done.`,
      action: "Correct the request. The README's section on HTTP describes it.",
    },
    options,
  );
}

function tooLong(): RotationError {
  return invalidRequest(`its body is longer than ${MAX_BODY_BYTES} bytes`);
}
