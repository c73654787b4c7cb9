/* Owns: the check that bytes are UTF-8. Callers: decoders of strings, WebSocket text messages. */
#include "base.h"

bool lc_utf8_valid(const uint8_t *p, size_t n) {
  const uint8_t *end = p + n;
  while (p < end) {
    uint64_t word;
    while (end - p >= 8 && (memcpy(&word, p, 8), (word & 0x8080808080808080u) == 0)) p += 8;
    if (p == end) break;
    uint8_t c = *p;
    if (c < 0x80) {
      p++;
      continue;
    }
    unsigned more = c >= 0xc2 && c <= 0xdf ? 1 : (c & 0xf0) == 0xe0 ? 2 : c >= 0xf0 && c <= 0xf4 ? 3 : 0;
    if (more == 0 || (size_t)(end - p) <= more) return false;
    for (unsigned i = 1; i <= more; i++)
      if ((p[i] & 0xc0) != 0x80) return false;
    if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) || (c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f)) return false;
    p += more + 1;
  }
  return true;
}
