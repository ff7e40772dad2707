// Writes down which sources `dist` was built from, so that a stale build is noticed without a compiler.
import { writeFileSync } from "node:fs";

import { STAMP, stamp } from "./sources.js";

writeFileSync(STAMP, stamp());
