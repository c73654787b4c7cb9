/* BLAKE3 in hash mode, 32-byte output, portable: used for identities only (spec/01 §6.2), so inputs are short and speed does not matter.
 * Follows the published specification: chunks of 1,024 bytes, blocks of 64, a binary tree of chaining values. */
#include "base.h"

enum { CHUNK_START = 1, CHUNK_END = 2, PARENT = 4, ROOT = 8, BLOCK_BYTES = 64, CHUNK_BYTES = 1024 };
static const uint32_t iv[8] = {0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au, 0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u};

static inline uint32_t ror(uint32_t v, unsigned n) { return v >> n | v << (32 - n); }

static void quarter(uint32_t *s, int a, int b, int c, int d, uint32_t x, uint32_t y) {
  s[a] += s[b] + x;
  s[d] = ror(s[d] ^ s[a], 16);
  s[c] += s[d];
  s[b] = ror(s[b] ^ s[c], 12);
  s[a] += s[b] + y;
  s[d] = ror(s[d] ^ s[a], 8);
  s[c] += s[d];
  s[b] = ror(s[b] ^ s[c], 7);
}

static void compress(const uint32_t cv[8], const uint8_t *block, uint32_t block_len, uint64_t counter, uint32_t flags, uint32_t out[8]) {
  static const uint8_t permutation[16] = {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8};
  uint32_t m[16], t[16], s[16];
  memcpy(m, block, sizeof m);
  memcpy(s, cv, 32);
  memcpy(s + 8, iv, 16);
  s[12] = (uint32_t)counter;
  s[13] = (uint32_t)(counter >> 32);
  s[14] = block_len;
  s[15] = flags;
  for (int round = 0; round < 7; round++) {
    quarter(s, 0, 4, 8, 12, m[0], m[1]);
    quarter(s, 1, 5, 9, 13, m[2], m[3]);
    quarter(s, 2, 6, 10, 14, m[4], m[5]);
    quarter(s, 3, 7, 11, 15, m[6], m[7]);
    quarter(s, 0, 5, 10, 15, m[8], m[9]);
    quarter(s, 1, 6, 11, 12, m[10], m[11]);
    quarter(s, 2, 7, 8, 13, m[12], m[13]);
    quarter(s, 3, 4, 9, 14, m[14], m[15]);
    for (int i = 0; i < 16; i++) t[i] = m[permutation[i]];
    memcpy(m, t, sizeof m);
  }
  for (int i = 0; i < 8; i++) out[i] = s[i] ^ s[i + 8];
}

/* Chaining value of one chunk (len <= 1,024), or the root hash when it is the only one. */
static void chunk_value(const uint8_t *data, size_t len, uint64_t index, uint32_t root, uint32_t out[8]) {
  uint32_t cv[8], flags = CHUNK_START;
  memcpy(cv, iv, sizeof cv);
  for (;; data += BLOCK_BYTES, len -= BLOCK_BYTES, flags = 0) {
    uint8_t block[BLOCK_BYTES] = {0};
    bool last = len <= BLOCK_BYTES;
    size_t n = last ? len : BLOCK_BYTES;
    if (n) memcpy(block, data, n);
    compress(cv, block, (uint32_t)n, index, last ? flags | CHUNK_END | root : flags, cv);
    if (last) break;
  }
  memcpy(out, cv, 32);
}

static void subtree(const uint8_t *data, size_t len, uint64_t first_chunk, uint32_t root, uint32_t out[8]) {
  if (len <= CHUNK_BYTES) {
    chunk_value(data, len, first_chunk, root, out);
    return;
  }
  size_t left = CHUNK_BYTES; /* the largest power of two of chunks that leaves something to the right */
  while (left * 2 < len) left *= 2;
  uint32_t values[16];
  uint8_t block[BLOCK_BYTES];
  subtree(data, left, first_chunk, 0, values);
  subtree(data + left, len - left, first_chunk + left / CHUNK_BYTES, 0, values + 8);
  memcpy(block, values, sizeof block);
  compress(iv, block, BLOCK_BYTES, 0, PARENT | root, out);
}

void lc_blake3(struct lc_slice input, uint8_t out[32]) {
  uint32_t words[8];
  subtree(input.data, input.len, 0, ROOT, words);
  memcpy(out, words, 32);
}
