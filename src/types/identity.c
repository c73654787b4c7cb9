/* Identities and connection ids: derivation and text (spec/01 §6). BSATN bytes are little-endian, texts big-endian. */
#include "types.h"

static void reverse_hex(const uint8_t *bytes, size_t n, char *out) {
  uint8_t be[32];
  for (size_t i = 0; i < n; i++) be[i] = bytes[n - 1 - i];
  lc_hex_encode(be, n, out);
}

static bool parse_hex(struct lc_slice text, uint8_t *out, size_t n) {
  uint8_t be[32];
  if (text.len >= 2 && (memcmp(text.data, "0x", 2) == 0 || memcmp(text.data, "X'", 2) == 0)) text = lc_slice(text.data + 2, text.len - 2);
  if (text.len != 2 * n || !lc_hex_decode((const char *)text.data, text.len, be)) return false;
  for (size_t i = 0; i < n; i++) out[i] = be[n - 1 - i];
  return true;
}

void lc_identity_from_claims(struct lc_slice issuer, struct lc_slice subject, struct lc_identity *out) {
  struct lc_buf joined = {0};
  uint8_t hash[32], check_input[28] = {0xc2, 0x00}, check[32], be[32] = {0xc2, 0x00};
  lc_buf_slice_append(&joined, issuer);
  lc_buf_u8(&joined, '|');
  lc_buf_slice_append(&joined, subject);
  if (!lc_buf_ok(&joined)) lc_panic("out of memory for an issuer and subject of %zu bytes", issuer.len + subject.len);
  lc_blake3(lc_buf_slice(&joined), hash);
  lc_buf_free(&joined);
  memcpy(check_input + 2, hash, 26);
  lc_blake3(lc_slice(check_input, sizeof check_input), check);
  memcpy(be + 2, check, 4);
  memcpy(be + 6, hash, 26);
  for (size_t i = 0; i < 32; i++) out->bytes[i] = be[31 - i];
}

void lc_identity_hex(const struct lc_identity *id, char out[65]) { reverse_hex(id->bytes, 32, out); }
bool lc_identity_parse(struct lc_slice text, struct lc_identity *out) { return parse_hex(text, out->bytes, 32); }
void lc_connection_id_hex(const struct lc_connection_id *id, char out[33]) { reverse_hex(id->bytes, 16, out); }
bool lc_connection_id_parse(struct lc_slice text, struct lc_connection_id *out) { return parse_hex(text, out->bytes, 16); }
bool lc_connection_id_is_zero(const struct lc_connection_id *id) {
  static const struct lc_connection_id zero;
  return memcmp(id, &zero, sizeof zero) == 0;
}
