import { readKernelFile } from "./kernel-file.ts";

/** The numbers of the processors that this process may run on, ascending; none where the kernel does not tell. */
export function allowedCores(): ReadonlyArray<number> {
  const status = readKernelFile("/proc/self/status") ?? "";
  return parseCores(/^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? "");
}

/** Reads a list as the kernel writes it, such as "0-3,8". */
export function parseCores(list: string): ReadonlyArray<number> {
  const ranges = list.split(",").filter((range) => range !== "");
  return ranges.flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}
