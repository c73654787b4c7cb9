/* Tokens, keys and their files (spec/01 §6.2, spec/04 §3.13 and §4, spec/07 §8.3 and §14.1). The clock and the randomness are the test's;
 * tokens nobody would issue are made with the folder's own signature function. */
#include "auth/auth_internal.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER "{\"typ\":\"JWT\",\"alg\":\"ES256\"}"
#define ALICE_HEX "c20035600353a2e93544d898c6ed0eac323e200c0468300f22958f8b472a265d"

/* ---- a world under control ---- */

static _Atomic int64_t clock_s = 1700000000;
static uint64_t seed;
static uint64_t next(void) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return seed >> 32;
}
static int64_t fake_now(void *ctx) { return (void)ctx, clock_s * 1000000 + 999999; }
static int64_t fake_monotonic(void *ctx) { return (void)ctx, 0; }
static void fake_random(void *ctx, void *out, size_t len) {
  (void)ctx;
  for (size_t i = 0; i < len; i++) ((uint8_t *)out)[i] = (uint8_t)next();
}
static const struct lc_env env = {NULL, fake_now, fake_monotonic, fake_random};

static struct lc_auth *open_memory(void) {
  struct lc_auth *auth = NULL;
  assert_int_equal(lc_auth_open_memory(&env, &auth, NULL), LC_OK);
  return auth;
}
static int setup(void **state) {
  clock_s = 1700000000;
  seed = 42;
  *state = open_memory();
  return 0;
}
static int teardown(void **state) {
  lc_auth_free(*state);
  return 0;
}

/* ---- tokens by hand ---- */

/* A token of `header` and `payload`, whatever they say, signed by `auth`. */
static void craft(struct lc_auth *auth, const char *header, struct lc_slice payload, struct lc_buf *token) {
  uint8_t signature[AUTH_SIGNATURE_BYTES];
  lc_buf_clear(token);
  auth_base64_encode(token, lc_slice_str(header));
  lc_buf_u8(token, '.');
  auth_base64_encode(token, payload);
  assert_true(auth_sign_es256(auth, lc_buf_slice(token), signature));
  lc_buf_u8(token, '.');
  auth_base64_encode(token, lc_slice(signature, sizeof signature));
}

static void expect_denied(struct lc_auth *auth, struct lc_slice token, const char *text) {
  struct lc_auth_claims claims;
  struct lc_error err = {0};
  assert_int_equal(lc_auth_validate(auth, token, NULL, &claims, &err), LC_DENIED);
  assert_int_equal(err.status, LC_DENIED);
  if (text && strcmp(err.text, text) != 0 && !(text[strlen(text) - 1] == ' ' && strncmp(err.text, text, strlen(text)) == 0)) fail_msg("got \"%s\", want \"%s\"", err.text, text);
  assert_null(claims.payload); /* nothing of a refused token is left */
  assert_int_equal(claims.subject[0], 0);
}
/* text: exact, or a beginning if it ends in a space; NULL: accepted */
static void expect_payload(struct lc_auth *auth, const char *payload, const char *text) {
  struct lc_buf token = {0};
  craft(auth, HEADER, lc_slice_str(payload), &token);
  if (text) {
    expect_denied(auth, lc_buf_slice(&token), text);
  } else {
    struct lc_auth_claims claims;
    struct lc_error err = {0};
    if (lc_auth_validate(auth, lc_buf_slice(&token), NULL, &claims, &err) != LC_OK) fail_msg("%s: %s", payload, err.text);
    struct lc_slice seen = lc_auth_payload(&claims);
    assert_true(lc_slice_eq_str(seen, payload)); /* as presented, byte by byte */
    lc_auth_claims_release(&claims);
  }
  lc_buf_free(&token);
}

/* Part n (0 to 2) of a token, decoded, with a NUL after it. */
static void part(struct lc_slice token, int n, struct lc_buf *out) {
  const uint8_t *at = token.data, *end = token.data + token.len;
  for (; n > 0; n--) at = (const uint8_t *)memchr(at, '.', (size_t)(end - at)) + 1;
  const uint8_t *stop = memchr(at, '.', (size_t)(end - at));
  lc_buf_clear(out);
  assert_true(auth_base64_decode(out, lc_slice(at, (size_t)((stop ? stop : end) - at))));
  lc_buf_u8(out, 0);
  out->len--;
}

static void expect_identity(const struct lc_identity *id, const char *hex) {
  char text[65];
  lc_identity_hex(id, text);
  assert_string_equal(text, hex);
}

/* ---- golden vectors ---- */

static void test_identities(void **state) {
  (void)state;
  static const char *const vectors[][3] = {
      {"localhost", "alice", ALICE_HEX},
      {"localhost", "00000000-0000-0000-0000-000000000001", "c200f259de898313807ef60499e192d8658d3d1d7a0e0cc5baf3f366956aa94c"},
      {"https://auth.spacetimedb.com", "00000000-0000-4000-8000-000000000000", "c200b48be187ca3353ddc581126a4df5001b90e334fb7fb8e8e1185d82f33f11"},
      {"", "", "c200a759fb94a9e297433bebb02948c311291ae6291a1666f9e697a56b430501"}};
  for (int i = 0; i < 4; i++) {
    struct lc_identity id;
    lc_identity_from_claims(lc_slice_str(vectors[i][0]), lc_slice_str(vectors[i][1]), &id);
    expect_identity(&id, vectors[i][2]);
  }
}

