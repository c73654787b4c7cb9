/* Tokens: JSON Web Tokens signed with ES256, their claims, and the order in which they are validated (spec/04 §4, spec/07 §8.3, §14.1).
 *
 * A token is checked as: shape, header and algorithm, signature, claims. Text that reaches people is exactly what spec/04 §4.2-4.3 says.
 * Nothing of a token is believed before its signature has been verified, except the issuer, which chooses whose keys must verify it.
 */
#include "auth_internal.h"
#include <jansson.h>
#include <stdio.h>

static const char header_json[] = "{\"typ\":\"JWT\",\"alg\":\"ES256\"}";

/* ---- claims as values ---- */

void lc_auth_claims_copy(struct lc_auth_claims *to, const struct lc_auth_claims *from) {
  *to = *from;
  if (to->payload) lc_shared_ref(to->payload);
}

void lc_auth_claims_release(struct lc_auth_claims *c) {
  lc_shared_unref(c->payload);
  *c = (struct lc_auth_claims){0};
}

static int64_t now_s(const struct lc_auth *auth) { return auth->env->now_us(auth->env->ctx) / 1000000; }

void lc_auth_uuid(const struct lc_auth *auth, char out[LC_AUTH_UUID_TEXT_BYTES]) {
  uint8_t b[16];
  char hex[33];
  auth->env->random(auth->env->ctx, b, sizeof b);
  b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
  b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
  lc_hex_encode(b, sizeof b, hex);
  snprintf(out, LC_AUTH_UUID_TEXT_BYTES, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

void lc_auth_fresh_identity(const struct lc_auth *auth, struct lc_identity *out) {
  char uuid[LC_AUTH_UUID_TEXT_BYTES];
  lc_auth_uuid(auth, uuid);
  lc_identity_from_claims(lc_slice_str(LC_AUTH_ISSUER), lc_slice_str(uuid), out);
}

/* ---- signing ---- */

/* header.payload.signature appended to token. */
static enum lc_status sign_payload(const struct lc_auth *auth, struct lc_slice payload, struct lc_buf *token, struct lc_error *err) {
  uint8_t signature[AUTH_SIGNATURE_BYTES];
  size_t start = token->len;
  auth_base64_encode(token, lc_slice(header_json, sizeof header_json - 1));
  lc_buf_u8(token, '.');
  auth_base64_encode(token, payload);
  if (!lc_buf_ok(token)) return lc_fail(err, LC_NOMEM, "out of memory for a token");
  if (!auth_sign_es256(auth, lc_slice(token->data + start, token->len - start), signature)) return lc_fail(err, LC_NOMEM, "OpenSSL could not sign a token");
  lc_buf_u8(token, '.');
  auth_base64_encode(token, lc_slice(signature, sizeof signature));
  return lc_buf_ok(token) ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory for a token");
}

static int append_json(const char *text, size_t len, void *buf) {
  lc_buf_append(buf, text, len);
  return 0;
}

static void json_append(struct lc_buf *out, const json_t *value) { json_dump_callback(value, append_json, out, JSON_COMPACT | JSON_ENCODE_ANY); }

/* JSON string of checked UTF-8. */
static enum lc_status json_string_append(struct lc_buf *out, struct lc_slice text, const char *what, struct lc_error *err) {
  json_t *value = json_stringn((const char *)text.data, text.len);
  if (!value) return lc_fail(err, LC_INVALID, "%s is not UTF-8", what);
  json_append(out, value);
  json_decref(value);
  return LC_OK;
}

/* The claims of spec/04 §4.2 in their order. audience: NULL means ["spacetimedb"]; extra: object whose unknown keys are appended, or NULL. */
static enum lc_status payload_append(struct lc_buf *out, struct lc_slice issuer, struct lc_slice subject, const json_t *audience, const json_t *extra, int64_t issued_at_s, int64_t lifetime_s, struct lc_error *err) {
  struct lc_identity identity;
  char hex[65];
  lc_identity_from_claims(issuer, subject, &identity);
  lc_identity_hex(&identity, hex);
  lc_buf_printf(out, "{\"hex_identity\":\"%s\",\"sub\":", hex);
  enum lc_status status = json_string_append(out, subject, "Subject", err);
  lc_buf_str(out, ",\"iss\":");
  if (status == LC_OK) status = json_string_append(out, issuer, "Issuer", err);
  if (status != LC_OK) return status;
  lc_buf_str(out, ",\"aud\":");
  if (audience) json_append(out, audience);
  else lc_buf_str(out, "[\"spacetimedb\"]");
  lc_buf_printf(out, ",\"iat\":%lld", (long long)issued_at_s);
  if (lifetime_s) lc_buf_printf(out, ",\"exp\":%lld", (long long)(issued_at_s + lifetime_s));
  static const char *const own[] = {"hex_identity", "sub", "iss", "aud", "iat", "exp"};
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)extra, key, value) {
    bool is_own = false;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) is_own = is_own || strcmp(own[i], key) == 0;
    if (is_own) continue;
    lc_buf_u8(out, ',');
    json_t *name = json_string(key);
    if (name) json_append(out, name);
    json_decref(name);
    lc_buf_u8(out, ':');
    json_append(out, value);
  }
  lc_buf_u8(out, '}');
  return lc_buf_ok(out) ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory for the claims of a token");
}

