/** The SHA-256 of a file, by which the library knows content that it already has. */

/** Larger files are not read into the browser's memory for their checksum. The API takes no more than 100 MB. */
const MAX_BYTES = 100 * 2 ** 20;

/**
 * Return the SHA-256 in hexadecimal; null for a file that is too large for the library anyway, and where the browser
 * has no cryptography: on pages from another machine without HTTPS. The file is then sent, and the server compares it.
 */
export async function checksumOf(file: File): Promise<string | null> {
  if (file.size > MAX_BYTES || !window.isSecureContext) return null;
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
