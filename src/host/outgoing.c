/* Owns: HTTP requests that procedures make (spec/02 §5.9, spec/07 §14.2), through libcurl, on the caller's thread.
 *
 * Invariants: no connection is opened to an address of `refused`, whether it came as a literal, from DNS or by a redirect, since every socket is asked
 * for through open_socket; proxies are not used; request and answer have limits. Callers: abi.c (procedure_http_request).
 */
#include "host.h"
#include <arpa/inet.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DEFAULT_TIMEOUT_MS = 30000, MAX_TIMEOUT_MS = 180000, MAX_REDIRECTS = 10, MAX_URI_BYTES = 64 << 10, MAX_HEADER_BYTES = 1 << 20, MAX_BODY_BYTES = 128 << 20 };
static const char refusal[] = "refusing to connect to private or special-purpose addresses";

/* ---- addresses ---- */

struct block { uint8_t bytes[16]; uint8_t bits; };
static const struct block refused4[] = {
    {{0}, 8},           {{10}, 8},          {{100, 64}, 10},    {{127}, 8},          {{169, 254}, 16},    {{172, 16}, 12},  {{192, 0, 0}, 24},   {{192, 0, 2}, 24},   {{192, 31, 196}, 24},
    {{192, 52, 193}, 24}, {{192, 88, 99}, 24}, {{192, 168}, 16},  {{192, 175, 48}, 24}, {{198, 18}, 15},     {{198, 51, 100}, 24}, {{203, 0, 113}, 24}, {{240}, 4},
};
static const struct block refused6[] = {
    {{0}, 128}, /* :: */
    {{[15] = 1}, 128}, /* ::1 */
    {{0x00, 0x64, 0xff, 0x9b}, 96},
    {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48},
    {{[10] = 0xff, [11] = 0xff}, 96}, /* mapped IPv4 */
    {{0x01}, 64},
    {{0x01, [7] = 0x01}, 64},
    {{0x20, 0x01}, 23},
    {{0x20, 0x01, 0x0d, 0xb8}, 32},
    {{0x20, 0x02}, 16},
    {{0x26, 0x20, 0x00, 0x4f, 0x80, 0x00}, 48},
    {{0x3f, 0xff}, 20},
    {{0x5f}, 16},
    {{0xfc}, 7},
    {{0xfe, 0x80}, 10},
};
static bool in_block(const uint8_t *address, const struct block *b) {
  unsigned whole = b->bits / 8, rest = b->bits % 8;
  return memcmp(address, b->bytes, whole) == 0 && (rest == 0 || (address[whole] ^ b->bytes[whole]) >> (8 - rest) == 0);
}
static bool is_refused(const struct sockaddr *sa, const struct lc_http_policy *policy) {
  static const uint8_t loopback6[16] = {[15] = 1};
  if (sa->sa_family == AF_INET) {
    const uint8_t *a = (const uint8_t *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr;
    if (policy->allow_loopback && a[0] == 127) return false;
    for (size_t i = 0; i < sizeof refused4 / sizeof *refused4; i++)
      if (in_block(a, &refused4[i])) return true;
    return false;
  }
  if (sa->sa_family != AF_INET6) return true;
  const uint8_t *a = (const uint8_t *)&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
  if (policy->allow_loopback && memcmp(a, loopback6, 16) == 0) return false;
  for (size_t i = 0; i < sizeof refused6 / sizeof *refused6; i++)
    if (in_block(a, &refused6[i])) return true;
  return false;
}

/* ---- requests ---- */

struct http_request { struct lc_slice method, uri; struct lc_reader headers; uint32_t n_headers; bool has_timeout; int64_t timeout_us; uint8_t version; };

static bool decode(struct lc_slice bytes, struct http_request *q) {
  static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"};
  struct lc_reader r = lc_reader(bytes);
  uint8_t method = lc_read_u8(&r);
  if (method > 9) return false;
  q->method = method < 9 ? lc_slice_str(methods[method]) : lc_read_bytes(&r);
  q->n_headers = lc_read_u32(&r);
  q->headers = r;
  for (uint32_t i = 0; i < q->n_headers && !r.failed; i++) {
    struct lc_slice name = lc_read_bytes(&r);
    if (!lc_utf8_valid(name.data, name.len)) return false;
    lc_read_bytes(&r);
  }
  uint8_t none = lc_read_u8(&r);
  q->has_timeout = none == 0;
  q->timeout_us = none == 0 ? lc_read_i64(&r) : 0;
  q->uri = lc_read_bytes(&r);
  q->version = lc_read_u8(&r);
  return !r.failed && none <= 1 && q->version <= 4 && lc_utf8_valid(q->uri.data, q->uri.len) && lc_utf8_valid(q->method.data, q->method.len);
}
bool lc_http_request_check(struct lc_slice request) {
  struct http_request q;
  return decode(request, &q);
}

static bool is_token(struct lc_slice s) { /* RFC 9110 §5.6.2 */
  for (size_t i = 0; i < s.len; i++)
    if (s.data[i] <= ' ' || s.data[i] >= 127 || strchr("\"(),/:;<=>?@[\\]{}", s.data[i])) return false;
  return s.len > 0;
}
static bool is_header_value(struct lc_slice s) {
  for (size_t i = 0; i < s.len; i++)
    if ((s.data[i] < ' ' && s.data[i] != '\t') || s.data[i] == 127) return false;
  return true;
}

struct exchange {
  const struct lc_http_policy *policy;
  struct lc_buf *body;
  struct lc_buf headers; /* BSATN entries of the last answer of a chain of redirects */
  uint32_t n_headers;
  bool decoded, too_big, refused_one, tried_one;
};

static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a) {
  struct exchange *x = ctx;
  (void)purpose;
  if (is_refused(&a->addr, x->policy)) {
    x->refused_one = true;
    return CURL_SOCKET_BAD; /* the next address of the name is tried */
  }
  x->tried_one = true;
  return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}
