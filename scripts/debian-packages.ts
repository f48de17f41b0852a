import { spawnSync, type SpawnSyncOptions } from "node:child_process";
import { globSync } from "node:fs";

/** Programs of Debian that tests and benchmarks use, by a pattern of the file that shows they are there. */
const PROGRAMS = {
  bwrap: "/usr/bin/bwrap",
  "ceph-mon": "/usr/bin/ceph-mon",
  "ceph-osd": "/usr/bin/ceph-osd",
  chromium: "/usr/bin/chromium",
  gcc: "/usr/bin/cc",
  haproxy: "/usr/sbin/haproxy",
  "libc6-dev": "/usr/include/stdio.h",
  postgres: "/usr/lib/postgresql/*/bin/postgres",
  radosgw: "/usr/bin/radosgw",
  setpriv: "/usr/bin/setpriv",
  wrk: "/usr/bin/wrk",
} as const;
type Program = keyof typeof PROGRAMS;

/** What `npm run check:all` needs: Ceph's are large, and for a real server of S3 alone. */
export const CHECK_PROGRAMS = Object.keys(PROGRAMS) as ReadonlyArray<Program>;
const S3_PROGRAMS: ReadonlyArray<Program> = ["ceph-mon", "ceph-osd", "radosgw"];
export const TEST_PROGRAMS = CHECK_PROGRAMS.filter((program) => !S3_PROGRAMS.includes(program));
export const BENCHMARK_PROGRAMS: ReadonlyArray<Program> = [
  "bwrap",
  "gcc",
  "haproxy",
  "libc6-dev",
  "setpriv",
  "wrk",
];

const PACKAGE_OF: Readonly<Partial<Record<Program, string>>> = {
  bwrap: "bubblewrap",
  chromium: "chromium",
  haproxy: "haproxy",
  postgres: "postgresql",
  setpriv: "util-linux",
};

/**
 * Installs the Debian packages of programs that are missing. Only root can; anybody else is told the
 * command, because a test that silently did not run would look like one that passed.
 */
export function installPackages(programs: ReadonlyArray<Program>): void {
  const missing = programs
    .filter((program) => globSync(PROGRAMS[program]).length === 0)
    .map((program) => PACKAGE_OF[program] ?? program);
  if (missing.length === 0) return;
  const install = ["apt-get", "install", "-y", "--no-install-recommends", ...missing];
  if (process.getuid?.() !== 0) {
    console.error(`This needs ${missing.join(", ")}. Install them with: sudo ${install.join(" ")}`);
    process.exit(1);
  }
  console.error(`Installing what is missing: ${missing.join(", ")} …`);
  const quiet: SpawnSyncOptions = {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  };
  spawnSync("apt-get", ["update", "-qq"], quiet);
  const result = spawnSync(install[0] ?? "", [...install.slice(1), "-qq"], quiet);
  if (result.status !== 0) {
    console.error(`${install.join(" ")} failed with exit code ${result.status}`);
    process.exit(1);
  }
}
