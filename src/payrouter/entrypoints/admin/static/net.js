// Calls to the admin API. A session that ended sends the user to the login page, and back afterwards.

const WITHIN_MS = 15000;

let session = null;

/** What a call was answered, when it was not what was asked for. `message` is for people. */
export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Go to the login page, which comes back to where we are: it keeps what is behind the #. */
export function toLogin() {
  location.assign(`/login${location.hash}`);
}

async function call(path, options) {
  let answer;
  try {
    answer = await fetch(path, { headers: { Accept: "application/json" }, cache: "no-store", signal: AbortSignal.timeout(WITHIN_MS), ...options });
  } catch {
    throw new Problem(0, "the router did not answer; is it running?");
  }
  if (answer.status === 401) {
    toLogin();
    throw new Problem(401, "the session has ended");
  }
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Problem(answer.status, body?.detail || body?.title || `the router answered ${answer.status}`);
  return body;
}

export const get = (path) => call(path, {});

/** The session, asked for once, or again after it changed. */
export async function openSession({ again = false } = {}) {
  if (again || session === null) session = await get("/api/session");
  return session;
}

/** Do something. The token against forged requests may have changed in another tab: then once more with the new one. */
export async function post(path, body = {}) {
  const send = async () => call(path, {
    method: "POST",
    headers: { Accept: "application/json", "Content-Type": "application/json", "X-CSRF-Token": (await openSession()).csrf },
    body: JSON.stringify(body),
  });
  const before = (await openSession()).csrf;
  try {
    return await send();
  } catch (error) {
    if (error.status !== 403 || (await openSession({ again: true })).csrf === before) throw error;
    return send();
  }
}

/** End the session. */
export async function signOut() {
  const { csrf } = await openSession();
  const answer = await fetch("/logout", { method: "POST", headers: { "X-CSRF-Token": csrf } });
  if (!answer.ok && answer.status !== 401) throw new Problem(answer.status, `signing out failed: ${answer.status}`);
  location.assign("/login");
}