static enum lc_status check_name(struct lc_slice name, const char *what, struct lc_error *err) {
  if (name.len == 0) return lc_fail(err, LC_INVALID, "%s empty", what);
  if (name.len > LC_AUTH_NAME_MAX_BYTES) return lc_fail(err, LC_INVALID, "%s too long: \"%.*s\"", what, (int)(name.len < 1024 ? name.len : 1024), (const char *)name.data);
  if (memchr(name.data, 0, name.len)) return lc_fail(err, LC_INVALID, "%s contains a NUL character", what);
  return LC_OK;
}

static enum lc_status fill_claims(struct lc_auth_claims *c, struct lc_slice issuer, struct lc_slice subject, struct lc_slice payload, struct lc_error *err) {
  *c = (struct lc_auth_claims){0};
  c->payload = lc_shared_new(payload);
  if (!c->payload) return lc_fail(err, LC_NOMEM, "out of memory for the claims of a token");
  memcpy(c->issuer, issuer.data, issuer.len);
  memcpy(c->subject, subject.data, subject.len);
  lc_identity_from_claims(issuer, subject, &c->identity);
  return LC_OK;
}

enum lc_status lc_auth_sign(const struct lc_auth *auth, struct lc_slice issuer, struct lc_slice subject, int64_t lifetime_s, struct lc_buf *token, struct lc_auth_claims *claims, struct lc_error *err) {
  int64_t issued_at_s = now_s(auth);
  struct lc_buf payload = {0};
  enum lc_status status = check_name(subject, "Subject", err);
  if (status == LC_OK) status = check_name(issuer, "Issuer", err);
  if (status == LC_OK) status = payload_append(&payload, issuer, subject, NULL, NULL, issued_at_s, lifetime_s, err);
  if (status == LC_OK) status = sign_payload(auth, lc_buf_slice(&payload), token, err);
  if (status == LC_OK && claims) {
    status = fill_claims(claims, issuer, subject, lc_buf_slice(&payload), err);
    claims->issued_at_s = issued_at_s;
    claims->has_expiry = lifetime_s != 0;
    claims->expires_at_s = lifetime_s ? issued_at_s + lifetime_s : 0;
  }
  lc_buf_free(&payload);
  return status;
}

enum lc_status lc_auth_mint(const struct lc_auth *auth, struct lc_buf *token, struct lc_auth_claims *claims, struct lc_error *err) {
  char uuid[LC_AUTH_UUID_TEXT_BYTES];
  lc_auth_uuid(auth, uuid);
  return lc_auth_sign(auth, lc_slice_str(LC_AUTH_ISSUER), lc_slice_str(uuid), 0, token, claims, err);
}