static void test_base64(void **state) { /* RFC 4648 §10 without padding, and what must not decode */
  (void)state;
  static const char *const vectors[][2] = {{"", ""}, {"f", "Zg"}, {"fo", "Zm8"}, {"foo", "Zm9v"}, {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xff\xef\xbe", "_---"}};
  for (int i = 0; i < 8; i++) {
    struct lc_buf text = {0}, bytes = {0};
    auth_base64_encode(&text, lc_slice_str(vectors[i][0]));
    assert_true(lc_slice_eq_str(lc_buf_slice(&text), vectors[i][1]));
    assert_true(auth_base64_decode(&bytes, lc_slice_str(vectors[i][1])));
    assert_true(lc_slice_eq_str(lc_buf_slice(&bytes), vectors[i][0]));
    lc_buf_free(&text);
    lc_buf_free(&bytes);
  }
  static const char *const refused[] = {"Z", "Zg==", "Zh", "Zm9", "Zm9v\n", "Zm+v", "Zm/v", "Zm9vY"};
  for (int i = 0; i < 8; i++) {
    struct lc_buf bytes = {0};
    if (auth_base64_decode(&bytes, lc_slice_str(refused[i]))) fail_msg("%s was decoded", refused[i]);
    lc_buf_free(&bytes);
  }
}

static void write_pem_file(const char *path, const char *label, const uint8_t *der, size_t len) {
  uint8_t text[512];
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  EVP_EncodeBlock(text, der, (int)len);
  fprintf(f, "-----BEGIN %s-----\n%s\n-----END %s-----\n", label, text, label);
  fclose(f);
}

/* A scratch folder; `files` removes what a test put there. */
struct scratch { char dir[64], private_path[128], public_path[128]; };
static void scratch_open(struct scratch *s) {
  const char *root = getenv("TMPDIR");
  snprintf(s->dir, sizeof s->dir, "%.40s/lc-auth-XXXXXX", root && *root && strlen(root) < 40 ? root : "/tmp");
  assert_non_null(mkdtemp(s->dir));
  snprintf(s->private_path, sizeof s->private_path, "%s/id_ecdsa", s->dir);
  snprintf(s->public_path, sizeof s->public_path, "%s/id_ecdsa.pub", s->dir);
}
static void scratch_close(struct scratch *s) {
  unlink(s->private_path);
  unlink(s->public_path);
  assert_int_equal(rmdir(s->dir), 0); /* so no temporary file stays behind either */
}

/* The ES256 example of RFC 7515 A.3: a key pair and a token made by somebody else. */
static void test_foreign_signature(void **state) {
  (void)state;
  static const char x[] = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", y[] = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", d[] = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";
  static const char token[] = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
                              "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
  uint8_t head[64];
  struct lc_buf spki = {0}, pkcs8 = {0}, signature = {0};
  struct scratch s;
  struct lc_auth *auth;
  scratch_open(&s);
  assert_true(lc_hex_decode("3059301306072a8648ce3d020106082a8648ce3d03010703420004", 54, head));
  lc_buf_append(&spki, head, 27);
  assert_true(auth_base64_decode(&spki, lc_slice_str(x)));
  assert_true(auth_base64_decode(&spki, lc_slice_str(y)));
  assert_true(lc_hex_decode("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420", 72, head));
  lc_buf_append(&pkcs8, head, 36);
  assert_true(auth_base64_decode(&pkcs8, lc_slice_str(d)));
  lc_buf_append(&pkcs8, "\xa1\x44\x03\x42\x00", 5);
  lc_buf_append(&pkcs8, spki.data + 26, 65);
  write_pem_file(s.private_path, "PRIVATE KEY", pkcs8.data, pkcs8.len);
  write_pem_file(s.public_path, "PUBLIC KEY", spki.data, spki.len);
  assert_int_equal(lc_auth_open_dir(s.dir, false, &env, &auth, NULL), LC_OK);
  const char *dot = strrchr(token, '.');
  assert_true(auth_base64_decode(&signature, lc_slice_str(dot + 1)));
  struct lc_slice signed_part = lc_slice(token, (size_t)(dot - token));
  assert_true(auth_verify_es256(auth->key, signed_part, lc_buf_slice(&signature)));
  assert_false(auth_verify_es256(auth->key, lc_slice(signed_part.data, signed_part.len - 1), lc_buf_slice(&signature)));
  assert_false(auth_verify_es256(auth->key, signed_part, lc_slice(signature.data, 63)));
  expect_denied(auth, lc_slice_str(token), "Error fetching public key for issuer joe"); /* good signature, but no `sub` */
  uint8_t zero[AUTH_SIGNATURE_BYTES] = {0};
  assert_false(auth_verify_es256(auth->key, signed_part, lc_slice(zero, sizeof zero)));
  memset(zero, 0xff, sizeof zero);
  assert_false(auth_verify_es256(auth->key, signed_part, lc_slice(zero, sizeof zero)));
  lc_auth_free(auth);
  lc_buf_free(&spki);
  lc_buf_free(&pkcs8);
  lc_buf_free(&signature);
  scratch_close(&s);
}

/* ---- signing and validating ---- */

static void test_round_trip(void **state) {
  struct lc_auth *auth = *state;
  struct lc_buf token = {0}, text = {0};
  struct lc_auth_claims signed_claims, claims, copy;
  assert_int_equal(lc_auth_sign(auth, lc_slice_str("localhost"), lc_slice_str("alice"), 0, &token, &signed_claims, NULL), LC_OK);
  part(lc_buf_slice(&token), 0, &text);
  assert_string_equal((char *)text.data, HEADER);
  part(lc_buf_slice(&token), 1, &text); /* order of spec/04 §4.2; no `exp` (spec/07 §14.1) */
  assert_string_equal((char *)text.data, "{\"hex_identity\":\"" ALICE_HEX "\",\"sub\":\"alice\",\"iss\":\"localhost\",\"aud\":[\"spacetimedb\"],\"iat\":1700000000}");
  assert_null(memchr(token.data, '=', token.len));
  part(lc_buf_slice(&token), 2, &text);
  assert_int_equal(text.len, 64);
  for (int round = 0; round < 3; round++) { /* the second time from the cache */
    assert_int_equal(lc_auth_validate(auth, lc_buf_slice(&token), NULL, &claims, NULL), LC_OK);
    expect_identity(&claims.identity, ALICE_HEX);
    assert_string_equal(claims.issuer, "localhost");
    assert_string_equal(claims.subject, "alice");
    assert_int_equal(claims.issued_at_s, 1700000000);
    assert_false(claims.has_expiry);
    assert_true(lc_slice_eq(lc_auth_payload(&claims), lc_auth_payload(&signed_claims)));
    assert_memory_equal(&claims.identity, &signed_claims.identity, sizeof claims.identity);
    lc_auth_claims_copy(&copy, &claims);
    lc_auth_claims_release(&claims);
    assert_int_equal(lc_auth_payload(&copy).len, lc_auth_payload(&signed_claims).len);
    lc_auth_claims_release(&copy);
    lc_auth_claims_release(&copy); /* a zeroed one is allowed */
  }
  lc_auth_claims_release(&signed_claims);

  lc_buf_clear(&token); /* with expiry, quotes and other scripts in the subject */
  assert_int_equal(lc_auth_sign(auth, lc_slice_str("https://i/"), lc_slice_str("a\"\\\n\xd0\x9c"), 30, &token, NULL, NULL), LC_OK);
  assert_int_equal(lc_auth_validate(auth, lc_buf_slice(&token), NULL, &claims, NULL), LC_OK);
  assert_string_equal(claims.subject, "a\"\\\n\xd0\x9c");
  assert_true(claims.has_expiry);
  assert_int_equal(claims.expires_at_s, 1700000030);
  lc_auth_claims_release(&claims);
  lc_buf_free(&token);
  lc_buf_free(&text);
}

static void test_mint(void **state) {
  struct lc_auth *auth = *state;
  struct lc_buf a = {0}, b = {0};
  struct lc_auth_claims ca, cb;
  struct lc_identity fresh, derived;
  assert_int_equal(lc_auth_mint(auth, &a, &ca, NULL), LC_OK);
  assert_int_equal(lc_auth_mint(auth, &b, &cb, NULL), LC_OK);
  assert_memory_not_equal(&ca.identity, &cb.identity, sizeof ca.identity);
  assert_string_equal(ca.issuer, "localhost");
  assert_false(ca.has_expiry);
  assert_int_equal(strlen(ca.subject), 36); /* a UUID version 4, lower case */
  for (int i = 0; i < 36; i++) {
    if (i == 8 || i == 13 || i == 18 || i == 23) assert_int_equal(ca.subject[i], '-');
    else assert_non_null(strchr("0123456789abcdef", ca.subject[i]));
  }
  assert_int_equal(ca.subject[14], '4');
  assert_non_null(strchr("89ab", ca.subject[19]));
  lc_identity_from_claims(lc_slice_str("localhost"), lc_slice_str(ca.subject), &derived);
  assert_memory_equal(&derived, &ca.identity, sizeof derived);
  lc_auth_fresh_identity(auth, &fresh);
  assert_memory_equal(fresh.bytes + 30, "\x00\xc2", 2);
  assert_memory_not_equal(&fresh, &ca.identity, sizeof fresh);
  lc_auth_claims_release(&ca);
  lc_auth_claims_release(&cb);
  lc_buf_free(&a);
  lc_buf_free(&b);
}

static void test_names(void **state) {
  struct lc_auth *auth = *state;
  struct lc_buf token = {0};
  struct lc_error err = {0};
  char name[130];
  memset(name, 'n', sizeof name);
  struct lc_slice ok = lc_slice_str("x");
  assert_int_equal(lc_auth_sign(auth, ok, lc_slice(name, 0), 0, &token, NULL, &err), LC_INVALID);
  assert_string_equal(err.text, "Subject empty");
  assert_int_equal(lc_auth_sign(auth, lc_slice(name, 0), ok, 0, &token, NULL, &err), LC_INVALID);
  assert_string_equal(err.text, "Issuer empty");
  assert_int_equal(lc_auth_sign(auth, ok, lc_slice(name, 129), 0, &token, NULL, &err), LC_INVALID);
  assert_true(strncmp(err.text, "Subject too long: \"nnn", 22) == 0);
  assert_int_equal(lc_auth_sign(auth, lc_slice(name, 129), ok, 0, &token, NULL, &err), LC_INVALID);
  assert_true(strncmp(err.text, "Issuer too long: \"nnn", 21) == 0);
  assert_int_equal(lc_auth_sign(auth, lc_slice("a\0b", 3), ok, 0, &token, NULL, &err), LC_INVALID);
  assert_int_equal(lc_auth_sign(auth, ok, lc_slice("\xff", 1), 0, &token, NULL, &err), LC_INVALID);
  assert_int_equal(token.len, 0);
  struct lc_auth_claims claims;
  assert_int_equal(lc_auth_sign(auth, lc_slice(name, 128), lc_slice(name, 128), 0, &token, NULL, &err), LC_OK);
  assert_int_equal(lc_auth_validate(auth, lc_buf_slice(&token), NULL, &claims, &err), LC_OK);
  assert_int_equal(strlen(claims.issuer), 128);
  lc_auth_claims_release(&claims);
  lc_buf_free(&token);
}

static void test_claims(void **state) { /* spec/04 §4.2 */
  struct lc_auth *auth = *state;
  expect_payload(auth, "{\"sub\":\"a\",\"iss\":\"localhost\",\"iat\":1}", NULL);
  expect_payload(auth, "{\"sub\":\"a\",\"iss\":\"localhost\",\"iat\":1,\"exp\":null,\"aud\":\"x\",\"nbf\":99999999999}", NULL);
  expect_payload(auth, "{\"sub\":\"alice\",\"iss\":\"localhost\",\"iat\":1,\"hex_identity\":\"" ALICE_HEX "\",\"aud\":[]}", NULL);
  expect_payload(auth, "{\"sub\":\"a\",\"iss\":\"https://elsewhere.example\",\"iat\":1}", NULL); /* the local key goes first, whatever the issuer */
  expect_payload(auth, "{\"sub\":\"a\",\"iss\":\"localhost\",\"iat\":99999999999}", NULL);
  expect_payload(auth, "{\"iss\":\"localhost\",\"iat\":1}", "Invalid token: Missing required claim: sub");
  expect_payload(auth, "{\"sub\":\"a\",\"iat\":1}", "Invalid token: Missing required claim: iss");
  expect_payload(auth, "{\"sub\":\"a\",\"iss\":\"localhost\"}", "Invalid token: JSON error: missing field `iat`");
  expect_payload(auth, "{\"sub\":\"a\",\"iss\":\"localhost\",\"iat\":\"1\"}", "Invalid token: JSON error: ");
  expect_payload(auth, "{\"sub\":\"a\",\"iss\":\"localhost\",\"iat\":1.5}", "Invalid token: JSON error: ");
  expect_payload(auth, "{\"sub\":\"a\",\"iss\":\"localhost\",\"iat\":-1}", "Invalid token: JSON error: ");
  expect_payload(auth, "{\"sub\":\"a\",\"iss\":\"localhost\",\"iat\":1,\"exp\":\"never\"}", "Invalid token: JSON error: ");
  expect_payload(auth, "{\"sub\":7,\"iss\":\"localhost\",\"iat\":1}", "Invalid token: JSON error: ");
  expect_payload(auth, "{\"sub\":\"\",\"iss\":\"localhost\",\"iat\":1}", "Subject empty");
  expect_payload(auth, "{\"sub\":\"a\",\"iss\":\"\",\"iat\":1}", "Error fetching public key for issuer ");
  expect_payload(auth, "{\"sub\":\"a\",\"iss\":\"localhost\",\"iat\":1,\"aud\":{}}", "Invalid token: JSON error: ");
  expect_payload(auth, "{\"sub\":\"a\",\"iss\":\"localhost\",\"iat\":1,\"aud\":[1]}", "Invalid token: JSON error: ");
  expect_payload(auth, "{\"sub\":\"bob\",\"iss\":\"localhost\",\"iat\":1,\"hex_identity\":\"" ALICE_HEX "\"}", "Identity mismatch: ");
  expect_payload(auth, "{\"sub\":\"alice\",\"iss\":\"localhost\",\"iat\":1,\"hex_identity\":\"c200\"}", "Invalid token: JSON error: ");
  expect_payload(auth, "{\"sub\":\"alice\",\"iss\":\"localhost\",\"iat\":1,\"hex_identity\":\"0x" ALICE_HEX "\"}", "Invalid token: JSON error: "); /* bare digits only: spec/01 §7.4 */
  expect_payload(auth, "{\"sub\":\"a\\u0000b\",\"iss\":\"localhost\",\"iat\":1}", "Invalid token: JSON error: ");
  expect_payload(auth, "{\"sub\":\"a\",\"sub\":\"b\",\"iss\":\"localhost\",\"iat\":1}", "Invalid token: JSON error: ");
  expect_payload(auth, "[]", "Invalid token: JSON error: ");
  expect_payload(auth, "", "Invalid token: JSON error: ");
  expect_payload(auth, "{\"sub\":\"a\",\"iss\":\"localhost\",\"iat\":1}{}", "Invalid token: JSON error: ");
  char payload[400], name[130];
  memset(name, 'n', 129);
  name[129] = 0;
  snprintf(payload, sizeof payload, "{\"sub\":\"%s\",\"iss\":\"localhost\",\"iat\":1}", name);
  expect_payload(auth, payload, "Subject too long: ");
  snprintf(payload, sizeof payload, "{\"sub\":\"a\",\"iss\":\"%s\",\"iat\":1}", name);
  expect_payload(auth, payload, "Error fetching public key for issuer ");
}

static void test_expiry(void **state) {
  struct lc_auth *auth = *state;
  struct lc_buf token = {0};
  struct lc_auth_claims claims;
  assert_int_equal(lc_auth_sign(auth, lc_slice_str("localhost"), lc_slice_str("alice"), 100, &token, NULL, NULL), LC_OK);
  clock_s += 160; /* the last second of the leeway; this puts the token into the cache */
  assert_int_equal(lc_auth_validate(auth, lc_buf_slice(&token), NULL, &claims, NULL), LC_OK);
  lc_auth_claims_release(&claims);
  clock_s += 1; /* so the cached answer must not be given any more */
  expect_denied(auth, lc_buf_slice(&token), "Invalid token: ExpiredSignature");
  clock_s -= 161;
  assert_int_equal(lc_auth_validate(auth, lc_buf_slice(&token), NULL, &claims, NULL), LC_OK);
  lc_auth_claims_release(&claims);
  expect_payload(auth, "{\"sub\":\"a\",\"iss\":\"localhost\",\"iat\":1,\"exp\":9223372036854775807}", NULL);
  expect_payload(auth, "{\"sub\":\"a\",\"iss\":\"localhost\",\"iat\":1,\"exp\":9223372036854775808}", "Invalid token: JSON error: ");
  expect_payload(auth, "{\"sub\":\"a\",\"iss\":\"localhost\",\"iat\":1,\"exp\":0}", "Invalid token: ExpiredSignature");
  lc_buf_free(&token);
}

static void test_algorithms(void **state) {
  struct lc_auth *auth = *state;
  struct lc_slice payload = lc_slice_str("{\"sub\":\"a\",\"iss\":\"localhost\",\"iat\":1}");
  static const char *const vectors[][2] = {
      {"{\"alg\":\"none\"}", "Invalid token: JSON error: "},
      {"{\"alg\":\"None\"}", "Invalid token: JSON error: "},
      {"{\"alg\":\"es256\"}", "Invalid token: JSON error: "},
      {"{\"alg\":\"HS256\"}", "Invalid token: InvalidAlgorithm"},
      {"{\"alg\":\"EdDSA\"}", "Invalid token: InvalidAlgorithm"},
      {"{\"alg\":\"ES384\"}", "Invalid token: InvalidAlgorithm"},
      {"{\"alg\":\"PS256\"}", "Invalid token: InvalidAlgorithm"},
      {"{\"alg\":\"RS256\"}", "Invalid token: InvalidSignature"},
      {"{\"alg\":[\"ES256\"]}", "Invalid token: JSON error: "},
      {"{\"typ\":\"JWT\"}", "Invalid token: JSON error: "},
      {"{\"alg\":\"none\",\"alg\":\"ES256\"}", "Invalid token: JSON error: "},
      {"[]", "Invalid token: JSON error: "},
      {"x", "Invalid token: JSON error: "}};
  struct lc_buf token = {0}, own = {0};
  for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
    craft(auth, vectors[i][0], payload, &token);
    expect_denied(auth, lc_buf_slice(&token), vectors[i][1]);
  }
  /* `none` with an empty signature, and ES256 with one */
  static const char *const headers[] = {"{\"alg\":\"none\"}", HEADER};
  for (int i = 0; i < 2; i++) {
    craft(auth, headers[i], payload, &token);
    while (token.data[token.len - 1] != '.') token.len--;
    expect_denied(auth, lc_buf_slice(&token), i ? "Invalid token: InvalidSignature" : "Invalid token: JSON error: ");
  }
  /* the public key as an HMAC secret */
  struct lc_slice pem = lc_auth_public_key_pem(auth);
  uint8_t mac[64];
  size_t mac_len = 0;
  lc_buf_clear(&own);
  auth_base64_encode(&own, lc_slice_str("{\"alg\":\"HS256\"}"));
  lc_buf_u8(&own, '.');
  auth_base64_encode(&own, payload);
  assert_non_null(EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, pem.data, pem.len, own.data, own.len, mac, sizeof mac, &mac_len));
  lc_buf_u8(&own, '.');
  auth_base64_encode(&own, lc_slice(mac, mac_len));
  expect_denied(auth, lc_buf_slice(&own), "Invalid token: InvalidAlgorithm");
  lc_buf_free(&token);
  lc_buf_free(&own);
}

