import { expect, test } from "vitest";
import { siteHeaders } from "./site-headers.ts";

test.each(["  ", "\t", ""])(
  "site headers: what the site says of a header itself is left to it, behind '%s' as well",
  (indent) => {
    const own = ["/*", `${indent}access-control-allow-origin : https://a.example`, "/x"];
    const text = [...own, `${indent}! Referrer-Policy`, "# X-Robots-Tag: none", ""].join("\n");
    const added = ["  X-Content-Type-Options: nosniff", "  X-Robots-Tag: noindex"];
    expect(siteHeaders(text, "preview")).toBe(text.replace("/*", ["/*", ...added].join("\n")));
  },
);
