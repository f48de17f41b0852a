// Answers each request on a unix socket with nothing, the least that Node's server can do.
import { createServer } from "node:http";

const server = createServer((_incoming, outgoing) => outgoing.end());
// Longer than the pauses between rounds, so that no call opens a connection.
server.keepAliveTimeout = 60_000;
server.listen(process.argv[2], () => process.send?.("ready"));
process.on("disconnect", () => process.exit());