static size_t on_body(char *data, size_t size, size_t n, void *ctx) {
  struct exchange *x = ctx;
  x->too_big = x->body->len + size * n > MAX_BODY_BYTES;
  if (x->too_big) return 0;
  lc_buf_append(x->body, data, size * n);
  return lc_buf_ok(x->body) ? size * n : 0;
}
static size_t on_header(char *data, size_t size, size_t n, void *ctx) {
  struct exchange *x = ctx;
  size_t len = size * n;
  while (len && (data[len - 1] == '\r' || data[len - 1] == '\n')) len--;
  if (len >= 5 && strncmp(data, "HTTP/", 5) == 0) { /* of this answer; those of a redirect or of 100 Continue are forgotten */
    lc_buf_clear(&x->headers);
    x->n_headers = 0;
    x->decoded = false;
    return size * n;
  }
  const char *colon = memchr(data, ':', len);
  if (!colon) return size * n;
  size_t name_len = (size_t)(colon - data), at = name_len + 1;
  while (at < len && (data[at] == ' ' || data[at] == '\t')) at++;
  struct lc_slice value = lc_slice(data + at, len - at);
  x->too_big = x->headers.len + len > MAX_HEADER_BYTES;
  if (x->too_big) return 0;
  if (name_len == 16 && strncasecmp(data, "content-encoding", 16) == 0) x->decoded = !lc_slice_eq_str(value, "identity");
  lc_buf_u32(&x->headers, (uint32_t)name_len);
  for (size_t i = 0; i < name_len; i++) lc_buf_u8(&x->headers, (uint8_t)(data[i] >= 'A' && data[i] <= 'Z' ? data[i] + 32 : data[i]));
  lc_buf_bsatn_bytes(&x->headers, value);
  x->n_headers++;
  return size * n;
}
static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
  struct exchange *x = ctx;
  (void)a, (void)b, (void)c, (void)d;
  return x->policy->cancelled && x->policy->cancelled(x->policy->ctx);
}

