"use client";

import type { Options } from "@/lib/analysis";
import { useAnalyses } from "./AnalysesProvider";
import styles from "./OptionFields.module.css";

const MAX_FRAMES = 32;

/** What the user may choose before files come in. */
export function OptionFields() {
  const { options, setOptions } = useAnalyses();
  const set = (changes: Partial<Options>) => setOptions({ ...options, ...changes });
  return (
    <details className={styles.options}>
      <summary>Options for the next files</summary>
      <div className={styles.fields}>
        <label>
          Question about pictures and frames
          <input
            value={options.question}
            placeholder="empty: describe them"
            onChange={(event) => set({ question: event.target.value })}
          />
        </label>
        <label>
          Language that is spoken
          <input
            value={options.language}
            placeholder="empty: find out; or en, German, …"
            onChange={(event) => set({ language: event.target.value })}
          />
        </label>
        <label>
          Frames of a video
          <input
            type="number"
            min={1}
            max={MAX_FRAMES}
            value={options.numFrames}
            onChange={(event) => set({ numFrames: Number(event.target.value) })}
          />
        </label>
        <label>
          Which frames
          <select
            value={options.sampling}
            onChange={(event) => set({ sampling: event.target.value as Options["sampling"] })}
          >
            <option value="uniform">evenly spaced</option>
            <option value="keyframes">one of each scene</option>
          </select>
        </label>
        <label className={styles.check}>
          <input
            type="checkbox"
            checked={options.translate}
            onChange={(event) => set({ translate: event.target.checked })}
          />
          Translate recordings to English
        </label>
        <label className={styles.check}>
          <input
            type="checkbox"
            checked={options.speakers}
            onChange={(event) => set({ speakers: event.target.checked })}
          />
          Tell speakers apart
        </label>
      </div>
    </details>
  );
}
