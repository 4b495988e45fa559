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
        <>
          <Original file={file} place={place} />
          <a href={apiUrl(place.path)} target="_blank" rel="noreferrer">
            Open the file at this place
          </a>
        </>
      )}
    </Dialog>
  );
}

function Original({ file, place }: { file: LibraryFile; place: Place }) {
  let original;
  if (file.file_type === "audio" || file.file_type === "video") {
    original = <PlaceMedia file={file} place={place} />;
  } else if (place.picturePath !== null) {
    original = <PlacePicture place={place} path={place.picturePath} description={describePicture(file, place)} />;
  } else {
    return <PlaceText place={place} />; // which has the quoted words in it
  }
  return (
    <div className={styles.place}>
      {original}
      <Quote text={place.text} chars={place.chars} />
    </div>
  );
}

function describePicture(file: LibraryFile, { info }: Place): string {
  const subject = file.file_type === "image" ? file.filename : `Page ${info.page} of ${file.filename}`;
  return info.boxes ? `${subject}, with the words marked` : subject;
}