static void init_curl(void) { curl_global_init(CURL_GLOBAL_DEFAULT); }

/* Headers of the module in curl's form; false: *err. */
static bool put_headers(const struct http_request *q, bool has_body, struct curl_slist **list, struct lc_error *err) {
  struct lc_reader r = q->headers;
  struct lc_buf line = {0};
  bool ok = true, has_type = false;
  size_t total = 0;
  for (uint32_t i = 0; i < q->n_headers && ok; i++) {
    struct lc_slice name = lc_read_bytes(&r), value = lc_read_bytes(&r);
    ok = is_token(name) && is_header_value(value) && (total += name.len + value.len) <= MAX_HEADER_BYTES;
    if (!ok) {
      lc_fail(err, LC_INVALID, "invalid HTTP header");
      break;
    }
    if ((name.len == 14 && strncasecmp((const char *)name.data, "content-length", 14) == 0) || (name.len == 17 && strncasecmp((const char *)name.data, "transfer-encoding", 17) == 0)) continue; /* ours */
    has_type = has_type || (name.len == 12 && strncasecmp((const char *)name.data, "content-type", 12) == 0);
    lc_buf_clear(&line);
    lc_buf_slice_append(&line, name);
    lc_buf_str(&line, value.len ? ": " : ";");
    lc_buf_slice_append(&line, value);
    lc_buf_u8(&line, 0);
    struct curl_slist *more = lc_buf_ok(&line) ? curl_slist_append(*list, (const char *)line.data) : NULL;
    ok = more != NULL;
    if (ok) *list = more;
    else lc_fail(err, LC_NOMEM, "out of memory");
  }
  lc_buf_free(&line);
  struct curl_slist *more = ok ? curl_slist_append(*list, "Expect:") : NULL;
  if (more) *list = more;
  more = ok && has_body && !has_type ? curl_slist_append(*list, "Content-Type:") : NULL; /* curl would add one of its own */
  if (more) *list = more;
  return ok;
}

/* The answer's BSATN: headers, version, status. */
static void put_response(CURL *curl, struct exchange *x, struct lc_buf *out) {
  long status = 0, version = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(curl, CURLINFO_HTTP_VERSION, &version);
  size_t count_at = out->len;
  uint32_t n = 0;
  lc_buf_u32(out, 0);
  struct lc_reader r = lc_reader(lc_buf_slice(&x->headers));
  for (uint32_t i = 0; i < x->n_headers; i++) {
    struct lc_slice name = lc_read_bytes(&r), value = lc_read_bytes(&r);
    if (x->decoded && (lc_slice_eq_str(name, "content-encoding") || lc_slice_eq_str(name, "content-length"))) continue;
    lc_buf_bsatn_bytes(out, name);
    lc_buf_bsatn_bytes(out, value);
    n++;
  }
  lc_buf_patch_u32(out, count_at, n);
  lc_buf_u8(out, version == CURL_HTTP_VERSION_1_0 ? 1 : version == CURL_HTTP_VERSION_2_0 ? 3 : version == CURL_HTTP_VERSION_3 ? 4 : 2);
  lc_buf_u16(out, (uint16_t)status);
}

