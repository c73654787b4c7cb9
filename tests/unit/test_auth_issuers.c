/* Tokens of foreign issuers (spec/04 §4.3, spec/07 §14.1): key sets, algorithms, what is fetched when, and what is refused. The clock and the network are the
 * test's: documents are served from memory, on the thread that would ask the network. The network itself: tests/e2e/oidc.py. */
#include "auth/auth_internal.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/rsa.h>
#include <semaphore.h>
#include <stdio.h>
#include <unistd.h>

/* ---- a world under control ---- */

static _Atomic int64_t clock_s;
static int64_t fake_now(void *ctx) { return (void)ctx, (1700000000 + clock_s) * 1000000; }
static int64_t fake_monotonic(void *ctx) { return (void)ctx, clock_s * 1000000000; }
static void fake_random(void *ctx, void *out, size_t len) { (void)ctx, memset(out, 7, len); }
static const struct lc_env env = {NULL, fake_now, fake_monotonic, fake_random};

static pthread_mutex_t web_lock = PTHREAD_MUTEX_INITIALIZER;
static char configuration[4096], key_set[65536]; /* what the issuer serves; empty: it is down */
static char last_url[2][4096];
static unsigned n_fetches;
static sem_t *gate; /* each fetch waits for it */
static enum lc_status fake_fetch(const char *url, const atomic_bool *stop, struct lc_buf *body, struct lc_error *err) {
  if (gate)
    while (sem_trywait(gate) != 0) {
      if (atomic_load(stop)) return lc_fail(err, LC_IO, "stopped");
      usleep(1000);
    }
  pthread_mutex_lock(&web_lock);
  bool discovery = strstr(url, "/.well-known/openid-configuration") != NULL;
  snprintf(last_url[discovery ? 0 : 1], sizeof last_url[0], "%s", url);
  n_fetches++;
  lc_buf_str(body, discovery ? configuration : key_set);
  pthread_mutex_unlock(&web_lock);
  return body->len ? LC_OK : lc_fail(err, LC_IO, "OIDC/JWKS request failed: %s: down", url);
}
static void serve(const char *keys) {
  pthread_mutex_lock(&web_lock);
  snprintf(configuration, sizeof configuration, "{\"issuer\":\"https://issuer.example\",\"jwks_uri\":\"https://issuer.example/keys\"}");
  snprintf(key_set, sizeof key_set, "%s", keys);
  pthread_mutex_unlock(&web_lock);
}
static void down(void) {
  pthread_mutex_lock(&web_lock);
  configuration[0] = key_set[0] = 0;
  pthread_mutex_unlock(&web_lock);
}
static unsigned fetches(void) {
  pthread_mutex_lock(&web_lock);
  unsigned n = n_fetches;
  n_fetches = 0;
  pthread_mutex_unlock(&web_lock);
  return n;
}

static EVP_PKEY *ec_a, *ec_b, *rsa_r, *rsa_small;
static char jwk_a[512], jwk_b[512], jwk_r[1024], jwk_small[1024], jwk_a_unnamed[512], jwk_r_unnamed[1024];

