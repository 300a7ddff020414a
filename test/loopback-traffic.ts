/**
 * Whether data is in transit between sockets of this process: written at one end and not yet read at the other. Counting
 * bytes is exact on a machine of any speed. Sockets that were opened before this file was imported aren't known.
 *
 * This module can't see TLS, other processes, and asynchronous zlib, which makes no request to the operating system.
 */
import { subscribe } from 'node:diagnostics_channel';
import type { Server, Socket } from 'node:net';
import { performance } from 'node:perf_hooks';

/** A connection whose client is in this process. The server's end is unset until it is accepted. */
interface Connection {
  client: Socket | undefined;
  server: Socket | undefined;
}

/** Requests to the operating system, as Node.js names them: files, names of hosts, connections, writes. */
const REQUEST = /^FSReq|Req(?:Wrap)?$|^(?:Connect|TCPConnect|PipeConnect|Write|Shutdown)Wrap$/;

const listening = new Set<number>();
const connecting = new Set<Socket>();
const connections = new Set<Connection>();
/** Connections by the ports of client and server. */
const byPorts = new Map<string, Connection>();

subscribe('tracing:net.server.listen:asyncEnd', (message) => {
  const { server } = message as { server: Server };
  const address = server.address();
  if (address === null || typeof address === 'string') return;
  listening.add(address.port);
  // Each test file of a Jest worker loads this module again, and each copy listens.
  server.setMaxListeners(0);
  server.once('close', () => listening.delete(address.port));
});

subscribe('net.client.socket', (message) => {
  const { socket } = message as { socket: Socket };
  socket.setMaxListeners(0);
  connecting.add(socket);
  socket.once('close', () => connecting.delete(socket));
  socket.once('connect', () => {
    connecting.delete(socket);
    const { localPort = 0, remotePort = 0 } = socket;
    if (listening.has(remotePort)) opened(`${localPort} ${remotePort}`, 'client', socket);
  });
});

subscribe('net.server.socket', (message) => {
  const { socket } = message as { socket: Socket };
  socket.setMaxListeners(0);
  const { localPort = 0, remotePort = 0 } = socket;
  opened(`${remotePort} ${localPort}`, 'server', socket);
});

function opened(ports: string, end: keyof Connection, socket: Socket): void {
  // The ports of a connection that has ended can be used again.
  const known = byPorts.get(ports);
  const connection =
    known === undefined || known[end] !== undefined
      ? { client: undefined, server: undefined }
      : known;
  connection[end] = socket;
  byPorts.set(ports, connection);
  if (connection.client !== undefined) connections.add(connection);
  socket.once('close', () => {
    connection[end] = undefined;
    if (connection.client !== undefined || connection.server !== undefined) return;
    connections.delete(connection);
    if (byPorts.get(ports) === connection) byPorts.delete(ports);
  });
}

/** Whether no data and no connection is in transit, as far as this process can know without waiting. */
export function isQuiet(): boolean {
  if (connecting.size > 0) return false;
  for (const { client, server } of connections) {
    // Only one end is open. The server is about to accept the connection, or the open end is about to close.
    if (client === undefined || server === undefined) return false;
    if (client.bytesWritten !== server.bytesRead) return false;
    if (server.bytesWritten !== client.bytesRead) return false;
  }
  return !process.getActiveResourcesInfo().some((resource) => REQUEST.test(resource));
}

/** How many events of input and output this process has handled. */
export function eventsHandled(): number {
  return performance.nodeTiming.uvMetricsInfo.events;
}
