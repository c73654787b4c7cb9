/* One run: a database with a schema by chance lives several times; clients call, subscribe and are answered; the disk fails, the power is cut, bits flip; and after
 * each life what is on the disk is recovered and compared with the model, which is the list of committed transactions and what the module did in them.
 *
 *   build/sim/simulator [-v] [-s] [-t] [-b BUG] FIRST COUNT
 *   -v: tells every file operation; -s: how often each fault came; -t: each seed twice, which must be the same; -b: with a planted bug, until it is caught */
#include "sim.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DIR "/d/db"
enum { MAX_TABLES = 8, MAX_CLIENTS = 3, CREATED_END = 2 /* bootstrap and init */ };
enum lc_planted_bug lc_planted_bug;
bool sim_verbose;
uint64_t sim_faults_seen[SIM_N_FAULTS], sim_reached[SIM_N_REACHED];
static uint64_t seed, random_state, run_hash;

uint64_t sim_random(void) { /* splitmix64 */
  uint64_t z = random_state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}
void sim_trace(uint64_t what, const void *data, size_t len) {
  run_hash = run_hash * 0x100000001b3 + what;
  if (len) run_hash = lc_hash64(data, len, run_hash);
}
_Noreturn void sim_fail(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  printf("seed %llu: ", (unsigned long long)seed);
  vprintf(fmt, ap);
  printf("\n  again: build/sim/simulator -v -b %d %llu 1\n", (int)lc_planted_bug, (unsigned long long)seed);
  va_end(ap);
  fflush(stdout);
  _exit(1);
}

/* ---- the environment ---- */

static int64_t clock_offset_us;
static int64_t world_us(void *ctx) { (void)ctx; return 1700000000000000 + sim_now_ns() / 1000 + clock_offset_us; }
static int64_t world_ns(void *ctx) { (void)ctx; return sim_now_ns(); }
static void world_random(void *ctx, void *out, size_t n) { (void)ctx; for (uint8_t *p = out; n--;) *p++ = (uint8_t)sim_random(); }
static const struct lc_env env = {NULL, world_us, world_ns, world_random};
struct module_log;
struct module_log *__real_module_log_open(const char *dir, uint32_t max_days, uint64_t max_bytes, struct lc_error *err);
struct module_log *__wrap_module_log_open(const char *dir, uint32_t max_days, uint64_t max_bytes, struct lc_error *err) { (void)dir; return __real_module_log_open(NULL, max_days, max_bytes, err); } /* promises nothing: kept in memory */

void __wrap_lc_log(enum lc_log_level level, const char *fmt, ...) LC_PRINTF(2, 3);
void __wrap_lc_log(enum lc_log_level level, const char *fmt, ...) {
  va_list ap;
  if (!sim_verbose) return;
  va_start(ap, fmt);
  fprintf(stderr, "  log %d: ", (int)level);
  vfprintf(stderr, fmt, ap);
  fputc('\n', stderr);
  va_end(ap);
}

/* ---- the model ---- */

static struct sim_changes *history; /* by offset: all that was committed */
static int64_t *history_us; /* the wall clock at each */
static uint64_t n_history, promised_end; /* before it everything must be there */
static uint64_t told_end; /* what unconfirmed clients have been told of */
static uint64_t life_begin; /* offset */
static int64_t life_begin_us, life_max_us; /* of the wall clock */
struct rows { uint32_t table; struct lc_buf *list; uint32_t n; };
struct tables { struct rows t[MAX_TABLES]; uint32_t n; };

