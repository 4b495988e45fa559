"use client";

import { useEffect, useEffectEvent, useState } from "react";

/** Call `onDrop` with what is dropped anywhere in the window; returns whether files are held over it. */
export function useFileDrop(onDrop: (dropped: DataTransfer) => void): boolean {
  const [isOver, setOver] = useState(false);

  const onDrag = useEffectEvent((event: DragEvent) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault(); // the browser would open the file instead of the page
    setOver(event.type === "dragover");
    if (event.type === "drop") onDrop(event.dataTransfer);
  });

  useEffect(() => {
    const listening = new AbortController();
    for (const name of ["dragover", "dragleave", "drop"] as const) {
      window.addEventListener(name, (event) => onDrag(event), { signal: listening.signal });
    }
    return () => listening.abort();
  }, []);

  return isOver;
}
