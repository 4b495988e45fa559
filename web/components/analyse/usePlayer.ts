import { useCallback, useEffect, useRef, useState } from "react";

export interface Player<Media extends HTMLMediaElement> {
  /** For the `ref` of the element. */
  setElement: (element: Media | null) => void;
  /** The element, once it is there. */
  element: Media | null;
  /** Seconds. */
  time: number;
  /** Seconds; null until it is known. */
  duration: number | null;
  /** Whether the browser cannot play the file. */
  isUnplayable: boolean;
  /** Play from this second. */
  playFrom: (seconds: number) => void;
}

/** A player of a file that others can follow, and send to a place. */
export function usePlayer<Media extends HTMLMediaElement>(): Player<Media> {
  const current = useRef<Media | null>(null);
  const [element, setState] = useState<Media | null>(null);
  const [time, setTime] = useState(0);
  const [duration, setDuration] = useState<number | null>(null);
  const [isUnplayable, setUnplayable] = useState(false);

  const setElement = useCallback((media: Media | null) => {
    current.current = media;
    setState(media);
  }, []);

  useEffect(() => {
    const media = current.current;
    if (!media) return;
    return follow(media, { setTime, setDuration, setUnplayable });
  }, [element]);

  const playFrom = useCallback((seconds: number) => {
    const media = current.current;
    if (!media) return;
    media.currentTime = seconds;
    // Rejects if the element is paused or removed before it plays, which is no fault.
    media.play().catch(() => undefined);
  }, []);
  return { setElement, element, time, duration, isUnplayable, playFrom };
}

interface Setters {
  setTime: (seconds: number) => void;
  setDuration: (seconds: number) => void;
  setUnplayable: (isUnplayable: boolean) => void;
}

/** Tell what the element does, until the returned function is called. */
function follow(media: HTMLMediaElement, { setTime, setDuration, setUnplayable }: Setters): () => void {
  const listening = new AbortController();
  const on = (name: string, listener: () => void) =>
    media.addEventListener(name, listener, { signal: listening.signal });
  let isMeasuring = false;
  const measure = () => {
    if (media.duration === Infinity) {
      // What a browser has recorded says nothing of its length. A browser finds it by going to the end.
      isMeasuring = true;
      media.currentTime = Number.MAX_SAFE_INTEGER;
    } else if (Number.isFinite(media.duration)) {
      setDuration(media.duration);
      if (isMeasuring) media.currentTime = 0;
      isMeasuring = false;
    }
  };
  measure(); // it may be known already
  on("durationchange", measure);
  on("timeupdate", () => {
    if (!isMeasuring) setTime(media.currentTime);
  });
  on("error", () => setUnplayable(true));
  return () => listening.abort();
}
