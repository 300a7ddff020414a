import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { IncomingMessage } from 'node:http';

/**
 * Prevents functions-framework from reading a body before the handler does. The framework would buffer and inflate up to
 * 1 GiB, and functions can't change that limit. The framework has no hook before its body parsers, so the guard uses a
 * diagnostics channel of Node.js.
 *
 * @returns a function that removes the guard, for tests that run other servers in the same process
 */
export function guardFramework(): () => void {
  const guard = (message: unknown): void => {
    const { request } = message as { request: IncomingMessage };
    // The framework parses only bodies with a content type.
    delete request.headers['content-type'];
    // The framework answers paths that it can't decode, and some others, without JSON.
    request.url = simplified(request.url ?? '');
  };
  subscribe('http.server.request.start', guard);
  return () => unsubscribe('http.server.request.start', guard);
}

/** The handler distinguishes `/`, `/` with a query, and any other target, which can be a path or a whole URL. */
function simplified(target: string): '/' | '/?' | '/elsewhere' {
  const [root, query] = /^(?:https?:\/\/[^/?#]*)?\/?(\?|$)/i.exec(target) ?? [];
  if (root === undefined) return '/elsewhere';
  return query === '?' ? '/?' : '/';
}