static struct rows *rows_of(struct tables *s, uint32_t table) {
  for (uint32_t i = 0; i < s->n; i++)
    if (s->t[i].table == table) return &s->t[i];
  if (s->n == MAX_TABLES) abort();
  s->t[s->n] = (struct rows){.table = table};
  return &s->t[s->n++];
}
static int row_find(const struct rows *r, struct lc_slice row) {
  for (uint32_t i = 0; i < r->n; i++)
    if (lc_slice_eq(lc_buf_slice(&r->list[i]), row)) return (int)i;
  return -1;
}
static bool row_add(struct rows *r, struct lc_slice row) {
  if (row_find(r, row) >= 0) return false;
  if (!(r->list = realloc(r->list, sizeof *r->list * (r->n + 1)))) abort();
  r->list[r->n] = (struct lc_buf){0};
  lc_buf_slice_append(&r->list[r->n++], row);
  return true;
}
static bool row_remove(struct rows *r, struct lc_slice row) {
  int i = row_find(r, row);
  if (i < 0) return false;
  lc_buf_free(&r->list[i]);
  r->list[i] = r->list[--r->n];
  return true;
}
static void tables_free(struct tables *s) {
  for (uint32_t i = 0; i < s->n; i++) {
    for (uint32_t k = 0; k < s->t[i].n; k++) lc_buf_free(&s->t[i].list[k]);
    free(s->t[i].list);
  }
  s->n = 0;
}
static struct tables model_at(uint64_t end) {
  struct tables s = {.n = 0};
  for (uint64_t o = 0; o < end; o++)
    for (uint32_t i = 0; i < history[o].n; i++) {
      const struct sim_change *c = &history[o].list[i];
      struct rows *r = rows_of(&s, c->table);
      if (c->insert) row_add(r, lc_buf_slice(&c->row));
      else if (!row_remove(r, lc_buf_slice(&c->row))) sim_fail("transaction %llu deleted a row of table %u that the model has not", (unsigned long long)o, c->table);
    }
  return s;
}
static void history_cut(uint64_t end) {
  while (n_history > end) sim_changes_clear(&history[--n_history]);
}
uint64_t __real_lc_wal_append(struct lc_wal *wal, struct lc_slice payload);
uint64_t __wrap_lc_wal_append(struct lc_wal *wal, struct lc_slice payload) { /* every transaction that commits comes by here */
  uint64_t offset = __real_lc_wal_append(wal, payload);
  if (offset != n_history) sim_fail("transaction %llu follows %llu", (unsigned long long)offset, (unsigned long long)n_history);
  if (!(history = realloc(history, sizeof *history * (n_history + 1))) || !(history_us = realloc(history_us, sizeof *history_us * (n_history + 1)))) abort();
  history_us[n_history] = world_us(NULL);
  history[n_history++] = sim_changes;
  sim_changes = (struct sim_changes){0};
  sim_trace('comm', payload.data, payload.len);
  return offset;
}
void sim_check_generated(uint32_t table, uint64_t value) {
  sim_reached[SIM_GENERATED]++;
  for (uint64_t o = 0; o < n_history; o++)
    for (uint32_t i = 0; i < history[o].n; i++) {
      const struct sim_change *c = &history[o].list[i];
      uint64_t had;
      if (c->table != table || !c->insert) continue;
      memcpy(&had, c->row.data, 8);
      if (had == value) sim_fail("sequence of table %u gives %llu again, which transaction %llu has committed", table, (unsigned long long)value, (unsigned long long)o);
    }
}

/* Where a row that is there now was inserted; UINT64_MAX: it is not there. A transaction that takes it and brings it again has not touched it. */
static uint64_t inserted_at(uint32_t table, struct lc_slice row) {
  for (uint64_t o = n_history; o-- > 0;) {
    const struct sim_change *first = NULL, *last = NULL;
    for (uint32_t i = 0; i < history[o].n; i++) {
      const struct sim_change *c = &history[o].list[i];
      if (c->table != table || !lc_slice_eq(lc_buf_slice(&c->row), row)) continue;
      if (!first) first = c;
      last = c;
    }
    if (last && !last->insert) return UINT64_MAX;
    if (last && first->insert) return o;
  }
  return UINT64_MAX;
}
/* The interval rows of this life and how often they were called. */
static struct ticking { uint64_t row_hash, inserted_at, n; } *ticking;
static uint32_t n_ticking;
void sim_check_tick(uint32_t table, struct lc_slice row, int64_t now_us) {
  int64_t us;
  uint64_t at = inserted_at(table, row), hash = lc_hash64(row.data, row.len, table);
  memcpy(&us, row.data + 9, 8);
  if (at == UINT64_MAX) sim_fail("a scheduled call of a row that is not there: done twice, or rolled back");
  if (row.data[8] == 1) { /* at a point in time */
    sim_reached[SIM_ONCE]++;
    sim_reached[SIM_OVERDUE] += us < life_begin_us;
    if (now_us < us) sim_fail("a scheduled call %lld us before its time", (long long)(us - now_us));
    return;
  }
  uint32_t i = 0;
  while (i < n_ticking && (ticking[i].row_hash != hash || ticking[i].inserted_at != at)) i++;
  if (i == n_ticking) {
    if (!(ticking = realloc(ticking, sizeof *ticking * ++n_ticking))) abort();
    ticking[i] = (struct ticking){hash, at, 0};
  }
  sim_reached[SIM_INTERVAL]++;
  int64_t armed_us = at >= life_begin ? history_us[at] : life_begin_us;
  if (now_us < armed_us + (int64_t)++ticking[i].n * us) sim_fail("call %llu of an interval of %lld us comes %lld us after the row did", (unsigned long long)ticking[i].n, (long long)us, (long long)(now_us - armed_us));
}

