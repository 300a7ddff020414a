/** The local services and the function, left running to play with. */
import { startLocalWorld, V1_SECRET, V2_SECRET } from './local-services';

const PORT = Number(process.env.PORT ?? 8080);

async function local(): Promise<void> {
  const { secretManager, momento, keyApi, rotator, stop } = await startLocalWorld({
    port: PORT,
    onOutput: (text) => process.stdout.write(text),
  });
  console.log(`The function runs at ${rotator.url} for ${V1_SECRET} (a v1 key) and ${V2_SECRET} (empty).
Secret Manager is at ${secretManager.host} and Momento at ${momento.host} (gRPC), Momento's key API at ${keyApi.host} (HTTP):
in memory, on this machine only.

See what there is:
  curl -s ${rotator.url}
Rotate:
  curl -s -X POST ${rotator.url}
What would be done:
  curl -s -X POST ${rotator.url} -d '{"dryRun": true}'
As Cloud Scheduler calls it (the second call says already_rotated):
  curl -s -X POST ${rotator.url} -H "X-CloudScheduler-ScheduleTime: $(date -u +%Y-%m-%dT%H:%M:%SZ)" -d '{"secrets": ["cache-key"]}'

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
