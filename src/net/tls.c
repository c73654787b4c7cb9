/* Owns: TLS of the connections of a server that has a certificate: OpenSSL between what the socket brings and what http.c and ws.c read, and back.
 *
 * Everything goes through memory: what arrives is put into `in`, what is to leave is taken from `out`. A record that has been made must leave in the order of its making, so
 * output is sealed piece by piece as it goes to the kernel (conn.c), and what OpenSSL itself has to say goes before the first piece that is not sealed yet.
 * Invariants: a `struct tls` belongs to the thread of its connection; the context is shared, and replaced when the files of the certificate have changed: connections keep theirs.
 * Callers: conn.c, net.c.
 */
#include "net_internal.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

struct tls { SSL *ssl; BIO *in, *out; bool closed; };
struct tls_server {
  pthread_mutex_t lock;
  SSL_CTX *context;
  char *cert, *key;
  struct timespec cert_time, key_time; /* of the files that were read */
  int64_t checked_ms;
};
enum { CHECK_MS = 1000, PLAIN_BYTES = 16 << 10 };

static void drop_errors(void) { ERR_clear_error(); }
static enum lc_status failed(struct lc_error *err, const char *what, const char *path) {
  char reason[256];
  ERR_error_string_n(ERR_get_error(), reason, sizeof reason);
  drop_errors();
  return lc_fail(err, LC_INVALID, "%s %s: %s", what, path, reason);
}
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len, void *arg) {
  static const unsigned char http[] = "\x08http/1.1";
  (void)ssl, (void)arg;
  return SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, http, sizeof http - 1, in, in_len) == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}
