/** The local services and the function, left running to play with. */
import { SECRET, startLocalServices } from './local-services';

const PORT = Number(process.env.PORT ?? 8080);

async function local(): Promise<void> {
  const { secretManager, momento, rotator, stop } = await startLocalServices({
    port: PORT,
    onOutput: (text) => process.stdout.write(text),
  });
  console.log(`The function runs at ${rotator.url} for ${SECRET}.
Secret Manager is at ${secretManager.host}, Momento at ${momento.host}: gRPC, in memory, on this machine only.

See what there is:
  curl -s ${rotator.url}
Rotate:
  curl -s -X POST ${rotator.url}
What would be done:
  curl -s -X POST ${rotator.url} -d '{"dryRun": true}'
As Cloud Scheduler calls it (the second call says already_rotated):
  curl -s -X POST ${rotator.url} -H "X-CloudScheduler-ScheduleTime: $(date -u +%Y-%m-%dT%H:%M:%SZ)" -d '{"secrets": ["momento-api-key"]}'

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
