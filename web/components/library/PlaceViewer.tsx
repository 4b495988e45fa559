"use client";

import { useCallback } from "react";

import { ErrorNotice } from "@/components/shared/Notice";
import { apiUrl } from "@/lib/api";
import { getFile, type LibraryFile } from "@/lib/library";
import { describePlace, type Place } from "@/lib/places";
import { Dialog } from "./Dialog";
import styles from "./library.module.css";
import { PlaceMedia } from "./PlaceMedia";
import { PlacePicture } from "./PlacePicture";
import { PlaceText } from "./PlaceText";
import { Quote } from "./Quote";
import { useLoaded } from "./useLoaded";

interface PlaceViewerProps {
  place: Place;
  onClose: () => void;
}

/** Shows where a passage is: the page or picture with its words marked, the paragraph, or the moment; and its words. */
export function PlaceViewer({ place, onClose }: PlaceViewerProps) {
  const load = useCallback((signal: AbortSignal) => getFile(place.fileId, signal), [place.fileId]);
  const { data: file, error } = useLoaded(load);
  const where = describePlace(place.info);
  return (
    <Dialog title={file ? `${file.filename}, ${where}` : where} onClose={onClose}>
      {error && <ErrorNotice error={error} />}
      {file && (
        <div className={styles.place}>
          <Original file={file} place={place} />
          <div>
            <Quote text={place.text} chars={place.chars} />
            <a href={apiUrl(place.path)} target="_blank" rel="noreferrer">
              Open the file at this place
            </a>
          </div>
        </div>
      )}
    </Dialog>
  );
}

function Original({ file, place }: { file: LibraryFile; place: Place }) {
  if (file.file_type === "audio" || file.file_type === "video") return <PlaceMedia file={file} place={place} />;
  if (place.picturePath === null) return <PlaceText place={place} />;
  const subject = file.file_type === "image" ? file.filename : `Page ${place.info.page} of ${file.filename}`;
  const description = place.info.boxes ? `${subject}, with the words marked` : subject;
  return <PlacePicture place={place} path={place.picturePath} description={description} />;
}
