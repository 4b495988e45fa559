"use client";

import { useEffect, useState } from "react";

import { asRequestError, isAbort, type RequestError } from "@/lib/errors";

/** What `load` returns once it does; null before that. `load` must stay the same while it is to load the same. */
export function useLoaded<Data>(load: (signal: AbortSignal) => Promise<Data>): {
  data: Data | null;
  error: RequestError | null;
} {
  const [data, setData] = useState<Data | null>(null);
  const [error, setError] = useState<RequestError | null>(null);

  useEffect(() => {
    const cancellation = new AbortController();
    load(cancellation.signal).then(setData, (thrown: unknown) => {
      if (!isAbort(thrown)) setError(asRequestError(thrown));
    });
    return () => cancellation.abort();
  }, [load]);

  return { data, error };
}