static void test_issuers(void **state) { /* spec/04 §4.3: whose error is told */
  struct lc_auth *auth = *state, *other = open_memory();
  struct lc_buf token = {0};
  craft(other, HEADER, lc_slice_str("{\"sub\":\"a\",\"iss\":\"localhost\",\"iat\":1}"), &token);
  expect_denied(auth, lc_buf_slice(&token), "Invalid token: InvalidSignature");
  craft(other, HEADER, lc_slice_str("{\"sub\":\"a\",\"iss\":\"ftp://auth.example\",\"iat\":1}"), &token);
  expect_denied(auth, lc_buf_slice(&token), "Error fetching public key for issuer ftp://auth.example");
  craft(other, HEADER, lc_slice_str("{\"sub\":\"a\",\"iss\":\"auth.example\",\"iat\":1,\"exp\":1}"), &token); /* expired: spec/07 §14.1 */
  expect_denied(auth, lc_buf_slice(&token), "Error fetching public key for issuer auth.example");
  craft(other, HEADER, lc_slice_str("{\"sub\":\"a\",\"iat\":1}"), &token);
  expect_denied(auth, lc_buf_slice(&token), "Invalid token: Missing required claim: iss");
  craft(other, HEADER, lc_slice_str("not json"), &token);
  expect_denied(auth, lc_buf_slice(&token), "Invalid token: JSON error: ");
  lc_auth_free(other);
  lc_buf_free(&token);
}

