/** The local services and the function, left running to play with. */
import { startLocalWorld, STUCK_SECRET, V1_SECRET, V2_SECRET } from './local-services';

const PORT = Number(process.env.PORT ?? 8080);

async function local(): Promise<void> {
  const { secretManager, momento, keyApi, rotator, stop } = await startLocalWorld({
    port: PORT,
    onOutput: (text) => process.stdout.write(text),
  });
  console.log(`The function runs at ${rotator.url} for
  ${V1_SECRET}: a v1 key that expires tomorrow
  ${V2_SECRET}: empty, its keys are minted
  ${STUCK_SECRET}: a v1 key without its refresh token
Secret Manager is at ${secretManager.host} and Momento at ${momento.host} (gRPC), Momento's key API at ${keyApi.host} (HTTP):
in memory, on this machine only. In a second terminal:

See what there is:
  curl -s ${rotator.url}
What would be done:
  curl -s -X POST ${rotator.url} -d '{"dryRun": true}'
Rotate; the secret that fails holds up no other:
  curl -s -X POST ${rotator.url}
As Cloud Scheduler calls it; called again for the same time, it says already_rotated:
  AT="X-CloudScheduler-ScheduleTime: $(date -u +%Y-%m-%dT%H:%M:%SZ)"
  curl -s -X POST ${rotator.url} -H "$AT" -d '{"secrets": ["cache-key"]}'
What a failure looks like; docs/runbook.md has what each error.code means, and what to do:
  curl -s -i -X POST ${rotator.url} -d '{"secrets": ["stuck-cache-key"]}'

The function's log follows. Ctrl-C stops everything.
`);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void stop().then(() => process.exit(0)));
  }
}

local().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
