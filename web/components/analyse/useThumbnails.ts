import { useEffect, useRef, useState } from "react";

const WIDTH = 320;

/**
 * Pictures of the video at these seconds, by second; each comes once it is decoded.
 * There are none of a video that the browser cannot play.
 */
export function useThumbnails(url: string, seconds: readonly number[]): ReadonlyMap<number, ImageBitmap> {
  const [pictures, setPictures] = useState<ReadonlyMap<number, ImageBitmap>>(new Map());
  const source = useRef<ThumbnailSource | null>(null);

  useEffect(() => {
    const opened = new ThumbnailSource(url, (second, picture) =>
      setPictures((before) => new Map(before).set(second, picture)),
    );
    source.current = opened;
    return () => opened.close();
  }, [url]);
  useEffect(() => source.current?.want(seconds));
  return pictures;
}

/** Decodes pictures in a player of its own, so that the user's keeps its place. */
class ThumbnailSource {
  private readonly video = document.createElement("video");
  private readonly wanted = new Set<number>();
  private last = Promise.resolve();

  constructor(
    url: string,
    private readonly onPicture: (second: number, picture: ImageBitmap) => void,
  ) {
    this.video.muted = true;
    this.video.preload = "auto";
    this.video.src = url;
  }

  /** Decode those that were not wanted before, one after another. */
  want(seconds: readonly number[]): void {
    for (const second of seconds) {
      if (this.wanted.has(second)) continue;
      this.wanted.add(second);
      this.last = this.last.then(async () => {
        // What cannot be decoded has no thumbnail; the next one may have.
        const picture = await this.pictureAt(second).catch(() => null);
        if (picture) this.onPicture(second, picture);
      });
    }
  }

  close(): void {
    this.video.removeAttribute("src");
    this.video.load(); // ends what is being decoded
  }

  private async pictureAt(second: number): Promise<ImageBitmap | null> {
    const { video } = this;
    // Before it has a picture, a player does not tell that it has gone to a place.
    if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA && !(await this.next("loadeddata"))) return null;
    video.currentTime = second;
    if (!(await this.next("seeked")) || video.videoWidth === 0) return null;
    return createImageBitmap(video, { resizeWidth: WIDTH, resizeQuality: "medium" });
  }

  /** Wait for an event; returns false if the player fails or is closed. */
  private async next(name: "loadeddata" | "seeked"): Promise<boolean> {
    const { video } = this;
    if (video.error || !video.hasAttribute("src")) return false;
    const done = new AbortController();
    const { signal } = done;
    const hasCome = await new Promise<boolean>((resolve) => {
      video.addEventListener(name, () => resolve(true), { signal });
      for (const end of ["error", "emptied"]) video.addEventListener(end, () => resolve(false), { signal });
    });
    done.abort();
    return hasCome;
  }
}