/* An audience is written as a list whatever it was read as. */
static json_t *audience_list(const json_t *claims) {
  json_t *audience = json_object_get(claims, "aud");
  if (json_is_array(audience)) return json_incref(audience);
  json_t *list = json_array();
  if (list && json_is_string(audience)) json_array_append(list, audience);
  return list;
}

enum lc_status lc_auth_websocket_token(const struct lc_auth *auth, const struct lc_auth_claims *claims, struct lc_buf *token, struct lc_error *err) {
  struct lc_buf payload = {0};
  struct lc_slice old = lc_auth_payload(claims);
  json_t *object = json_loadb((const char *)old.data, old.len, JSON_REJECT_DUPLICATES, NULL), *audience = object ? audience_list(object) : NULL;
  enum lc_status status = LC_OK;
  if (!json_is_object(object) || !audience) status = lc_fail(err, object ? LC_NOMEM : LC_INVALID, "the claims of the token cannot be read again");
  if (status == LC_OK) status = payload_append(&payload, lc_slice_str(claims->issuer), lc_slice_str(claims->subject), audience, object, now_s(auth), LC_AUTH_WEBSOCKET_TOKEN_S, err);
  if (status == LC_OK) status = sign_payload(auth, lc_buf_slice(&payload), token, err);
  json_decref(audience);
  json_decref(object);
  lc_buf_free(&payload);
  return status;
}

/* ---- taking a token apart ---- */

/* A token whose shape and header are fine; nothing in it is believed yet. */
struct parsed {
  struct lc_slice signed_part, signature_text;
  struct lc_buf payload, signature;
  json_t *claims; /* object */
  struct lc_buf kid; /* of the header, if it has one */
  bool is_es256, has_kid;
};

static void parsed_free(struct parsed *p) {
  json_decref(p->claims);
  lc_buf_free(&p->payload);
  lc_buf_free(&p->signature);
  lc_buf_free(&p->kid);
}

static enum lc_status json_error(struct lc_error *err, const json_error_t *error) {
  return lc_fail(err, LC_DENIED, "Invalid token: JSON error: %s at line %d column %d", error->text, error->line, error->column);
}