struct comparison { struct lc_datastore *ds; struct tables *model; const char *when; };
static void compare_table(void *ctx, const struct lc_table_info *t) {
  struct comparison *c = ctx;
  struct lc_read_view v = {.ds = c->ds};
  if (t->is_system) return;
  struct rows *want = rows_of(c->model, t->table_id);
  struct lc_slice all = lc_slice("\2", 1), none = {0};
  struct lc_error err;
  for (uint32_t i = 0; i <= t->n_indexes; i++) { /* the table, then each index */
    struct lc_row_iter *it;
    uint32_t n = 0;
    if (i && t->indexes[i - 1].kind == LC_INDEX_HASH) continue;
    int rc = i ? lc_view_scan_range(v, t->indexes[i - 1].index_id, none, 0, all, all, &it, &err) : lc_view_scan(v, t->table_id, &it);
    if (rc != LC_ERRNO_OK) sim_fail("%s: scan: %d", c->when, rc);
    for (struct lc_slice row; (row = lc_row_iter_next(it)).data; n++)
      if (row_find(want, row) < 0) sim_fail("%s: table %.*s has a row that was never committed or is deleted", c->when, (int)t->name.len, (const char *)t->name.data);
    lc_row_iter_close(it);
    if (n != want->n) sim_fail("%s: %s %u of table %.*s has %u rows, the model %u", c->when, i ? "index" : "scan", i, (int)t->name.len, (const char *)t->name.data, n, want->n);
  }
}
static void compare(struct lc_datastore *ds, uint64_t end, const char *when) {
  struct tables model = model_at(end);
  struct comparison c = {ds, &model, when};
  lc_datastore_each_table(ds, compare_table, &c);
  tables_free(&model);
}

/* ---- clients ---- */

struct client { struct lc_db_client c; struct tables mirror; bool subscribed; uint64_t set_id, below, asked_below[8]; /* of the first column of every table; UINT64_MAX: no condition; of the sets asked for */ uint32_t n_calls; };
static struct client *clients[MAX_CLIENTS];
static struct lc_db_outbox *network; /* answers on their way */
static int64_t alarm_us;

static struct { const char *name; uint32_t bytes; } first_columns[3]; /* of the tables a, b and c */
/* Is it a row of the client's queries? */
static bool is_wanted(const struct client *c, uint32_t table, struct lc_slice row) {
  uint64_t v = 0;
  if (table < LC_FIRST_USER_ID || table >= LC_FIRST_USER_ID + 3) return false; /* the timers are private */
  memcpy(&v, row.data, first_columns[table - LC_FIRST_USER_ID].bytes);
  return v < c->below;
}

