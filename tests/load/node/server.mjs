// The plainest broadcast with the `ws` package: once a second one frame to everybody.
import { WebSocketServer } from "ws";

const server = new WebSocketServer({ port: Number(process.argv[2]), host: "127.0.0.1", perMessageDeflate: false, backlog: 4096 });
let seq = Date.now();
setInterval(() => {
  seq += 1;
  const frame = JSON.stringify({ type: "tick", seq, sent_ms: Date.now(), viewers: server.clients.size, orders: 1000, units: 2000, stale: false });
  for (const client of server.clients) client.send(frame);
}, 1000);
