import { connect } from "node:net";

// Run as a process of its own, `node idle-connections.ts <port> <count>`, because one process has not
// enough descriptors for both sides. Opens the connections, keeps each alive with one request, and
// prints how many stand. Ends when it is killed.
const [port, count] = process.argv.slice(2).map(Number);
// More handshakes at a time than a listen queue holds would only be repeated.
const HANDSHAKES_MAX = 200;

let opened = 0;
let established = 0;

function open(): void {
  if (opened === count) return;
  opened += 1;
  const socket = connect(port ?? 0, "127.0.0.1");
  socket.once("connect", () => {
    // After one request a connection is a kept one, with a long time to wait for the next.
    socket.write("GET / HTTP/1.1\r\nhost: test.localhost\r\n\r\n");
  });
  socket.once("data", () => {
    established += 1;
    if (established === count) console.log(established);
    open();
  });
  socket.on("error", (error) => {
    console.error(error.message);
    process.exit(1);
  });
}

for (let index = 0; index < HANDSHAKES_MAX; index += 1) open();