static void fold(struct client *c, const struct lc_table_info *t, struct lc_slice list, uint32_t n, bool insert) { /* BsatnRowList, spec/03 §5 */
  struct lc_reader r = lc_reader(list);
  if (!list.len && n == 0) return;
  uint8_t tag = lc_read_u8(&r);
  uint32_t size = 0, count = 0;
  const uint8_t *offsets = NULL;
  if (tag == 0) size = lc_read_u16(&r);
  else offsets = lc_read_raw(&r, 8 * (size_t)(count = lc_read_u32(&r)));
  struct lc_slice data = lc_read_bytes(&r);
  if (r.failed) sim_fail("a list of rows cannot be read");
  if (tag == 0) count = size ? (uint32_t)(data.len / size) : n;
  if (count != n) sim_fail("a list of %u rows says %u", count, n);
  struct rows *rows = rows_of(&c->mirror, t->table_id);
  for (uint32_t i = 0; i < n; i++) {
    uint64_t from = (uint64_t)i * size, to = from + size;
    if (offsets) {
      memcpy(&from, offsets + 8 * i, 8);
      to = data.len;
      if (i + 1 < n) memcpy(&to, offsets + 8 * (i + 1), 8);
    }
    struct lc_slice row = lc_slice(data.data + from, to - from);
    if (!is_wanted(c, t->table_id, row)) sim_fail("a subscription %s a row that is not of its query", insert ? "brings" : "removes");
    if (!(insert ? row_add(rows, row) : row_remove(rows, row))) sim_fail("a subscription %s a row that the client has%s", insert ? "brings" : "removes", insert ? " already" : " not");
  }
}
static void on_sets(struct client *c, const struct lc_set_update *sets, uint32_t n_sets) {
  for (uint32_t s = 0; s < n_sets; s++)
    for (uint32_t i = 0; i < sets[s].n; i++) {
      const struct lc_query_delta *q = sets[s].deltas[i];
      sim_reached[SIM_DELTAS] += q->n_deletes + q->n_inserts;
      fold(c, q->table, q->deletes, q->n_deletes, false);
      fold(c, q->table, q->inserts, q->n_inserts, true);
    }
}
static void on_connected(struct lc_db_client *c, enum lc_status st, const char *text) {
  (void)c;
  if (st != LC_OK && st != LC_IO) sim_fail("connect: %s", text);
}
static void on_result(struct lc_db_client *c, const struct lc_db_op *op, const struct lc_reducer_outcome *o) {
  (void)op;
  if (o->status == LC_REDUCER_FAILED_INTERNAL || o->status == LC_REDUCER_REJECTED) sim_fail("call: %.*s", (int)o->message.len, (const char *)o->message.data);
  on_sets((struct client *)c, o->sets, o->n_sets);
  lc_buf_u64(&c->out, o->status == LC_REDUCER_COMMITTED ? o->tx_offset : 0);
}
static void on_update(struct lc_db_client *c, const struct lc_set_update *sets, uint32_t n, const struct lc_reducer_outcome *cause) { (void)cause; on_sets((struct client *)c, sets, n); }
static void on_applied(struct lc_db_client *c, const struct lc_db_op *op, const struct lc_query_rows *rows, uint32_t n) {
  ((struct client *)c)->subscribed = true;
  ((struct client *)c)->below = ((struct client *)c)->asked_below[op->query_set_id % 8];
  sim_reached[SIM_APPLIED]++;
  sim_reached[SIM_FILTERED] += ((struct client *)c)->below != UINT64_MAX;
  for (uint32_t i = 0; i < n; i++) fold((struct client *)c, rows[i].table, rows[i].row_list, rows[i].n_rows, true);
}
static void on_unsubscribed(struct lc_db_client *c, const struct lc_db_op *op, const struct lc_query_rows *rows, uint32_t n) {
  (void)op; (void)rows; (void)n;
  ((struct client *)c)->subscribed = false;
  tables_free(&((struct client *)c)->mirror);
  sim_reached[SIM_DROPPED]++;
}
static void on_error(struct lc_db_client *c, const struct lc_db_op *op, const char *text) { (void)c; (void)op; sim_fail("subscribe: %s", text); }
static bool on_set_failed(struct lc_db_client *c, uint64_t id, const char *text) { (void)c; (void)id; sim_fail("subscription ended: %s", text); }
static void on_closed(struct lc_db_client *c) { (void)c; }
static const struct lc_db_client_ops client_ops = {.connected = on_connected, .reducer_result = on_result, .transaction_update = on_update, .subscribe_applied = on_applied, .unsubscribe_applied = on_unsubscribed,
                                                   .subscription_error = on_error, .set_failed = on_set_failed, .closed = on_closed};

static void on_deliver(void *ctx, uint32_t thread, struct lc_db_outbox *o) {
  (void)ctx; (void)thread;
  struct lc_db_outbox **end = &network;
  while (*end) end = &(*end)->next;
  o->next = NULL;
  *end = o;
}
static uint64_t announced_end; /* by the callback, which is what answers wait for */
static void on_durable(void *ctx, struct lc_db *db, uint64_t end) {
  (void)ctx; (void)db;
  if (end > announced_end) announced_end = end;
  sim_trace('dura', &end, sizeof end);
}
static void on_wake(void *ctx, struct lc_db *db) { (void)ctx; (void)db; }
static void on_alarm(void *ctx, struct lc_db *db, int64_t at_us) { (void)ctx; (void)db; alarm_us = at_us; }

