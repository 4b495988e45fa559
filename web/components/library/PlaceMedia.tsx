"use client";

import { type ReactEventHandler, useRef, useState } from "react";

import { clock } from "@/components/shared/format";
import { Notice } from "@/components/shared/Notice";
import { apiUrl } from "@/lib/api";
import type { LibraryFile } from "@/lib/library";
import type { Place } from "@/lib/places";
import styles from "./library.module.css";
import { PlacePicture } from "./PlacePicture";

interface PlaceMediaProps {
  file: LibraryFile;
  place: Place;
}

/** Plays a recording or video from the moment on. */
export function PlaceMedia({ file, place }: PlaceMediaProps) {
  const media = useRef<HTMLAudioElement & HTMLVideoElement>(null);
  const [canPlay, setCanPlay] = useState(true);
  const start = place.info.start ?? 0;
  const src = apiUrl(`/files/${file.file_id}/content`);

  const goToMoment: ReactEventHandler<HTMLMediaElement> = ({ currentTarget }) => {
    currentTarget.currentTime = start;
  };

  function playAgain() {
    if (!media.current) return;
    media.current.currentTime = start;
    media.current.play().catch(() => setCanPlay(false));
  }

  if (!canPlay) {
    return (
      <div>
        <Notice kind="warning">
          This browser cannot play {file.mime_type}. Open the file with another program; the moment is at {clock(start)}.
        </Notice>
        {place.picturePath !== null && (
          <PlacePicture place={place} path={place.picturePath} description={`${file.filename} at ${clock(start)}`} />
        )}
      </div>
    );
  }
  // The player starts by itself: somebody has just asked for this moment.
  const player = {
    ref: media,
    src,
    controls: true,
    autoPlay: true,
    preload: "metadata",
    "aria-label": file.filename,
    onLoadedMetadata: goToMoment,
    onError: () => setCanPlay(false),
  };
  return (
    <div className={styles.media}>
      {file.file_type === "video" ? (
        <video {...player} playsInline poster={place.picturePath === null ? undefined : apiUrl(place.picturePath)} />
      ) : (
        <audio {...player} />
      )}
      <button type="button" onClick={playAgain}>
        Play from {clock(start)} again
      </button>
    </div>
  );
}
