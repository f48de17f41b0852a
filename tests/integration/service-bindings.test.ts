import { afterAll, beforeAll, expect, test } from "vitest";
import {
  EVERYDAY_RELEASES,
  startAtoll,
  type TestAtoll,
  type WranglerRelease,
} from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { createProject, type TestProject } from "../support/project.ts";
import { accountPath } from "../support/refusal.ts";
import { removeWorker, sendForm, upload } from "../support/upload.ts";

const OWNER = `import { WorkerEntrypoint } from "cloudflare:workers";
export class Named extends WorkerEntrypoint {
  async add(a, b) { return { sum: a + b, who: this.ctx.props.who, from: this.env.NAME }; }
}
export default { fetch: () => new Response("owner") };`;

const CALLER = `export default { async fetch(request, { OWNER, NAMED }) {
  try {
    const answer = await OWNER.fetch(request);
    return Response.json([await answer.text(), await NAMED.add(1, 2)]);
  } catch (error) {
    return new Response(error.message, { status: 500 });
  }
} };`;

let atoll: TestAtoll;
const projects: TestProject[] = [];
beforeAll(async () => {
  atoll = await startAtoll();
});
afterAll(async () => {
  await Promise.all(projects.map((project) => project.remove()));
  await atoll.stop();
});

/** Deploys a project of one module with wrangler; resolves with its output. */
async function deploy(
  release: WranglerRelease,
  project: { readonly name: string; readonly source: string; readonly settings?: object },
): Promise<{ readonly exitCode: number; readonly output: string }> {
  const { name, source, settings } = project;
  const created = await createProject({
    "index.js": source,
    "wrangler.json": JSON.stringify({
      ...{ name, main: "index.js", compatibility_date: "2026-06-01" },
      ...settings,
    }),
  });
  projects.push(created);
  return atoll.wrangler(created.directory, ["deploy"], { release });
}

async function ask(name: string): Promise<{ readonly status: number; readonly body: string }> {
  const { status, body } = await atoll.get("fra", `${name}.localhost`, "/");
  return { status, body };
}

test.each(EVERYDAY_RELEASES)(
  "wrangler %s: a worker calls a named entrypoint of another one, which has props",
  async (release) => {
    const [owner, caller] = ["owner", "caller"].map(
      (name) => `${name}-${release.replace(".", "")}`,
    );
    const services = [
      { binding: "OWNER", service: owner },
      { binding: "NAMED", service: owner, entrypoint: "Named", props: { who: "the caller" } },
    ];
    const calling = { name: caller ?? "", source: CALLER, settings: { services } };
    const early = await deploy(release, calling);
    expect(early.exitCode).toBe(1);
    expect(early.output).toContain(
      `the worker '${owner}' does not exist in this account. Deploy it first.`,
    );
    const owning = { name: owner ?? "", source: OWNER, settings: { vars: { NAME: "one" } } };
    expect((await deploy(release, owning)).exitCode).toBe(0);
    expect((await deploy(release, calling)).exitCode).toBe(0);
    const answer = (from: string): string =>
      JSON.stringify(["owner", { sum: 3, who: "the caller", from }]);
    expect(await ask(caller ?? "")).toEqual({ status: 200, body: answer("one") });
    await deploy(release, { ...owning, settings: { vars: { NAME: "two" } } });
    expect((await ask(caller ?? "")).body).toBe(answer("two"));
  },
);

test("whoever is bound to a worker that was deleted runs on, and its calls say what is missing", async () => {
  expect((await upload(atoll, { name: "gone", source: OWNER })).status).toBe(200);
  const bindings = ["OWNER", "NAMED"].map((name) => ({ type: "service", name, service: "gone" }));
  const metadata = { bindings };
  expect((await upload(atoll, { name: "left", source: CALLER, metadata })).status).toBe(200);
  expect((await removeWorker(atoll, "gone")).status).toBe(200);
  const sentence = "The worker 'gone', to which the binding 'OWNER' leads, does not exist";
  const left = await eventually(
    async () => {
      const answer = await ask("left");
      return answer.status === 500 && answer;
    },
    { what: "the call fails" },
  );
  expect(left.body).toContain(sentence);
  await atoll.restart();
  expect((await ask("left")).body).toContain(sentence);
  await upload(atoll, { name: "gone", source: OWNER.replace("class Named", "class Other") });
  await eventually(async () => !(await ask("left")).body.includes(sentence), {
    what: "the call reaches who is there again",
  });
});

