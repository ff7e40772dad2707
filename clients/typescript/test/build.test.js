// `dist` is kept beside `src`, so that using the client needs no compiler. Run: npm test
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { STAMP, stamp } from "../scripts/sources.js";

test("dist was built from the sources as they are", () => {
  assert.equal(readFileSync(STAMP, "utf8"), stamp(), "npm install && npm run build");
});
