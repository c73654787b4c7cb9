/* One GET of an issuer's document through libcurl, on the calling thread, which may wait: no network thread and no holder of a database.
 *
 * Who presents a token chooses the address, so: http and https only and no step from https down to http, few redirects, no proxies, one time limit for all
 * of it, bounded and unpacked answers, and no link-local addresses, where clouds keep credentials of the machine. Loopback and private networks are
 * allowed: that is where an organization has its issuer. Caller: issuers.c.
 */
#include "auth_internal.h"
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>

enum { TIMEOUT_MS = 10000, CONNECT_TIMEOUT_MS = 5000, MAX_REDIRECTS = 3, MAX_DOCUMENT_BYTES = 256 << 10, MAX_HEAD_BYTES = 64 << 10 };

struct exchange {
  struct lc_buf *body;
  const atomic_bool *stop;
  size_t head_bytes;
  bool too_big, refused;
};

static bool is_refused(const struct sockaddr *sa) {
  if (sa->sa_family == AF_INET) {
    const uint8_t *a = (const uint8_t *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr;
    return a[0] == 0 || a[0] >= 224 || (a[0] == 169 && a[1] == 254);
  }
  if (sa->sa_family != AF_INET6) return true;
  const uint8_t *a = (const uint8_t *)&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, translated[12] = {0, 0x64, 0xff, 0x9b}, metadata[16] = {0xfd, 0, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54};
  bool holds_ipv4 = memcmp(a, mapped, 12) == 0 || memcmp(a, translated, 12) == 0;
  return holds_ipv4 || a[0] == 0xff || (a[0] == 0xfe && (a[1] & 0xc0) == 0x80) || memcmp(a, metadata, 16) == 0;
}
static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a) {
  struct exchange *x = ctx;
  (void)purpose;
  x->refused = is_refused(&a->addr);
  return x->refused ? CURL_SOCKET_BAD : socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}
static size_t on_body(char *data, size_t size, size_t n, void *ctx) {
  struct exchange *x = ctx;
  x->too_big = x->body->len + size * n > MAX_DOCUMENT_BYTES;
  if (x->too_big) return 0;
  lc_buf_append(x->body, data, size * n);
  return lc_buf_ok(x->body) ? size * n : 0;
}
static size_t on_head(char *data, size_t size, size_t n, void *ctx) {
  struct exchange *x = ctx;
  (void)data;
  x->head_bytes += size * n;
  x->too_big = x->head_bytes > MAX_HEAD_BYTES;
  return x->too_big ? 0 : size * n;
}
static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
  const struct exchange *x = ctx;
  (void)a, (void)b, (void)c, (void)d;
  return atomic_load(x->stop);
}

static void init_curl(void) { curl_global_init(CURL_GLOBAL_DEFAULT); }

/* Spaces and control characters are no part of an address, and would forge lines of the log. */
static bool is_plain(const char *url) {
  for (const uint8_t *c = (const uint8_t *)url; *c; c++)
    if (*c <= ' ' || *c >= 127) return false;
  return true;
}
bool auth_url_is_https(const char *url) { return strncasecmp(url, "https://", 8) == 0 && is_plain(url); }
bool auth_url_is_http(const char *url) { return auth_url_is_https(url) || (strncasecmp(url, "http://", 7) == 0 && is_plain(url)); }

enum lc_status auth_fetch(const char *url, const atomic_bool *stop, struct lc_buf *body, struct lc_error *err) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, init_curl);
  struct exchange x = {.body = body, .stop = stop};
  const char *protocols = auth_url_is_https(url) ? "https" : "http,https";
  long code = 0;
  CURL *curl = curl_easy_init();
  if (!curl) return lc_fail(err, LC_NOMEM, "out of memory");
  curl_easy_setopt(curl, CURLOPT_URL, url);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, protocols);
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
  curl_easy_setopt(curl, CURLOPT_PROXY, "");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)MAX_REDIRECTS);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "lightcone");
  curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
  curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, &x);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &x);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_head);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &x);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &x);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  CURLcode rc = curl_easy_perform(curl);
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
  curl_easy_cleanup(curl);
  if (x.refused && rc != CURLE_OK) return lc_fail(err, LC_IO, "OIDC/JWKS request failed: %.512s: addresses of that kind are not asked", url);
  if (x.too_big) return lc_fail(err, LC_LIMIT, "OIDC/JWKS request failed: %.512s: the answer is larger than %d bytes", url, MAX_DOCUMENT_BYTES);
  if (rc != CURLE_OK) return lc_fail(err, LC_IO, "OIDC/JWKS request failed: %.512s: %s", url, curl_easy_strerror(rc));
  return code == 200 ? LC_OK : lc_fail(err, LC_IO, "OIDC/JWKS request failed: %.512s: status %ld", url, code);
}