/* Answers whose time has come reach their clients. After a power cut nobody receives anything. */
static void receive(struct lc_db *db) {
  while (network && !sim_disk_crashed()) {
    uint64_t durable_end = lc_db_durable_offset(db);
    if (announced_end > durable_end) durable_end = announced_end;
    struct lc_db_outbox **at = &network;
    while (*at && (*at)->release_offset != UINT64_MAX && (*at)->release_offset > durable_end) at = &(*at)->next;
    struct lc_db_outbox *o = *at;
    if (!o) return;
    *at = o->next;
    for (uint32_t i = 0; i < o->n; i++)
      for (size_t k = 0; k + 8 <= o->entries[i].bytes.len; k += 8) {
        uint64_t end;
        memcpy(&end, o->entries[i].bytes.data + k, 8);
        sim_trace('answ', &end, sizeof end);
        bool confirmed = o->entries[i].client->confirmed;
        sim_reached[confirmed ? SIM_CONFIRMED : SIM_UNCONFIRMED]++;
        if (confirmed && end > promised_end) promised_end = end;
        if (!confirmed && end > told_end) told_end = end;
      }
    lc_db_outbox_free(o);
  }
}
static void call(struct lc_db *db, struct client *c, enum lc_db_op_kind kind) {
  struct lc_db_batch *b = lc_db_batch_new();
  struct lc_db_op *op = lc_db_batch_add(b, kind, &c->c);
  uint64_t argument = sim_random();
  op->request_id = ++c->n_calls;
  if (kind == LC_OP_CALL_REDUCER) {
    op->name_len = 4;
    lc_buf_str(&b->bytes, "work");
    op->args_at = 4;
    op->args_len = 8;
    lc_buf_u64(&b->bytes, argument);
  } else if (kind == LC_OP_SUBSCRIBE) {
    op->query_set_id = ++c->set_id;
    op->n_queries = 3;
    uint64_t below = c->asked_below[c->set_id % 8] = sim_one_in(2) ? UINT64_MAX : sim_below(50);
    for (int i = 0; i < 3; i++) {
      char query[100];
      size_t n = (size_t)snprintf(query, sizeof query, "SELECT * FROM %c", 'a' + i);
      if (below != UINT64_MAX) snprintf(query + n, sizeof query - n, " WHERE %s < %llu", first_columns[i].name, (unsigned long long)below);
      lc_buf_bsatn_str(&b->bytes, query);
    }
    op->args_len = b->bytes.len;
  } else if (kind == LC_OP_UNSUBSCRIBE) {
    op->query_set_id = c->set_id;
    op->flags = LC_LIVE_NO_ROWS;
  }
  lc_db_submit(db, b);
}

/* What each client has been sent makes the rows that its queries give now. */
static void check_mirrors(void) {
  struct tables model = model_at(n_history);
  for (int i = 0; i < MAX_CLIENTS; i++) {
    if (!clients[i]->subscribed) continue;
    sim_reached[SIM_MIRRORS]++;
    for (uint32_t t = 0; t < model.n; t++) {
      uint32_t id = model.t[t].table, n = 0;
      struct rows *mine = rows_of(&clients[i]->mirror, id);
      for (uint32_t k = 0; k < model.t[t].n; k++) {
        struct lc_slice row = lc_buf_slice(&model.t[t].list[k]);
        if (!is_wanted(clients[i], id, row)) continue;
        n++;
        if (row_find(mine, row) < 0) sim_fail("client %d lacks a row of table %u", i, id);
      }
      if (mine->n != n) sim_fail("client %d has %u rows of table %u, the model %u", i, mine->n, id, n);
    }
  }
  tables_free(&model);
}
/* No call is lost: the alarm that was asked for is not later than what is due next. */
static void check_alarm(void) {
  struct tables model = model_at(n_history);
  int64_t now_us = world_us(NULL), us;
  if (now_us > life_max_us) life_max_us = now_us;
  struct rows *timers = rows_of(&model, LC_FIRST_USER_ID + 3);
  for (uint32_t i = 0; i < timers->n; i++) {
    memcpy(&us, timers->list[i].data + 9, 8);
    bool once = timers->list[i].data[8] == 1;
    if (alarm_us > (once ? us : life_max_us + us)) sim_fail("a scheduled call is lost: %s %lld us, at %lld the next alarm is asked for at %lld", once ? "once at" : "every", (long long)us, (long long)now_us, (long long)alarm_us);
  }
  tables_free(&model);
}
static void step_clock(void) {
  int64_t now_us = world_us(NULL), by_us = (int64_t)sim_below(20000000) - 10000000;
  if (now_us > life_max_us) life_max_us = now_us;
  clock_offset_us += by_us;
  sim_faults_seen[by_us < 0 ? SIM_CLOCK_BACK : SIM_CLOCK_FORWARD]++;
}

/* ---- one life ---- */

