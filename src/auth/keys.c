/* The server's P-256 key pair: PEM files, generation, signatures (ES256 in its raw form: r, s, 64 bytes), base64url (spec/04 §4.2, §4.4).
 *
 * The pair is immutable once opened. Called by whoever starts the server (open, free) and by token.c.
 */
#include "auth_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_FILE_MAX_BYTES 65536u

/* ---- files ---- */

/* LC_NOT_FOUND when there is no such file. */
static enum lc_status read_file(const char *path, struct lc_buf *out, struct lc_error *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return lc_fail(err, errno == ENOENT ? LC_NOT_FOUND : LC_IO, "%s: %s", path, strerror(errno));
  enum lc_status status = LC_OK;
  uint8_t chunk[4096];
  for (;;) {
    ssize_t n = read(fd, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) status = lc_fail(err, LC_IO, "%s: %s", path, strerror(errno));
    if (n <= 0) break;
    lc_buf_append(out, chunk, (size_t)n);
    if (!lc_buf_ok(out)) status = lc_fail(err, LC_NOMEM, "%s: out of memory", path);
    if (out->len > KEY_FILE_MAX_BYTES) status = lc_fail(err, LC_LIMIT, "%s: larger than %u bytes, so it is no key file", path, KEY_FILE_MAX_BYTES);
    if (status != LC_OK) break;
  }
  OPENSSL_cleanse(chunk, sizeof chunk); /* it may have been a private key */
  close(fd);
  return status;
}

static enum lc_status make_folders(const char *path, struct lc_error *err) {
  char folder[4096];
  size_t len = strlen(path);
  if (len >= sizeof folder) return lc_fail(err, LC_LIMIT, "path of a key file is longer than %zu bytes", sizeof folder - 1);
  memcpy(folder, path, len + 1);
  for (char *slash = strchr(folder + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    if (mkdir(folder, 0755) != 0 && errno != EEXIST) return lc_fail(err, LC_IO, "cannot create folder %s: %s", folder, strerror(errno));
    *slash = '/';
  }
  return LC_OK;
}

/* The name of a file that has just been given it survives a loss of power. */
static bool sync_folder_of(const char *path) {
  char folder[4096];
  const char *slash = strrchr(path, '/');
  size_t n = slash ? (size_t)(slash - path) : 0;
  if (n >= sizeof folder) return false;
  memcpy(folder, path, n);
  folder[n] = 0;
  int fd = open(n ? folder : slash ? "/" : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return false;
  bool ok = fsync(fd) == 0;
  close(fd);
  return ok;
}

/* Writes a file of the given mode beside `path` and renames it there, so that a crash leaves no half of a key. */
static enum lc_status write_file(const char *path, struct lc_slice bytes, mode_t mode, struct lc_error *err) {
  char temporary[4128];
  if (make_folders(path, err) != LC_OK) return err ? err->status : LC_IO;
  snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid());
  int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
  if (fd < 0) return lc_fail(err, LC_IO, "cannot write %s: %s", temporary, strerror(errno));
  bool ok = fchmod(fd, mode) == 0;
  for (size_t done = 0; ok && done < bytes.len;) {
    ssize_t n = write(fd, bytes.data + done, bytes.len - done);
    if (n < 0 && errno == EINTR) continue;
    ok = n > 0;
    if (ok) done += (size_t)n;
  }
  ok = ok && fsync(fd) == 0;
  int saved = errno;
  ok = close(fd) == 0 && ok;
  if (ok && rename(temporary, path) == 0 && sync_folder_of(path)) return LC_OK;
  if (ok) saved = errno;
  unlink(temporary);
  return lc_fail(err, LC_IO, "cannot write %s: %s", path, strerror(saved));
}

/* ---- PEM ---- */

/* OpenSSL would ask the terminal for a passphrase. */
static int no_passphrase(char *buf, int size, int writing, void *user) {
  (void)buf, (void)size, (void)writing, (void)user;
  return -1;
}

static EVP_PKEY *parse_pem(struct lc_slice pem, bool private_key) {
  BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
  if (!bio) return NULL;
  EVP_PKEY *key = private_key ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : PEM_read_bio_PUBKEY(bio, NULL, no_passphrase, NULL);
  BIO_free(bio);
  ERR_clear_error();
  return key;
}

static bool is_p256(const EVP_PKEY *key) {
  char group[64];
  return EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof group, NULL) == 1 && (strcmp(group, "prime256v1") == 0 || strcmp(group, "P-256") == 0);
}

static bool write_pem(EVP_PKEY *key, bool private_key, struct lc_buf *out) {
  BIO *bio = BIO_new(BIO_s_mem());
  if (!bio) return false;
  int ok = private_key ? PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) : PEM_write_bio_PUBKEY(bio, key);
  char *text = NULL;
  long len = BIO_get_mem_data(bio, &text);
  if (ok == 1 && len > 0) lc_buf_append(out, text, (size_t)len);
  if (private_key && text && len > 0) OPENSSL_cleanse(text, (size_t)len);
  BIO_free(bio);
  return ok == 1 && len > 0 && lc_buf_ok(out);
}

