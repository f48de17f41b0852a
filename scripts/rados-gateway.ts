import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { findFreePorts } from "../tests/support/free-ports.ts";

// Three servers one after the other on a busy machine; on a quiet one it takes ten seconds.
const START_MS = 120_000;
const POLL_MS = 250;

/** A real server of S3: Ceph's gateway over a cluster of one monitor and one store in memory, on this machine alone. */
export interface RadosGateway {
  readonly endpoint: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
  stop(): Promise<void>;
}

/** Needs Debian's `ceph-mon`, `ceph-osd` and `radosgw`. Debian's 16 has no gateway without a cluster yet. */
export async function startRadosGateway(): Promise<RadosGateway> {
  const directory = mkdtempSync(join(tmpdir(), "atoll-rados-"));
  const port = await findFreePorts(2);
  const configuration = writeConfiguration(directory, port);
  const call = (program: string, ...line: ReadonlyArray<string>): string =>
    execFileSync(program, ["-c", configuration, ...line], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
      timeout: START_MS,
    });
  const servers: ChildProcess[] = [];
  const serve = (program: string, ...line: ReadonlyArray<string>): void => {
    // Whatever becomes of the tests, their servers end with them.
    const whole = ["--pdeathsig", "KILL", program, "-c", configuration, "-f", ...line];
    servers.push(spawn("setpriv", whole, { stdio: "ignore" }));
  };
  const stop = async (): Promise<void> => {
    for (const server of servers.toReversed()) {
      const exited = once(server, "exit");
      if (server.exitCode === null && server.kill("SIGKILL")) await exited;
    }
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    makeMonitor(directory, { port, call });
    serve("ceph-mon", "-i", "a");
    await until(() => call("ceph", "--connect-timeout", "5", "osd", "tree"));
    const store = randomUUID();
    call("ceph", "osd", "new", store);
    const caps = ["mon", "allow profile osd", "osd", "allow *"];
    const key = call("ceph", "auth", "get-or-create", "osd.0", ...caps);
    writeFileSync(join(directory, "keyring"), key, { flag: "a" });
    call("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", store);
    serve("ceph-osd", "-i", "0");
    call("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=localhost");
    const credentials = {
      accessKeyId: randomBytes(10).toString("hex"),
      secretAccessKey: randomBytes(20).toString("hex"),
    };
    const keys = ["--access-key", credentials.accessKeyId, "--secret", credentials.secretAccessKey];
    call("radosgw-admin", "user", "create", "--uid", "atoll", "--display-name", "Atoll", ...keys);
    serve(
      "radosgw",
      ...["-n", "client.admin", "--rgw-frontends", `beast endpoint=127.0.0.1:${port + 1}`],
    );
    const endpoint = `http://127.0.0.1:${port + 1}`;
    await until(async () => (await fetch(endpoint)).body?.cancel());
    return { endpoint, credentials, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function writeConfiguration(directory: string, port: number): string {
  for (const folder of ["mon", "osd", "run", "log", "rgw"]) mkdirSync(join(directory, folder));
  const settings = {
    fsid: randomUUID(),
    "mon host": `[v2:127.0.0.1:${port}]`,
    "public addr": "127.0.0.1",
    "run dir": join(directory, "run"),
    "admin socket": join(directory, "run", "$name.$pid.asok"),
    "log file": join(directory, "log", "$name.log"),
    "crash dir": join(directory, "run"),
    keyring: join(directory, "keyring"),
    "mon data": join(directory, "mon"),
    "osd data": join(directory, "osd"),
    "rgw data": join(directory, "rgw"),
    // One copy of everything, in memory.
    "osd objectstore": "memstore",
    "memstore device bytes": "2G",
    "osd pool default size": "1",
    "osd pool default min size": "1",
    "osd pool default pg num": "1",
    "osd pool default pgp num": "1",
    "osd pool default pg autoscale mode": "off",
    "osd crush chooseleaf type": "0",
    "mon allow pool size one": "true",
    "mon max pg per osd": "1000",
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}\n`);
  const path = join(directory, "ceph.conf");
  writeFileSync(path, `[global]\n${lines.join("")}`);
  return path;
}

function makeMonitor(
  directory: string,
  parts: {
    readonly port: number;
    readonly call: (program: string, ...line: ReadonlyArray<string>) => string;
  },
): void {
  const { port, call } = parts;
  const keyring = join(directory, "keyring");
  const map = join(directory, "monmap");
  const everything = ["mon", "osd", "mgr"].flatMap((part) => ["--cap", part, "allow *"]);
  call("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", ...everything);
  call("ceph-authtool", keyring, "--gen-key", "-n", "client.admin", ...everything);
  call("monmaptool", "--create", "--addv", "a", `[v2:127.0.0.1:${port}]`, map);
  call("ceph-mon", "--mkfs", "-i", "a", "--monmap", map, "--keyring", keyring);
}

async function until(look: () => unknown): Promise<void> {
  const endsAt = performance.now() + START_MS;
  for (;;) {
    try {
      await look();
      return;
    } catch (error) {
      if (performance.now() > endsAt) throw error;
    }
    await wait(POLL_MS);
  }
}