static char schema[1024];
static const struct lc_identity identity = {{9}}, owner = {{7}};
static void make_schema(void) {
  static const struct { const char *name, *text; uint32_t bytes; } keys[] = {{"auto_id", "u64 pk auto", 8}, {"id", "u32 pk", 4}, {"auto_id", "u64 auto", 8}, {"x", "i64 index", 8}};
  static const char *const columns[] = {"u8", "u16", "u32 index", "u64 unique", "string", "string index", "bool", "[u16]", "?string", "i64", "u128", "(x:i32,y:[string])"};
  schema[0] = 0;
  for (int t = 0; t < 3; t++) {
    char line[64];
    uint64_t key = t == 0 ? 0 : sim_below(4);
    first_columns[t].name = keys[key].name;
    first_columns[t].bytes = keys[key].bytes;
    snprintf(line, sizeof line, "table %c\n col %s %s\n", 'a' + t, keys[key].name, keys[key].text);
    strcat(schema, line);
    for (uint64_t n = 1 + sim_below(4), i = 0; i < n; i++) {
      snprintf(line, sizeof line, " col c%llu %s\n", (unsigned long long)i, columns[sim_below(12)]);
      strcat(schema, line);
    }
  }
  if (sim_one_in(2)) strcat(schema, "table timers private\n col auto_id u64 pk auto\n col at at\n schedule timers_s tick at\n");
}

static uint64_t max_segment_bytes, snapshot_interval;
static bool retain_all;

struct flip { char path[200]; uint64_t at; bool is_in_last_commit; };
/* Recovers a copy of the disk twice, with a power cut between: the same each time, and nothing promised is missing. Where the log ends. flip: may be NULL. */
static uint64_t check_disk(const struct flip *flip) {
  uint64_t ends[2] = {0};
  struct sim_image *image = sim_disk_save();
  sim_disk_faults((struct sim_faults){0});
  sim_threads_scarce = false;
  for (int pass = 0; pass < 2; pass++) {
    struct lc_error err;
    struct lc_datastore *ds = NULL;
    struct lc_wal *wal = NULL;
    struct lc_wal_options o = {.max_segment_bytes = max_segment_bytes};
    struct lc_db_files f = {.env = &env, .fs = &sim_fs, .dir = DIR, .database = identity, .retain_all = retain_all};
    if (promised_end == 0 && sim_fs.make_dir(NULL, DIR) != 0) sim_fail("cannot make the folder");
    enum lc_status st = lc_wal_open(&sim_fs, DIR, &o, &wal, &err);
    f.wal = wal;
    if (st == LC_OK) st = lc_db_recover(&f, &ds, &ends[pass], &err);
    if (wal) lc_wal_close(wal);
    if (st != LC_OK && flip) { /* refused, with the place; by the second recovery alone if the power cut took the index that led the first one past it */
      if (!sim_refusal_is_exact(err.text, flip->path)) sim_fail("a bit of %s at byte %llu has flipped, and the refusal does not say what is wrong and where: %s", flip->path, (unsigned long long)flip->at, err.text);
      sim_faults_seen[SIM_REFUSED]++;
      break;
    }
    if (st != LC_OK) sim_fail("recovery %d (promised %llu): %s", pass + 1, (unsigned long long)promised_end, err.text);
    sim_reached[f.recovered_from ? SIM_FROM_SNAPSHOT : SIM_FROM_LOG]++;
    uint64_t least = flip && flip->is_in_last_commit ? promised_end - 1 : promised_end; /* the last commit damaged looks like one torn */
    if (ends[pass] < least)
      sim_fail("recovery %d: transactions from %llu are lost, promised were those before %llu (bit flip: %s at %llu)", pass + 1, (unsigned long long)ends[pass], (unsigned long long)promised_end,
               flip ? flip->path : "none", (unsigned long long)(flip ? flip->at : 0));
    if (ends[pass] > n_history) sim_fail("recovery %d: %llu transactions of %llu", pass + 1, (unsigned long long)ends[pass], (unsigned long long)n_history);
    if (pass && ends[1] != ends[0]) sim_fail("the second recovery ends at %llu, the first at %llu", (unsigned long long)ends[1], (unsigned long long)ends[0]);
    if (pass == 0 && flip) sim_faults_seen[SIM_LAST_COMMIT_CUT] += ends[0] < promised_end;
    compare(ds, ends[pass], flip ? "with a bit flipped" : pass ? "second recovery" : "recovery");
    lc_datastore_free(ds);
    sim_threads_join();
    sim_disk_restart(true);
  }
  sim_threads_join();
  sim_disk_load(image);
  return ends[0];
}
/* A bit of a file at rest flips, and what is there is recovered: it is refused, or nothing is missing but the last transaction, if its own commit was hit. */
static void check_flip(void) {
  struct flip flip = {0};
  char newest[200];
  uint64_t transaction = 0;
  struct lc_buf before = {0}; /* the newest segment */
  lc_buf_slice_append(&before, sim_disk_newest_segment(newest, sizeof newest));
  promised_end = n_history;
  bool flipped = sim_disk_flip_bit(flip.path, sizeof flip.path, &flip.at);
  uint64_t end = flipped && strcmp(flip.path, newest) == 0 ? sim_commit_around(lc_buf_slice(&before), flip.at, &transaction) : 0;
  flip.is_in_last_commit = end && !sim_commit_end(lc_buf_slice(&before), end) && transaction + 1 == n_history;
  lc_buf_free(&before);
  if (!flipped) return;
  if (sim_verbose) fprintf(stderr, "a bit of %s flips at byte %llu%s\n", flip.path, (unsigned long long)flip.at, flip.is_in_last_commit ? ", in the last commit" : "");
  check_disk(&flip);
}

