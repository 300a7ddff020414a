import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { IncomingMessage } from 'node:http';

/**
 * Keeps functions-framework from reading a body before the handler does. Otherwise it would buffer and inflate up to 1 GiB,
 * a limit that it doesn't let functions change. It has no hook before its body parsers, so this uses a channel of Node.js.
 *
 * @returns a function that removes the guard: the tests of a process have other servers
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
