import { splitAtQuote } from "@/lib/places";
import styles from "./library.module.css";

interface QuoteProps {
  /** Of a passage. */
  text: string;
  /** The quoted characters, as the API counts them; null for the whole passage. */
  chars: readonly [number, number] | null;
}

/** The text of a passage, with the quoted words marked. */
export function Quote({ text, chars }: QuoteProps) {
  const [before, quoted, after] = splitAtQuote(text, chars);
  return (
    <blockquote className={styles.quote}>
      {before}
      {quoted && <mark>{quoted}</mark>}
      {after}
    </blockquote>
  );
}