/* ---- opening ---- */

/* Takes `key`, also on failure. */
static enum lc_status finish(EVP_PKEY *key, const struct lc_env *env, struct lc_auth **out, struct lc_error *err) {
  struct lc_auth *auth = lc_alloc_zero(1, sizeof *auth);
  if (!auth || !write_pem(key, false, &auth->public_pem)) {
    EVP_PKEY_free(key);
    if (auth) lc_buf_free(&auth->public_pem);
    lc_free(auth);
    return lc_fail(err, LC_NOMEM, "out of memory for the signing key");
  }
  auth->env = env;
  auth->key = key;
  auth_cache_init(&auth->cache);
  auth_issuers_init(&auth->issuers);
  *out = auth;
  return LC_OK;
}

static enum lc_status generate(EVP_PKEY **key, struct lc_error *err) {
  *key = EVP_EC_gen("P-256");
  if (*key) return LC_OK;
  ERR_clear_error();
  return lc_fail(err, LC_NOMEM, "OpenSSL could not generate a P-256 key pair");
}

enum lc_status lc_auth_open_memory(const struct lc_env *env, struct lc_auth **out, struct lc_error *err) {
  EVP_PKEY *key;
  enum lc_status status = generate(&key, err);
  return status == LC_OK ? finish(key, env, out, err) : status;
}

static enum lc_status create_pair(const char *private_path, const char *public_path, EVP_PKEY **key, struct lc_error *err) {
  struct lc_buf private_pem = {0}, public_pem = {0};
  enum lc_status status = generate(key, err);
  if (status != LC_OK) return status;
  if (!write_pem(*key, true, &private_pem) || !write_pem(*key, false, &public_pem)) status = lc_fail(err, LC_NOMEM, "out of memory for the signing key");
  if (status == LC_OK) status = write_file(private_path, lc_buf_slice(&private_pem), 0600, err);
  if (status == LC_OK) status = write_file(public_path, lc_buf_slice(&public_pem), 0644, err);
  if (private_pem.data) OPENSSL_cleanse(private_pem.data, private_pem.cap);
  lc_buf_free(&private_pem);
  lc_buf_free(&public_pem);
  if (status != LC_OK) EVP_PKEY_free(*key);
  return status;
}

static enum lc_status check_pair(EVP_PKEY *key, EVP_PKEY *public_key, const char *private_path, const char *public_path, struct lc_error *err) {
  if (!public_key || !is_p256(public_key)) return lc_fail(err, LC_INVALID, "Unable to read public key for JWT token verification: %s holds no P-256 public key in PEM form", public_path);
  if (!key || !is_p256(key)) return lc_fail(err, LC_INVALID, "Unable to read private key for JWT token signing: %s holds no P-256 private key in PEM form", private_path);
  if (EVP_PKEY_eq(key, public_key) != 1) return lc_fail(err, LC_INVALID, "%s and %s are not the two halves of one key pair", private_path, public_path);
  return LC_OK;
}

enum lc_status lc_auth_open(const char *private_path, const char *public_path, bool create, const struct lc_env *env, struct lc_auth **out, struct lc_error *err) {
  struct lc_buf private_pem = {0}, public_pem = {0};
  struct lc_error public_err = {0}, private_err = {0};
  enum lc_status public_status = read_file(public_path, &public_pem, &public_err), private_status = read_file(private_path, &private_pem, &private_err);
  EVP_PKEY *key = NULL, *public_key = NULL;
  enum lc_status status;
  if (public_status == LC_NOT_FOUND && private_status == LC_NOT_FOUND && create) {
    status = create_pair(private_path, public_path, &key, err);
    if (status != LC_OK) key = NULL;
  } else if (public_status != LC_OK) {
    status = lc_fail(err, public_status, "Unable to read public key for JWT token verification: %.1000s", public_err.text);
  } else if (private_status != LC_OK) {
    status = lc_fail(err, private_status, "Unable to read private key for JWT token signing: %.1000s", private_err.text);
  } else {
    key = parse_pem(lc_buf_slice(&private_pem), true);
    public_key = parse_pem(lc_buf_slice(&public_pem), false);
    status = check_pair(key, public_key, private_path, public_path, err);
  }
  if (private_pem.data) OPENSSL_cleanse(private_pem.data, private_pem.cap);
  lc_buf_free(&private_pem);
  lc_buf_free(&public_pem);
  EVP_PKEY_free(public_key);
  if (status == LC_OK) return finish(key, env, out, err);
  EVP_PKEY_free(key);
  return status;
}

