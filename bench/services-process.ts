/** The emulators' process: see services.ts. */
import { startServices } from '../emulators/services';
import type { Order } from './services';

const MANAGEMENT_KEY = 'projects/bench/secrets/management-key';
const HOUR = 3600_000;

async function serve(): Promise<void> {
  const { secretManager, momento, keyApi, env } = await startServices();
  const { account } = momento;
  secretManager.createSecret(MANAGEMENT_KEY);
  secretManager.addVersion(MANAGEMENT_KEY, account.issueV2Key({ role: 'r-operator' }).apiKey);

  const mintedKey = (secret: string): string =>
    account.issueV2Key({ description: description(secret) }).apiKey;
  const carryOut = (order: Order): object => {
    switch (order.kind) {
      case 'env':
        return { ...env, managementKey: MANAGEMENT_KEY };
      case 'create':
        for (const secret of order.secrets) {
          secretManager.createSecret(secret);
          secretManager.addVersion(
            secret,
            order.keys === 'v1' ? momento.issueKey().consoleJson : mintedKey(secret),
          );
        }
        return {};
      case 'versions':
        for (const secret of order.secrets) {
          for (let version = 1; version < order.count; version += 1) {
            secretManager.addVersion(secret, momento.issueKey().consoleJson);
          }
        }
        return {};
      case 'delete':
        for (const secret of order.secrets) {
          secretManager.deleteSecret(secret);
          for (const { info } of account.keys(description(secret))) {
            account.revoke(info.key_id, 'operator');
          }
        }
        return {};
      case 'orphans':
        account.now = () => Date.now() - 2 * HOUR;
        for (const secret of order.secrets) mintedKey(secret);
        account.now = Date.now;
        return {};
      case 'latency':
        for (const { faults } of [secretManager, momento, keyApi]) faults.latencyMs = order.ms;
        return {};
      case 'quotas':
        secretManager.quotas = order.quotas;
        return {};
      case 'limit':
        keyApi.callsPerSecond = order.callsPerSecond;
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
  process.on('message', (order: Order) => process.send?.(carryOut(order)));
  process.on('disconnect', () => process.exit());
}

/** The function recognizes its keys for a secret by this description. */
function description(secret: string): string {
  return `momento-key-rotator ${secret}`;
}

void serve();
