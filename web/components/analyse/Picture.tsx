"use client";

import { useState } from "react";

import { Notice } from "@/components/shared/Notice";
import type { Media } from "./AnalysesProvider";
import styles from "./Picture.module.css";

/** The picture itself. Its alternative text is its name: what it shows is described beside it. */
export function Picture({ media }: { media: Media }) {
  const [isUnknown, setUnknown] = useState(false);
  if (isUnknown) {
    return (
      <Notice>
        <p>This browser cannot show the picture; it is described all the same.</p>
      </Notice>
    );
  }
  return (
    <img
      className={styles.picture}
      src={media.url}
      alt={`The picture ${media.file.name}`}
      onError={() => setUnknown(true)}
    />
  );
}