static void test_tampering(void **state) { /* no single changed character is accepted; cut and padded ones neither */
  struct lc_auth *auth = *state;
  struct lc_buf token = {0};
  assert_int_equal(lc_auth_sign(auth, lc_slice_str("localhost"), lc_slice_str("alice"), 0, &token, NULL, NULL), LC_OK);
  for (size_t i = 0; i < token.len; i++) {
    static const char with[] = "A.x=";
    uint8_t old = token.data[i];
    for (int k = 0; k < 4; k++) {
      if (old == (uint8_t)with[k]) continue;
      token.data[i] = (uint8_t)with[k];
      expect_denied(auth, lc_buf_slice(&token), NULL);
    }
    token.data[i] = old;
  }
  for (size_t n = 0; n < token.len; n++) expect_denied(auth, lc_slice(token.data, n), NULL);
  struct lc_auth_claims claims;
  assert_int_equal(lc_auth_validate(auth, lc_buf_slice(&token), NULL, &claims, NULL), LC_OK);
  lc_auth_claims_release(&claims);
  static const char *const tails[] = {"A", "AA", "AAA", ".", "=", " ", "\n", ".AA"};
  size_t len = token.len;
  for (int i = 0; i < 8; i++) {
    lc_buf_str(&token, tails[i]);
    expect_denied(auth, lc_buf_slice(&token), NULL);
    token.len = len;
  }
  lc_buf_free(&token);
}

