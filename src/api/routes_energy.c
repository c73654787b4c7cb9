/* Owns: energy balances (spec/04 §3.14): kept and told, never charged. Callers: routes.c. */
#include "server.h"

/* Decimal digits of an unsigned 128-bit number; false: not one. */
static bool parse_amount(struct lc_slice text, unsigned __int128 *out) {
  const unsigned __int128 max = ~(unsigned __int128)0;
  size_t i = text.len && text.data[0] == '+';
  if (i == text.len) return false;
  for (*out = 0; i < text.len; i++) {
    unsigned digit = (unsigned)text.data[i] - '0';
    if (digit > 9 || *out > (max - digit) / 10) return false;
    *out = *out * 10 + digit;
  }
  return true;
}
static void answer_balance(struct request *q, __int128 balance) {
  char digits[41];
  size_t at = sizeof digits;
  struct lc_buf b = {0};
  unsigned __int128 left = balance < 0 ? -(unsigned __int128)balance : (unsigned __int128)balance;
  do digits[--at] = (char)('0' + (int)(left % 10));
  while (left /= 10);
  if (balance < 0) digits[--at] = '-';
  lc_buf_printf(&b, "{\"balance\":\"%.*s\"}", (int)(sizeof digits - at), digits + at);
  request_json(q, 200, &b);
}

static void balance_of(struct request *q, const struct lc_identity *id, unsigned __int128 amount) {
  struct lc_error err;
  __int128 balance;
  if (control_energy(q->server->control, id, amount, &balance, &err) != LC_OK) request_text(q, 500, err.text);
  else answer_balance(q, balance);
}
void route_get_energy(struct request *q) {
  struct lc_identity id;
  if (request_identity(q, &id)) balance_of(q, &id, 0);
}
/* Adds to the caller's balance, whatever the path says. */
void route_post_energy(struct request *q) {
  struct lc_identity id;
  struct lc_error err;
  struct lc_buf text = {0};
  unsigned __int128 amount;
  bool found;
  if (!request_need_token(q)) return;
  if (!routes_query(q->r, "amount", &text, &found, &err)) request_text(q, 400, err.text);
  else if (!found) request_text(q, 400, "Failed to deserialize query string: missing field `amount`");
  else if (!parse_amount(lc_buf_slice(&text), &amount)) request_text(q, 400, "");
  else if (request_identity(q, &id)) balance_of(q, &q->claims.identity, amount);
  lc_buf_free(&text);
}
/* Only for the identity 0, which nobody can have. */
void route_put_energy(struct request *q) {
  if (request_need_token(q)) request_status(q, 401);
}