static void put_number(struct lc_buf *out, const char *name, EVP_PKEY *key, const char *parameter, int bytes) {
  BIGNUM *n = NULL;
  uint8_t raw[1024];
  assert_int_equal(EVP_PKEY_get_bn_param(key, parameter, &n), 1);
  int len = bytes ? bytes : BN_num_bytes(n);
  assert_int_equal(BN_bn2binpad(n, raw, len), len);
  BN_free(n);
  lc_buf_printf(out, ",\"%s\":\"", name);
  auth_base64_encode(out, lc_slice(raw, (size_t)len));
  lc_buf_u8(out, '"');
}
static void put_jwk(char *text, size_t size, EVP_PKEY *key, bool is_ec, const char *more) {
  struct lc_buf out = {0};
  lc_buf_printf(&out, is_ec ? "{\"kty\":\"EC\",\"crv\":\"P-256\"%s" : "{\"kty\":\"RSA\"%s", more);
  put_number(&out, is_ec ? "x" : "n", key, is_ec ? OSSL_PKEY_PARAM_EC_PUB_X : OSSL_PKEY_PARAM_RSA_N, is_ec ? 32 : 0);
  put_number(&out, is_ec ? "y" : "e", key, is_ec ? OSSL_PKEY_PARAM_EC_PUB_Y : OSSL_PKEY_PARAM_RSA_E, is_ec ? 32 : 0);
  snprintf(text, size, "%.*s}", (int)out.len, (const char *)out.data);
  lc_buf_free(&out);
}
static int group_setup(void **state) {
  (void)state;
  ec_a = EVP_EC_gen("P-256");
  ec_b = EVP_EC_gen("P-256");
  rsa_r = EVP_RSA_gen(2048);
  rsa_small = EVP_RSA_gen(1024);
  if (!ec_a || !ec_b || !rsa_r || !rsa_small) return 1;
  put_jwk(jwk_a, sizeof jwk_a, ec_a, true, ",\"kid\":\"a\",\"use\":\"sig\"");
  put_jwk(jwk_a_unnamed, sizeof jwk_a_unnamed, ec_a, true, "");
  put_jwk(jwk_b, sizeof jwk_b, ec_b, true, ",\"kid\":\"b\",\"alg\":\"ES256\"");
  put_jwk(jwk_r, sizeof jwk_r, rsa_r, false, ",\"kid\":\"r\",\"alg\":\"RS256\"");
  put_jwk(jwk_r_unnamed, sizeof jwk_r_unnamed, rsa_r, false, "");
  put_jwk(jwk_small, sizeof jwk_small, rsa_small, false, ",\"kid\":\"small\"");
  return 0;
}
static int group_teardown(void **state) {
  (void)state;
  EVP_PKEY_free(ec_a);
  EVP_PKEY_free(ec_b);
  EVP_PKEY_free(rsa_r);
  EVP_PKEY_free(rsa_small);
  return 0;
}
static int setup(void **state) {
  struct lc_auth *auth;
  clock_s = 1000;
  gate = NULL;
  if (lc_auth_open_memory(&env, &auth, NULL) != LC_OK) return 1;
  auth->issuers.fetch = fake_fetch;
  *state = auth;
  down();
  fetches();
  return 0;
}
static int teardown(void **state) {
  lc_auth_free(*state);
  return 0;
}

/* ---- tokens ---- */

static void sign_with(EVP_PKEY *key, const char *header, const char *payload, struct lc_buf *token) {
  uint8_t signature[1024];
  size_t len = sizeof signature;
  lc_buf_clear(token);
  auth_base64_encode(token, lc_slice_str(header));
  lc_buf_u8(token, '.');
  auth_base64_encode(token, lc_slice_str(payload));
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
  assert_int_equal(EVP_DigestSign(ctx, signature, &len, token->data, token->len), 1);
  EVP_MD_CTX_free(ctx);
  if (EVP_PKEY_is_a(key, "EC")) {
    const uint8_t *at = signature;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
    uint8_t raw[64];
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32);
    ECDSA_SIG_free(sig);
    memcpy(signature, raw, len = 64);
  }
  lc_buf_u8(token, '.');
  auth_base64_encode(token, lc_slice(signature, len));
}

