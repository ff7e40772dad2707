/** The server's accounts over HTTP: they give the access token that a login presents. */
async function ask(url, init) {
    const response = await fetch(url, { ...init, signal: AbortSignal.timeout(10_000) });
    if (!response.ok)
        throw new Error(`${url}: ${response.status} ${await response.text()}`);
    return (await response.json());
}
function post(url, body) {
    return ask(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}
/** Makes an account and logs in. */
export const register = (accounts, user, password) => post(`${accounts}/user/register`, { user, password });
/** Logs in. */
export const login = (accounts, user, password) => post(`${accounts}/user/login`, { user, password });
/** A fresh access token. */
export const refresh = (accounts, refreshToken) => ask(`${accounts}/user/token`, { headers: { authorization: `Bearer ${refreshToken}` } });
