import { MANY } from "./haproxy-paths.ts";

/**
 * Makes `txn.cell` the least busy of `txn.cells`, the first of equals, by counting what each has in flight.
 * Not `balance leastconn`: that would also choose where a request goes that was lost with its cell, and send
 * it to the next one; and it would count the three servers of a cell apart.
 */
export function leastBusy(backend: string, cellsMax: number): ReadonlyArray<string> {
  const inFlight = `field(1,_),table_conn_cur(${MANY})`;
  const others = Array.from(
    { length: cellsMax - 1 },
    (_, index) => `var(txn.cells),field(${index + 2},-)`,
  );
  const least = `http-request set-var(txn.least) var(txn.pick),${inFlight}`;
  return [
    "http-request set-var(txn.pick) var(txn.cells),field(1,-)",
    ...others.flatMap((other) => [
      least,
      `http-request set-var(txn.pick) ${other} if { ${other},${inFlight},sub(txn.least) lt 0 }`,
    ]),
    `http-request track-sc0 var(txn.pick),field(1,_) table ${MANY}`,
    `http-request set-var(txn.cell) str(${backend}.),concat(,txn.pick)`,
  ];
}
