export interface Picture {
  readonly size: number;
  readonly x: number;
  readonly y: number;
  readonly span: number;
  readonly depth: number;
}

// `size * size * depth` steps are what a picture costs: at most half a second of one core.
const RULES = {
  size: { initial: 256, minimum: 1, maximum: 512, whole: true },
  x: { initial: -0.6, minimum: -2, maximum: 2, whole: false },
  y: { initial: 0, minimum: -2, maximum: 2, whole: false },
  span: { initial: 3, minimum: 1e-9, maximum: 4, whole: false },
  depth: { initial: 200, minimum: 1, maximum: 500, whole: true },
} as const;

/** What to draw, from the query of its address, or what is wrong with it. */
export function parsePicture(query: URLSearchParams): Picture | { readonly problem: string } {
  const picture: Record<string, number> = {};
  for (const [name, rule] of Object.entries(RULES)) {
    const text = query.get(name);
    const value = text === null ? rule.initial : Number(text);
    const isValid =
      value >= rule.minimum && value <= rule.maximum && (!rule.whole || Number.isInteger(value));
    if (!isValid || text === "") {
      const kind = rule.whole ? "a whole number" : "a number";
      return {
        problem: `${name} must be ${kind} from ${rule.minimum} to ${rule.maximum}, not ${text}`,
      };
    }
    picture[name] = value;
  }
  return picture as unknown as Picture;
}