static enum lc_status check_algorithm(const json_t *header, bool *is_es256, struct lc_error *err) {
  static const char *const refused[] = {"HS256", "HS384", "HS512", "ES384", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"};
  const json_t *alg = json_object_get(header, "alg");
  if (!alg) return lc_fail(err, LC_DENIED, "Invalid token: JSON error: missing field `alg`");
  if (!json_is_string(alg)) return lc_fail(err, LC_DENIED, "Invalid token: JSON error: invalid type for `alg`, expected a string");
  const char *name = json_string_value(alg);
  *is_es256 = strcmp(name, "ES256") == 0;
  if (*is_es256 || strcmp(name, "RS256") == 0) return LC_OK;
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
    if (strcmp(refused[i], name) == 0) return lc_fail(err, LC_DENIED, "Invalid token: InvalidAlgorithm");
  return lc_fail(err, LC_DENIED, "Invalid token: JSON error: unknown variant `%.64s`, expected ES256 or RS256", name);
}

static enum lc_status take_kid(const json_t *header, struct parsed *p, struct lc_error *err) {
  const json_t *kid = json_object_get(header, "kid");
  if (!kid || json_is_null(kid)) return LC_OK;
  if (!json_is_string(kid)) return lc_fail(err, LC_DENIED, "Invalid token: JSON error: invalid type for `kid`, expected a string");
  p->has_kid = true;
  lc_buf_append(&p->kid, json_string_value(kid), json_string_length(kid));
  return lc_buf_ok(&p->kid) ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory for a token");
}

static enum lc_status parse_header(struct lc_slice text, struct parsed *p, struct lc_error *err) {
  struct lc_buf bytes = {0};
  json_error_t error;
  enum lc_status status;
  if (!auth_base64_decode(&bytes, text)) {
    status = lc_fail(err, LC_DENIED, "Invalid token: Base64 error: the header is not base64url without padding");
  } else {
    json_t *header = json_loadb((const char *)bytes.data, bytes.len, JSON_REJECT_DUPLICATES, &error);
    if (!header) status = json_error(err, &error);
    else if (!json_is_object(header)) status = lc_fail(err, LC_DENIED, "Invalid token: JSON error: invalid type, expected a header object");
    else status = check_algorithm(header, &p->is_es256, err);
    if (status == LC_OK) status = take_kid(header, p, err);
    json_decref(header);
  }
  lc_buf_free(&bytes);
  return status;
}

/* *p must be zeroed and freed by the caller whatever this returns. */
static enum lc_status parse(struct lc_slice token, struct parsed *p, struct lc_error *err) {
  struct lc_slice parts[3];
  size_t n = 0, start = 0;
  if (token.len > LC_AUTH_TOKEN_MAX_BYTES) return lc_fail(err, LC_DENIED, "Invalid token: InvalidToken");
  for (size_t i = 0; i <= token.len; i++) {
    if (i < token.len && token.data[i] != '.') continue;
    if (n == 3) return lc_fail(err, LC_DENIED, "Invalid token: InvalidToken");
    parts[n++] = lc_slice(token.data + start, i - start);
    start = i + 1;
  }
  if (n != 3) return lc_fail(err, LC_DENIED, "Invalid token: InvalidToken");
  enum lc_status status = parse_header(parts[0], p, err);
  if (status != LC_OK) return status;
  p->signed_part = lc_slice(token.data, parts[0].len + 1 + parts[1].len);
  p->signature_text = parts[2];
  if (!auth_base64_decode(&p->payload, parts[1])) return lc_fail(err, LC_DENIED, "Invalid token: Base64 error: the payload is not base64url without padding");
  if (!auth_base64_decode(&p->signature, parts[2])) return lc_fail(err, LC_DENIED, "Invalid token: Base64 error: the signature is not base64url without padding");
  return LC_OK;
}

static enum lc_status parse_claims(struct parsed *p, struct lc_error *err) {
  json_error_t error;
  if (!p->claims) p->claims = json_loadb((const char *)p->payload.data, p->payload.len, JSON_REJECT_DUPLICATES, &error);
  if (!p->claims) return json_error(err, &error);
  if (!json_is_object(p->claims)) return lc_fail(err, LC_DENIED, "Invalid token: JSON error: invalid type, expected an object of claims");
  return LC_OK;
}

static enum lc_status string_claim(const json_t *claims, const char *name, struct lc_slice *out, struct lc_error *err) {
  const json_t *value = json_object_get(claims, name);
  if (!value) return lc_fail(err, LC_DENIED, "Invalid token: Missing required claim: %s", name);
  if (!json_is_string(value)) return lc_fail(err, LC_DENIED, "Invalid token: JSON error: invalid type for `%s`, expected a string", name);
  *out = lc_slice(json_string_value(value), json_string_length(value));
  return LC_OK;
}

static enum lc_status audience_check(const json_t *claims, struct lc_error *err) {
  const json_t *audience = json_object_get(claims, "aud");
  bool ok = !audience || json_is_string(audience) || json_is_array(audience);
  for (size_t i = 0; ok && json_is_array(audience) && i < json_array_size(audience); i++) ok = json_is_string(json_array_get(audience, i));
  return ok ? LC_OK : lc_fail(err, LC_DENIED, "Invalid token: JSON error: invalid type for `aud`, expected a string or a list of strings");
}

static enum lc_status integer_claim(const json_t *claims, const char *name, int64_t *out, struct lc_error *err) {
  const json_t *value = json_object_get(claims, name);
  if (!value) return lc_fail(err, LC_DENIED, "Invalid token: JSON error: missing field `%s`", name);
  if (!json_is_integer(value) || json_integer_value(value) < 0) return lc_fail(err, LC_DENIED, "Invalid token: JSON error: invalid value for `%s`, expected seconds", name);
  *out = json_integer_value(value);
  return LC_OK;
}

/* ---- client tokens ---- */

static bool expired(const struct lc_auth *auth, const struct lc_auth_claims *c) { return c->has_expiry && now_s(auth) - LC_AUTH_LEEWAY_S > c->expires_at_s; }

static enum lc_status identity_check(const json_t *claims, const struct lc_identity *derived, struct lc_error *err) {
  const json_t *value = json_object_get(claims, "hex_identity");
  struct lc_identity said;
  char said_hex[65], derived_hex[65];
  if (!value || json_is_null(value)) return LC_OK;
  if (!json_is_string(value) || json_string_length(value) != 64 || !lc_identity_parse(lc_slice(json_string_value(value), 64), &said)) return lc_fail(err, LC_DENIED, "Invalid token: JSON error: invalid `hex_identity`, expected 64 hex digits");
  if (memcmp(&said, derived, sizeof said) == 0) return LC_OK;
  lc_identity_hex(&said, said_hex);
  lc_identity_hex(derived, derived_hex);
  return lc_fail(err, LC_DENIED, "Identity mismatch: the token says %s, its issuer and subject give %s", said_hex, derived_hex);
}

/* The claims of a token whose signature is good. */
static enum lc_status read_claims(const struct lc_auth *auth, struct parsed *p, struct lc_auth_claims *out, struct lc_error *err) {
  struct lc_slice issuer = {0}, subject = {0};
  int64_t issued_at_s = 0, expires_at_s = 0;
  enum lc_status status = parse_claims(p, err);
  if (status == LC_OK) status = string_claim(p->claims, "sub", &subject, err);
  if (status == LC_OK) status = string_claim(p->claims, "iss", &issuer, err);
  if (status == LC_OK) status = audience_check(p->claims, err);
  if (status == LC_OK) status = integer_claim(p->claims, "iat", &issued_at_s, err);
  const json_t *exp = json_object_get(p->claims, "exp");
  bool has_expiry = exp && !json_is_null(exp);
  if (status == LC_OK && has_expiry) status = integer_claim(p->claims, "exp", &expires_at_s, err);
  if (status == LC_OK && check_name(subject, "Subject", err) != LC_OK) status = LC_DENIED;
  if (status == LC_OK && check_name(issuer, "Issuer", err) != LC_OK) status = LC_DENIED;
  if (status == LC_OK && lc_slice_eq_str(issuer, LC_AUTH_IDC_ISSUER)) status = lc_fail(err, LC_DENIED, "Invalid token: InvalidToken");
  if (status == LC_OK) status = fill_claims(out, issuer, subject, lc_buf_slice(&p->payload), err);
  if (status != LC_OK) return status;
  out->issued_at_s = issued_at_s;
  out->has_expiry = has_expiry;
  out->expires_at_s = expires_at_s;
  status = expired(auth, out) ? lc_fail(err, LC_DENIED, "Invalid token: ExpiredSignature") : identity_check(p->claims, &out->identity, err);
  if (status != LC_OK) lc_auth_claims_release(out);
  return status;
}

/* *signed_by_us: the signature is ours, whatever is wrong with the rest. */
static enum lc_status validate_local(const struct lc_auth *auth, struct parsed *p, struct lc_auth_claims *out, bool *signed_by_us, struct lc_error *err) {
  *signed_by_us = p->is_es256 && auth_verify_es256(auth->key, p->signed_part, lc_buf_slice(&p->signature));
  return *signed_by_us ? read_claims(auth, p, out, err) : lc_fail(err, LC_DENIED, "Invalid token: InvalidSignature");
}

/* Step 2 of spec/04 §4.3: the token is not (validly) ours, so its issuer is looked at: a foreign one in *issuer, or the error of a local one. */
static enum lc_status foreign_issuer(struct parsed *p, const char *local_text, struct lc_slice *issuer, struct lc_error *err) {
  enum lc_status status = parse_claims(p, err);
  if (status == LC_OK) status = string_claim(p->claims, "iss", issuer, err);
  if (status != LC_OK) return status;
  if (lc_slice_eq_str(*issuer, LC_AUTH_ISSUER) || lc_slice_eq_str(*issuer, LC_AUTH_IDC_ISSUER)) return lc_fail(err, LC_DENIED, "%s", local_text);
  lc_fail(err, LC_DENIED, "Error fetching public key for issuer %.*s", (int)(issuer->len < 1024 ? issuer->len : 1024), (const char *)issuer->data);
  return check_name(*issuer, "Issuer", NULL) == LC_OK && auth_url_is_http((const char *)issuer->data) ? LC_OK : LC_DENIED;
}

/* Step 3: with the keys its issuer publishes. *err holds the text for keys that cannot be had. */
static enum lc_status validate_foreign(struct lc_auth *auth, struct parsed *p, struct lc_slice issuer, const struct lc_auth_wait *wait, struct lc_auth_claims *out, int64_t *good_until_ns, struct lc_error *err) {
  struct auth_keys *keys;
  struct lc_slice name = lc_buf_slice(&p->kid);
  const struct lc_slice *kid = p->has_kid ? &name : NULL;
  enum lc_status status = auth_issuers_keys(auth, issuer, kid, wait, &keys, good_until_ns);
  if (status != LC_OK) {
    if (err) err->status = status;
    return status;
  }
  if (!auth_keys_know(keys, kid)) status = lc_fail(err, LC_DENIED, "Specified key ID not found in JWKs");
  else if (!auth_keys_verify(keys, kid, p->is_es256, p->signed_part, lc_buf_slice(&p->signature))) status = lc_fail(err, LC_DENIED, "Invalid token: InvalidSignature");
  else status = read_claims(auth, p, out, err);
  auth_keys_unref(keys);
  return status;
}

enum lc_status lc_auth_validate(struct lc_auth *auth, struct lc_slice token, const struct lc_auth_wait *wait, struct lc_auth_claims *out, struct lc_error *err) {
  uint8_t hash[32];
  struct parsed p = {0};
  struct lc_error local = {0};
  struct lc_slice issuer;
  int64_t good_until_ns = INT64_MAX;
  bool signed_by_us;
  *out = (struct lc_auth_claims){0};
  if (token.len > LC_AUTH_TOKEN_MAX_BYTES) return lc_fail(err, LC_DENIED, "Invalid token: InvalidToken");
  lc_blake3(token, hash);
  if (auth_cache_get(&auth->cache, hash, auth->env->monotonic_ns(auth->env->ctx), out)) {
    if (!expired(auth, out)) return LC_OK;
    lc_auth_claims_release(out);
  }
  enum lc_status status = parse(token, &p, err);
  if (status == LC_OK) {
    status = validate_local(auth, &p, out, &signed_by_us, &local);
    if (status == LC_DENIED) {
      status = foreign_issuer(&p, local.text, &issuer, err);
      if (status == LC_OK && signed_by_us) status = lc_fail(err, LC_DENIED, "%s", local.text); /* a websocket token: its issuer knows nothing of our key */
      else if (status == LC_OK) status = validate_foreign(auth, &p, issuer, wait, out, &good_until_ns, err);
    } else if (status != LC_OK) {
      status = lc_fail(err, status, "%s", local.text);
    }
    if (status == LC_OK) auth_cache_put(&auth->cache, hash, out, good_until_ns);
  }
  parsed_free(&p);
  return status;
}

void lc_auth_stop(struct lc_auth *auth) { auth_issuers_stop(&auth->issuers); }

enum lc_status lc_auth_bearer(struct lc_slice header, struct lc_slice *token, struct lc_error *err) {
  static const char scheme[] = "bearer ";
  size_t n = sizeof scheme - 1;
  bool ok = header.len > n;
  for (size_t i = 0; ok && i < n; i++) ok = (header.data[i] >= 'A' && header.data[i] <= 'Z' ? header.data[i] + 32 : header.data[i]) == scheme[i];
  if (!ok) return lc_fail(err, LC_INVALID, "Authorization is invalid: malformed token");
  struct lc_slice rest = lc_slice(header.data + n, header.len - n);
  while (rest.len && rest.data[0] == ' ') rest = lc_slice(rest.data + 1, rest.len - 1);
  while (rest.len && rest.data[rest.len - 1] == ' ') rest.len--;
  if (rest.len == 0 || memchr(rest.data, ' ', rest.len)) return lc_fail(err, LC_INVALID, "Authorization is invalid: malformed token");
  *token = rest;
  return LC_OK;
}

/* ---- tokens of calls between databases (spec/07 §8.3) ---- */

#define IDC_LIFETIME_S 60

enum lc_status lc_auth_idc_sign(const struct lc_auth *auth, const struct lc_identity *sender, const struct lc_identity *receiver, struct lc_buf *token, struct lc_error *err) {
  char sender_hex[65], receiver_hex[65];
  struct lc_buf payload = {0};
  int64_t now = now_s(auth);
  lc_identity_hex(sender, sender_hex);
  lc_identity_hex(receiver, receiver_hex);
  lc_buf_printf(&payload, "{\"iss\":\"%s\",\"aud\":\"%s\",\"sender\":\"%s\",\"iat\":%lld,\"exp\":%lld}", LC_AUTH_IDC_ISSUER, receiver_hex, sender_hex, (long long)now, (long long)(now + IDC_LIFETIME_S));
  enum lc_status status = lc_buf_ok(&payload) ? sign_payload(auth, lc_buf_slice(&payload), token, err) : lc_fail(err, LC_NOMEM, "out of memory for a token");
  lc_buf_free(&payload);
  return status;
}

static enum lc_status idc_check(const struct lc_auth *auth, struct parsed *p, const struct lc_identity *receiver, struct lc_identity *sender, struct lc_error *err) {
  struct lc_slice issuer, audience, sender_text;
  struct lc_identity addressed;
  int64_t issued_at_s, expires_at_s, now = now_s(auth);
  if (!p->is_es256) return lc_fail(err, LC_DENIED, "Invalid token: InvalidAlgorithm");
  if (!auth_verify_es256(auth->key, p->signed_part, lc_buf_slice(&p->signature))) return lc_fail(err, LC_DENIED, "Invalid token: InvalidSignature");
  enum lc_status status = parse_claims(p, err);
  if (status == LC_OK) status = string_claim(p->claims, "iss", &issuer, err);
  if (status == LC_OK) status = string_claim(p->claims, "aud", &audience, err);
  if (status == LC_OK) status = string_claim(p->claims, "sender", &sender_text, err);
  if (status == LC_OK) status = integer_claim(p->claims, "iat", &issued_at_s, err);
  if (status == LC_OK) status = integer_claim(p->claims, "exp", &expires_at_s, err);
  if (status != LC_OK) return status;
  if (!lc_slice_eq_str(issuer, LC_AUTH_IDC_ISSUER)) return lc_fail(err, LC_DENIED, "Invalid token: InvalidIssuer");
  if (audience.len != 64 || !lc_identity_parse(audience, &addressed) || memcmp(&addressed, receiver, sizeof addressed) != 0) return lc_fail(err, LC_DENIED, "Invalid token: InvalidAudience");
  if (sender_text.len != 64 || !lc_identity_parse(sender_text, sender)) return lc_fail(err, LC_DENIED, "Invalid token: JSON error: invalid `sender`, expected an identity");
  if (issued_at_s > now || now >= expires_at_s) return lc_fail(err, LC_DENIED, "invalid IDC token timestamps");
  if (expires_at_s - issued_at_s < 1 || expires_at_s - issued_at_s > IDC_LIFETIME_S) return lc_fail(err, LC_DENIED, "invalid IDC token lifetime");
  return LC_OK;
}

enum lc_status lc_auth_idc_verify(const struct lc_auth *auth, struct lc_slice token, const struct lc_identity *receiver, struct lc_identity *sender, struct lc_error *err) {
  struct parsed p = {0};
  enum lc_status status = parse(token, &p, err);
  if (status == LC_OK) status = idc_check(auth, &p, receiver, sender, err);
  parsed_free(&p);
  return status;
}