static void test_shapes(void **state) {
  struct lc_auth *auth = *state;
  static const char *const shapes[] = {"", ".", "a", "a.b", "a.b.c.d", "....", " . . "};
  for (size_t i = 0; i < 4; i++) expect_denied(auth, lc_slice_str(shapes[i]), "Invalid token: InvalidToken");
  for (size_t i = 4; i < 7; i++) expect_denied(auth, lc_slice_str(shapes[i]), NULL);
  expect_denied(auth, lc_slice_str("!.e30.AA"), "Invalid token: Base64 error: ");
  expect_denied(auth, lc_slice_str("eyJhbGciOiJFUzI1NiJ9.!.AA"), "Invalid token: Base64 error: ");
  expect_denied(auth, lc_slice_str("eyJhbGciOiJFUzI1NiJ9.e30.!"), "Invalid token: Base64 error: ");
  /* largest accepted size, and one more */
  struct lc_buf payload = {0}, token = {0};
  struct lc_auth_claims claims;
  size_t accepted = 0;
  for (size_t filler = 12100; filler < 12250; filler++) {
    lc_buf_clear(&payload);
    lc_buf_str(&payload, "{\"sub\":\"a\",\"iss\":\"localhost\",\"iat\":1,\"x\":\"");
    for (size_t i = 0; i < filler; i++) lc_buf_u8(&payload, 'x');
    lc_buf_str(&payload, "\"}");
    craft(auth, HEADER, lc_buf_slice(&payload), &token);
    if (token.len > LC_AUTH_TOKEN_MAX_BYTES) {
      expect_denied(auth, lc_buf_slice(&token), "Invalid token: InvalidToken");
      continue;
    }
    assert_int_equal(lc_auth_validate(auth, lc_buf_slice(&token), NULL, &claims, NULL), LC_OK);
    lc_auth_claims_release(&claims);
    accepted = token.len;
  }
  assert_true(accepted > LC_AUTH_TOKEN_MAX_BYTES - 3);
  /* thousands of open brackets are no way to the end of the stack */
  lc_buf_clear(&payload);
  for (int i = 0; i < 12000; i++) lc_buf_u8(&payload, '[');
  craft(auth, HEADER, lc_buf_slice(&payload), &token);
  expect_denied(auth, lc_buf_slice(&token), "Invalid token: JSON error: ");
  lc_buf_free(&payload);
  lc_buf_free(&token);
}

static void test_random_bytes(void **state) {
  struct lc_auth *auth = *state;
  struct lc_buf good = {0}, bytes = {0}, idc = {0};
  struct lc_auth_claims claims;
  struct lc_identity a = {{1}}, b = {{2}}, sender;
  assert_int_equal(lc_auth_sign(auth, lc_slice_str("localhost"), lc_slice_str("alice"), 0, &good, NULL, NULL), LC_OK);
  assert_int_equal(lc_auth_idc_sign(auth, &a, &b, &idc, NULL), LC_OK);
  for (int round = 0; round < 4000; round++) {
    struct lc_buf *from = round & 1 ? &good : &idc;
    lc_buf_clear(&bytes);
    if (round % 4 < 2) {
      size_t n = next() % 200;
      for (size_t i = 0; i < n; i++) lc_buf_u8(&bytes, next() % 8 ? (uint8_t)"eyJ.A-_9"[next() % 8] : (uint8_t)next());
    } else { /* a good one with a few bytes changed */
      lc_buf_append(&bytes, from->data, from->len);
      for (int k = 0; k < 1 + round % 3; k++) bytes.data[next() % bytes.len] = (uint8_t)(next() | 0x80);
    }
    assert_int_equal(lc_auth_validate(auth, lc_buf_slice(&bytes), NULL, &claims, NULL), LC_DENIED);
    assert_int_equal(lc_auth_idc_verify(auth, lc_buf_slice(&bytes), &b, &sender, NULL), LC_DENIED);
    struct lc_slice token;
    lc_auth_bearer(lc_buf_slice(&bytes), &token, NULL);
  }
  lc_buf_free(&good);
  lc_buf_free(&bytes);
  lc_buf_free(&idc);
}

