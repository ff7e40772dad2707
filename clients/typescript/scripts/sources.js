// What `dist` is built from, as one line per file: its SHA-256 and its name.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";

const ROOT = new URL("../", import.meta.url);

/** Where the stamp of the last build is kept. */
export const STAMP = new URL("dist/SOURCES", ROOT);

/** The stamp of the sources as they are now. */
export function stamp() {
  const names = readdirSync(new URL("src/", ROOT)).sort().map((name) => `src/${name}`);
  const line = (name) => `${createHash("sha256").update(readFileSync(new URL(name, ROOT))).digest("hex")}  ${name}\n`;
  return [...names, "tsconfig.json"].map(line).join("");
}