static void ring(struct lc_db *db) { /* the alarm, when its time has come */
  if (alarm_us > world_us(NULL)) return;
  alarm_us = INT64_MAX;
  lc_db_alarm(db);
}
static void live(bool with_faults) {
  bool is_new = n_history < CREATED_END;
  struct lc_error err;
  struct lc_db *db = NULL;
  uint64_t expected = n_history, before = promised_end;
  struct lc_db_options o = {.dir = DIR, .fs = &sim_fs, .env = &env, .snapshot_interval_transactions = snapshot_interval, .max_segment_bytes = max_segment_bytes, .retain_all = retain_all,
                            .backlog_bytes = sim_one_in(4) ? 200 + sim_below(2000) : 0, .database_identity = identity, .owner_identity = owner, .n_threads = 1,
                            .callbacks = {.deliver = on_deliver, .durable = on_durable, .wake = on_wake, .alarm = on_alarm}};
  struct sim_faults faults = {.sync_ns = sim_one_in(3) ? 20000000 : 100000};
  if (sim_one_in(8)) faults.sync_ns = faults.write_ns = 500000000; /* the disk stalls */
  if (with_faults && sim_one_in(3)) faults.error_one_in = 30 + (uint32_t)sim_below(300);
  if (with_faults && !sim_one_in(5)) faults.crash_after = 1 + sim_below(sim_one_in(3) ? 40 : 500);
  sim_threads_scarce = faults.error_one_in != 0;
  sim_disk_faults(faults);
  sim_changes_clear(&sim_changes); /* of a call that came to nothing */
  alarm_us = INT64_MAX;
  announced_end = 0;
  life_begin = n_history;
  life_begin_us = life_max_us = world_us(NULL);
  n_ticking = 0;
  enum lc_status st = lc_db_open(&o, is_new ? lc_slice_str(schema) : (struct lc_slice){0}, LC_PROGRAM_WASM, &db, &err);
  if (st != LC_OK) {
    if (!faults.crash_after && !faults.error_one_in) sim_fail("open: %s", err.text);
    return;
  }
  if (!sim_disk_crashed()) promised_end = is_new ? CREATED_END : expected > before ? expected : before;
  for (int i = 0; i < MAX_CLIENTS; i++) {
    struct client *c = clients[i] = calloc(1, sizeof *c);
    c->c.ops = &client_ops;
    c->c.confirmed = i != 1;
    c->c.identity.bytes[0] = c->c.connection_id.bytes[0] = (uint8_t)(i + 1);
    call(db, c, LC_OP_CONNECT);
    if (sim_one_in(2)) call(db, c, LC_OP_SUBSCRIBE);
  }
  for (uint64_t n = 10 + sim_below(80); n-- && !sim_disk_crashed() && !lc_db_failure(db);) {
    for (uint64_t k = sim_below(4); k--;) call(db, clients[sim_below(MAX_CLIENTS)], LC_OP_CALL_REDUCER);
    if (sim_one_in(25)) lc_db_request_snapshot(db);
    if (sim_one_in(40)) step_clock();
    if (sim_one_in(60)) {
      struct client *c = clients[sim_below(MAX_CLIENTS)];
      if (c->subscribed) call(db, c, LC_OP_UNSUBSCRIBE);
      if (c->subscribed || !c->set_id) call(db, c, LC_OP_SUBSCRIBE);
    }
    ring(db);
    lc_db_run(db);
    sim_reached[SIM_BACKLOG] += o.backlog_bytes && lc_db_waits(db);
    if (sim_one_in(20) && !sim_disk_crashed() && !lc_db_failure(db)) check_mirrors();
    if (sim_one_in(2)) sim_sleep_ns((int64_t)sim_below(3000000));
    receive(db);
  }
  bool is_idle = false; /* nothing waits and nothing is due */
  for (int rounds = 0; rounds < 300 && !is_idle && !sim_disk_crashed() && !lc_db_failure(db); rounds++) {
    ring(db);
    lc_db_run(db);
    is_idle = !lc_db_waits(db) && alarm_us > world_us(NULL);
    if (!is_idle) sim_sleep_ns(lc_db_waits(db) ? 20000000 : 1000);
  }
  receive(db);
  if (!sim_disk_crashed() && !lc_db_failure(db)) {
    check_mirrors();
    if (is_idle) check_alarm();
  }
  bool failed = lc_db_failure(db) != NULL;
  if (sim_one_in(2) && !failed) sim_disk_faults((struct sim_faults){.sync_ns = faults.sync_ns});
  lc_db_close(db);
  if (!failed && !sim_disk_crashed() && !faults.error_one_in) promised_end = n_history;
  sim_threads_join();
  for (struct lc_db_outbox *next; network; network = next) {
    next = network->next;
    lc_db_outbox_free(network);
  }
  for (int i = 0; i < MAX_CLIENTS; i++) {
    tables_free(&clients[i]->mirror);
    lc_buf_free(&clients[i]->c.out);
    free(clients[i]);
  }
}

