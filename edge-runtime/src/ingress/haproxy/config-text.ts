/** One argument of HAProxy's configuration language that stands for exactly this text. */
export function quote(text: string): string {
  return `"${text.replace(/[\\"$]/g, "\\$&").replace(/\n/g, "\\n")}"`;
}
