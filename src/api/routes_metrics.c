/* Owns: GET /v1/metrics, the page for Prometheus (spec/04 §3.15; text format 0.0.4). Who may see it: everybody, as the specification has it.
 *
 * The page is made on a thread of its own, one at a time, because it waits for each database's baton, for WAIT_MS at most in all; what it says is in metrics_table.h.
 * Callers: routes.c.
 */
#include "server.h"
#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

enum { WAIT_MS = 250, MAX_WAITING_PAGES = 8 };
enum server_value { CPU_US, RSS_BYTES, OPEN_FILES, START_US, DATABASES, CONNECTIONS, ACCEPTED, HTTP_REQUESTS, MESSAGES_IN, MESSAGES_OUT, BYTES_IN, BYTES_OUT, HANDED_OVER, N_SERVER_VALUES };
enum unit { ONE, MICROSECONDS };
enum reducer_value { REDUCER_CALLS, REDUCER_DURATION, REDUCER_ENERGY };

struct source { struct database *database; char hex[65]; struct lc_db_metrics metrics; };
struct page { struct lc_buf b; uint64_t server[N_SERVER_VALUES]; struct source *sources; uint32_t n; };

/* ---- writing ---- */

static void head(struct page *p, const char *name, const char *type, const char *help) { lc_buf_printf(&p->b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type); }
static void value(struct page *p, enum unit unit, uint64_t v) {
  if (unit == ONE) lc_buf_printf(&p->b, " %llu\n", (unsigned long long)v);
  else lc_buf_printf(&p->b, " %llu.%06u\n", (unsigned long long)(v / 1000000), (unsigned)(v % 1000000));
}
static void label(struct page *p, char before, const char *name, struct lc_slice text) {
  lc_buf_printf(&p->b, "%c%s=\"", before, name);
  for (size_t i = 0; i < text.len; i++) {
    uint8_t c = text.data[i];
    if (c == '\\' || c == '"') lc_buf_u8(&p->b, '\\');
    if (c == '\n') lc_buf_str(&p->b, "\\n");
    else lc_buf_u8(&p->b, c);
  }
  lc_buf_u8(&p->b, '"');
}

