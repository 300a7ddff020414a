/** Runs the emulators in a process that services.ts starts. */
import { startServices } from '../emulators/services';
import type { Command } from './services';

const MANAGEMENT_KEY = 'projects/bench/secrets/management-key';
const HOUR = 3600_000;

async function serve(): Promise<void> {
  const { secretManager, momento, keyApi, env } = await startServices();
  const { account } = momento;
  secretManager.createSecret(MANAGEMENT_KEY);
  secretManager.addVersion(MANAGEMENT_KEY, account.issueV2Key({ role: 'r-operator' }).apiKey);

  const mintedKey = (secret: string): string =>
    account.issueV2Key({ description: description(secret) }).apiKey;
  const carryOut = (command: Command): object => {
    switch (command.kind) {
      case 'env':
        return { ...env, managementKey: MANAGEMENT_KEY };
      case 'create':
        for (const secret of command.secrets) {
          secretManager.createSecret(secret);
          secretManager.addVersion(
            secret,
            command.keys === 'v1' ? momento.issueKey().consoleJson : mintedKey(secret),
          );
        }
        return {};
      case 'versions':
        for (const secret of command.secrets) {
          for (let version = 1; version < command.count; version += 1) {
            secretManager.addVersion(secret, momento.issueKey().consoleJson);
          }
        }
        return {};
      case 'delete':
        for (const secret of command.secrets) {
          secretManager.deleteSecret(secret);
          for (const { info } of account.keys(description(secret))) {
            account.revoke(info.key_id, 'operator');
          }
        }
        return {};
      case 'orphans':
        account.now = () => Date.now() - 2 * HOUR;
        for (const secret of command.secrets) mintedKey(secret);
        account.now = Date.now;
        return {};
      case 'latency':
        for (const { faults } of [secretManager, momento, keyApi]) faults.latencyMs = command.ms;
        return {};
      case 'quotas':
        secretManager.quotas = command.quotas;
        return {};
      case 'limit':
        keyApi.callsPerSecond = command.callsPerSecond;
        return {};
      case 'calls': {
        const counts: Record<string, number> = {};
        for (const { faults } of [secretManager, momento, keyApi]) {
          for (const { method } of faults.calls) counts[method] = (counts[method] ?? 0) + 1;
          faults.forget();
        }
        return counts;
      }
    }
  };
  process.on('message', (command: Command) => process.send?.(carryOut(command)));
  process.on('disconnect', () => process.exit());
}

/** The function recognizes its keys for a secret by this description. */
function description(secret: string): string {
  return `momento-key-rotator ${secret}`;
}

void serve();