static void on_done(void *ctx) { sem_post(ctx); }
/* As a request does: validates, and once more when the keys have been fetched. Any status but LC_OK leaves the text in err. */
static enum lc_status validate(struct lc_auth *auth, const struct lc_buf *token, struct lc_auth_claims *claims, struct lc_error *err) {
  sem_t done;
  sem_init(&done, 0, 0);
  struct lc_auth_wait wait = {on_done, &done};
  enum lc_status st = lc_auth_validate(auth, lc_buf_slice(token), &wait, claims, err);
  if (st == LC_PENDING) {
    while (sem_wait(&done) != 0) {}
    st = lc_auth_validate(auth, lc_buf_slice(token), NULL, claims, err);
  }
  sem_destroy(&done);
  return st;
}
#define ISSUER "https://issuer.example"
#define CLAIMS "{\"iss\":\"" ISSUER "\",\"sub\":\"bob\",\"iat\":1700000000}"
/* want: NULL for a good token. */
static void expect_claims(struct lc_auth *auth, EVP_PKEY *key, const char *header, const char *payload, const char *want) {
  struct lc_buf token = {0};
  struct lc_auth_claims claims;
  struct lc_error err = {0};
  struct lc_identity id;
  sign_with(key, header, payload, &token);
  enum lc_status st = validate(auth, &token, &claims, &err);
  if (want) {
    if (st != LC_DENIED) fail_msg("status %d, want \"%s\"", st, want);
    assert_string_equal(err.text, want);
    assert_null(claims.payload);
  } else {
    if (st != LC_OK) fail_msg("%s", err.text);
    lc_identity_from_claims(lc_slice_str(claims.issuer), lc_slice_str(claims.subject), &id);
    assert_memory_equal(&id, &claims.identity, sizeof id);
    assert_int_equal(claims.payload->len, strlen(payload)); /* the module sees all of it as it was */
    assert_memory_equal(claims.payload->data, payload, strlen(payload));
    lc_auth_claims_release(&claims);
  }
  lc_buf_free(&token);
}
static void expect(struct lc_auth *auth, EVP_PKEY *key, const char *header, const char *want) { expect_claims(auth, key, header, CLAIMS, want); }
static void serve_all(void) {
  char text[8192];
  snprintf(text, sizeof text, "{\"keys\":[%s,%s,%s,{\"kty\":\"oct\",\"kid\":\"h\",\"k\":\"AAAA\"},{\"kty\":\"OKP\",\"kid\":\"o\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}]}", jwk_a, jwk_b, jwk_r);
  serve(text);
}

#define NOT_FETCHED "Error fetching public key for issuer " ISSUER
#define BAD "Invalid token: InvalidSignature"
#define NO_KID "Specified key ID not found in JWKs"

/* ---- tests ---- */

static void test_golden(void **state) { /* RFC 7515 A.2 and A.3 */
  (void)state;
  static const char set[] =
      "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"},"
      "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_"
      "YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_"
      "I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\",\"e\":\"AQAB\"}]}";
  static const char es256[] = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
                    rs256[] = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
  struct lc_buf e = {0}, r = {0};
  struct auth_keys *k = auth_keys_parse(lc_slice_str(set), NULL);
  assert_non_null(k);
  assert_true(auth_base64_decode(&e, lc_slice_str("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q")));
  assert_true(auth_base64_decode(&r, lc_slice_str("cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_"
                                                  "nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_"
                                                  "IoypGlUPQGe77Rw")));
  assert_true(auth_keys_verify(k, NULL, true, lc_slice_str(es256), lc_buf_slice(&e)));
  assert_true(auth_keys_verify(k, NULL, false, lc_slice_str(rs256), lc_buf_slice(&r)));
  assert_false(auth_keys_verify(k, NULL, true, lc_slice_str(rs256), lc_buf_slice(&e)));
  assert_false(auth_keys_verify(k, NULL, false, lc_slice_str(es256), lc_buf_slice(&r)));
  assert_false(auth_keys_verify(k, NULL, true, lc_slice_str(rs256), lc_buf_slice(&r))); /* an algorithm belongs to a kind of key */
  assert_false(auth_keys_verify(k, NULL, false, lc_slice_str(es256), lc_buf_slice(&e)));
  for (size_t i = 0; i < r.len; i += 17) {
    r.data[i] ^= 1;
    assert_false(auth_keys_verify(k, NULL, false, lc_slice_str(rs256), lc_buf_slice(&r)));
    r.data[i] ^= 1;
  }
  auth_keys_unref(k);
  lc_buf_free(&e);
  lc_buf_free(&r);
}

