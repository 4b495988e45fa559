/** The library: its files, and the search. */
export function Library() {
  return <h2>Library</h2>;
}
