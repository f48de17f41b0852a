/**
 * The worker that is the clients of a history. `POST /` makes the calls of its body one after another and
 * tells of each as it ends, in a line `[index, invokedMs, completedMs, error, result]`, so that what was
 * acknowledged before a kill is known after it. `GET /state` tells all that is held, in lines `[key, token]`.
 */
export const CLIENT_WORKER = `
// What was acknowledged is told at once; of reads, many at a time.
const BUFFER_CHARACTERS_MAX = 8192;

export default {
  async fetch(request, env, context) {
    const { pathname } = new URL(request.url);
    if (request.method === "GET" && pathname === "/") return new Response("ready");
    const { readable, writable } = new TransformStream();
    const lines = new Lines(writable.getWriter());
    const told = request.method === "POST"
      ? tellCalls(env.KV, (await request.json()).calls, lines)
      : tellState(env.KV, lines);
    context.waitUntil(told.then(() => lines.close(), (error) => lines.abort(error)));
    return new Response(readable);
  },
};

class Lines {
  #writer;
  #buffer = "";
  constructor(writer) { this.#writer = writer; }
  async add(line, isUrgent) {
    this.#buffer += JSON.stringify(line) + "\\n";
    if (isUrgent || this.#buffer.length > BUFFER_CHARACTERS_MAX) await this.#flush();
  }
  async #flush() {
    const bytes = new TextEncoder().encode(this.#buffer);
    this.#buffer = "";
    await this.#writer.write(bytes);
  }
  async close() { await this.#flush(); await this.#writer.close(); }
  async abort(error) { await this.#writer.abort(error); }
}

async function tellCalls(kv, calls, lines) {
  for (const [index, call] of calls.entries()) {
    const invokedMs = Date.now();
    let result = null;
    let error = null;
    try {
      result = await make(kv, call);
    } catch (thrown) {
      error = String(thrown.message);
    }
    const isWrite = call[0] === "put" || call[0] === "delete";
    await lines.add([index, invokedMs, Date.now(), error, result], isWrite);
  }
}

async function make(kv, [kind, what, text]) {
  switch (kind) {
    case "put": await kv.put(what, text); return null;
    case "delete": await kv.delete(what); return null;
    case "list": return (await kv.list({ prefix: what })).keys.map(({ name }) => name);
    case "get": {
      if (what.length === 1) return [tokenOf(await kv.get(what[0]))];
      const values = await kv.get(what);
      return what.map((key) => tokenOf(values.get(key)));
    }
  }
}

async function tellState(kv, lines) {
  for (let cursor; ; ) {
    const page = await kv.list({ cursor });
    for (let start = 0; start < page.keys.length; start += 100) {
      const names = page.keys.slice(start, start + 100).map(({ name }) => name);
      const values = await kv.get(names);
      for (const name of names) await lines.add([name, tokenOf(values.get(name))], false);
    }
    if (page.list_complete) return;
    cursor = page.cursor;
  }
}

// As \`tokenOf\` of calls.ts.
function tokenOf(text) {
  return text === null ? null : text.split(" ", 1)[0] + ":" + text.length;
}
`;
