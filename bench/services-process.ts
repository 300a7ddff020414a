/** The local services, in a process of their own: see services.ts. */
import { startServices } from '../test/emulators/services';
import type { Order } from './services';

async function serve(): Promise<void> {
  const { secretManager, momento, keyApi } = await startServices();
  const carryOut = (order: Order): object => {
    switch (order.kind) {
      case 'hosts':
        return { secretManager: secretManager.host, momento: momento.host };
      case 'create':
        for (const secret of order.secrets) {
          secretManager.createSecret(secret);
          secretManager.addVersion(secret, momento.issueKey().consoleJson);
        }
        return {};
      case 'delete':
        for (const secret of order.secrets) secretManager.deleteSecret(secret);
        return {};
      case 'latency':
        for (const { faults } of [secretManager, momento, keyApi]) faults.latencyMs = order.ms;
        return {};
      case 'quotas':
        secretManager.quotas = order.quotas;
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

void serve();
