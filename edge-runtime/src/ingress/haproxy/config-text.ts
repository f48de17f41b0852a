/** One argument of HAProxy's configuration language that stands for exactly this text. */
export function quote(text: string): string {
  return `"${text.replace(/[\\"$]/g, "\\$&").replace(/\n/g, "\\n")}"`;
}

export function section(head: string, lines: ReadonlyArray<string>): string {
  return `${head}\n${lines.map((line) => `    ${line}\n`).join("")}`;
}

export function addHeader([name, value]: readonly [string, string]): string {
  return `http-request add-header ${name} ${quote(value)}`;
}
