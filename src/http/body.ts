import type { IncomingMessage } from 'node:http';
import { RotationError } from '../errors';

const MAX_BODY_BYTES = 16 * 1024;

/**
 * Reads a request's body, and no more of it than may be kept: what is announced as too long is not read at all, and what
 * turns out to be is let go as it comes. The connection goes on being read either way, or a client that sends all before
 * it listens would never hear the answer.
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
    // Read by somebody else before, it would pass for an empty one, which names all secrets.
    if (length === 0 && Number(request.headers['content-length']) > 0)
      throw badRequest('its body is gone');
    return Buffer.concat(chunks);
  } catch (thrown) {
    if (thrown instanceof RotationError) throw thrown;
    throw badRequest('it ended before all of it had arrived', { cause: thrown });
  } finally {
    request.resume();
  }
}

/** What is wrong is said without quoting it: a request may hold a secret by mistake. */
export function badRequest(problem: string, options?: ErrorOptions): RotationError {
  return new RotationError(
    'INVALID_REQUEST',
    `The request is not valid: ${problem}. Nothing was done. The README shows what a request looks like.`,
    options,
  );
}

function tooLong(): RotationError {
  return badRequest(`it is longer than ${MAX_BODY_BYTES} bytes`);
}
