// The stream of overviews: one connection, tried again for ever, and known to be away when it is.

import { get } from "/assets/net.js";

const SILENT_MS = 5000; // the server speaks every second
const WAITS_MS = [1000, 2000, 3000, 5000];

/**
 * Call `onOverview(overview)` for each, `onOpen()` when a connection (again) delivers, and
 * `onAway({ since, nextMs })` when there is none. Returns { tryNow }.
 */
export function listen({ onOverview, onOpen, onAway }) {
  let source = null;
  let silence = 0;
  let retry = 0;
  let failures = 0;
  let lastAt = null;
  let open = false;

  function hearing() {
    clearTimeout(silence);
    silence = setTimeout(lost, SILENT_MS);
  }

  function connect() {
    clearTimeout(retry);
    source?.close();
    source = new EventSource("/api/events");
    source.addEventListener("overview", (event) => {
      hearing();
      const overview = JSON.parse(event.data);
      lastAt = new Date();
      failures = 0;
      if (!open) {
        open = true;
        onOpen();
      }
      onOverview(overview);
    });
    source.addEventListener("error", lost);
    hearing();
  }

  function lost() {
    clearTimeout(silence);
    source.close(); // its own way of trying again neither tells nor notices the end of a session
    open = false;
    lastAt ??= new Date();
    const nextMs = WAITS_MS[Math.min(failures, WAITS_MS.length - 1)];
    failures += 1;
    onAway({ since: lastAt, nextMs });
    retry = setTimeout(tryNow, nextMs);
  }

  async function tryNow() {
    clearTimeout(retry);
    try {
      await get("/api/session"); // a stream does not tell 401 from away; this does, and goes to the login page
    } catch (error) {
      if (error.status !== 401) lost();
      return;
    }
    connect();
  }

  window.addEventListener("online", () => { if (!open) tryNow(); });
  connect();
  return { tryNow };
}
