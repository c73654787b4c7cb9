/* Owns: the framing of PostgreSQL's messages, protocol 3.0 (spec/04 §10): finding one in what has arrived, and writing one. Knows no statements and no types.
 *
 * Invariants: nothing is read beyond the bytes given; a length is believed only within its limit. Callers: api/ (pg.c, pg_rows.c), for connections that are streams.
 */
#include "net.h"

static uint32_t get_u32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

size_t lc_pg_read(struct lc_slice in, bool is_startup, uint32_t max_bytes, struct lc_pg_message *out) {
  size_t head = is_startup ? 4 : 5;
  if (in.len < head) return 0;
  uint32_t len = get_u32(in.data + head - 4);
  out->type = is_startup ? 0 : in.data[0];
  if (len < (is_startup ? 8u : 4u) || len > max_bytes) return SIZE_MAX;
  size_t whole = head - 4 + len;
  if (in.len < whole) return 0;
  out->body = lc_slice(in.data + head, whole - head);
  return whole;
}
bool lc_pg_read_text(struct lc_slice *rest, struct lc_slice *text) {
  const uint8_t *end = rest->len ? memchr(rest->data, 0, rest->len) : NULL;
  if (!end) return false;
  *text = lc_slice(rest->data, (size_t)(end - rest->data));
  *rest = lc_slice(end + 1, rest->len - text->len - 1);
  return true;
}
bool lc_pg_read_u32(struct lc_slice *rest, uint32_t *value) {
  if (rest->len < 4) return false;
  *value = get_u32(rest->data);
  *rest = lc_slice(rest->data + 4, rest->len - 4);
  return true;
}

void lc_pg_u16(struct lc_buf *out, uint16_t v) { lc_buf_append(out, (const uint8_t[]){(uint8_t)(v >> 8), (uint8_t)v}, 2); }
void lc_pg_u32(struct lc_buf *out, uint32_t v) { lc_buf_append(out, (const uint8_t[]){(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v}, 4); }
void lc_pg_text(struct lc_buf *out, struct lc_slice text) {
  const uint8_t *end = text.len ? memchr(text.data, 0, text.len) : NULL; /* a zero would end it */
  lc_buf_append(out, text.data, end ? (size_t)(end - text.data) : text.len);
  lc_buf_u8(out, 0);
}
size_t lc_pg_begin(struct lc_buf *out, char type) {
  lc_buf_u8(out, (uint8_t)type);
  lc_pg_u32(out, 0);
  return out->len - 4;
}
void lc_pg_end(struct lc_buf *out, size_t at) {
  if (!lc_buf_ok(out)) return;
  uint32_t len = (uint32_t)(out->len - at);
  for (int i = 0; i < 4; i++) out->data[at + (size_t)i] = (uint8_t)(len >> (24 - 8 * i));
}
void lc_pg_error(struct lc_buf *out, const char *severity, const char *sqlstate, struct lc_slice text) {
  size_t at = lc_pg_begin(out, 'E');
  const char *const fields[] = {"S", severity, "V", severity, "C", sqlstate};
  for (int i = 0; i < 6; i += 2) {
    lc_buf_str(out, fields[i]);
    lc_pg_text(out, lc_slice_str(fields[i + 1]));
  }
  lc_buf_u8(out, 'M');
  lc_pg_text(out, text);
  lc_buf_u8(out, 0);
  lc_pg_end(out, at);
}
void lc_pg_ready(struct lc_buf *out) {
  size_t at = lc_pg_begin(out, 'Z');
  lc_buf_u8(out, 'I');
  lc_pg_end(out, at);
}