static uint64_t run(uint64_t s) {
  seed = s;
  random_state = s * 0x2545f4914f6cdd1d + 1;
  run_hash = s;
  promised_end = told_end = 0;
  clock_offset_us = 0;
  sim_threads_start();
  sim_disk_new();
  make_schema();
  max_segment_bytes = sim_one_in(4) ? 1 << 20 : 300 + sim_below(6000);
  snapshot_interval = sim_one_in(3) ? UINT64_MAX : 5 + sim_below(60);
  retain_all = sim_one_in(8);
  for (uint64_t lives = 2 + sim_below(3); lives--;) {
    live(true);
    sim_disk_restart(sim_disk_crashed() ? !sim_one_in(4) : sim_one_in(2));
    uint64_t end = check_disk(NULL);
    if (sim_verbose) fprintf(stderr, "life over: %llu of %llu transactions, promised %llu\n", (unsigned long long)end, (unsigned long long)n_history, (unsigned long long)promised_end);
    if (end < CREATED_END) { /* it has not come to be: whoever wanted it begins anew */
      end = 0;
      sim_disk_new();
    }
    history_cut(end);
    sim_reached[SIM_ANSWER_LOST] += told_end > end;
    if (told_end > end) told_end = end;
    sim_trace('life', &end, sizeof end);
  }
  if (n_history >= CREATED_END && sim_one_in(2)) check_flip();
  history_cut(0);
  free(history);
  free(history_us);
  free(ticking);
  history = NULL;
  history_us = NULL;
  ticking = NULL;
  sim_changes_clear(&sim_changes);
  sim_disk_free();
  return run_hash;
}

static void tell_faults(void) {
  static const char *const kinds[] = {"power cut at", "EIO of", "ENOSPC of"}, *const others[] = {SIM_OTHER_FAULTS(SIM_TEXT)}, *const reached[] = {SIM_REACHED(SIM_TEXT)};
  for (unsigned i = 0; i <= SIM_FIRST_OTHER; i++) printf("stat %llu %s %s\n", (unsigned long long)sim_faults_seen[i], kinds[i / SIM_OPERATIONS], sim_operation_names[i % SIM_OPERATIONS]);
  for (unsigned i = SIM_FIRST_OTHER + 1; i < SIM_N_FAULTS; i++) printf("stat %llu %s\n", (unsigned long long)sim_faults_seen[i], others[i - SIM_FIRST_OTHER - 1]);
  for (unsigned i = 0; i < SIM_N_REACHED; i++) printf("stat %llu %s\n", (unsigned long long)sim_reached[i], reached[i]);
}

int main(int argc, char **argv) {
  bool twice = false, stats = false;
  for (int c; (c = getopt(argc, argv, "vstb:")) != -1;) {
    if (c == 'v') sim_verbose = true;
    else if (c == 's') stats = true;
    else if (c == 't') twice = true;
    else if (c == 'b') lc_planted_bug = (enum lc_planted_bug)atoi(optarg);
    else return 2;
  }
  if (argc - optind != 2) return fprintf(stderr, "usage: simulator [-v] [-s] [-t] [-b BUG] FIRST COUNT\n"), 2;
  uint64_t first = strtoull(argv[optind], NULL, 10), count = strtoull(argv[optind + 1], NULL, 10), all = 0;
  for (uint64_t s = first; s < first + count; s++) {
    uint64_t hash = run(s);
    if (twice && run(s) != hash) sim_fail("two runs differ");
    all = all * 31 + hash;
  }
  if (stats) tell_faults();
  printf("%llu seeds from %llu: hash %016llx\n", (unsigned long long)count, (unsigned long long)first, (unsigned long long)all);
  return 0;
}
