"use client";

import { useRef, useState } from "react";

import { ErrorNotice } from "@/components/shared/Notice";
import { apiUrl } from "@/lib/api";
import { asRequestError, errorOfResponse, RequestError } from "@/lib/errors";
import type { Place } from "@/lib/places";
import styles from "./library.module.css";

interface PlacePictureProps {
  place: Place;
  path: string;
  /** What the picture shows, for people who do not see it. */
  description: string;
}

/** A page, or a picture, in which the server has marked the words. */
export function PlacePicture({ place, path, description }: PlacePictureProps) {
  const [state, setState] = useState<"loading" | "shown" | RequestError>("loading");
  const [isLarge, setLarge] = useState(false);
  const frame = useRef<HTMLDivElement>(null);
  const url = apiUrl(path);

  function showMark(picture: HTMLImageElement) {
    const top = place.info.boxes?.[0]?.[1] ?? 0;
    frame.current?.scrollTo({ top: top * picture.clientHeight - frame.current.clientHeight / 3 });
  }

  if (state instanceof RequestError) return <ErrorNotice error={state} onRetry={() => setState("loading")} />;
  return (
    <div>
      {state === "loading" && <p role="status">The page is drawn …</p>}
      {/* Scrollable, so it must be reachable by keyboard. */}
      <div ref={frame} className={styles.picture} data-large={isLarge} role="group" aria-label={description} tabIndex={0}>
        <img
          src={url}
          alt={description}
          onLoad={(event) => {
            setState("shown");
            showMark(event.currentTarget);
          }}
          onError={() => void whyNotShown(url).then(setState)}
        />
      </div>
      <button type="button" aria-pressed={isLarge} onClick={() => setLarge(!isLarge)}>
        Larger
      </button>
    </div>
  );
}

/** An `<img>` does not say why it has failed, so the server is asked once more. */
async function whyNotShown(url: string): Promise<RequestError> {
  try {
    const response = await fetch(url);
    if (!response.ok) return await errorOfResponse(response);
    return new RequestError("UNEXPECTED", "The browser cannot show this picture.");
  } catch (thrown) {
    return asRequestError(thrown);
  }
}
