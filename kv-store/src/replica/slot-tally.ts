import { LIMITS } from "../limits.ts";
import type { StateDigest } from "../names.ts";
import { valueBytesOf } from "../record-codec.ts";
import { StateSum } from "../state-digest.ts";
import { EMPTY_SIZE, type HeldSize } from "./extent-plan.ts";
import { changeOf, SLOT_BYTES, type EntryListener } from "./slot-entries.ts";

/** Digest and size of a slot's entries, kept up while they come and go. */
export class SlotTally implements EntryListener {
  readonly #sum: StateSum;
  #bytes: number;
  #absentBytes: number;
  #removableBytes: number;

  constructor(start?: { readonly digest: StateDigest; readonly size: HeldSize }) {
    this.#sum = new StateSum(start?.digest);
    const { bytes, absentBytes, removableBytes } = start?.size ?? EMPTY_SIZE;
    this.#bytes = bytes;
    this.#absentBytes = absentBytes;
    this.#removableBytes = removableBytes;
  }

  get digest(): StateDigest {
    return this.#sum.digest;
  }

  get size(): HeldSize {
    const [bytes, absentBytes, removableBytes] = [
      this.#bytes,
      this.#absentBytes,
      this.#removableBytes,
    ];
    return { bytes, absentBytes, removableBytes };
  }

  came(key: Buffer, record: Buffer): void {
    this.#sum.toggle(record);
    this.#count(1, sizeOf(key, record));
  }

  left(key: Buffer, record: Buffer): void {
    this.#sum.toggle(record);
    this.#count(-1, sizeOf(key, record));
  }

  #count(sign: 1 | -1, { bytes, absentBytes, removableBytes }: HeldSize): void {
    this.#bytes += sign * bytes;
    this.#absentBytes += sign * absentBytes;
    this.#removableBytes += sign * removableBytes;
  }
}

/** What an entry takes, and would take with or without its value. */
function sizeOf(key: Buffer, record: Buffer): HeldSize {
  const bytes = spaceOf(key.length, record.length);
  const { inline, absent } = valueBytesOf(changeOf(record));
  if (absent > 0) {
    const whole = spaceOf(key.length, record.length - REFERENCE_BYTES + absent);
    return { bytes, absentBytes: whole - bytes, removableBytes: 0 };
  }
  const isRemovable = inline >= LIMITS.absentValueBytesMin;
  const least = spaceOf(key.length, record.length - inline + REFERENCE_BYTES);
  return { bytes, absentBytes: 0, removableBytes: isRemovable ? bytes - least : 0 };
}

// Hash, size and digest.
const REFERENCE_BYTES = 32 + 4 + 16;
const PAGE_BYTES = 4_096;
const PAGE_HEAD_BYTES = 16;
const NODE_HEAD_BYTES = 8;
// LMDB keeps two nodes on a page at least; what is larger goes to pages of its own.
const NODE_BYTES_MAX = (PAGE_BYTES - PAGE_HEAD_BYTES) / 2;
// Pages of a tree that grows at random places are about so full.
const FILL = 0.75;

/** Bytes that LMDB's file grows by for one entry, about. */
function spaceOf(keyBytes: number, recordBytes: number): number {
  const nodeBytes = NODE_HEAD_BYTES + SLOT_BYTES + keyBytes;
  if (nodeBytes + recordBytes <= NODE_BYTES_MAX) {
    return Math.ceil((nodeBytes + recordBytes) / FILL);
  }
  const pages = Math.ceil((PAGE_HEAD_BYTES + recordBytes) / PAGE_BYTES);
  return Math.ceil((nodeBytes + NODE_HEAD_BYTES) / FILL) + pages * PAGE_BYTES;
}