static void server_metric(struct page *p, enum server_value v, enum unit unit, const char *name) {
  lc_buf_str(&p->b, name);
  value(p, unit, p->server[v]);
}
/* What a database does not have (UINT64_MAX) is left out. */
static void database_metric(struct page *p, enum lc_db_metric v, enum unit unit, const char *name) {
  for (uint32_t i = 0; i < p->n; i++) {
    const struct source *s = &p->sources[i];
    if (s->metrics.values[v] == UINT64_MAX) continue;
    lc_buf_printf(&p->b, "%s{db=\"%s\"}", name, s->hex);
    value(p, unit, s->metrics.values[v]);
  }
}
static void database_summary(struct page *p, enum lc_db_metric sum, enum lc_db_metric count, enum unit unit, const char *name) {
  char part[128];
  snprintf(part, sizeof part, "%s_sum", name);
  database_metric(p, sum, unit, part);
  snprintf(part, sizeof part, "%s_count", name);
  database_metric(p, count, ONE, part);
}
static void reducer_labels(struct page *p, const struct source *s, const struct lc_db_reducer_metrics *r, const char *name, const char *suffix) {
  lc_buf_printf(&p->b, "%s%s{db=\"%s\"", name, suffix, s->hex);
  label(p, ',', "reducer", r->name);
}
static void reducer_calls(struct page *p, const struct source *s, const struct lc_db_reducer_metrics *r, const char *name) {
  static const char *const outcomes[LC_REDUCER_REJECTED] = {[LC_REDUCER_COMMITTED] = "committed", [LC_REDUCER_FAILED_USER] = "failed", [LC_REDUCER_FAILED_INTERNAL] = "fatal", [LC_REDUCER_OUT_OF_ENERGY] = "budget"};
  for (int k = 0; k < LC_REDUCER_REJECTED; k++) {
    reducer_labels(p, s, r, name, "");
    lc_buf_printf(&p->b, ",outcome=\"%s\"}", outcomes[k]);
    value(p, ONE, r->calls[k]);
  }
}
static void reducer_duration(struct page *p, const struct source *s, const struct lc_db_reducer_metrics *r, const char *name) {
  uint64_t sum = 0;
  for (int k = 0; k < LC_DB_N_DURATIONS; k++) {
    reducer_labels(p, s, r, name, "_bucket");
    if (k < LC_DB_N_DURATIONS - 1) lc_buf_printf(&p->b, ",le=\"%g\"}", (double)lc_db_duration_bounds_us[k] / 1e6);
    else lc_buf_str(&p->b, ",le=\"+Inf\"}");
    value(p, ONE, sum += r->durations[k]);
  }
  reducer_labels(p, s, r, name, "_sum");
  lc_buf_u8(&p->b, '}');
  value(p, MICROSECONDS, r->duration_us);
  reducer_labels(p, s, r, name, "_count");
  lc_buf_u8(&p->b, '}');
  value(p, ONE, sum);
}
static void reducer_metric(struct page *p, enum reducer_value v, const char *name) {
  for (uint32_t i = 0; i < p->n; i++)
    for (uint32_t k = 0; k < p->sources[i].metrics.n_reducers; k++) {
      const struct source *s = &p->sources[i];
      const struct lc_db_reducer_metrics *r = &s->metrics.reducers[k];
      if (v == REDUCER_CALLS) reducer_calls(p, s, r, name);
      if (v == REDUCER_DURATION) reducer_duration(p, s, r, name);
      if (v != REDUCER_ENERGY) continue;
      reducer_labels(p, s, r, name, "");
      lc_buf_u8(&p->b, '}');
      value(p, ONE, r->energy ? r->energy : r->duration_us * 2000);
    }
}
static void table_metric(struct page *p, size_t field, const char *name) {
  for (uint32_t i = 0; i < p->n; i++)
    for (uint32_t k = 0; k < p->sources[i].metrics.n_tables; k++) {
      const struct lc_db_table_metrics *t = &p->sources[i].metrics.tables[k];
      uint64_t v;
      memcpy(&v, (const uint8_t *)t + field, sizeof v);
      lc_buf_printf(&p->b, "%s{db=\"%s\",table_id=\"%u\"", name, p->sources[i].hex, t->table_id);
      label(p, ',', "table_name", t->name);
      lc_buf_u8(&p->b, '}');
      value(p, ONE, v);
    }
}