enum lc_status lc_auth_open_dir(const char *dir, bool create, const struct lc_env *env, struct lc_auth **out, struct lc_error *err) {
  char private_path[4096], public_path[4096];
  if (snprintf(private_path, sizeof private_path, "%s/id_ecdsa", dir) >= (int)sizeof private_path - 8) return lc_fail(err, LC_LIMIT, "path of the key folder is too long");
  snprintf(public_path, sizeof public_path, "%s/id_ecdsa.pub", dir);
  return lc_auth_open(private_path, public_path, create, env, out, err);
}

void lc_auth_free(struct lc_auth *auth) {
  if (!auth) return;
  auth_issuers_free(&auth->issuers);
  auth_cache_free(&auth->cache);
  EVP_PKEY_free(auth->key);
  lc_buf_free(&auth->public_pem);
  lc_free(auth);
}

struct lc_slice lc_auth_public_key_pem(const struct lc_auth *auth) { return lc_buf_slice(&auth->public_pem); }

/* ---- signatures: OpenSSL speaks DER, JWS the two numbers side by side ---- */

static bool der_to_raw(const uint8_t *der, size_t der_len, uint8_t raw[AUTH_SIGNATURE_BYTES]) {
  ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)der_len);
  if (!sig) return false;
  bool ok = BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32) == 32 && BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32) == 32;
  ECDSA_SIG_free(sig);
  return ok;
}

bool auth_sign_es256(const struct lc_auth *auth, struct lc_slice message, uint8_t signature[AUTH_SIGNATURE_BYTES]) {
  uint8_t der[128];
  size_t der_len = sizeof der;
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  bool ok = ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, auth->key) == 1 && EVP_DigestSign(ctx, der, &der_len, message.data, message.len) == 1;
  EVP_MD_CTX_free(ctx);
  ok = ok && der_to_raw(der, der_len, signature);
  if (!ok) ERR_clear_error();
  return ok;
}

static uint8_t *raw_to_der(const uint8_t raw[AUTH_SIGNATURE_BYTES], size_t *len) {
  ECDSA_SIG *sig = ECDSA_SIG_new();
  BIGNUM *r = BN_bin2bn(raw, 32, NULL), *s = BN_bin2bn(raw + 32, 32, NULL);
  uint8_t *der = NULL;
  if (sig && r && s && ECDSA_SIG_set0(sig, r, s) == 1) { /* which takes r and s */
    r = s = NULL;
    int n = i2d_ECDSA_SIG(sig, &der);
    *len = n > 0 ? (size_t)n : 0;
  }
  BN_free(r);
  BN_free(s);
  ECDSA_SIG_free(sig);
  return der;
}

static bool verify_sha256(EVP_PKEY *key, struct lc_slice message, struct lc_slice signature) {
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  bool ok = ctx && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 && EVP_DigestVerify(ctx, signature.data, signature.len, message.data, message.len) == 1;
  EVP_MD_CTX_free(ctx);
  if (!ok) ERR_clear_error();
  return ok;
}

bool auth_verify_rs256(EVP_PKEY *key, struct lc_slice message, struct lc_slice signature) { return verify_sha256(key, message, signature); }

bool auth_verify_es256(EVP_PKEY *key, struct lc_slice message, struct lc_slice signature) {
  if (signature.len != AUTH_SIGNATURE_BYTES) return false;
  size_t der_len = 0;
  uint8_t *der = raw_to_der(signature.data, &der_len);
  if (!der) return false;
  bool ok = verify_sha256(key, message, lc_slice(der, der_len));
  OPENSSL_free(der);
  return ok;
}

/* ---- base64url ---- */

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void auth_base64_encode(struct lc_buf *out, struct lc_slice bytes) {
  for (size_t i = 0; i < bytes.len; i += 3) {
    size_t n = bytes.len - i < 3 ? bytes.len - i : 3;
    uint32_t word = (uint32_t)bytes.data[i] << 16 | (n > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0) | (n > 2 ? bytes.data[i + 2] : 0u);
    char digits[4] = {base64_digits[word >> 18], base64_digits[word >> 12 & 63], base64_digits[word >> 6 & 63], base64_digits[word & 63]};
    lc_buf_append(out, digits, n + 1);
  }
}

static int base64_value(uint8_t c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool auth_base64_decode(struct lc_buf *out, struct lc_slice text) {
  uint32_t word = 0, bits = 0;
  if (text.len % 4 == 1) return false;
  for (size_t i = 0; i < text.len; i++) {
    int value = base64_value(text.data[i]);
    if (value < 0) return false;
    word = word << 6 | (uint32_t)value;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    lc_buf_u8(out, (uint8_t)(word >> bits));
    word &= (1u << bits) - 1;
  }
  return word == 0 && lc_buf_ok(out);
}