static void test_algorithms(void **state) {
  struct lc_auth *auth = *state;
  serve_all();
  expect(auth, ec_a, "{\"alg\":\"ES256\",\"kid\":\"a\"}", NULL);
  expect(auth, ec_b, "{\"alg\":\"ES256\",\"kid\":\"b\"}", NULL);
  expect(auth, rsa_r, "{\"alg\":\"RS256\",\"kid\":\"r\"}", NULL);
  expect(auth, ec_b, "{\"alg\":\"ES256\"}", NULL); /* every key is tried */
  expect(auth, rsa_r, "{\"alg\":\"RS256\",\"kid\":null}", NULL);
  expect(auth, ec_a, "{\"alg\":\"ES256\",\"kid\":\"b\"}", BAD);
  expect(auth, ec_a, "{\"alg\":\"ES256\",\"kid\":\"r\"}", BAD); /* the reference dies of this one */
  expect(auth, rsa_r, "{\"alg\":\"RS256\",\"kid\":\"a\"}", BAD);
  expect(auth, rsa_small, "{\"alg\":\"RS256\"}", BAD);
  expect(auth, ec_a, "{\"alg\":\"ES256\",\"kid\":\"h\"}", NO_KID); /* a symmetric key is no key here */
  expect(auth, ec_a, "{\"alg\":\"ES256\",\"kid\":\"o\"}", NO_KID);
  expect(auth, ec_a, "{\"alg\":\"ES256\",\"kid\":\"z\"}", NO_KID);
  expect(auth, ec_a, "{\"alg\":\"ES256\",\"kid\":7}", "Invalid token: JSON error: invalid type for `kid`, expected a string");
  static const char *const refused[] = {"HS256", "HS384", "HS512", "ES384", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"};
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    char header[64];
    snprintf(header, sizeof header, "{\"alg\":\"%s\",\"kid\":\"r\"}", refused[i]);
    expect(auth, rsa_r, header, "Invalid token: InvalidAlgorithm");
  }
  assert_int_equal(fetches(), 2); /* one discovery, one key set, in all of this */
  assert_string_equal(last_url[0], ISSUER "/.well-known/openid-configuration");
  assert_string_equal(last_url[1], "https://issuer.example/keys");
}

static void test_claims(void **state) {
  struct lc_auth *auth = *state;
  serve_all();
  static const char h[] = "{\"alg\":\"ES256\",\"kid\":\"a\"}";
  expect_claims(auth, ec_a, h, "{\"iss\":\"" ISSUER "\",\"sub\":\"bob\",\"iat\":1,\"aud\":[\"x\",\"y\"],\"roles\":[{\"deep\":[1,2.5,null]}],\"nonce\":\"n\"}", NULL);
  expect_claims(auth, ec_a, h, "{\"iss\":\"" ISSUER "\",\"sub\":\"bob\",\"iat\":1,\"exp\":1700001000}", NULL);
  expect_claims(auth, ec_a, h, "{\"iss\":\"" ISSUER "\",\"sub\":\"bob\",\"iat\":1,\"exp\":1700000940}", NULL); /* 60 s of leeway */
  expect_claims(auth, ec_a, h, "{\"iss\":\"" ISSUER "\",\"sub\":\"bob\",\"iat\":1,\"exp\":1700000939}", "Invalid token: ExpiredSignature");
  expect_claims(auth, ec_a, h, "{\"iss\":\"" ISSUER "\",\"iat\":1}", "Invalid token: Missing required claim: sub");
  expect_claims(auth, ec_a, h, "{\"iss\":\"" ISSUER "\",\"sub\":\"\",\"iat\":1}", "Subject empty");
  expect_claims(auth, ec_a, h, "{\"iss\":\"" ISSUER "\",\"sub\":\"bob\"}", "Invalid token: JSON error: missing field `iat`");
  expect_claims(auth, ec_a, h, "{\"iss\":\"" ISSUER "\",\"sub\":\"bob\",\"iat\":1,\"aud\":[1]}", "Invalid token: JSON error: invalid type for `aud`, expected a string or a list of strings");
  struct lc_identity id;
  char hex[65], text[512];
  lc_identity_from_claims(lc_slice_str(ISSUER), lc_slice_str("bob"), &id);
  lc_identity_hex(&id, hex);
  snprintf(text, sizeof text, "{\"iss\":\"" ISSUER "\",\"sub\":\"bob\",\"iat\":1,\"hex_identity\":\"%s\"}", hex);
  expect_claims(auth, ec_a, h, text, NULL);
  struct lc_buf token = {0};
  struct lc_auth_claims claims;
  struct lc_error err = {0};
  snprintf(text, sizeof text, "{\"iss\":\"" ISSUER "\",\"sub\":\"eve\",\"iat\":1,\"hex_identity\":\"%s\"}", hex);
  sign_with(ec_a, h, text, &token);
  assert_int_equal(validate(auth, &token, &claims, &err), LC_DENIED);
  assert_memory_equal(err.text, "Identity mismatch: ", 19);
  lc_buf_free(&token);
}

