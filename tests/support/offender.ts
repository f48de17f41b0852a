/** A worker that exceeds a limit as its path says, else answers "fine". */
export const OFFENDER_SOURCE = `const kept = [];
export default { async fetch(request) {
  const { pathname } = new URL(request.url);
  if (pathname === "/loop") for (;;) {}
  if (pathname === "/grow") for (;;) kept.push(new Uint8Array(1e6).fill(1));
  return new Response("fine");
} };`;
