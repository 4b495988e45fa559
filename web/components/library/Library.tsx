"use client";

import { useState } from "react";

import type { Place } from "@/lib/places";
import { FilesSection } from "./FilesSection";
import styles from "./library.module.css";
import { PlaceViewer } from "./PlaceViewer";
import { SearchSection } from "./SearchSection";

/** The library: files are put in and followed while they are indexed; questions are answered, and places shown. */
export function Library() {
  const [place, setPlace] = useState<Place | null>(null);
  return (
    <div className={styles.library}>
      <SearchSection onOpen={setPlace} />
      <FilesSection />
      {place && <PlaceViewer place={place} onClose={() => setPlace(null)} />}
    </div>
  );
}