static enum lc_status perform(const struct http_request *q, const char *uri, struct lc_slice body, const struct lc_http_policy *policy, struct lc_buf *response, struct lc_buf *response_body,
                              struct lc_error *err) {
  int64_t timeout_ms = q->has_timeout ? (q->timeout_us < 0 ? 0 : q->timeout_us / 1000) : DEFAULT_TIMEOUT_MS;
  if (timeout_ms > MAX_TIMEOUT_MS) timeout_ms = MAX_TIMEOUT_MS;
  int shown = (int)strcspn(uri, "?#"); /* without the query, which may hold secrets */
  if (timeout_ms == 0) return lc_fail(err, LC_IO, "error sending request for url (%.*s): operation timed out", shown, uri);
  struct exchange x = {.policy = policy, .body = response_body};
  struct curl_slist *headers = NULL;
  char detail[CURL_ERROR_SIZE] = "", method[64];
  snprintf(method, sizeof method, "%.*s", (int)q->method.len, (const char *)q->method.data);
  bool has_body = body.len > 0 || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
  CURL *curl = curl_easy_init();
  if (!curl) return lc_fail(err, LC_NOMEM, "out of memory");
  enum lc_status st = put_headers(q, has_body, &headers, err) ? LC_OK : err->status;
  if (st == LC_OK) {
    curl_easy_setopt(curl, CURLOPT_URL, uri);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)MAX_REDIRECTS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, q->version == 1 ? (long)CURL_HTTP_VERSION_1_0 : (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "gzip, br");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, &x);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &x);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &x);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &x);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    if (has_body) {
      curl_easy_setopt(curl, CURLOPT_POST, 1L); /* 301 to 303 then go on with GET, as everywhere */
      curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.len ? (const char *)body.data : "");
      curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
    }
    if (strcmp(method, "HEAD") == 0) curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    else if (strcmp(method, has_body ? "POST" : "GET") != 0) curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    CURLcode rc = curl_easy_perform(curl);
    if (rc == CURLE_OK) {
      put_response(curl, &x, response);
      st = lc_buf_ok(response) && lc_buf_ok(&x.headers) ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory");
    } else if (x.refused_one && !x.tried_one) {
      st = lc_fail(err, LC_IO, "error sending request for url (%.*s): %s", shown, uri, refusal);
    } else if (x.too_big) {
      st = lc_fail(err, LC_IO, "error sending request for url (%.*s): the answer exceeds the limit of %d bytes", shown, uri, MAX_BODY_BYTES);
    } else if (rc == CURLE_OPERATION_TIMEDOUT) {
      st = lc_fail(err, LC_IO, "error sending request for url (%.*s): operation timed out", shown, uri);
    } else if (rc == CURLE_URL_MALFORMAT || rc == CURLE_UNSUPPORTED_PROTOCOL) {
      st = lc_fail(err, LC_IO, "invalid URI: %s", curl_easy_strerror(rc));
    } else {
      st = lc_fail(err, LC_IO, "error sending request for url (%.*s): %s%s%s", shown, uri, curl_easy_strerror(rc), detail[0] && !strchr(detail, '?') ? ": " : "", strchr(detail, '?') ? "" : detail);
    }
  }
  curl_slist_free_all(headers);
  curl_easy_cleanup(curl);
  lc_buf_free(&x.headers);
  return st;
}

enum lc_status lc_http_request(struct lc_slice request, struct lc_slice body, const struct lc_http_policy *policy, struct lc_buf *response, struct lc_buf *response_body, struct lc_error *err) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  struct http_request q;
  if (!decode(request, &q)) return lc_fail(err, LC_INVALID, "the request cannot be decoded");
  if (policy->disabled) return lc_fail(err, LC_UNSUPPORTED, "module outbound HTTP requests are disabled");
  if (!is_token(q.method) || q.method.len > 32) return lc_fail(err, LC_INVALID, "invalid HTTP method");
  if (q.uri.len > MAX_URI_BYTES || memchr(q.uri.data, 0, q.uri.len)) return lc_fail(err, LC_INVALID, "invalid URI");
  pthread_once(&once, init_curl);
  char *uri = lc_strdup_n(q.uri.data, q.uri.len);
  if (!uri) return lc_fail(err, LC_NOMEM, "out of memory");
  bool absolute = strncasecmp(uri, "http://", 7) == 0 || strncasecmp(uri, "https://", 8) == 0;
  enum lc_status st = absolute ? perform(&q, uri, body, policy, response, response_body, err) : lc_fail(err, LC_INVALID, "invalid URI: an absolute http or https URL is needed");
  lc_free(uri);
  return st;
}
