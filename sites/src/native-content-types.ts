/** The types that workerd's `assets` service gives by a file's extension; a test compares it with workerd. */
const EXTENSIONS_BY_TYPE: Readonly<Record<string, ReadonlyArray<string>>> = {
  "application/atom+xml": ["atom"],
  "application/gzip": ["gz"],
  "application/json": ["json", "map"],
  "application/ld+json": ["jsonld"],
  "application/manifest+json": ["webmanifest"],
  "application/pdf": ["pdf"],
  "application/rss+xml": ["rss"],
  "application/vnd.ms-fontobject": ["eot"],
  "application/wasm": ["wasm"],
  "application/x-tar": ["tar"],
  "application/xml": ["xml"],
  "application/zip": ["zip"],
  "audio/flac": ["flac"],
  "audio/mp4": ["m4a"],
  "audio/mpeg": ["mp3"],
  "audio/ogg": ["oga", "ogg"],
  "audio/wav": ["wav"],
  "font/otf": ["otf"],
  "font/ttf": ["ttf"],
  "font/woff": ["woff"],
  "font/woff2": ["woff2"],
  "image/apng": ["apng"],
  "image/avif": ["avif"],
  "image/bmp": ["bmp"],
  "image/gif": ["gif"],
  "image/jpeg": ["jpg", "jpeg"],
  "image/png": ["png"],
  "image/svg+xml": ["svg"],
  "image/vnd.microsoft.icon": ["ico"],
  "image/webp": ["webp"],
  "text/calendar; charset=utf-8": ["ics"],
  "text/css; charset=utf-8": ["css"],
  "text/csv; charset=utf-8": ["csv"],
  "text/html; charset=utf-8": ["html", "htm"],
  "text/javascript; charset=utf-8": ["js", "cjs", "mjs"],
  "text/markdown; charset=utf-8": ["md"],
  "text/plain; charset=utf-8": ["txt"],
  "video/mp4": ["mp4"],
  "video/ogg": ["ogv"],
  "video/quicktime": ["mov"],
  "video/webm": ["webm"],
};

export const NATIVE_CONTENT_TYPES: ReadonlyMap<string, string> = new Map(
  Object.entries(EXTENSIONS_BY_TYPE).flatMap(([type, extensions]) =>
    extensions.map((extension) => [extension, type] as const),
  ),
);

/** What follows the last dot of the path's last name; `undefined` without one. */
export function extensionOf(path: string): string | undefined {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const dot = name.lastIndexOf(".");
  return dot <= 0 ? undefined : name.slice(dot + 1);
}