static void test_no_issuer(void **state) { /* nothing is asked of these */
  struct lc_auth *auth = *state;
  static const char h[] = "{\"alg\":\"ES256\",\"kid\":\"a\"}";
  char text[512], want[512];
  serve_all();
  expect_claims(auth, ec_a, h, "{\"iss\":\"localhost\",\"sub\":\"bob\",\"iat\":1}", BAD);
  expect_claims(auth, ec_a, h, "{\"iss\":\"spacetimedb-idc-v1\",\"sub\":\"bob\",\"iat\":1}", BAD);
  static const char *const odd[] = {"", "x", "ftp://issuer.example", "file:///etc/passwd", "//issuer.example", "javascript:1", "https:/issuer.example", "https://issuer.example/\\u00e9"};
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
    snprintf(text, sizeof text, "{\"iss\":\"%s\",\"sub\":\"bob\",\"iat\":1}", odd[i]);
    const char *escape = strstr(odd[i], "\\u00e9");
    snprintf(want, sizeof want, "Error fetching public key for issuer %.*s%s", (int)(escape ? (size_t)(escape - odd[i]) : strlen(odd[i])), odd[i], escape ? "\xc3\xa9" : "");
    expect_claims(auth, ec_a, h, text, want);
  }
  expect_claims(auth, ec_a, h, "{\"iss\":\"https://issuer.example/\\nWARN forged\",\"sub\":\"bob\",\"iat\":1}", "Error fetching public key for issuer https://issuer.example/\nWARN forged");
  snprintf(text, sizeof text, "{\"iss\":\"https://%0121d\",\"sub\":\"bob\",\"iat\":1}", 0); /* 129 bytes */
  snprintf(want, sizeof want, "Error fetching public key for issuer https://%0121d", 0);
  expect_claims(auth, ec_a, h, text, want);
  assert_int_equal(fetches(), 0);
  snprintf(text, sizeof text, "{\"iss\":\"https://%0120d\",\"sub\":\"bob\",\"iat\":1}", 0);
  expect_claims(auth, ec_a, h, text, NULL);
  assert_int_equal(fetches(), 2);
}

static void test_rotation(void **state) {
  struct lc_auth *auth = *state;
  char set[2048];
  struct lc_buf token = {0};
  struct lc_auth_claims claims;
  struct lc_error err = {0};
  static const char a[] = "{\"alg\":\"ES256\",\"kid\":\"a\"}", b[] = "{\"alg\":\"ES256\",\"kid\":\"b\"}";
  snprintf(set, sizeof set, "{\"keys\":[%s]}", jwk_a);
  serve(set);
  sign_with(ec_a, a, CLAIMS, &token);
  assert_int_equal(validate(auth, &token, &claims, &err), LC_OK);
  lc_auth_claims_release(&claims);
  assert_int_equal(fetches(), 2);
  snprintf(set, sizeof set, "{\"keys\":[%s]}", jwk_b);
  serve(set);
  clock_s += 9;
  expect(auth, ec_b, b, NO_KID); /* an unknown name may not have it fetched at will */
  assert_int_equal(fetches(), 0);
  clock_s += 1;
  expect(auth, ec_b, b, NULL);
  assert_int_equal(fetches(), 2);
  expect_claims(auth, ec_a, a, "{\"iss\":\"" ISSUER "\",\"sub\":\"carl\",\"iat\":1}", NO_KID);
  assert_int_equal(validate(auth, &token, &claims, &err), LC_OK); /* validated before, with keys that are fresh: not looked at again */
  lc_auth_claims_release(&claims);
  clock_s += 300;
  assert_int_equal(validate(auth, &token, &claims, &err), LC_DENIED); /* no longer than that */
  assert_string_equal(err.text, NO_KID);
  lc_buf_free(&token);
}

