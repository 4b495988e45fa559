/** A message of the server, with its `commands` in backticks shown as code. */
export function CodeText({ text }: { text: string }) {
  return text.split("`").map((part, index) => (index % 2 ? <code key={index}>{part}</code> : part));
}
