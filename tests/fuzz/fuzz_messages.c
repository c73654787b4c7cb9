/* Messages of clients: protocol v1 as text and as BSATN, v2, v3 (the first byte says which). What is decoded must lie within the batch, text must be text, and a
 * refusal must say why. */
#include "api/server.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!size) return 0;
  unsigned kind = data[0] & 3;
  struct lc_slice payload = lc_slice(data + 1, size - 1);
  if (kind == 0 && !lc_utf8_valid(payload.data, payload.len)) return 0; /* net/ has looked at that */
  static struct ws_client client;
  client = (struct ws_client){.base = {.protocol = kind < 2 ? 1 : (uint8_t)kind}, .is_json = kind == 0};
  struct lc_error err = {0};
  struct lc_db_batch *b = lc_db_batch_new();
  must(b);
  bool ok = kind < 2 ? ws_v1_decode(&client, payload, kind == 0, b, &err) : ws_v2_decode(&client, payload, b, &err);
  must(ok ? b->n_ops > 0 : err.text[0] != 0);
  must(kind == 3 || b->n_ops <= 1);
  for (uint32_t i = 0; ok && i < b->n_ops; i++) {
    const struct lc_db_op *op = &b->ops[i];
    must(op->name_at <= b->bytes.len && op->name_len <= b->bytes.len - op->name_at && op->args_at <= b->bytes.len && op->args_len <= b->bytes.len - op->args_at);
    must(lc_utf8_valid(b->bytes.data + op->name_at, op->name_len));
    must(op->client == &client.base && (i + 1 == b->n_ops) == (op->arg != NULL));
  }
  lc_db_batch_free(b);
  return 0;
}