static void test_freshness(void **state) {
  struct lc_auth *auth = *state;
  static const char a[] = "{\"alg\":\"ES256\",\"kid\":\"a\"}";
  serve_all();
  expect(auth, ec_a, a, NULL);
  clock_s += 299;
  expect(auth, ec_a, a, NULL);
  assert_int_equal(fetches(), 2);
  clock_s += 1; /* fetched beside the use */
  expect(auth, ec_a, a, NULL);
  lc_auth_stop(auth);
  atomic_store(&auth->issuers.stop, false);
  assert_int_equal(fetches(), 2);
  clock_s += 600; /* before the use */
  expect(auth, ec_a, a, NULL);
  assert_int_equal(fetches(), 2);
  down();
  clock_s += 700; /* the issuer is down: its last keys hold */
  expect(auth, ec_a, a, NULL);
  assert_int_equal(fetches(), 1);
  expect(auth, ec_a, a, NULL);
  assert_int_equal(fetches(), 0);
  clock_s += 6500; /* but not for ever */
  expect(auth, ec_a, a, NOT_FETCHED);
  assert_int_equal(fetches(), 1);
  serve_all();
  expect(auth, ec_a, a, NOT_FETCHED); /* that it is down is remembered */
  assert_int_equal(fetches(), 0);
  clock_s += 10;
  expect(auth, ec_a, a, NULL);
}

static void test_broken_documents(void **state) {
  struct lc_auth *auth = *state;
  static const char a[] = "{\"alg\":\"ES256\",\"kid\":\"a\"}";
  static const char *const configurations[] = {"", "{", "[]", "7", "{}", "{\"jwks_uri\":7}", "{\"jwks_uri\":\"\"}", "{\"jwks_uri\":\"http://issuer.example/keys\"}", "{\"jwks_uri\":\"file:///etc/passwd\"}", "\xff"};
  serve_all();
  for (size_t i = 0; i < sizeof configurations / sizeof *configurations; i++) {
    snprintf(configuration, sizeof configuration, "%s", configurations[i]);
    expect(auth, ec_a, a, NOT_FETCHED);
    assert_int_equal(fetches(), 1);
    clock_s += 10;
  }
  static const char *const sets[] = {"{", "[]", "null", "{}", "{\"keys\":{}}"};
  for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
    serve(sets[i]);
    expect(auth, ec_a, a, NOT_FETCHED);
    clock_s += 10;
  }
  /* broken keys do not spoil the set */
  static const char *const keys[] = {"7", "null", "{}", "{\"kty\":\"EC\",\"kid\":\"a\"}", "{\"kty\":\"EC\",\"kid\":\"a\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}", "{\"kty\":\"RSA\",\"kid\":\"a\",\"n\":\"AQ\",\"e\":\"AQ\"}",
                                     "{\"kty\":\"EC\",\"kid\":\"a\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}", "{\"kty\":\"EC\",\"kid\":[],\"crv\":\"P-256\"}"};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    char set[4096];
    snprintf(set, sizeof set, "{\"keys\":[%s,%s,%s]}", keys[i], jwk_b, jwk_small);
    struct auth_keys *k = auth_keys_parse(lc_slice_str(set), NULL);
    assert_non_null(k);
    assert_false(auth_keys_know(k, &(struct lc_slice){(const uint8_t *)"a", sizeof "a" - 1}));
    assert_false(auth_keys_know(k, &(struct lc_slice){(const uint8_t *)"small", sizeof "small" - 1})); /* 1,024 bits: too short to be believed */
    assert_true(auth_keys_know(k, &(struct lc_slice){(const uint8_t *)"b", sizeof "b" - 1}));
    auth_keys_unref(k);
  }
}

static void test_unnamed_keys(void **state) { /* spec/07 §14.1 */
  struct lc_auth *auth = *state;
  char set[4096];
  snprintf(set, sizeof set, "{\"keys\":[%s,%s,%s]}", jwk_a_unnamed, jwk_b, jwk_r_unnamed);
  serve(set);
  expect(auth, ec_a, "{\"alg\":\"ES256\",\"kid\":\"zzz\"}", NULL);
  expect(auth, rsa_r, "{\"alg\":\"RS256\",\"kid\":\"zzz\"}", NULL);
  expect(auth, ec_b, "{\"alg\":\"ES256\",\"kid\":\"zzz\"}", BAD); /* has another name */
  expect(auth, ec_a, "{\"alg\":\"ES256\",\"kid\":\"b\"}", BAD);
}

