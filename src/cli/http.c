/* HTTP client over libcurl: one request at a time, bodies collected or streamed.
 *
 * Invariants: no redirects are followed (the token must not travel), only http and https are spoken, a collected body is at most
 * LC_CLI_REPLY_MAX_BYTES. Callers: every command that talks to a server.
 */
#include "cli_internal.h"
#include <curl/curl.h>
#include <stdio.h>

struct transfer {
  CURL *curl;
  const struct lc_cli_request *request;
  struct lc_cli_reply *reply;
  bool stopped, too_long;
};

static size_t on_write(char *data, size_t size, size_t count, void *arg) {
  struct transfer *t = arg;
  size_t n = size * count;
  long status = 0;
  curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
  if (t->request->on_data && status >= 200 && status < 300) {
    if (t->request->on_data(t->request->ctx, lc_slice(data, n))) return n;
    t->stopped = true;
    return 0;
  }
  t->too_long = t->reply->body.len + n > LC_CLI_REPLY_MAX_BYTES;
  if (t->too_long) return 0;
  lc_buf_append(&t->reply->body, data, n);
  return lc_buf_ok(&t->reply->body) ? n : 0;
}

static struct curl_slist *add_header(struct curl_slist *list, const char *line) {
  struct curl_slist *longer = curl_slist_append(list, line);
  if (!longer) lc_cli_out_of_memory();
  return longer;
}

int lc_cli_http(struct lc_cli *cli, const struct lc_cli_request *q, struct lc_cli_reply *reply) {
  static bool ready;
  if (!ready) curl_global_init(CURL_GLOBAL_DEFAULT);
  ready = true;
  *reply = (struct lc_cli_reply){0};
  CURL *curl = curl_easy_init();
  if (!curl) lc_cli_out_of_memory();
  struct transfer t = {.curl = curl, .request = q, .reply = reply};
  struct curl_slist *headers = NULL;
  char why[CURL_ERROR_SIZE] = "";
  if (q->token) {
    char *line = lc_cli_format("Authorization: Bearer %s", q->token);
    headers = add_header(headers, line);
    lc_free(line);
  }
  char *type = q->content_type ? lc_cli_format("Content-Type: %s", q->content_type) : lc_cli_copy("Content-Type:");
  headers = add_header(headers, type);
  headers = add_header(headers, "Expect:"); /* no pause before large bodies */
  for (const char *const *h = q->headers; h && *h; h++) headers = add_header(headers, *h);
  curl_easy_setopt(curl, CURLOPT_URL, q->url);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "spacetime/" LC_CLI_VERSION);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 30L);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT, q->timeout_s);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_write);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &t);
  if (strcmp(q->method, "GET") != 0 && (q->has_body || strcmp(q->method, "DELETE") != 0)) {
    curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, q->body.len ? (const char *)q->body.data : "");
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body.len);
  }
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, q->method);
  CURLcode code = curl_easy_perform(curl);
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply->status);
  curl_slist_free_all(headers);
  curl_easy_cleanup(curl);
  lc_free(type);
  if (!lc_buf_reserve(&reply->body, 1)) lc_cli_out_of_memory();
  reply->body.data[reply->body.len] = 0;
  if (code == CURLE_OK || t.stopped) return 0;
  lc_buf_free(&reply->body);
  lc_cli_fail(cli, t.too_long ? "the answer of %s is too long" : "error sending request for url (%s)", q->url);
  return lc_cli_cause(cli, "%s", *why ? why : curl_easy_strerror(code));
}

const char *lc_cli_http_reason(long status) {
  static const struct { long status; const char *reason; } reasons[] = {
    {200, "OK"}, {204, "No Content"}, {301, "Moved Permanently"}, {302, "Found"}, {307, "Temporary Redirect"}, {308, "Permanent Redirect"},
    {400, "Bad Request"}, {401, "Unauthorized"}, {402, "Payment Required"}, {403, "Forbidden"}, {404, "Not Found"}, {405, "Method Not Allowed"},
    {408, "Request Timeout"}, {409, "Conflict"}, {413, "Payload Too Large"}, {415, "Unsupported Media Type"}, {422, "Unprocessable Entity"},
    {426, "Upgrade Required"}, {428, "Precondition Required"}, {429, "Too Many Requests"}, {500, "Internal Server Error"},
    {501, "Not Implemented"}, {502, "Bad Gateway"}, {503, "Service Unavailable"}, {504, "Gateway Timeout"},
  };
  for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
    if (reasons[i].status == status) return reasons[i].reason;
  return "<unknown status code>";
}

int lc_cli_http_fail(struct lc_cli *cli, const struct lc_cli_reply *reply, const char *url) {
  const char *kind = reply->status >= 500 ? "server error " : reply->status >= 400 ? "client error " : "";
  char *status = lc_cli_format("HTTP status %s(%ld %s) for url (%s)", kind, reply->status, lc_cli_http_reason(reply->status), url);
  if (reply->body.len) {
    lc_cli_fail(cli, "%s", (const char *)reply->body.data);
    lc_cli_cause(cli, "%s", status);
  } else {
    lc_cli_fail(cli, "%s", status);
  }
  lc_free(status);
  return 1;
}

char *lc_cli_url_escape(const char *text) {
  struct lc_buf out = {0};
  for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
    bool plain = (*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') || strchr("-_.~", *p);
    if (plain) lc_buf_u8(&out, *p);
    else lc_buf_printf(&out, "%%%02X", *p);
  }
  return lc_cli_text(&out);
}
