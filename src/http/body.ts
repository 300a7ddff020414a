import type { IncomingMessage } from 'node:http';
import { RotationError } from '../errors';

const MAX_BODY_BYTES = 16 * 1024;

/**
 * Reads a request's body up to the limit. It discards the rest, because a client that sends everything before it reads would
 * otherwise never get the answer.
 *
 * @throws RotationError INVALID_REQUEST
 */
export async function readBody(request: IncomingMessage): Promise<Buffer> {
  try {
    if (Number(request.headers['content-length']) > MAX_BODY_BYTES) throw tooLong();
    const chunks: Buffer[] = [];
    let length = 0;
    const body: AsyncIterable<Buffer> = request.iterator({ destroyOnReturn: false });
    for await (const chunk of body) {
      length += chunk.length;
      if (length > MAX_BODY_BYTES) throw tooLong();
      chunks.push(chunk);
    }
    // A body that other code has read looks empty, and an empty body rotates all secrets.
    if (length === 0 && Number(request.headers['content-length']) > 0) {
      throw invalidRequest('its body was already read');
    }
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
      action: "Correct the request. The README's section on HTTP describes it.",
    },
    options,
  );
}

function tooLong(): RotationError {
  return invalidRequest(`its body is longer than ${MAX_BODY_BYTES} bytes`);
}
