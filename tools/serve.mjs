// The development server: the built function behind functions-framework, as in the cloud, but on the loopback interface
// only, because on a developer's machine nothing authenticates its callers. The framework's own command can't bind to one
// interface.
import { getTestServer } from '@google-cloud/functions-framework/testing';

const HOST = '127.0.0.1';
const port = process.env.PORT || '8080';

if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) fail('PORT must be a number from 0 to 65535.');

// Registers the function.
await import('../dist/index.cjs');

// `GracefulShutdown` replaces these listeners at the first request.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit());

const server = getTestServer('rotate');
server.once('error', ({ code }) => {
  const problem = { EADDRINUSE: 'is already in use', EACCES: 'needs more rights' }[code];
  fail(
    `Port ${port} ${problem ?? `can't be used (${code})`}. Choose another one, such as PORT=8081.`,
  );
});
server.listen(Number(port), HOST, () => {
  if (process.env.NODE_ENV === 'production') return;
  console.log(`The function listens at http://${HOST}:${server.address().port}/`);
});

function fail(message) {
  console.error(message);
  process.exit(1);
}
