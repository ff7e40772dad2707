/** The server's accounts over HTTP: they give the access token that a login presents. */
export interface Session {
    user: string;
    accessToken: string;
    /** Seconds. */
    expiresIn: number;
    refreshToken: string;
}
/** Makes an account and logs in. */
export declare const register: (accounts: string, user: string, password: string) => Promise<Session>;
/** Logs in. */
export declare const login: (accounts: string, user: string, password: string) => Promise<Session>;
/** A fresh access token. */
export declare const refresh: (accounts: string, refreshToken: string) => Promise<Session>;