static void test_waiting(void **state) { /* many at once: one fetch, all are told; a stop ends the waiting; bounds */
  struct lc_auth *auth = *state;
  struct lc_buf token = {0};
  struct lc_auth_claims claims;
  struct lc_error err = {0};
  sem_t open, done;
  sem_init(&open, 0, 0);
  sem_init(&done, 0, 0);
  gate = &open;
  serve_all();
  sign_with(ec_a, "{\"alg\":\"ES256\",\"kid\":\"a\"}", CLAIMS, &token);
  const struct lc_auth_wait wait = {on_done, &done};
  assert_int_equal(lc_auth_validate(auth, lc_buf_slice(&token), NULL, &claims, NULL), LC_PENDING); /* who does not wait starts it, too */
  for (int i = 0; i < 50; i++) assert_int_equal(lc_auth_validate(auth, lc_buf_slice(&token), &wait, &claims, NULL), LC_PENDING);
  assert_int_equal(sem_trywait(&done), -1);
  sem_post(&open);
  sem_post(&open);
  for (int i = 0; i < 50; i++)
    while (sem_wait(&done) != 0) {}
  assert_int_equal(fetches(), 2);
  assert_int_equal(lc_auth_validate(auth, lc_buf_slice(&token), &wait, &claims, NULL), LC_OK);
  lc_auth_claims_release(&claims);
  assert_int_equal(sem_trywait(&done), -1); /* each was told once, this one not at all */
  int n = 0; /* strangers that do not answer: some places are left */
  char payload[256];
  for (; n < 100; n++) {
    snprintf(payload, sizeof payload, "{\"iss\":\"https://slow.example/%d\",\"sub\":\"bob\",\"iat\":1}", n);
    sign_with(ec_a, "{\"alg\":\"ES256\",\"kid\":\"a\"}", payload, &token);
    if (lc_auth_validate(auth, lc_buf_slice(&token), &wait, &claims, &err) != LC_PENDING) break;
  }
  assert_int_equal(n, 24);
  assert_int_equal(err.status, LC_CONFLICT);
  assert_string_equal(err.text, "Error fetching public key for issuer https://slow.example/24");
  clock_s += 1000;
  sign_with(ec_b, "{\"alg\":\"ES256\",\"kid\":\"b\"}", CLAIMS, &token);
  assert_int_equal(lc_auth_validate(auth, lc_buf_slice(&token), &wait, &claims, NULL), LC_PENDING); /* a known one still is asked */
  lc_auth_stop(auth);
  for (int i = 0; i < 25; i++) assert_int_equal(sem_trywait(&done), 0); /* all have been told */
  assert_int_equal(sem_trywait(&done), -1);
  clock_s += 1000;
  assert_int_equal(lc_auth_validate(auth, lc_buf_slice(&token), &wait, &claims, NULL), LC_CONFLICT);
  lc_buf_free(&token);
  sem_destroy(&open);
  sem_destroy(&done);
}

static void test_many_issuers(void **state) { /* memory is bounded; one with keys outlives those without */
  struct lc_auth *auth = *state;
  static const char a[] = "{\"alg\":\"ES256\",\"kid\":\"a\"}";
  char payload[256], want[256];
  serve_all();
  expect(auth, ec_a, a, NULL);
  down();
  for (int i = 0; i < 600; i++) {
    snprintf(payload, sizeof payload, "{\"iss\":\"https://nobody.example/%d\",\"sub\":\"bob\",\"iat\":1}", i);
    snprintf(want, sizeof want, "Error fetching public key for issuer https://nobody.example/%d", i);
    expect_claims(auth, ec_a, a, payload, want);
  }
  assert_true(auth->issuers.n <= 256);
  fetches();
  expect_claims(auth, ec_a, a, "{\"iss\":\"" ISSUER "\",\"sub\":\"carl\",\"iat\":1}", NULL);
  assert_int_equal(fetches(), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void) {
  const struct CMUnitTest tests[] = {T(test_golden),    T(test_algorithms),       T(test_claims),       T(test_no_issuer), T(test_rotation),
                                     T(test_freshness), T(test_broken_documents), T(test_unnamed_keys), T(test_waiting),   T(test_many_issuers)};
  return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