static bool times_of(const struct tls_server *t, struct timespec *cert, struct timespec *key) {
  struct stat c, k;
  if (stat(t->cert, &c) != 0 || stat(t->key, &k) != 0) return false;
  *cert = c.st_mtim;
  *key = k.st_mtim;
  return true;
}
static enum lc_status load(struct tls_server *t, SSL_CTX **out, struct lc_error *err) {
  SSL_CTX *x = SSL_CTX_new(TLS_server_method());
  if (!x) return lc_fail(err, LC_NOMEM, "out of memory");
  SSL_CTX_set_min_proto_version(x, TLS1_2_VERSION);
  SSL_CTX_set_options(x, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(x, SSL_MODE_RELEASE_BUFFERS); /* idle connections keep none */
  SSL_CTX_set_alpn_select_cb(x, choose_protocol, NULL);
  enum lc_status st = LC_OK;
  drop_errors();
  if (SSL_CTX_use_certificate_chain_file(x, t->cert) != 1) st = failed(err, "cannot use the certificate", t->cert);
  else if (SSL_CTX_use_PrivateKey_file(x, t->key, SSL_FILETYPE_PEM) != 1) st = failed(err, "cannot use the private key", t->key);
  else if (SSL_CTX_check_private_key(x) != 1) st = failed(err, "the private key does not belong to the certificate", t->cert);
  if (st != LC_OK) SSL_CTX_free(x);
  else *out = x;
  return st;
}

enum lc_status tls_server_new(const char *cert, const char *key, struct tls_server **out, struct lc_error *err) {
  struct tls_server *t = lc_alloc_zero(1, sizeof *t);
  if (!t) return lc_fail(err, LC_NOMEM, "out of memory");
  pthread_mutex_init(&t->lock, NULL);
  t->cert = lc_alloc(strlen(cert) + 1);
  t->key = lc_alloc(strlen(key) + 1);
  enum lc_status st = t->cert && t->key ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory");
  if (st == LC_OK) {
    strcpy(t->cert, cert);
    strcpy(t->key, key);
    times_of(t, &t->cert_time, &t->key_time);
    st = load(t, &t->context, err);
  }
  if (st == LC_OK) *out = t;
  else tls_server_free(t);
  return st;
}
void tls_server_free(struct tls_server *t) {
  if (!t) return;
  SSL_CTX_free(t->context);
  pthread_mutex_destroy(&t->lock);
  lc_free(t->cert);
  lc_free(t->key);
  lc_free(t);
}

/* The context for one more connection, with a reference. A certificate that has been renewed is taken up; one that cannot be used is not. */
static SSL_CTX *context_now(struct tls_server *t, int64_t at_ms) {
  struct timespec cert, key;
  pthread_mutex_lock(&t->lock);
  if (at_ms - t->checked_ms >= CHECK_MS) {
    t->checked_ms = at_ms;
    if (times_of(t, &cert, &key) && (memcmp(&cert, &t->cert_time, sizeof cert) || memcmp(&key, &t->key_time, sizeof key))) {
      SSL_CTX *renewed;
      struct lc_error err = {0};
      t->cert_time = cert;
      t->key_time = key;
      if (load(t, &renewed, &err) == LC_OK) {
        SSL_CTX_free(t->context);
        t->context = renewed;
        lc_log(LC_LOG_INFO, "the certificate %s has changed and is used from now on", t->cert);
      } else {
        lc_log(LC_LOG_ERROR, "%s; the certificate from before is still used", err.text);
      }
    }
  }
  SSL_CTX *x = t->context;
  SSL_CTX_up_ref(x);
  pthread_mutex_unlock(&t->lock);
  return x;
}

struct tls *tls_new(struct tls_server *server, int64_t now) {
  struct tls *t = lc_alloc_zero(1, sizeof *t);
  SSL_CTX *x = context_now(server, now);
  if (t && (t->ssl = SSL_new(x))) {
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    if (t->in && t->out) {
      SSL_set_bio(t->ssl, t->in, t->out); /* which takes them */
      SSL_set_accept_state(t->ssl);
    } else {
      BIO_free(t->in);
      BIO_free(t->out);
      SSL_free(t->ssl);
      t->ssl = NULL;
    }
  }
  SSL_CTX_free(x);
  if (t && t->ssl) return t;
  lc_free(t);
  drop_errors();
  return NULL;
}
void tls_free(struct tls *t) {
  if (!t) return;
  SSL_free(t->ssl);
  lc_free(t);
}

enum tls_end tls_open(struct tls *t, const uint8_t *data, size_t len, void (*plain)(void *ctx, uint8_t *data, size_t len), void *ctx) {
  uint8_t bytes[PLAIN_BYTES];
  drop_errors();
  if (BIO_write(t->in, data, (int)len) != (int)len) return TLS_BROKEN;
  for (;;) {
    int n = SSL_read(t->ssl, bytes, sizeof bytes);
    if (n > 0) {
      plain(ctx, bytes, (size_t)n);
      continue;
    }
    int why = SSL_get_error(t->ssl, n);
    drop_errors();
    return why == SSL_ERROR_WANT_READ ? TLS_GOES_ON : why == SSL_ERROR_ZERO_RETURN ? TLS_CLOSED : TLS_BROKEN;
  }
}

bool tls_said(struct tls *t, struct lc_buf *out) {
  char *data;
  long n = BIO_get_mem_data(t->out, &data);
  if (n > 0) lc_buf_append(out, data, (size_t)n);
  BIO_reset(t->out);
  return lc_buf_ok(out);
}

bool tls_seal(struct tls *t, struct lc_slice plain, struct lc_buf *sealed) {
  enum { AT_ONCE_BYTES = 1 << 20 };
  drop_errors();
  for (size_t at = 0; at < plain.len;) {
    size_t n = plain.len - at < AT_ONCE_BYTES ? plain.len - at : AT_ONCE_BYTES;
    if (SSL_write(t->ssl, plain.data + at, (int)n) != (int)n) return drop_errors(), false;
    at += n;
    if (!tls_said(t, sealed)) return false;
  }
  return true;
}

bool tls_close(struct tls *t, struct lc_buf *out) {
  if (t->closed) return true;
  t->closed = true;
  drop_errors();
  if (SSL_is_init_finished(t->ssl)) SSL_shutdown(t->ssl);
  drop_errors();
  return tls_said(t, out);
}
