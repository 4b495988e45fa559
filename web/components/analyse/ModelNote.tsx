/** Which model answered, and how long it took. */
export function ModelNote({ model, milliseconds }: { model: string; milliseconds: number }) {
  const seconds = milliseconds / 1000;
  return (
    <p className="muted">
      {model}, {seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s
    </p>
  );
}
