/** The server's accounts over HTTP: they give the access token that a login presents. */

export interface Session {
  user: string;
  accessToken: string;
  /** Seconds. */
  expiresIn: number;
  refreshToken: string;
}

async function ask(url: string, init: RequestInit): Promise<Session> {
  const response = await fetch(url, { ...init, signal: AbortSignal.timeout(10_000) });
  if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`);
  return (await response.json()) as Session;
}

function post(url: string, body: unknown): Promise<Session> {
  return ask(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}

/** Makes an account and logs in. */
export const register = (accounts: string, user: string, password: string): Promise<Session> =>
  post(`${accounts}/user/register`, { user, password });

/** Logs in. */
export const login = (accounts: string, user: string, password: string): Promise<Session> =>
  post(`${accounts}/user/login`, { user, password });

/** A fresh access token. */
export const refresh = (accounts: string, refreshToken: string): Promise<Session> =>
  ask(`${accounts}/user/token`, { headers: { authorization: `Bearer ${refreshToken}` } });