static void test_bearer(void **state) {
  (void)state;
  static const char *const good[] = {"Bearer abc", "bearer abc", "BEARER abc", "Bearer  abc", "Bearer abc "};
  static const char *const bad[] = {"", "Bearer", "Bearer ", "Bearer    ", "Bearerabc", "Basic YTpi", "abc", "Bearer a b", " Bearer abc", "Bearer\tabc", "Beare"};
  struct lc_slice token;
  struct lc_error err;
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    assert_int_equal(lc_auth_bearer(lc_slice_str(good[i]), &token, NULL), LC_OK);
    assert_true(lc_slice_eq_str(token, "abc"));
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    if (lc_auth_bearer(lc_slice_str(bad[i]), &token, &err) != LC_INVALID) fail_msg("\"%s\" was accepted", bad[i]);
    assert_string_equal(err.text, "Authorization is invalid: malformed token");
  }
}

static void test_websocket_token(void **state) { /* spec/04 §3.13 */
  struct lc_auth *auth = *state;
  struct lc_buf token = {0}, short_lived = {0}, text = {0};
  struct lc_auth_claims claims, again;
  craft(auth, HEADER,
        lc_slice_str("{\"roles\":[\"a\",{\"b\":null}],\"exp\":1800000000,\"iss\":\"https://auth.example\",\"sub\":\"alice\",\"iat\":5,\"aud\":\"app\",\"na\xc3\xafve/\":\"\\u20ac\\\"\",\"n\":-7}"), &token);
  assert_int_equal(lc_auth_validate(auth, lc_buf_slice(&token), NULL, &claims, NULL), LC_OK);
  clock_s += 1000;
  assert_int_equal(lc_auth_websocket_token(auth, &claims, &short_lived, NULL), LC_OK);
  part(lc_buf_slice(&short_lived), 1, &text);
  char hex[65], want[600];
  lc_identity_hex(&claims.identity, hex);
  snprintf(want, sizeof want,
           "{\"hex_identity\":\"%s\",\"sub\":\"alice\",\"iss\":\"https://auth.example\",\"aud\":[\"app\"],\"iat\":1700001000,\"exp\":1700001060,"
           "\"roles\":[\"a\",{\"b\":null}],\"na\xc3\xafve/\":\"\xe2\x82\xac\\\"\",\"n\":-7}",
           hex);
  assert_string_equal((char *)text.data, want);
  assert_int_equal(lc_auth_validate(auth, lc_buf_slice(&short_lived), NULL, &again, NULL), LC_OK);
  assert_memory_equal(&again.identity, &claims.identity, sizeof again.identity);
  assert_true(again.has_expiry);
  assert_int_equal(again.expires_at_s, 1700001060);
  clock_s += 60 + LC_AUTH_LEEWAY_S + 1;
  expect_denied(auth, lc_buf_slice(&short_lived), "Invalid token: ExpiredSignature"); /* without asking its issuer */
  lc_auth_claims_release(&again);
  lc_auth_claims_release(&claims);
  lc_buf_free(&token);
  lc_buf_free(&short_lived);
  lc_buf_free(&text);
}

/* ---- calls between databases (spec/07 §8.3) ---- */

static void expect_idc(struct lc_auth *auth, struct lc_slice token, const struct lc_identity *receiver, const char *text) {
  struct lc_identity sender;
  struct lc_error err = {0};
  enum lc_status status = lc_auth_idc_verify(auth, token, receiver, &sender, &err);
  if (status != (text ? LC_DENIED : LC_OK)) fail_msg("status %d, text \"%s\"", status, err.text);
  if (text && *text) assert_string_equal(err.text, text);
}

static void test_idc(void **state) {
  struct lc_auth *auth = *state, *other = open_memory();
  struct lc_identity sender = {{1, 2, 3}}, receiver = {{9, 8, 7}}, got;
  char sender_hex[65], receiver_hex[65], payload[400];
  struct lc_buf token = {0}, text = {0};
  lc_identity_hex(&sender, sender_hex);
  lc_identity_hex(&receiver, receiver_hex);
  assert_int_equal(lc_auth_idc_sign(auth, &sender, &receiver, &token, NULL), LC_OK);
  part(lc_buf_slice(&token), 1, &text);
  snprintf(payload, sizeof payload, "{\"iss\":\"spacetimedb-idc-v1\",\"aud\":\"%s\",\"sender\":\"%s\",\"iat\":1700000000,\"exp\":1700000060}", receiver_hex, sender_hex);
  assert_string_equal((char *)text.data, payload);
  assert_int_equal(lc_auth_idc_verify(auth, lc_buf_slice(&token), &receiver, &got, NULL), LC_OK);
  assert_memory_equal(&got, &sender, sizeof got);
  expect_denied(auth, lc_buf_slice(&token), NULL); /* no client token, although the signature is good */
  expect_idc(auth, lc_buf_slice(&token), &sender, "Invalid token: InvalidAudience");
  expect_idc(other, lc_buf_slice(&token), &receiver, "Invalid token: InvalidSignature");
  clock_s += 59;
  expect_idc(auth, lc_buf_slice(&token), &receiver, NULL);
  clock_s += 1; /* no leeway */
  expect_idc(auth, lc_buf_slice(&token), &receiver, "invalid IDC token timestamps");
  clock_s -= 61;
  expect_idc(auth, lc_buf_slice(&token), &receiver, "invalid IDC token timestamps");
  clock_s += 1;

  static const struct { const char *tail, *text; } vectors[] = {
      {"\"iat\":1700000000,\"exp\":1700000061", "invalid IDC token lifetime"},
      {"\"iat\":1,\"exp\":1700000060", "invalid IDC token lifetime"},
      {"\"iat\":1700000000,\"exp\":1700000001", NULL},
      {"\"iat\":1699999941,\"exp\":1700000001", NULL},
      {"\"iat\":1700000000,\"exp\":1700000000", "invalid IDC token timestamps"},
      {"\"iat\":1700000001,\"exp\":1700000060", "invalid IDC token timestamps"},
      {"\"iat\":1700000000", ""},
      {"\"exp\":1700000060", ""},
      {"\"iat\":1700000000,\"exp\":null", ""}};
  for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
    snprintf(payload, sizeof payload, "{\"iss\":\"spacetimedb-idc-v1\",\"aud\":\"%s\",\"sender\":\"%s\",%s}", receiver_hex, sender_hex, vectors[i].tail);
    craft(auth, HEADER, lc_slice_str(payload), &token);
    expect_idc(auth, lc_buf_slice(&token), &receiver, vectors[i].text);
  }
  snprintf(payload, sizeof payload, "{\"iss\":\"spacetimedb-idc-v1\",\"sub\":\"x\",\"aud\":\"%s\",\"sender\":\"%s\",\"iat\":1700000000,\"exp\":1700000060}", receiver_hex, sender_hex);
  craft(auth, HEADER, lc_slice_str(payload), &token); /* even with what a client token needs */
  expect_denied(auth, lc_buf_slice(&token), "Invalid token: InvalidToken");
  craft(auth, "{\"alg\":\"RS256\"}", lc_slice_str(payload), &token);
  expect_idc(auth, lc_buf_slice(&token), &receiver, "Invalid token: InvalidAlgorithm");
  snprintf(payload, sizeof payload, "{\"iss\":\"localhost\",\"aud\":\"%s\",\"sender\":\"%s\",\"iat\":1700000000,\"exp\":1700000060}", receiver_hex, sender_hex);
  craft(auth, HEADER, lc_slice_str(payload), &token);
  expect_idc(auth, lc_buf_slice(&token), &receiver, "Invalid token: InvalidIssuer");
  snprintf(payload, sizeof payload, "{\"iss\":\"spacetimedb-idc-v1\",\"aud\":\"0x%s\",\"sender\":\"%s\",\"iat\":1700000000,\"exp\":1700000060}", receiver_hex, sender_hex);
  craft(auth, HEADER, lc_slice_str(payload), &token);
  expect_idc(auth, lc_buf_slice(&token), &receiver, "Invalid token: InvalidAudience");
  lc_buf_clear(&token);
  assert_int_equal(lc_auth_mint(auth, &token, NULL, NULL), LC_OK); /* nor is a client token one of these */
  expect_idc(auth, lc_buf_slice(&token), &receiver, "");
  lc_auth_free(other);
  lc_buf_free(&token);
  lc_buf_free(&text);
}

