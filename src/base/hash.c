/* Hashes that need no table of their own file: 64-bit hash for hash tables, Keccak-256, CRC-32C; hexadecimal text. */
#include "base.h"

static inline uint64_t load64(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, 8);
  return v;
}
static inline uint64_t mix(uint64_t a, uint64_t b) {
  __extension__ unsigned __int128 m = (unsigned __int128)a * b;
  return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* Multiply-and-fold over 16-byte steps: fast on short keys, well mixed in all bits; not for untrusted persistence. */
uint64_t lc_hash64(const void *data, size_t len, uint64_t seed) {
  const uint64_t k0 = 0x9e3779b97f4a7c15u, k1 = 0xd6e8feb86659fd93u;
  const uint8_t *p = data;
  uint64_t h = seed ^ mix(len ^ k0, k1);
  for (; len >= 16; p += 16, len -= 16) h = mix(load64(p) ^ k1 ^ h, load64(p + 8) ^ k0);
  uint8_t tail[16] = {0};
  if (len) memcpy(tail, p, len);
  h = mix(load64(tail) ^ k1 ^ h, load64(tail + 8) ^ k0);
  return mix(h ^ k0, k1);
}

/* ---- Keccak-256 (original padding 0x01, rate 136): program hashes ---- */

static inline uint64_t rol(uint64_t v, unsigned n) { return n ? v << n | v >> (64 - n) : v; }

static void keccak_f(uint64_t state[25]) {
  static const uint64_t round_constants[24] = {
      0x0000000000000001u, 0x0000000000008082u, 0x800000000000808au, 0x8000000080008000u, 0x000000000000808bu, 0x0000000080000001u, 0x8000000080008081u, 0x8000000000008009u,
      0x000000000000008au, 0x0000000000000088u, 0x0000000080008009u, 0x000000008000000au, 0x000000008000808bu, 0x800000000000008bu, 0x8000000000008089u, 0x8000000000008003u,
      0x8000000000008002u, 0x8000000000000080u, 0x000000000000800au, 0x800000008000000au, 0x8000000080008081u, 0x8000000000008080u, 0x0000000080000001u, 0x8000000080008008u};
  static const uint8_t rotation[25] = {0, 1, 62, 28, 27, 36, 44, 6, 55, 20, 3, 10, 43, 25, 39, 41, 45, 15, 21, 8, 18, 2, 61, 56, 14};
  uint64_t s[25];
  memcpy(s, state, sizeof s);
  for (int round = 0; round < 24; round++) {
    uint64_t c[5], d[5], b[25];
/* Unrolled, so that the lanes stay in registers and the rotations are constants: several times faster. */
#pragma GCC unroll 5
    for (int x = 0; x < 5; x++) c[x] = s[x] ^ s[x + 5] ^ s[x + 10] ^ s[x + 15] ^ s[x + 20];
#pragma GCC unroll 5
    for (int x = 0; x < 5; x++) d[x] = c[(x + 4) % 5] ^ rol(c[(x + 1) % 5], 1);
#pragma GCC unroll 25
    for (int i = 0; i < 25; i++) b[i / 5 + 5 * ((2 * (i % 5) + 3 * (i / 5)) % 5)] = rol(s[i] ^ d[i % 5], rotation[i]);
#pragma GCC unroll 25
    for (int i = 0; i < 25; i++) s[i] = b[i] ^ (~b[i / 5 * 5 + (i % 5 + 1) % 5] & b[i / 5 * 5 + (i % 5 + 2) % 5]);
    s[0] ^= round_constants[round];
  }
  memcpy(state, s, sizeof s);
}

void lc_keccak256(struct lc_slice input, uint8_t out[32]) {
  enum { rate_bytes = 136 };
  uint64_t state[25] = {0};
  uint8_t block[rate_bytes];
  for (bool last = false; !last;) {
    size_t n = input.len < rate_bytes ? input.len : rate_bytes;
    last = n < rate_bytes;
    memset(block, 0, sizeof block);
    if (n) memcpy(block, input.data, n);
    if (last) {
      block[n] = 0x01;
      block[rate_bytes - 1] |= 0x80;
    }
    for (size_t i = 0; i < rate_bytes / 8; i++) state[i] ^= load64(block + 8 * i);
    keccak_f(state);
    if (!last) input = lc_slice(input.data + n, input.len - n);
  }
  memcpy(out, state, 32);
}

/* ---- CRC-32C (Castagnoli, reflected): SSE4.2 when the processor has it ---- */

static uint32_t crc_table[256];
__attribute__((constructor)) static void crc_table_fill(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t c = i;
    for (int k = 0; k < 8; k++) c = c & 1 ? 0x82f63b78u ^ c >> 1 : c >> 1;
    crc_table[i] = c;
  }
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc_hardware(uint32_t crc, const uint8_t *p, size_t n) {
  uint64_t c = crc;
  for (; n >= 8; p += 8, n -= 8) c = __builtin_ia32_crc32di(c, load64(p));
  for (; n; p++, n--) c = __builtin_ia32_crc32qi((uint32_t)c, *p);
  return (uint32_t)c;
}
#endif

uint32_t lc_crc32c(uint32_t crc, const void *data, size_t len) {
  const uint8_t *p = data;
  crc = ~crc;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) return ~crc_hardware(crc, p, len);
#endif
  for (; len; p++, len--) crc = crc_table[(crc ^ *p) & 0xff] ^ crc >> 8;
  return ~crc;
}

/* ---- hexadecimal ---- */

void lc_hex_encode(const uint8_t *data, size_t len, char *out) {
  static const char digits[] = "0123456789abcdef";
  for (size_t i = 0; i < len; i++) {
    out[2 * i] = digits[data[i] >> 4];
    out[2 * i + 1] = digits[data[i] & 15];
  }
  out[2 * len] = 0;
}

static int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

bool lc_hex_decode(const char *text, size_t text_len, uint8_t *out) {
  if (text_len % 2) return false;
  for (size_t i = 0; i < text_len; i += 2) {
    int hi = hex_digit(text[i]), lo = hex_digit(text[i + 1]);
    if (hi < 0 || lo < 0) return false;
    out[i / 2] = (uint8_t)(hi << 4 | lo);
  }
  return true;
}
