/** Runs the emulators and the function until they are stopped, to try requests by hand. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import {
  REQUESTS_TOPIC,
  startLocalTestBed,
  STUCK_SECRET,
  V1_SECRET,
  V2_SECRET,
} from './local-services';

const PORT = Number(process.env.PORT ?? 8080);

async function local(): Promise<void> {
  await requireFreePort();
  const { secretManager, momento, keyApi, pubsub, rotator, stop } = await startLocalTestBed({
    port: PORT,
    server: 'development',
    onOutput: (text) => process.stdout.write(text),
  });
  /** Returns a command that encodes the request in the shell, so that users can edit the request. */
  const publish = (request: string): string =>
    `curl -s http://${pubsub.host}/v1/${REQUESTS_TOPIC}:publish -d '{"messages": [{"data": "'$(echo '${request}' | base64 | tr -d '\\n')'"}]}'`;
  console.log(`The function runs at ${rotator.url} for
  ${V1_SECRET}: a v1 key that expires tomorrow
  ${V2_SECRET}: empty, its keys are minted
  ${STUCK_SECRET}: a v1 key without its refresh token
Secret Manager is at ${secretManager.host} and Momento at ${momento.host} (gRPC), Momento's key API at ${keyApi.host} (HTTP),
Pub/Sub at ${pubsub.host} (HTTP): in memory, on this machine only. In a second terminal:

Show the state of the secrets:
  curl -s ${rotator.url}
Show what a run would do:
  curl -s -X POST ${rotator.url} -d '{"dryRun": true}'
Rotate all secrets (one fails, which doesn't affect the others):
  curl -s -X POST ${rotator.url}
As Cloud Scheduler calls it (a second call for the same time returns already_rotated):
  AT="X-CloudScheduler-ScheduleTime: $(date -u +%Y-%m-%dT%H:%M:%SZ)"
  curl -s -X POST ${rotator.url} -H "$AT" -d '{"secrets": ["cache-key"]}'
Let a run fail (docs/operate/runbook.md has the action for each error.code):
  curl -s -i -X POST ${rotator.url} -d '{"secrets": ["stuck-cache-key"]}'

As an operator sends requests, through Pub/Sub. The answer is the id of the message, and the log below gets the result:
Rotate now:
  ${publish('{"secrets": ["cache-key"], "force": true}')}
Log the state of the secrets:
  ${publish('{"status": true}')}
Log what a run would do:
  ${publish('{"secrets": ["cache-key"], "dryRun": true}')}
Replace a leaked key and revoke the old ones:
  ${publish('{"secrets": ["cache-key"], "compromised": true, "reason": "INC-42"}')}

The function's log follows. Ctrl-C stops everything.
`);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void stop().then(() => process.exit(0)));
  }
}

/** Throws if the port is in use. Otherwise another server at the port could be mistaken for the function. */
async function requireFreePort(): Promise<void> {
  if (!Number.isInteger(PORT) || PORT < 1 || PORT > 65535) {
    throw new Error('PORT must be a number from 1 to 65535.');
  }
  const server = createServer().listen(PORT, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new Error(
      `Port ${PORT} can't be used (${code}). Choose another one, such as PORT=8081.`,
      { cause },
    );
  }
  server.close();
  await once(server, 'close');
}

local().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
