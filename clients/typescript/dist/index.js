/** A minimal client of the sim protocol for Node. */
export * as accounts from "./accounts.js";
export * from "./connection.js";
export * as protocol from "./protocol.js";
export * from "./timeline.js";
