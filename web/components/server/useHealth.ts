import { useEffect, useState } from "react";

import { api, dataOf, type Schemas } from "@/lib/api";

const PERIOD_MS = 3000;
/** While the server is loading or away, its state changes soon. */
const SHORT_PERIOD_MS = 1000;
/** A server that does not answer for this long is as good as away. */
const TIMEOUT_MS = 5000;

export type Health = Schemas["Health"];

/** What the server says of itself: undefined before the first answer, null while it does not answer. */
export function useHealth(): Health | null | undefined {
  const [health, setHealth] = useState<Health | null>();
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout>;
    const unmounted = new AbortController();
    const ask = async () => {
      const answer = document.hidden ? undefined : await askHealth(unmounted.signal);
      if (unmounted.signal.aborted) return;
      if (answer !== undefined) setHealth(answer);
      timer = setTimeout(ask, answer === null || answer?.status === "loading" ? SHORT_PERIOD_MS : PERIOD_MS);
    };
    void ask();
    return () => {
      clearTimeout(timer);
      unmounted.abort();
    };
  }, []);
  return health;
}

async function askHealth(signal: AbortSignal): Promise<Health | null> {
  try {
    return await dataOf(api.GET("/api/health", { signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]) }));
  } catch {
    return null; // shown as a server that does not answer, whatever the reason
  }
}