static void write_page(struct page *p) {
#define SERVER_METRIC(v, unit, name, type, help) \
  head(p, name, #type, help);                    \
  server_metric(p, v, unit, name);
#define DATABASE_METRIC(v, unit, name, type, help) \
  head(p, name, #type, help);                      \
  database_metric(p, v, unit, name);
#define DATABASE_SUMMARY(sum, count, unit, name, help) \
  head(p, name, "summary", help);                      \
  database_summary(p, sum, count, unit, name);
#define REDUCER_METRIC(v, name, type, labels, help) \
  head(p, name, #type, help);                       \
  reducer_metric(p, v, name);
#define TABLE_METRIC(field, name, type, help) \
  head(p, name, #type, help);                 \
  table_metric(p, offsetof(struct lc_db_table_metrics, field), name);
#include "metrics_table.h"
}

/* ---- collecting ---- */

static uint64_t resident_bytes(void) {
  unsigned long long total, resident = 0;
  FILE *f = fopen("/proc/self/statm", "re");
  if (!f) return 0;
  if (fscanf(f, "%llu %llu", &total, &resident) != 2) resident = 0;
  fclose(f);
  return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
static uint64_t open_files(void) {
  uint64_t n = 0;
  DIR *d = opendir("/proc/self/fd");
  for (struct dirent *e; d && (e = readdir(d));) n += e->d_name[0] != '.';
  if (d) closedir(d);
  return n ? n - 1 : 0; /* without the folder itself */
}
static uint64_t us_of(struct timeval t) { return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec; }
static void measure_server(struct server *s, struct page *p) {
  struct rusage usage;
  struct lc_net_stats net = {0};
  struct lc_net *running = atomic_load(&s->net);
  if (running) lc_net_stats_get(running, &net);
  getrusage(RUSAGE_SELF, &usage);
  uint64_t *v = p->server;
  v[CPU_US] = us_of(usage.ru_utime) + us_of(usage.ru_stime);
  v[RSS_BYTES] = resident_bytes();
  v[OPEN_FILES] = open_files();
  v[START_US] = (uint64_t)s->started_us;
  v[DATABASES] = p->n;
  v[CONNECTIONS] = net.connections;
  v[ACCEPTED] = net.accepted;
  v[HTTP_REQUESTS] = net.requests;
  v[MESSAGES_IN] = net.messages_in;
  v[MESSAGES_OUT] = net.messages_out;
  v[BYTES_IN] = net.bytes_in;
  v[BYTES_OUT] = net.bytes_out;
  v[HANDED_OVER] = net.handed_over;
}
static bool take_databases(struct server *s, struct page *p) {
  uint32_t n = 0;
  pthread_rwlock_rdlock(&s->lock);
  for (struct database *d = s->databases; d; d = d->next) n++;
  p->sources = lc_alloc_zero(n + 1, sizeof *p->sources);
  for (struct database *d = s->databases; d && p->sources; d = d->next) {
    database_ref(d);
    p->sources[p->n++].database = d;
  }
  pthread_rwlock_unlock(&s->lock);
  return p->sources != NULL;
}
static bool make_page(struct server *s, struct page *p) {
  bool ok = take_databases(s, p);
  int64_t until_ns = lc_env_system.monotonic_ns(NULL) + WAIT_MS * 1000000ll;
  for (uint32_t i = 0; i < p->n; i++) {
    struct source *from = &p->sources[i];
    lc_identity_hex(&from->database->identity, from->hex);
    if (from->database->db) ok = ok && lc_db_metrics_read(from->database->db, until_ns, &from->metrics);
    else
      for (int v = 0; v < LC_DB_N_METRICS; v++) from->metrics.values[v] = v == LC_DB_IS_UP ? 0 : UINT64_MAX;
    from->metrics.values[LC_DB_RESPONSE_BYTES] = atomic_load_explicit(&from->database->response_bytes, memory_order_relaxed);
  }
  measure_server(s, p);
  if (ok) write_page(p);
  for (uint32_t i = 0; i < p->n; i++) {
    lc_db_metrics_free(&p->sources[i].metrics);
    database_unref(p->sources[i].database);
  }
  lc_free(p->sources);
  return ok && lc_buf_ok(&p->b);
}

struct job { struct server *server; struct answer *answer; };
static void *page_main(void *arg) {
  struct job job = *(struct job *)arg;
  struct server *s = job.server;
  struct page p = {0};
  lc_free(arg);
  pthread_mutex_lock(&s->page_lock);
  bool ok = make_page(s, &p);
  pthread_mutex_unlock(&s->page_lock);
  if (ok) {
    job.answer->content_type = "text/plain; version=0.0.4; charset=utf-8";
    job.answer->body = p.b;
  } else {
    lc_buf_free(&p.b);
    answer_text(job.answer, 500, "out of memory");
  }
  atomic_fetch_sub(&s->n_pages, 1);
  server_answer(s, job.answer, NULL, UINT64_MAX);
  server_worker_ends(s);
  return NULL;
}

void route_metrics(struct request *q) {
  struct server *s = q->server;
  if (atomic_fetch_add(&s->n_pages, 1) >= MAX_WAITING_PAGES) {
    atomic_fetch_sub(&s->n_pages, 1);
    request_text(q, 503, "too many requests for metrics at once");
    return;
  }
  struct job *job = lc_alloc_zero(1, sizeof *job);
  if (job) *job = (struct job){s, request_answer(q, 200)};
  if (job && server_start_worker(s, page_main, job)) return;
  if (job) answer_free(job->answer);
  lc_free(job);
  atomic_fetch_sub(&s->n_pages, 1);
  request_text(q, 503, "no thread or no memory for this page");
}