/* ---- key files (spec/04 §4.4) ---- */

static void expect_open(const struct scratch *s, bool create, enum lc_status status, const char *text) {
  struct lc_auth *auth = NULL;
  struct lc_error err = {0};
  assert_int_equal(lc_auth_open(s->private_path, s->public_path, create, &env, &auth, &err), status);
  if (text && strncmp(err.text, text, strlen(text)) != 0) fail_msg("got \"%s\", want \"%s\"", err.text, text);
  if (status == LC_OK) lc_auth_free(auth);
}
static void put_file(const char *path, struct lc_slice bytes) {
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes.data, 1, bytes.len, f), bytes.len);
  fclose(f);
}
static void get_file(const char *path, struct lc_buf *out) {
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  lc_buf_clear(out);
  for (int c; (c = getc(f)) != EOF;) lc_buf_u8(out, (uint8_t)c);
  fclose(f);
}

#define NO_PUBLIC "Unable to read public key for JWT token verification"
#define NO_PRIVATE "Unable to read private key for JWT token signing"

static void test_key_files(void **state) {
  struct lc_auth *stranger = *state, *auth = NULL, *again = NULL;
  struct scratch s;
  struct lc_buf private_pem = {0}, public_pem = {0}, token = {0};
  struct lc_auth_claims claims;
  struct stat st;
  scratch_open(&s);
  expect_open(&s, false, LC_NOT_FOUND, NO_PUBLIC);
  mode_t old_mask = umask(0); /* the permission is ours, not the caller's mask's */
  assert_int_equal(lc_auth_open_dir(s.dir, true, &env, &auth, NULL), LC_OK);
  umask(old_mask);
  assert_int_equal(stat(s.private_path, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0600);
  assert_int_equal(stat(s.public_path, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0644);
  get_file(s.private_path, &private_pem);
  get_file(s.public_path, &public_pem);
  assert_true(strncmp((char *)private_pem.data, "-----BEGIN PRIVATE KEY-----\n", 28) == 0);
  assert_true(strncmp((char *)public_pem.data, "-----BEGIN PUBLIC KEY-----\n", 27) == 0);
  assert_true(lc_slice_eq(lc_buf_slice(&public_pem), lc_auth_public_key_pem(auth)));
  assert_int_equal(lc_auth_open_dir(s.dir, true, &env, &again, NULL), LC_OK); /* the same pair, not a new one */
  assert_int_equal(lc_auth_mint(auth, &token, NULL, NULL), LC_OK);
  assert_int_equal(lc_auth_validate(again, lc_buf_slice(&token), NULL, &claims, NULL), LC_OK);
  lc_auth_claims_release(&claims);
  lc_auth_free(again);
  lc_auth_free(auth);

  put_file(s.public_path, lc_auth_public_key_pem(stranger)); /* halves of two pairs */
  expect_open(&s, true, LC_INVALID, NULL);
  put_file(s.public_path, lc_slice_str("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"));
  expect_open(&s, true, LC_INVALID, NO_PUBLIC);
  put_file(s.public_path, lc_buf_slice(&private_pem));
  expect_open(&s, true, LC_INVALID, NO_PUBLIC);
  put_file(s.public_path, lc_slice("", 0));
  expect_open(&s, true, LC_INVALID, NO_PUBLIC);
  unlink(s.public_path); /* one only: nothing is overwritten */
  expect_open(&s, true, LC_NOT_FOUND, NO_PUBLIC);
  put_file(s.public_path, lc_buf_slice(&public_pem));
  expect_open(&s, false, LC_OK, NULL);
  put_file(s.private_path, lc_buf_slice(&public_pem));
  expect_open(&s, true, LC_INVALID, NO_PRIVATE);
  put_file(s.private_path, lc_slice("", 0));
  expect_open(&s, true, LC_INVALID, NO_PRIVATE);
  unlink(s.private_path);
  expect_open(&s, true, LC_NOT_FOUND, NO_PRIVATE);

  EVP_PKEY *p384 = EVP_EC_gen("P-384"); /* a pair of another curve */
  assert_non_null(p384);
  FILE *f = fopen(s.public_path, "w");
  assert_non_null(f);
  uint8_t *der = NULL;
  int der_len = i2d_PUBKEY(p384, &der);
  assert_true(der_len > 0);
  fclose(f);
  write_pem_file(s.public_path, "PUBLIC KEY", der, (size_t)der_len);
  put_file(s.private_path, lc_buf_slice(&private_pem));
  expect_open(&s, false, LC_INVALID, NO_PUBLIC);
  OPENSSL_free(der);
  EVP_PKEY_free(p384);

  struct lc_buf huge = {0};
  for (int i = 0; i < 70000; i++) lc_buf_u8(&huge, '-');
  put_file(s.public_path, lc_buf_slice(&huge));
  expect_open(&s, false, LC_LIMIT, NO_PUBLIC);
  lc_buf_free(&huge);
  lc_buf_free(&private_pem);
  lc_buf_free(&public_pem);
  lc_buf_free(&token);
  scratch_close(&s);
}

static void test_key_folders(void **state) { /* folders are created, also nested ones; a file in the way is an error */
  (void)state;
  struct scratch s;
  struct lc_auth *auth = NULL;
  struct lc_error err = {0};
  char nested[128], path[160];
  scratch_open(&s);
  snprintf(nested, sizeof nested, "%s/a/b", s.dir);
  assert_int_equal(lc_auth_open_dir(nested, true, &env, &auth, &err), LC_OK);
  lc_auth_free(auth);
  static const char *const parts[] = {"/a/b/id_ecdsa", "/a/b/id_ecdsa.pub"};
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s%s", s.dir, parts[i]);
    assert_int_equal(unlink(path), 0);
  }
  snprintf(path, sizeof path, "%s/a/b", s.dir);
  assert_int_equal(rmdir(path), 0);
  snprintf(path, sizeof path, "%s/a", s.dir);
  assert_int_equal(rmdir(path), 0);
  put_file(path, lc_slice_str("x"));
  assert_int_equal(lc_auth_open_dir(nested, true, &env, &auth, &err), LC_IO);
  unlink(path);
  char *long_path = malloc(5000);
  memset(long_path, 'x', 4999);
  long_path[4999] = 0;
  assert_int_equal(lc_auth_open_dir(long_path, true, &env, &auth, &err), LC_LIMIT);
  free(long_path);
  scratch_close(&s);
}

/* ---- the cache ---- */

static void test_cache(void **state) { /* more tokens than it has room for, each asked several times, in two orders */
  struct lc_auth *auth = *state;
  enum { TOKENS = 300 };
  struct lc_buf tokens[TOKENS] = {0};
  struct lc_auth_claims claims;
  char subject[16];
  for (int i = 0; i < TOKENS; i++) {
    snprintf(subject, sizeof subject, "s%d", i);
    assert_int_equal(lc_auth_sign(auth, lc_slice_str("localhost"), lc_slice_str(subject), 0, &tokens[i], NULL, NULL), LC_OK);
  }
  for (int round = 0; round < 3; round++)
    for (int k = 0; k < TOKENS; k++) {
      int i = round == 1 ? TOKENS - 1 - k : k;
      snprintf(subject, sizeof subject, "s%d", i);
      assert_int_equal(lc_auth_validate(auth, lc_buf_slice(&tokens[i]), NULL, &claims, NULL), LC_OK);
      assert_string_equal(claims.subject, subject);
      lc_auth_claims_release(&claims);
    }
  /* one set, three tokens: the least recently used one goes */
  struct auth_cache cache = {0};
  struct lc_auth_claims one = {0};
  auth_cache_init(&cache);
  one.payload = lc_shared_new(lc_slice_str("{}"));
  uint8_t hashes[3][32] = {{[31] = 1}, {[31] = 2}, {[31] = 3}};
  auth_cache_put(&cache, hashes[0], &one, 100);
  auth_cache_put(&cache, hashes[1], &one, 100);
  auth_cache_put(&cache, hashes[1], &one, 100); /* twice is once */
  assert_true(auth_cache_get(&cache, hashes[0], 0, &claims));
  lc_auth_claims_release(&claims);
  auth_cache_put(&cache, hashes[2], &one, 100);
  assert_false(auth_cache_get(&cache, hashes[1], 0, &claims));
  for (int i = 0; i < 3; i += 2) {
    assert_true(auth_cache_get(&cache, hashes[i], 99, &claims));
    lc_auth_claims_release(&claims);
  }
  assert_false(auth_cache_get(&cache, hashes[0], 100, &claims)); /* its issuer's keys are not fresh any more */
  auth_cache_free(&cache);
  lc_auth_claims_release(&one);
  for (int i = 0; i < TOKENS; i++) lc_buf_free(&tokens[i]);
}

struct thread_work { struct lc_auth *auth; struct lc_buf *tokens; int failures; };
static void *validate_many(void *arg) {
  struct thread_work *w = arg;
  for (int i = 0; i < 400; i++) {
    struct lc_auth_claims claims;
    if (lc_auth_validate(w->auth, lc_buf_slice(&w->tokens[i % 8]), NULL, &claims, NULL) != LC_OK) w->failures++;
    else if (claims.subject[0] != 'a' + i % 8) w->failures++;
    lc_auth_claims_release(&claims);
  }
  return NULL;
}
static void test_threads(void **state) {
  struct lc_auth *auth = *state;
  struct lc_buf tokens[8] = {0};
  struct thread_work work[4];
  pthread_t threads[4];
  for (int i = 0; i < 8; i++) {
    char subject[2] = {(char)('a' + i), 0};
    assert_int_equal(lc_auth_sign(auth, lc_slice_str("localhost"), lc_slice_str(subject), 0, &tokens[i], NULL, NULL), LC_OK);
  }
  for (int i = 0; i < 4; i++) {
    work[i] = (struct thread_work){auth, tokens, 0};
    assert_int_equal(pthread_create(&threads[i], NULL, validate_many, &work[i]), 0);
  }
  for (int i = 0; i < 4; i++) {
    pthread_join(threads[i], NULL);
    assert_int_equal(work[i].failures, 0);
  }
  for (int i = 0; i < 8; i++) lc_buf_free(&tokens[i]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_identities), cmocka_unit_test(test_base64), TEST(test_foreign_signature), TEST(test_round_trip), TEST(test_mint),      TEST(test_names),
      TEST(test_claims),                 TEST(test_expiry),             TEST(test_algorithms),        TEST(test_issuers),    TEST(test_tampering), TEST(test_shapes),
      TEST(test_random_bytes),           TEST(test_bearer),             TEST(test_websocket_token),   TEST(test_idc),        TEST(test_key_files), TEST(test_key_folders),
      TEST(test_cache),                  TEST(test_threads)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
