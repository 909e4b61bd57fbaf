/**
 * A quick 64-bit hash, for finding things and for noticing damage; it resists no attacker. It differs between Bun, where it
 * is native (loading node:crypto takes 2.5 ms, ten times what a cache hit may cost), and other engines.
 */
export function quickHash(data: string | Uint8Array): bigint {
  if (typeof Bun !== "undefined") return BigInt(Bun.hash(data));
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  // FNV-1a, twice, from two starting points.
  let low = 0x811c9dc5;
  let high = 0x9747b28c;
  for (const byte of bytes) {
    low = Math.imul(low ^ byte, 0x01000193);
    high = Math.imul(high ^ byte, 0x01000193);
  }
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}