test("calls of a worker that two versions serve go to each by its share, and follow the deployment", async () => {
  const text = (name: string): string => `import { WorkerEntrypoint } from "cloudflare:workers";
    export class Named extends WorkerEntrypoint { who() { return "${name}"; } }
    export default { fetch: () => new Response("${name}") };`;
  const path = (rest: string): string => accountPath(atoll, `/workers/scripts/halved${rest}`);
  expect((await upload(atoll, { name: "halved", source: text("old") })).status).toBe(200);
  const form = new FormData();
  form.set("metadata", JSON.stringify({ main_module: "i.js", compatibility_date: "2026-06-01" }));
  const type = "application/javascript+module";
  form.set("i.js", new Blob([text("new")], { type }), "i.js");
  const call = { path: "/workers/scripts/halved/versions", method: "POST", form };
  expect((await sendForm(atoll, call)).status).toBe(200);
  const { body } = await atoll.api(path("/versions"));
  const { items } = (JSON.parse(body) as { result: { items: ReadonlyArray<{ id: string }> } })
    .result;
  const [newer, older] = items.map(({ id }) => id);
  const bindings = [
    { type: "service", name: "HALVED", service: "halved" },
    { type: "service", name: "NAMED", service: "halved", entrypoint: "Named" },
  ];
  const source = `export default { async fetch(request, { HALVED, NAMED }) {
    const who = [];
    for (let index = 0; index < 20; index += 1)
      who.push(await (await HALVED.fetch(request)).text(), await NAMED.who());
    return Response.json(who);
  } };`;
  expect((await upload(atoll, { name: "halving", source, metadata: { bindings } })).status).toBe(
    200,
  );
  const share = async (percentage: number): Promise<number> => {
    const versions = [
      { version_id: newer, percentage },
      { version_id: older, percentage: 100 - percentage },
    ].filter((version) => version.percentage > 0);
    const request = JSON.stringify({ strategy: "percentage", versions });
    const answer = await atoll.api(path("/deployments"), { method: "POST", body: request });
    expect(answer.status, answer.body).toBe(200);
    const who = JSON.parse((await ask("halving")).body) as ReadonlyArray<string>;
    expect(new Set(who).size).toBeLessThanOrEqual(2);
    return who.filter((name) => name === "new").length;
  };
  // Of 40 calls, 20 over each binding.
  expect(await share(25)).toBe(10);
  expect(await share(75)).toBe(30);
  expect(await share(100)).toBe(40);
});

test("a tail consumer hears what happens, and is asked about before it is deleted", async () => {
  const listener = `const heard = [];
    export default {
      tail(events) {
        for (const { event, outcome, logs } of events)
          heard.push({ url: event.request.url, outcome, said: logs.flatMap(({ message }) => message) });
      },
      fetch: () => Response.json(heard),
    };`;
  const speaker = `export default { fetch() { console.log("spoken"); return new Response("fine"); } };`;
  for (const release of EVERYDAY_RELEASES) {
    const name = `speaker-${release.replace(".", "")}`;
    await deploy(release, { name: "listener", source: listener });
    const settings = { tail_consumers: [{ service: "listener" }] };
    const deployed = await deploy(release, { name, source: speaker, settings });
    expect(deployed.exitCode, deployed.output).toBe(0);
    expect(await ask(name)).toEqual({ status: 200, body: "fine" });
    const heard = await eventually(
      async () => {
        const { body } = await ask("listener");
        return body.includes(name) && body;
      },
      { what: "the listener has heard" },
    );
    expect(JSON.parse(heard)).toContainEqual(
      expect.objectContaining({ outcome: "ok", said: ["spoken"] }),
    );
    const path = accountPath(atoll, "/workers/tails/by-consumer/listener");
    expect((await atoll.api(path)).body).toContain(`"${name}"`);
  }
});
