import { ALLOWED, CONDITIONAL, REFUSED, type Condition } from "./system-calls.ts";

/** An architecture that cells run on, as Node names it. */
export type Architecture = "x64" | "arm64";

/** Instructions of classic BPF that a filter needs; `jt` and `jf` count instructions to skip. */
interface Instruction {
  readonly code: number;
  readonly jt?: number;
  readonly jf?: number;
  readonly k: number;
}

const LOAD = 0x20;
const JUMP_EQUAL = 0x15;
const JUMP_ANY_BIT = 0x45;
const RETURN = 0x06;

// Offsets in the kernel's `struct seccomp_data`.
const NUMBER_OFFSET = 0;
const ARCHITECTURE_OFFSET = 4;
const ARGUMENTS_OFFSET = 16;

const ALLOW = 0x7fff0000;
const KILL_PROCESS = 0x80000000;
const ERROR = 0x00050000;

// AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64.
const AUDIT_ARCHITECTURES: Readonly<Record<Architecture, number>> = {
  x64: 0xc000003e,
  arm64: 0xc00000b7,
};

/**
 * The filter of `system-calls.ts` as the kernel and `bwrap --seccomp` take it: an array of
 * `struct sock_filter`. What is not listed, in another architecture's numbering included, ends the process.
 */
export function seccompFilter(architecture: Architecture): Uint8Array {
  const column = architecture === "x64" ? 0 : 1;
  const program: Instruction[] = [
    { code: LOAD, k: ARCHITECTURE_OFFSET },
    { code: JUMP_EQUAL, k: AUDIT_ARCHITECTURES[architecture], jt: 1 },
    answer(KILL_PROCESS),
    { code: LOAD, k: NUMBER_OFFSET },
  ];
  const add = (number: number | undefined, block: ReadonlyArray<Instruction>): void => {
    if (number === undefined) return;
    program.push({ code: JUMP_EQUAL, k: number, jf: block.length }, ...block);
  };
  for (const numbers of Object.values(ALLOWED)) add(numbers[column], [answer(ALLOW)]);
  for (const condition of Object.values(CONDITIONAL)) {
    add(condition.numbers[column], conditionBlock(condition));
  }
  for (const refused of Object.values(REFUSED)) add(refused[column], [answer(ERROR | refused[2])]);
  program.push(answer(KILL_PROCESS));
  return encode(program);
}

/** Ends in a return on every path, since it replaces the number that later comparisons need. */
function conditionBlock({ argument, rule, error }: Condition): ReadonlyArray<Instruction> {
  // Arguments are 64 bits each, the low half first.
  const load = { code: LOAD, k: ARGUMENTS_OFFSET + argument * 8 };
  const refuse = answer(ERROR | error);
  if (rule.kind === "flags") {
    return [
      load,
      { code: JUMP_ANY_BIT, k: rule.forbidden, jt: 1 },
      { code: JUMP_ANY_BIT, k: rule.required, jt: 1 },
      refuse,
      answer(ALLOW),
    ];
  }
  const comparisons = rule.values.map((value, index) => ({
    code: JUMP_EQUAL,
    k: value,
    // Past the comparisons that are left and the refusal.
    jt: rule.values.length - index,
  }));
  return [load, ...comparisons, refuse, answer(ALLOW)];
}

function answer(action: number): Instruction {
  return { code: RETURN, k: action };
}

function encode(program: ReadonlyArray<Instruction>): Uint8Array {
  const bytes = Buffer.alloc(program.length * 8);
  program.forEach(({ code, jt = 0, jf = 0, k }, index) => {
    const offset = index * 8;
    bytes.writeUInt16LE(code, offset);
    bytes.writeUInt8(jt, offset + 2);
    bytes.writeUInt8(jf, offset + 3);
    bytes.writeUInt32LE(k >>> 0, offset + 4);
  });
  return bytes;
}
